//! Sending a message or a stream: what is said, and what is noticed.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::time::Duration;

use crate::common::*;
use echo_core::Framing;
use echo_core::framing::Decoder;
use echo_server::Config;

/// What comes back of the message that is sent where none is given.
pub const DEFAULT: &str = "Received: \"Hello world! This is an echo server made with Rust.\"\n";

#[test]
fn the_default_message_comes_back() {
    let echo = echo();
    run(&[&echo.tcp]).said(DEFAULT);
    run(&[&echo.udp]).said(DEFAULT);
    run(&["-u", &echo.tcp]).said(DEFAULT);
    run(&["-4", &echo.tcp]).said(DEFAULT);
}

#[test]
fn a_unix_socket_is_a_stream_like_any_other() {
    let scratch = Scratch::new("unix");
    let endpoint = format!("unix:{}", scratch.path("e.sock").display());
    let _server = echo_on(&endpoint);
    run(&[&endpoint]).said(DEFAULT);
    let noise = noise(3_000_000);
    assert!(run_with(&[&endpoint, "-m", "-", "--raw"], &noise).stdout == noise);
}

#[test]
fn ipv6_works_where_the_system_has_it() {
    if !has_ipv6() {
        return;
    }
    let server = echo_on("[::1]:0");
    let port = server.addresses()[0].socket().unwrap().port();
    run(&[&format!("[::1]:{port}")]).said(DEFAULT);
    run(&["-6", &format!("udp://[::1]:{port}")]).said(DEFAULT);
    let ended = run(&["-4", &format!("[::1]:{port}")]);
    ended.failed(3, &["cannot resolve ::1", "-4", "leave that out"]);
}

#[test]
fn every_framing_comes_back_and_shows_the_payload_only() {
    for framing in Framing::ALL {
        let echo = echo_with(Config {
            framing: vec![framing.into()],
            ..Config::default()
        });
        let framing = format!("--framing={framing}");
        run(&[&echo.tcp, &framing]).said(DEFAULT);
        let input = b"one\n\ntwo without an end";
        for args in [
            &[&echo.tcp, &framing, "-m", "-", "--raw"][..],
            &[&echo.tcp, &framing, "-m", "-", "--raw", "--half-close"],
            &[&echo.udp, &framing, "-m", "-", "--raw"],
        ] {
            let ended = run_with(args, input);
            assert_eq!(
                (ended.code, &ended.stdout[..]),
                (Some(0), &input[..]),
                "{ended:?}"
            );
        }
    }
}

#[test]
fn ten_megabytes_come_back_byte_for_byte() {
    let noise = noise(10_000_000);
    for framing in Framing::ALL {
        let echo = echo_with(Config {
            framing: vec![framing.into()],
            ..Config::default()
        });
        let framing = format!("--framing={framing}");
        let args = [&echo.tcp, "-m", "-", "--raw", "--half-close", &framing];
        let ended = run_with(&args, &noise);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{framing}"
        );
        assert!(
            ended.stdout == noise,
            "{framing}: {} bytes",
            ended.stdout.len()
        );
    }
}

#[test]
fn nothing_that_acts_on_a_terminal_is_printed() {
    let echo = echo();
    run(&[&echo.tcp, "-m", "¡Hola! \x1b[31m\x07"]).said("Received: \"¡Hola! \\x1b[31m\\x07\"\n");
    run(&[&echo.tcp, "-m", ""]).said("Received: \"\"\n");
}

#[test]
fn of_a_stream_the_number_of_identical_bytes_is_told() {
    let (echo, scratch) = (echo(), Scratch::new("stream"));
    run_with(&[&echo.tcp, "-m", "-"], b"hello\n")
        .said("Received: \"hello\\n\" (6 bytes identical)\n");
    run_with(&[&echo.udp, "-m", "-"], b"x").said("Received: \"x\" (1 byte identical)\n");
    run_with(&[&echo.tcp, "-m", "-"], b"").said("Received: \"\" (0 bytes identical)\n");
    let file = scratch.file("noise", &noise(1_234_567));
    run(&[&echo.tcp, "--file", &file]).said("Received: 1234567 bytes identical\n");
}

