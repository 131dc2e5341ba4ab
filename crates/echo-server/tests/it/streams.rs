//! Streams from outside: every byte comes back, in order, whatever the peers do. One suite on
//! every configuration.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

use crate::common::{
    Account, LIMIT, Server, TempPath, connect, echo, exchange, fill, fill_all, raise_open_files,
    read_to_end,
};

/// Each case with one worker and with four.
macro_rules! on_every_configuration {
    ($($case:ident)*) => {
        mod one_worker {
            $(#[test] fn $case() { super::$case(&["--workers=1"]) })*
        }
        mod four_workers {
            $(#[test] fn $case() { super::$case(&["--workers=4"]) })*
        }
        mod no_spin_no_log {
            $(#[test] fn $case() { super::$case(&["--spin=0", "--log-level=off"]) })*
        }
        mod every_read_told {
            $(#[test] fn $case() { super::$case(&["--workers=2", "-v"]) })*
        }
        // A fault that never strikes changes nothing.
        mod an_idle_fault {
            $(#[test] fn $case() { super::$case(&["--workers=2", "--fault=drop=0%"]) })*
        }
        mod framed {
            $(#[test] fn $case() { super::$case(&["--workers=2", "--framing=lines"]) })*
        }
        mod small_reads {
            $(#[test] fn $case() { super::$case(&["--workers=2", "--buffer=9k"]) })*
        }
    };
}

on_every_configuration! {
    every_byte_before_the_end_comes_back
    a_peer_that_reads_only_after_it_has_sent_gets_all
    a_peer_that_reads_late_and_does_not_end_gets_all
    many_connections_echo_at_once
    a_peer_that_never_reads_delays_nobody
    urgent_bytes_come_back_in_their_place
    urgent_bytes_within_a_bulk_transfer_are_in_their_place_too
    more_bulk_transfers_than_a_worker_has_pipes_come_back_whole
    unix_streams_echo
}

/// Bytes that end a line, so that all of them come back whatever the framing.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = crate::common::pattern(len, seed);
    bytes.last_mut().into_iter().for_each(|last| *last = b'\n');
    bytes
}

fn every_byte_before_the_end_comes_back(args: &[&str]) {
    let server = Server::start(args);
    for len in [0, 1, 1 << 10, 64 << 10, (64 << 10) + 1, 10_000_000] {
        let sent = pattern(len, len as u64);
        assert!(exchange(server.tcp(), &sent) == sent, "{len} bytes");
    }
    server.stop();
}

fn a_peer_that_reads_only_after_it_has_sent_gets_all(args: &[&str]) {
    let server = Server::start(args);
    let mut stream = connect(server.tcp());
    let sent = fill(&stream);
    // The end comes while the server holds a backlog, and must not overtake it.
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert!(back == sent, "{} of {} bytes", back.len(), sent.len());
    server.stop();
}

/// No end comes that would have the server look at this peer again: room to write alone does.
fn a_peer_that_reads_late_and_does_not_end_gets_all(args: &[&str]) {
    let server = Server::start(args);
    let mut stream = connect(server.tcp());
    let sent = fill(&stream);
    let complete = match args.contains(&"--framing=lines") {
        true => sent.iter().rposition(|&byte| byte == b'\n').unwrap() + 1,
        false => sent.len(),
    };
    let mut back = vec![0; complete];
    stream.read_exact(&mut back).unwrap();
    assert!(back == sent[..complete]);
    server.stop();
}

fn many_connections_echo_at_once(args: &[&str]) {
    raise_open_files();
    let server = Server::start(args);
    let account = Account::open(&server);
    let mut streams: Vec<TcpStream> = (0..1000).map(|_| connect(server.tcp())).collect();
    let message = |round: u64, i: usize| pattern(64 + i % 64, round * 1000 + i as u64);
    for round in 0..3 {
        for (i, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&message(round, i)).unwrap();
        }
        for (i, stream) in streams.iter_mut().enumerate() {
            let expected = message(round, i);
            let mut back = vec![0; expected.len()];
            stream.read_exact(&mut back).unwrap();
            assert!(back == expected, "connection {i} in round {round}");
        }
    }
    assert_eq!(account.connections(), 1000);
    drop(streams);
    account.balances(4 << 10);
    server.stop();
}

fn a_peer_that_never_reads_delays_nobody(args: &[&str]) {
    let server = Server::start(args);
    let stuck: Vec<TcpStream> = (0..8).map(|_| connect(server.tcp())).collect();
    fill_all(&stuck);
    let mut peers: Vec<TcpStream> = (0..8).map(|_| connect(server.tcp())).collect();
    for round in 0..100 {
        for peer in &mut peers {
            echo(peer, &pattern(100, round));
        }
    }
    assert_eq!(exchange(server.tcp(), b"and a new one"), b"and a new one");
    drop(stuck);
    server.stop();
}

fn urgent_bytes_come_back_in_their_place(args: &[&str]) {
    let server = Server::start(args);
    let mut stream = connect(server.tcp());
    for round in 0..20 {
        stream.write_all(b"before ").unwrap();
        let sent = socket2::SockRef::from(&stream)
            .send_out_of_band(b"!")
            .unwrap();
        assert_eq!(sent, 1);
        stream.write_all(b" after\n").unwrap();
        let mut back = [0; 15];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"before ! after\n", "in round {round}");
    }
    // As the very last byte, with the end behind it.
    socket2::SockRef::from(&stream)
        .send_out_of_band(b"?")
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), b"?");
    server.stop();
}

/// Where the system moves the bytes by itself, it stops at urgent ones as it does at the end.
fn urgent_bytes_within_a_bulk_transfer_are_in_their_place_too(args: &[&str]) {
    let server = Server::start(args);
    let sent = pattern(12_000_000, 6);
    let mut stream = connect(server.tcp());
    let mut sender = stream.try_clone().unwrap();
    let back = std::thread::scope(|scope| {
        scope.spawn(|| {
            for block in sent.chunks(1_000_000) {
                let (urgent, block) = block.split_last().unwrap();
                sender.write_all(block).unwrap();
                let socket = socket2::SockRef::from(&sender);
                assert_eq!(socket.send_out_of_band(&[*urgent]).unwrap(), 1);
            }
            sender.shutdown(Shutdown::Write).unwrap();
        });
        read_to_end(&mut stream)
    });
    let first = back.iter().zip(&sent).position(|(a, b)| a != b);
    assert_eq!((back.len(), first), (sent.len(), None));
    server.stop();
}

fn more_bulk_transfers_than_a_worker_has_pipes_come_back_whole(args: &[&str]) {
    let server = Server::start(args);
    let account = Account::open(&server);
    let address = server.tcp();
    std::thread::scope(|scope| {
        for seed in 0..20 {
            scope.spawn(move || {
                let sent = pattern(2_000_000, seed);
                assert!(exchange(address, &sent) == sent, "transfer {seed}");
            });
        }
    });
    account.balances(4 << 10);
    server.stop();
}

fn unix_streams_echo(args: &[&str]) {
    let path = TempPath::new("e.sock");
    let server = Server::listening(&[&[&*format!("--listen={}", path.endpoint())], args].concat());
    assert_eq!(
        server.ready_lines(),
        [format!("listening unix {}", path.text())]
    );
    let sent = pattern(3_000_000, 5);
    let mut stream = UnixStream::connect(&*path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut sender = stream.try_clone().unwrap();
    let back = std::thread::scope(|scope| {
        scope.spawn(|| {
            sender.write_all(&sent).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
        });
        read_to_end(&mut stream)
    });
    assert!(back == sent);
    server.stop();
    assert!(!path.exists(), "the socket's file is left behind");
}

#[test]
fn no_read_is_larger_than_the_buffer() {
    for (buffer, limit) in [("4", 4), ("20k", 20 << 10)] {
        let server = Server::start(&["--log=json", "-v", "--buffer", buffer]);
        let sent = pattern(limit.clamp(3_000, 10_000) * 100, 1);
        assert!(exchange(server.tcp(), &sent) == sent);
        let told = server.stop().stderr;
        let reads = told.lines().filter_map(|line| {
            let (_, rest) = line.split_once("\"event\":\"received\"")?;
            let (_, bytes) = rest.split_once("bytes\":")?;
            bytes[..bytes.find([',', '}'])?].parse::<usize>().ok()
        });
        assert_eq!(reads.max(), Some(limit), "--buffer={buffer}");
    }
}
