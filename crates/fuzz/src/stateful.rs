//! What must hold after any sequence of acts: a request's fate, a stream through faults, and what a
//! UDP server answers. Each byte of the input is an act, or says how much of one.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use echo_client::engine::Class;
use echo_client::engine::ledger::{Ledger, Request};
use echo_server::{Address, Config, Handle, Server};

/// Time enough for any answer on this machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// A request is given up so many nanoseconds after it left, in the ledger that is tried.
const TIMEOUT: u64 = 100;

/// What a request has become, in the plainest book there can be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Awaited,
    GivenUp,
    Answered,
    Gone,
}

/// Every request ends as exactly one thing, and every reply is what a book says that never forgets.
pub fn ledger(data: &[u8]) {
    let mut ledger = Ledger::new(TIMEOUT);
    let mut book: Vec<(u64, Fate)> = Vec::new();
    let (mut now, mut highest, mut right, mut lost) = (0, 0, 0, 0_u64);
    let mut acts = data.iter().copied();
    while let Some(act) = acts.next() {
        let argument = u64::from(acts.next().unwrap_or(0));
        match act % 6 {
            0 => {
                let request = Request::new(now, now);
                assert_eq!(ledger.push(request), book.len() as u64 + 1);
                book.push((now, Fate::Awaited));
            }
            1 => now += argument,
            2 => {
                let was = argument
                    .checked_sub(1)
                    .and_then(|i| book.get_mut(i as usize));
                let expected = match was {
                    None => Class::Foreign,
                    Some((_, Fate::Answered | Fate::Gone)) => Class::Duplicate,
                    Some((sent, fate)) => {
                        *fate = Fate::Answered;
                        right += 1;
                        let in_order = argument > highest;
                        highest = highest.max(argument);
                        match now - *sent > TIMEOUT {
                            true => Class::Late,
                            false if in_order => Class::Ok,
                            false => Class::Reordered,
                        }
                    }
                };
                let entry = ledger.reply(argument, now);
                assert_eq!(entry.class, expected, "{argument}");
                lost -= u64::from(entry.given_up);
            }
            3 => {
                let due =
                    |(sent, fate): &(u64, Fate)| *fate == Fate::Awaited && sent + TIMEOUT <= now;
                let first = book.iter().position(due);
                let expired = ledger.expire(now).map(|(number, _)| number);
                assert_eq!(expired, first.map(|i| i as u64 + 1));
                first.into_iter().for_each(|i| book[i].1 = Fate::GivenUp);
                lost += first.iter().len() as u64;
            }
            4 => {
                let first = book.iter().position(|(_, fate)| *fate == Fate::Awaited);
                let refused = ledger.refuse_oldest().map(|(number, _)| number);
                assert_eq!(refused, first.map(|i| i as u64 + 1));
                first.into_iter().for_each(|i| book[i].1 = Fate::GivenUp);
                lost += first.iter().len() as u64;
            }
            // So few are remembered.
            _ => ledger.forget(),
        }
        let awaited = book.iter().filter(|(_, fate)| *fate == Fate::Awaited);
        assert_eq!(ledger.awaited(), awaited.count());
    }
    while let Some((number, request)) = ledger.abandon() {
        lost += 1;
        let entry = &mut book[number as usize - 1];
        assert_eq!(*entry, (request.sent, Fate::Awaited));
        entry.1 = Fate::Gone;
    }
    assert_eq!(ledger.answered(), right);
    assert_eq!(book.len() as u64, right + lost);
}

/// Faults that change when an answer comes and in which pieces, but not the answer.
const HARMLESS: [&str; 6] = [
    "",
    "drop=0%",
    "split=3",
    "merge=16",
    "delay=1ms",
    "split=7;merge=9;delay=0..1ms",
];

thread_local! {
    static SERVERS: [Handle; HARMLESS.len()] = HARMLESS.map(server);
}

fn server(faults: &str) -> Handle {
    let faults = faults.split(';').filter(|fault| !fault.is_empty());
    let config = Config {
        listen: vec!["127.0.0.1:0".parse().expect("an endpoint")],
        fault: faults
            .map(|fault| fault.parse().expect("a fault"))
            .collect(),
        ..Config::default()
    };
    Server::bind(config)
        .and_then(Server::spawn)
        .expect("loopback is there")
}

/// Of a stream through any of these faults, written and read in any pieces, the same comes back. The
/// first byte says which fault.
pub fn stream(data: &[u8]) {
    let [which, acts @ ..] = data else { return };
    SERVERS.with(|servers| {
        let server = &servers[usize::from(*which) % servers.len()];
        let tcp = server.addresses().iter().find_map(|address| match address {
            Address::Tcp(tcp) => Some(tcp),
            _ => None,
        });
        let mut stream = TcpStream::connect(tcp.expect("a listener")).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let (mut owed, mut next) = (VecDeque::new(), 0_u8);
        let mut pieces = [0; 64];
        for act in &acts[..acts.len().min(64)] {
            let piece = &mut pieces[..usize::from(act / 2 % 64)];
            match act % 2 {
                0 => {
                    piece.fill_with(|| {
                        next = next.wrapping_mul(5).wrapping_add(1);
                        next
                    });
                    stream.write_all(piece).expect("it takes so little");
                    owed.extend(piece.iter().copied());
                }
                _ => {
                    stream.set_nonblocking(true).expect("a socket");
                    match stream.read(piece) {
                        Ok(len) => {
                            assert!(len > 0 || piece.is_empty(), "it ended by itself");
                            assert!(
                                piece[..len]
                                    .iter()
                                    .eq(&owed.drain(..len).collect::<Vec<_>>())
                            );
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                    stream.set_nonblocking(false).expect("a socket");
                }
            }
        }
        stream.shutdown(Shutdown::Write).expect("it is open");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the rest comes");
        assert!(
            rest.iter().eq(&owed),
            "{} of {} bytes",
            rest.len(),
            owed.len()
        );
    });
}

/// A UDP server answers each datagram once at most, with the same bytes. Each byte is the length of a
/// datagram.
pub fn guard(data: &[u8]) {
    SERVERS.with(|servers| {
        let server = &servers[0];
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback is there");
        let udp = server.addresses().iter().find_map(|address| match address {
            Address::Udp(udp) => Some(udp),
            _ => None,
        });
        socket
            .connect(udp.expect("a UDP socket"))
            .expect("loopback is there");
        let mut sent: Vec<Vec<u8>> = Vec::new();
        for (i, len) in data.iter().take(32).enumerate() {
            let datagram = vec![i as u8; usize::from(*len)];
            socket.send(&datagram).expect("the server is there");
            sent.push(datagram);
        }
        socket.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let mut buffer = [0; 512];
        while !sent.is_empty() {
            let len = socket.recv(&mut buffer).expect("the answer comes");
            let at = sent
                .iter()
                .position(|datagram| datagram[..] == buffer[..len]);
            sent.remove(at.expect("nobody sent that, or it came twice"));
        }
        socket.set_nonblocking(true).expect("a socket");
        thread::yield_now();
        assert!(socket.recv(&mut buffer).is_err(), "one too many");
    });
}