#[test]
fn an_echo_is_shown_while_more_is_being_typed() {
    let echo = echo();
    for (args, shown) in [
        (
            &[&echo.tcp, "-m", "-"][..],
            "Received: \"one\\n\" (4 bytes identical)\n",
        ),
        (&[&echo.tcp, "-m", "-", "--raw"], "one\n"),
        (
            &[&echo.tcp, "-m", "-", "--raw", "--framing=length"],
            "one\n",
        ),
    ] {
        let mut client = start(args);
        client
            .child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"one\n")
            .unwrap();
        assert_eq!(client.line(), shown);
        let ended = client.end();
        assert_eq!((ended.code, ended.text()), (Some(0), ""), "{ended:?}");
    }
}

#[test]
fn verbose_shows_both_ends_of_the_socket() {
    let (sender, receiver) = mpsc::channel();
    let server = tcp(move |_, stream| {
        sender.send(stream.peer_addr().unwrap()).unwrap();
        echo_changed(&stream, |_| {});
    });
    let ended = run(&[&server, "-v"]);
    let peer = receiver.recv_timeout(DEADLINE).unwrap();
    assert_eq!(ended.stderr, format!("connected tcp {peer} <-> {server}\n"));
    assert_eq!((ended.code, ended.text()), (Some(0), DEFAULT));
}

#[test]
fn the_local_address_can_be_chosen() {
    let (sender, receiver) = mpsc::channel();
    let server = tcp(move |_, stream| {
        sender.send(stream.peer_addr().unwrap()).unwrap();
        echo_changed(&stream, |_| {});
    });
    run(&[&server, "-B", "127.0.0.2"]).said(DEFAULT);
    let peer = receiver.recv_timeout(DEADLINE).unwrap();
    assert_eq!(peer.ip().to_string(), "127.0.0.2");
    let ended = run(&[&server, "-B", "192.0.2.1"]);
    ended.failed(3, &["192.0.2.1", "--bind"]);
}

#[test]
fn a_short_echo_is_noticed() {
    let server = faulty(&["close-after=5"]);
    let ended = run(&[&server.tcp]);
    ended.failed(
        1,
        &[
            &server.tcp,
            "short",
            "5 of 51 bytes",
            "expected \" world! This is \" at offset 5",
        ],
    );
    assert_eq!(ended.text(), "Received: \"Hello\"\n");
}

#[test]
fn a_differing_echo_is_noticed_at_its_first_wrong_byte() {
    let server = tcp(|_, stream| echo_changed(&stream, |piece| piece[7] = 0x1b));
    let ended = run(&[&server]);
    ended.failed(
        1,
        &[
            "differs at offset 7",
            "expected \"orld! This is an\"",
            "got \"\\x1brld! This is an\"",
        ],
    );
    assert!(!ended.stdout.contains(&0x1b) && !ended.stderr.contains('\x1b'));
    let raw = run(&[&server, "--raw"]);
    raw.failed(1, &["differs at offset 7"]);
    assert_eq!(raw.stdout[7], 0x1b, "--raw shows what came");
}

#[test]
fn an_excess_is_noticed_even_when_it_comes_last() {
    let server = tcp(|_, stream| {
        echo_changed(&stream, |_| {});
        (&stream).write_all(b" and more").unwrap();
    });
    run(&[&server]).failed(
        1,
        &[
            "excess bytes at offset 51",
            "expected the end",
            "\" and more\"",
        ],
    );
}

#[test]
fn what_is_no_echo_is_told_as_such() {
    let server = tcp(|_, stream| {
        read(&stream, 51);
        (&stream)
            .write_all(b"HTTP/1.1 400 Bad Request\r\n")
            .unwrap();
    });
    let ended = run(&[&server]);
    ended.failed(1, &["differs at offset 1", "is it an echo server"]);
}

