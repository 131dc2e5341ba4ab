//! A defect on purpose, in tests alone: what happens to the other peers when one brings it out.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::event::{Kind, PeerAddress, Stop};
use crate::{Config, Server};

/// A fault that this server once had, brought back in a thread to see that it would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Room to write is of no interest while a fault holds the bytes.
    EdgeLost,
    /// Who has taken nothing for too long is given up untried.
    Untried,
    /// A connection that a fault refuses takes a place.
    PlaceLost,
    /// A turn has no end.
    Endless,
    /// Who is owed an answer is idle.
    IdleWhileOwed,
}

thread_local! {
    static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Brings a fault back in this thread, or none.
pub(crate) fn bring_back(mutant: Option<Mutant>) {
    MUTANT.set(mutant);
}

/// Whether this thread has the fault.
pub(crate) fn has(mutant: Mutant) -> bool {
    MUTANT.get() == Some(mutant)
}

/// Brings the defect out.
const WORD: &[u8] = b"xyzzy";

/// Has a file opened, and a connection made.
const OPEN: &[u8] = b"open sesame";

/// Panics when a peer says the word, or has brought out what it should not.
pub(crate) fn strike(bytes: &[u8]) {
    if bytes == OPEN {
        let inside = std::fs::File::open("/etc/passwd").is_ok();
        let nobody = TcpStream::connect((Ipv4Addr::LOCALHOST, 9));
        let refused = nobody.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
        assert!(!inside && refused, "the defect reaches what is not its own");
    }
    assert_ne!(bytes, WORD, "the defect that this test is about");
}

/// Where connections come from that bring a defect out outside of any peer's turn.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 66, 6, 6));

/// Panics when a peer comes from there.
pub(crate) fn strike_from(peer: PeerAddress) {
    let from = peer.socket().map(|address| address.ip());
    assert_ne!(from, Some(NOWHERE), "the defect that this test is about");
}

fn server() -> crate::Handle {
    let config = Config {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        workers: std::num::NonZeroUsize::MIN,
        ..Config::default()
    };
    Server::bind(config).unwrap().spawn().unwrap()
}

#[test]
fn a_connection_that_brings_out_a_defect_ends_alone() {
    const LIMIT: Option<Duration> = Some(Duration::from_secs(30));
    let server = server();
    let connect = || {
        let stream = TcpStream::connect(server.addresses()[0].socket().unwrap()).unwrap();
        stream.set_read_timeout(LIMIT).unwrap();
        stream
    };
    let mut bystander = connect();
    for _ in 0..10 {
        let mut victim = connect();
        victim.write_all(WORD).unwrap();
        assert_eq!(victim.read(&mut [0; 9]).unwrap(), 0);
        bystander.write_all(b"unharmed").unwrap();
        bystander.read_exact(&mut [0; 8]).unwrap();
    }
    drop(bystander);
    let stats = server.stats();
    assert_eq!(stats.accepted, 11);
    server.stop().unwrap();
}

#[test]
fn a_datagram_that_brings_out_a_defect_ends_nothing() {
    let server = server();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client
        .connect(server.addresses()[1].socket().unwrap())
        .unwrap();
    client
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    for _ in 0..10 {
        client.send(WORD).unwrap();
        // Those that were received together with it are lost as well.
        let echoed = (0..100).any(|_| {
            client.send(b"unharmed").unwrap();
            client.recv(&mut [0; 9]).is_ok()
        });
        assert!(echoed);
    }
    server.stop().unwrap();
}

#[test]
fn a_worker_that_hits_a_defect_outside_a_turn_ends_the_whole_server() {
    let config = Config {
        listen: vec!["tcp://127.0.0.1:0".parse().unwrap()],
        workers: std::num::NonZeroUsize::new(2).unwrap(),
        ..Config::default()
    };
    let server = Server::bind(config).unwrap().spawn().unwrap();
    let address = server.addresses()[0].socket().unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(NOWHERE, 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let limit = Duration::from_secs(30);
    let stopped = server
        .events()
        .wait_for(limit, |kind| matches!(kind, Kind::Stopped { .. }));
    let stopped = stopped.expect("half of the server goes on").kind;
    assert!(matches!(stopped, Kind::Stopped { why, .. } if why == Stop::Failed));
    server.stop().unwrap_err();
}

#[test]
fn a_defect_in_a_confined_server_opens_no_file_and_connects_nowhere() {
    for is_confined in [false, true] {
        let config = Config {
            listen: vec!["tcp://127.0.0.1:0".parse().unwrap()],
            workers: std::num::NonZeroUsize::MIN,
            ..Config::default()
        };
        let mut server = Server::bind(config).unwrap();
        if is_confined {
            server.confine();
        }
        // What this thread gives up it has no more.
        let server = std::thread::spawn(|| server.spawn().unwrap());
        let server = server.join().unwrap();
        let mut told = std::iter::from_fn(|| server.events().try_next());
        let told = told.find_map(|event| match event.kind {
            Kind::Confined(given_up) => Some(given_up),
            _ => None,
        });
        assert_eq!(told.is_some(), is_confined);
        if told.is_some_and(|given_up| !given_up.is_all()) {
            eprintln!("skipped: this system confines nobody, as is told: {told:?}");
            continue;
        }
        let mut peer = TcpStream::connect(server.addresses()[0].socket().unwrap()).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        peer.write_all(OPEN).unwrap();
        let mut reply = Vec::new();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        peer.read_to_end(&mut reply).unwrap();
        assert_eq!(reply == OPEN, is_confined, "{reply:?}");
        server.stop().unwrap();
    }
}
