//! Framing as a peer meets it: only complete frames come back, whatever the pieces they come in.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::common::{Account, Server, connect, exchange, pattern, read_to_end};
use echo_core::Framing;

/// Small frames of a framing: empty ones, neighbours, and one that is longer.
fn frames(framing: Framing) -> Vec<u8> {
    let mut stream = Vec::new();
    for payload in [&b"a"[..], b"", b"", b"bcd", b"0123456789"] {
        framing.encode(payload, &mut stream).unwrap();
    }
    stream
}

fn server(framing: Framing) -> Server {
    let framing = format!("--framing={framing}");
    Server::start(&["--workers=2", &framing, "--max-frame=64"])
}

/// What of `stream` is complete, found by sending it all at once and reading what comes back.
fn complete(framing: Framing, stream: &[u8]) -> usize {
    let mut decoder = echo_core::framing::Decoder::new(framing, 64);
    decoder.push(stream).complete
}

#[test]
fn every_split_of_small_frames_gives_the_same_echo() {
    for framing in Framing::ALL {
        let server = server(framing);
        let stream = frames(framing);
        for split in 0..=stream.len() {
            let (head, tail) = stream.split_at(split);
            let mut peer = connect(server.tcp());
            peer.write_all(head).unwrap();
            // What is complete comes back before the rest is sent, and the rest is sent only then.
            let mut back = vec![0; complete(framing, head)];
            peer.read_exact(&mut back).unwrap();
            peer.write_all(tail).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            back.extend(read_to_end(&mut peer));
            assert_eq!(back, stream, "{framing} split at {split}");
        }
        server.stop();
    }
}

#[test]
fn frames_byte_by_byte_come_back_whole() {
    for framing in Framing::ALL {
        let server = server(framing);
        let stream = frames(framing);
        let mut peer = connect(server.tcp());
        let mut back = Vec::new();
        for (i, byte) in stream.iter().enumerate() {
            peer.write_all(&[*byte]).unwrap();
            let mut more = vec![0; complete(framing, &stream[..=i]) - back.len()];
            peer.read_exact(&mut more).unwrap();
            back.extend(more);
        }
        assert_eq!(back, stream, "{framing}");
        server.stop();
    }
}

#[test]
fn nothing_of_an_incomplete_frame_comes_back_before_its_end() {
    for framing in [Framing::Lines, Framing::Length] {
        let server = server(framing);
        let mut frame = Vec::new();
        framing
            .encode(b"held until it is whole", &mut frame)
            .unwrap();
        let mut held = connect(server.tcp());
        held.write_all(&frame[..frame.len() - 1]).unwrap();
        // Another peer's echo shows that the server has been busy since.
        assert_eq!(exchange(server.tcp(), &frames(framing)), frames(framing));
        held.set_nonblocking(true).unwrap();
        let error = held.read(&mut [0; 64]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        held.set_nonblocking(false).unwrap();
        held.write_all(&frame[frame.len() - 1..]).unwrap();
        let mut back = vec![0; frame.len()];
        held.read_exact(&mut back).unwrap();
        assert_eq!(back, frame);
        server.stop();
    }
}

#[test]
fn a_frame_over_the_limit_ends_its_connection_and_those_before_it_come_back() {
    for framing in [Framing::Lines, Framing::Length] {
        let server = server(framing);
        let good = frames(framing);
        let mut stream = good.clone();
        framing
            .encode(&pattern_without_newline(65), &mut stream)
            .unwrap();
        for split in 0..=stream.len() {
            let mut peer = connect(server.tcp());
            peer.write_all(&stream[..split]).unwrap();
            let mut back = vec![0; complete(framing, &stream[..split])];
            peer.read_exact(&mut back).unwrap();
            // The server may have hung up already, and then has said all it has to say.
            let _ = peer.write_all(&stream[split..]);
            back.extend(read_to_end(&mut peer));
            assert_eq!(back, good, "{framing} split at {split}");
        }
        server.says("over the limit of 64");
        server.stop();
    }
}

fn pattern_without_newline(len: usize) -> Vec<u8> {
    pattern(len, 9)
        .into_iter()
        .map(|byte| b'a' + byte % 26)
        .collect()
}

#[test]
fn a_claim_of_four_gigabytes_costs_nothing_and_is_refused() {
    let server = Server::start(&["--framing=length"]);
    let account = Account::open(&server);
    for _ in 0..100 {
        let mut peer = connect(server.tcp());
        peer.write_all(b"\0\0\0\x02ok\xff\xff\xff\xff").unwrap();
        assert_eq!(read_to_end(&mut peer), b"\0\0\0\x02ok");
    }
    server.says("frame of 4294967295 bytes or more is over the limit of 1048576");
    account.balances(1 << 10);
    server.stop();
}

#[test]
fn an_endless_line_costs_the_limit_and_is_cut_off() {
    let server = Server::start(&["--framing=lines", "--workers=1"]);
    let account = Account::open(&server);
    let mut peer = connect(server.tcp());
    peer.write_all(b"one line\n").unwrap();
    let block = [b'x'; 64 << 10];
    let mut sent = 0_usize;
    let error = loop {
        match peer.write(&block) {
            Ok(n) => sent += n,
            Err(error) => break error,
        }
        assert!(sent < 16 << 30, "the line is taken without end");
    };
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(kinds.contains(&error.kind()), "{error}");
    server.says("over the limit of 1048576");
    account.balances(4 << 10);
    server.stop();
}

/// Frames of nearly the limit, held by many peers at once, cost what was sent and no more.
#[test]
fn held_frames_cost_no_more_than_was_sent() {
    let server = Server::start(&["--framing=length", "--workers=2"]);
    let account = Account::open(&server);
    let mut claim = (1_u32 << 20).to_be_bytes().to_vec();
    claim.extend(pattern(100_000, 3));
    let peers: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut peer = connect(server.tcp());
            peer.write_all(&claim).unwrap();
            peer
        })
        .collect();
    account.holds(peers.len());
    // 5 MB are held; an allocator that doubles may have twice that.
    assert!(
        account.grown_kib() < 12 << 10,
        "{} KiB",
        account.grown_kib()
    );
    drop(peers);
    account.balances(12 << 10);
    server.stop();
}

