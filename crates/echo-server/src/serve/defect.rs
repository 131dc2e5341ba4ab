//! A defect on purpose, in tests alone: what happens to the other peers when one brings it out.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::event::{Kind, PeerAddress, Stop};
use crate::{Config, Server};

/// A fault that this server once had, brought back in a thread to see that it would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Room to write is of no interest while a fault holds the bytes.
    EdgeLost,
    /// Who takes nothing while the server drains is not tried.
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

/// Panics when a peer says the word.
pub(crate) fn strike(bytes: &[u8]) {
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