#[test]
fn silence_ends_in_time() {
    let server = faulty(&["truncate=20"]);
    let silence = ["nothing came back for 1s", "20 of 51 bytes"];
    run(&[&server.tcp, "-W", "2s"]).failed(1, &silence);
}

#[test]
fn a_server_that_answers_only_at_the_end_is_heard() {
    // It answers only when it hears that nothing more comes.
    let server = tcp(|_, stream| {
        let mut sent = Vec::new();
        (&stream).read_to_end(&mut sent).unwrap();
        (&stream).write_all(&sent).unwrap();
    });
    run(&[&server, "-W", "1s", "-m", "late"]).said("Received: \"late\"\n");
}

#[test]
fn a_server_that_never_reads_ends_in_time() {
    let (sender, receiver) = mpsc::channel();
    let server = tcp(move |_, stream| sender.send(stream).unwrap());
    let ended = run_with(&[&server, "-m", "-", "-W", "300ms"], &noise(50_000_000));
    ended.failed(1, &["no progress for 300ms", "0 of"]);
    drop(receiver.recv_timeout(DEADLINE).unwrap());
}

#[test]
fn a_reset_is_no_end() {
    let server = faulty(&["drop", "reset-after=1msg"]);
    run(&[&server.tcp]).failed(1, &["connection reset", "0 of 51 bytes"]);
}

#[test]
fn a_server_that_returns_everything_at_the_end_is_heard_out() {
    let server = faulty(&["merge=64k"]);
    run(&[&server.tcp]).said(DEFAULT);
    run(&[&server.tcp, "--half-close"]).said(DEFAULT);
}

#[test]
fn a_server_that_drops_what_it_holds_at_the_end_has_the_time_to_return_it() {
    let server = tcp(|_, stream| {
        let bytes = read(&stream, 51);
        // It returns the rest only if it has not heard of the end by now.
        let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
        let ended = matches!((&stream).read(&mut [0]), Ok(0));
        if !ended {
            (&stream).write_all(&bytes).unwrap();
        }
    });
    run(&[&server]).said(DEFAULT);
    run(&[&server, "--half-close"]).failed(1, &["0 of 51 bytes"]);
}

#[test]
fn a_late_copy_of_a_reply_is_no_answer_to_another_line() {
    let twice = || {
        let mut earlier: Vec<Vec<u8>> = Vec::new();
        udp(move |_, bytes, reply| {
            // Copies of the earlier ones come before the reply.
            earlier.iter().for_each(|line| reply(line));
            reply(bytes);
            reply(bytes);
            earlier.push(bytes.to_vec());
        })
    };
    run_with(&["-i", "--raw", &twice()], b"a\nb\nb\nc").said("a\nb\nb\nc");
    let ended = run_with(&["-i", "--json", &twice()], b"d\ne\n");
    let document: serde_json::Value = serde_json::from_str(ended.text()).unwrap();
    let count = |name: &str| document[name].as_u64().unwrap();
    assert!(count("duplicate") > 1, "{document}");
    // Both lines are of one length, and so are their replies and all copies.
    let replies = 2 + count("duplicate");
    assert_eq!(
        count("received_bytes"),
        replies * count("sent_bytes") / 2,
        "{document}"
    );
}

#[test]
fn a_server_that_never_closes_does_not_hold_us() {
    let (sender, receiver) = mpsc::channel();
    let server = tcp(move |_, stream| {
        let bytes = read(&stream, 51);
        (&stream).write_all(&bytes).unwrap();
        sender.send(stream).unwrap();
    });
    run(&[&server]).said(DEFAULT);
    let stream = receiver.recv_timeout(DEADLINE).unwrap();
    assert_eq!(
        (&stream).read(&mut [0]).unwrap(),
        0,
        "it was told of the end"
    );
    let _ = stream.shutdown(Shutdown::Both);
}