#[test]
fn the_unterminated_rest_comes_back_at_the_end_where_it_may() {
    for (framing, stream, back) in [
        ("raw", &b"no end"[..], &b"no end"[..]),
        ("lines", b"one\nno end", b"one\nno end"),
        ("lines", b"no end", b"no end"),
        ("length", b"\0\0\0\x01a\0\0\0\x09no end", b"\0\0\0\x01a"),
        ("length", b"\0\0", b""),
    ] {
        let server = Server::start(&["--framing", framing]);
        assert_eq!(exchange(server.tcp(), stream), back, "{framing}");
        if framing == "length" {
            server.says("the stream ended within a frame");
        }
        server.stop();
    }
}

#[test]
fn ten_megabytes_of_frames_come_back_through_small_buffers() {
    for framing in [Framing::Lines, Framing::Length] {
        let server = Server::start(&[&format!("--framing={framing}"), "--workers=1"]);
        let mut stream = Vec::new();
        for (i, len) in [1, 100, 70_000, 500_000, 0]
            .into_iter()
            .cycle()
            .take(90)
            .enumerate()
        {
            framing
                .encode(&pattern(len, i as u64), &mut stream)
                .unwrap();
        }
        assert!(stream.len() > 10_000_000);
        assert!(exchange(server.tcp(), &stream) == stream, "{framing}");
        server.stop();
    }
}

/// Streams that no client would write: the echo is a prefix of them, and the server goes on.
#[test]
fn ten_thousand_corrupt_streams_come_to_nothing() {
    for framing in [Framing::Lines, Framing::Length] {
        let server = Server::start(&[&format!("--framing={framing}"), "--max-frame=200", "-q"]);
        let account = Account::open(&server);
        let good = frames(framing);
        for round in 0..5_000_u64 {
            let mut stream = good.repeat(1 + round as usize % 4);
            // One to three bytes that are not what they were, or a tail of noise.
            for (i, noise) in pattern(6, round + 1)
                .chunks(2)
                .take(1 + round as usize % 3)
                .enumerate()
            {
                let at = (noise[0] as usize * 7 + i) % stream.len();
                stream[at] = noise[1];
            }
            if round % 5 == 0 {
                stream.extend(pattern(round as usize % 300, round + 2));
            }
            let mut peer = connect(server.tcp());
            // Small enough that the system takes it all at once, whatever the server does.
            peer.write_all(&stream).unwrap();
            if peer.shutdown(Shutdown::Write).is_err() {
                continue;
            }
            let back = read_to_end(&mut peer);
            assert!(
                stream.starts_with(&back),
                "{framing} round {round}: {stream:?} gave {back:?}"
            );
            assert!(
                back.len() >= complete_within(framing, &stream),
                "{framing} round {round}"
            );
        }
        account.balances(4 << 10);
        server.stop();
    }
}

/// The bytes of `stream` that are complete frames of at most 200 bytes.
fn complete_within(framing: Framing, stream: &[u8]) -> usize {
    echo_core::framing::Decoder::new(framing, 200)
        .push(stream)
        .complete
}