#[test]
fn frames_arrive_as_the_framing_says() {
    let (sender, receiver) = mpsc::channel();
    let server = tcp(move |_, stream| {
        let mut all = Vec::new();
        echo_changed(&stream, |piece| all.extend_from_slice(piece));
        sender.send(all).unwrap();
    });
    run_with(&[&server, "-m", "-", "--framing=length"], &noise(200_000));
    let all = receiver.recv_timeout(DEADLINE).unwrap();
    let mut decoder = Decoder::new(Framing::Length, 64 << 10);
    assert_eq!(decoder.push(&all).complete, all.len());
    let frames = Framing::Length.frames(&all);
    let payload = frames
        .flat_map(|frame| frame[4..].to_vec())
        .collect::<Vec<u8>>();
    assert!(payload == noise(200_000));
}

#[test]
fn datagrams_of_every_size_come_back() {
    let (echo, scratch) = (echo(), Scratch::new("udp"));
    for size in [0, 1, 1472, 65_507] {
        let file = scratch.file("datagram", &noise(size));
        let ended = run(&[&echo.udp, "--file", &file, "--raw"]);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{size} bytes"
        );
        assert!(ended.stdout == noise(size), "{size} bytes");
    }
    let file = scratch.file("datagram", &noise(65_508));
    let ended = run(&[&echo.udp, "--file", &file]);
    ended.failed(2, &["65508 bytes", "at most 65507 fit", "--udp"]);
}

#[test]
fn a_datagram_that_differs_is_noticed() {
    let short = faulty(&["truncate=10"]);
    run(&[&short.udp]).failed(1, &["short", "10 of 51 bytes"]);
    let empty = faulty(&["truncate=0"]);
    run(&[&empty.udp]).failed(1, &["0 of 51 bytes"]);
    let long = udp(|_, bytes, reply| reply(&[bytes, b"!"].concat()));
    run(&[&long]).failed(1, &["excess bytes at offset 51"]);
    let wrong = udp(|_, bytes, reply| reply(&bytes.to_ascii_uppercase()));
    run(&[&wrong]).failed(1, &["differs at offset 1"]);
}

#[test]
fn a_lost_datagram_is_a_timeout_and_a_refused_one_is_not() {
    let silent = faulty(&["drop"]);
    run(&[&silent.udp, "-W", "100ms"]).failed(1, &["no reply within 100ms"]);
    let closed = closed_port();
    let ended = run(&[&format!("udp://{closed}"), "-W", "20s"]);
    ended.failed(3, &["connection refused", "echo-server"]);
}

#[test]
fn waiting_ends_when_the_server_is_up() {
    let scratch = Scratch::new("wait");
    let endpoint = format!("unix:{}", scratch.path("e.sock").display());
    let client = start(&[&endpoint, "--wait", "20s"]);
    let _server = echo_on(&endpoint);
    client.end().said(DEFAULT);
    let closed = closed_port();
    for target in [format!("tcp://{closed}"), format!("udp://{closed}")] {
        let ended = run(&[&target, "--wait", "100ms"]);
        ended.failed(3, &["connection refused"]);
    }
}

#[test]
fn a_server_that_ends_an_idle_connection_has_not_cut_an_echo_short() {
    let echo = echo_with(Config {
        idle_timeout: "200ms".parse().expect("a time"),
        ..Config::default()
    });
    for (input, when) in [("", "before anything was sent"), ("hola\n", "all 5 bytes")] {
        let mut client = start(&["-i", &echo.tcp]);
        let stdin = client.child.stdin.as_mut().expect("piped");
        stdin.write_all(input.as_bytes()).unwrap();
        let ended = client.end_by_itself();
        ended.failed(1, &["the server closed the connection", when, "idle"]);
        assert!(!ended.stderr.contains("--framing"), "{ended:?}");
    }
}
