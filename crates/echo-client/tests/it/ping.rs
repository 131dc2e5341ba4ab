//! `ping` against servers that behave and servers that do not: each class is counted exactly.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::common::*;
use echo_core::Framing;
use echo_server::Config;
use serde_json::Value;

/// Runs `ping --json` and returns the document with the exit code.
#[track_caller]
fn ping(args: &[&str]) -> (Value, Option<i32>) {
    let ended = run(&[&["ping", "--json", "-W", "2s"], args].concat());
    let document: Value = serde_json::from_slice(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error} in the document of {ended:?}"));
    let count = |key: &str| document[key].as_u64().unwrap();
    assert_eq!(
        count("sent"),
        count("unique") + count("lost"),
        "{document:#}"
    );
    let strays = ["duplicate", "corrupt", "truncated", "foreign"].map(count);
    let replies = count("unique") + strays.iter().sum::<u64>();
    assert_eq!(count("received"), replies, "{document:#}");
    (document, ended.code)
}

/// The counts that are not what a run without a flaw has.
#[track_caller]
fn flaws(document: &Value) -> Vec<(&'static str, u64)> {
    [
        "lost",
        "late",
        "reordered",
        "duplicate",
        "corrupt",
        "truncated",
        "foreign",
    ]
    .into_iter()
    .map(|key| (key, document[key].as_u64().unwrap()))
    .filter(|&(_, count)| count > 0)
    .collect()
}

#[test]
fn a_good_server_is_pinged_without_a_flaw() {
    let echo = echo();
    for target in [&echo.tcp, &echo.udp] {
        for size in ["0", "1", "27", "28", "56", "1472", "65507"] {
            if size == "0" && !target.starts_with("udp") {
                continue;
            }
            let (document, code) = ping(&[target, "-c", "4", "-i", "1ms", "-s", size]);
            assert_eq!(
                (flaws(&document), code),
                (vec![], Some(0)),
                "{target} {size}"
            );
            assert_eq!(document["unique"], 4);
            assert_eq!(document["rtt_samples"], 4);
        }
    }
}

#[test]
fn every_framing_is_pinged_and_so_is_a_unix_socket() {
    for framing in Framing::ALL {
        let echo = echo_with(Config {
            framing: vec![framing.into()],
            ..Config::default()
        });
        let framing = format!("--framing={framing}");
        let (document, code) = ping(&[&echo.tcp, "-c", "20", "-i", "0", &framing]);
        assert_eq!((flaws(&document), code), (vec![], Some(0)), "{framing}");
    }
    let scratch = Scratch::new("ping");
    let endpoint = format!("unix:{}", scratch.path("e.sock").display());
    let _server = echo_on(&endpoint);
    let (document, code) = ping(&[&endpoint, "-c", "3", "-i", "1ms"]);
    assert_eq!((flaws(&document), code), (vec![], Some(0)));
}

#[test]
fn each_flaw_of_datagrams_is_counted_exactly() {
    type Answer = fn(usize, &[u8], &dyn Fn(&[u8]));
    let adds_garbage: Answer = |n, bytes, reply| {
        if n < 3 {
            reply(b"this is no echo at all, and nobody asked for it");
        }
        reply(bytes);
    };
    let answers_more: Answer = |_, bytes, reply| reply(&[bytes, b"more"].concat());
    let drops = faulty(&["drop,msg=..2", "drop,msg=7"]);
    let duplicates = faulty(&["duplicate,msg=7.."]);
    let corrupts = faulty(&["corrupt,msg=2..4", "corrupt=9,msg=12"]);
    let truncates = faulty(&[
        "truncate=0,msg=1",
        "truncate=8,msg=2",
        "truncate=55,msg=10..",
    ]);
    for (target, expected) in [
        (drops.udp, vec![("lost", 3)]),
        (duplicates.udp, vec![("duplicate", 6)]),
        (corrupts.udp, vec![("lost", 4), ("corrupt", 4)]),
        (truncates.udp, vec![("lost", 5), ("truncated", 5)]),
        (udp(adds_garbage), vec![("foreign", 3)]),
        (udp(answers_more), vec![("lost", 12), ("corrupt", 12)]),
    ] {
        let (document, code) = ping(&[&target, "-c", "12", "-i", "2ms", "-W", "800ms"]);
        assert_eq!(flaws(&document), expected, "{document:#}");
        let is_bad = expected[0].0 == "lost";
        assert_eq!(code, Some(i32::from(is_bad)), "{expected:?}");
    }
}

#[test]
fn the_order_of_replies_is_watched() {
    let echo = faulty(&[
        "reorder,msg=2",
        "reorder,msg=5",
        "reorder,msg=8",
        "reorder,msg=11",
    ]);
    let (document, _) = ping(&[&echo.udp, "-c", "12", "-i", "5ms"]);
    assert_eq!(flaws(&document), [("reordered", 4)], "{document:#}");
}

#[test]
fn a_late_reply_is_late_and_not_lost() {
    // The first one has been given up by the time of the third.
    let echo = faulty(&["delay=1300ms,msg=1"]);
    let (document, code) = ping(&[&echo.udp, "-c", "4", "-i", "600ms", "-W", "1s"]);
    assert_eq!(
        flaws(&document),
        [("late", 1), ("reordered", 1)],
        "{document:#}"
    );
    assert_eq!(code, Some(1));
}

#[test]
fn datagrams_too_small_for_a_number_go_one_at_a_time() {
    for size in ["0", "4", "27"] {
        let echo = faulty(&["drop,msg=2"]);
        let start = Instant::now();
        let args = ["-c", "4", "-i", "1ms", "-W", "1s", "-s", size];
        let (document, code) = ping(&[&[echo.udp.as_str()], &args[..]].concat());
        assert_eq!((flaws(&document), code), (vec![("lost", 1)], Some(1)));
        assert!(start.elapsed() >= Duration::from_secs(1));
        assert_eq!(echo.handle.stats().datagrams, 4);
    }
}

#[test]
fn an_unreachable_port_is_told_at_once() {
    let closed = closed_port().to_string();
    let start = Instant::now();
    for interval in ["1ms", "0"] {
        let args = ["-u", &closed, "-c", "3", "-i", interval, "-W", "25s"];
        let (document, code) = ping(&args);
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it did not wait for the time to be up"
        );
        assert_eq!((flaws(&document), code), (vec![("lost", 3)], Some(3)));
        assert_eq!(document["error"]["kind"], "refused");
        assert_eq!(document["errors"]["refused"], 3);
    }
    let ended = run(&["ping", "-u", &closed, "-c", "1"]);
    ended.failed(3, &["port unreachable"]);
    assert!(ended.text().contains("seq=1 port unreachable"), "{ended:?}");
    assert!(
        ended.text().contains("1 sent, 0 received, 100% loss"),
        "{ended:?}"
    );
}

#[test]
fn a_failure_to_connect_is_in_the_document_too() {
    let closed = closed_port().to_string();
    let (document, code) = ping(&[&closed, "-c", "1"]);
    assert_eq!(
        (code, &document["error"]["kind"]),
        (Some(3), &"refused".into())
    );
    let (document, code) = ping(&["no.such.host.invalid:1", "-c", "1"]);
    assert_eq!((code, &document["error"]["kind"]), (Some(3), &"dns".into()));
}

#[test]
fn everything_lost_has_a_summary_all_the_same() {
    let silent = faulty(&["drop,udp", "stall,tcp"]);
    for target in [&silent.udp, &silent.tcp] {
        let ended = run(&["ping", target, "-c", "3", "-i", "1ms", "-W", "100ms"]);
        ended.failed(1, &["3 of 3"]);
        assert!(
            ended.text().contains("seq=3 no reply within 100ms"),
            "{ended:?}"
        );
        assert!(
            ended.text().contains("3 sent, 0 received, 100% loss"),
            "{ended:?}"
        );
    }
}

#[test]
fn a_wrong_byte_in_a_stream_is_named_by_its_offset() {
    let mut seen = 0;
    let target = tcp(move |_, stream| {
        echo_changed(&stream, |piece| {
            seen += 1;
            if seen == 2 {
                piece[13] ^= 0xff;
            }
        });
    });
    let ended = run(&["ping", &target, "-c", "4", "-i", "0"]);
    assert!(
        ended.text().contains("(corrupt: offset 13: expected 0x"),
        "{ended:?}"
    );
    assert!(
        ended.text().contains("4 sent, 4 received, 25.0% loss"),
        "{ended:?}"
    );
    assert_eq!(ended.code, Some(1));
}

#[test]
fn a_stream_that_ends_is_reopened_and_the_gap_is_loss() {
    // The first connection: one echo, then a reset in place of the second.
    let target = tcp(|number, stream| {
        if number == 0 {
            let bytes = read(&stream, 56);
            (&stream).write_all(&bytes).unwrap();
            read(&stream, 56);
            return reset(stream);
        }
        echo_changed(&stream, |_| {});
    });
    let (document, code) = ping(&[&target, "-c", "5", "-i", "0"]);
    assert_eq!(
        (flaws(&document), code),
        (vec![("lost", 1)], Some(1)),
        "{document:#}"
    );
    assert_eq!(document["connections"], 2);
    assert_eq!(document["errors"]["reset"], 1);
}

#[test]
fn a_stream_that_answers_short_or_more_is_noticed() {
    let short = faulty(&["close-after=20"]);
    let (document, _) = ping(&[&short.tcp, "-c", "2", "-i", "0"]);
    assert_eq!(
        flaws(&document),
        [("lost", 2), ("truncated", 2)],
        "{document:#}"
    );
    // Every byte that came was right: it is the end of a connection that is wrong, and no bytes.
    let kinds = document["outcome"]["reasons"].as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.map(|reason| reason["kind"].clone()).collect();
    assert_eq!(kinds, ["closed"], "{document:#}");
    let allowed = ["--fail-if", "errors>5,loss>60%"];
    let half = faulty(&["close-after=100"]);
    let (document, code) = ping(&[&[&half.tcp, "-c", "4", "-i", "0"], &allowed[..]].concat());
    assert_eq!(code, Some(0), "{document:#}");
    let wrong = tcp(|_, stream| {
        read(&stream, 56);
        (&stream).write_all(&[0; 20]).unwrap();
    });
    let (document, _) = ping(&[&wrong, "-c", "1"]);
    assert_eq!(
        flaws(&document),
        [("lost", 1), ("corrupt", 1)],
        "{document:#}"
    );
    let more = tcp(|_, stream| {
        let bytes = read(&stream, 56);
        (&stream)
            .write_all(&[&bytes[..], b"more"].concat())
            .unwrap();
        let _ = (&stream).read(&mut [0]);
    });
    let (document, code) = ping(&[&more, "-c", "3", "-i", "0"]);
    assert_eq!(flaws(&document), [("foreign", 3)], "{document:#}");
    assert_eq!(
        code,
        Some(1),
        "every request was answered, but not only that"
    );
}

#[test]
fn a_server_that_is_gone_costs_what_is_sent_meanwhile() {
    let server = echo_on("127.0.0.1:0");
    let port = server.addresses()[0].socket().unwrap().port();
    let target = format!("tcp://127.0.0.1:{port}");
    let mut client = start(&["ping", &target, "-i", "20ms", "-w", "30s"]);
    client.line();
    assert!(client.line().contains("seq=1 time="));
    drop(server);
    let mut lines = 0;
    while !client.line().contains("connection refused") {
        lines += 1;
        assert!(lines < 1500, "nothing is refused");
    }
    client.interrupt();
    let ended = client.end();
    ended.failed(1, &["connections to"]);
    assert!(ended.text().contains(" sent, "), "{ended:?}");
}

#[test]
fn connecting_is_timed_apart_from_the_echo() {
    let echo = echo();
    let (document, code) = ping(&[&echo.tcp, "-c", "3", "-i", "1ms", "--new-connection"]);
    assert_eq!((flaws(&document), code), (vec![], Some(0)));
    assert_eq!(
        (&document["connections"], &document["connect_samples"]),
        (&3.into(), &3.into())
    );
    let ended = run(&["ping", &echo.tcp, "-c", "1", "--new-connection"]);
    let line = ended.text().lines().nth(1).unwrap();
    assert!(
        line.contains("connect=") && line.contains("time="),
        "{line}"
    );
}

#[test]
fn the_log_of_a_ping_holds_its_round_trips() {
    let (echo, scratch) = (echo(), Scratch::new("ping-hdr"));
    let log = scratch.file("ping.hlog", b"");
    let (document, code) = ping(&[&echo.tcp, "-c", "20", "-i", "1ms", "--hdr", &log]);
    assert_eq!((flaws(&document), code), (vec![], Some(0)));
    let log = std::fs::read_to_string(&log).unwrap();
    let is_interval = |line: &&str| line.starts_with(|first: char| first.is_ascii_digit());
    assert!(log.lines().filter(is_interval).count() > 0, "{log}");
}

#[test]
fn a_request_with_a_connection_of_its_own_waits_for_no_other() {
    // Whoever asks one after the other never has the fifth connection.
    let mut streams = Vec::new();
    let server = tcp(move |_, stream| {
        streams.push(stream);
        if streams.len() == 5 {
            for mut stream in streams.drain(..) {
                let request = read(&stream, 56);
                stream.write_all(&request).expect("the client waits");
            }
        }
    });
    let args = ["-c", "10", "-i", "20ms", "--new-connection", "--jsonl"];
    let ended = run(&[&["ping", &server][..], &args].concat());
    let events = ended
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let mut answered: Vec<_> = events
        .filter(|event: &serde_json::Value| event["event"] == "reply")
        .map(|reply| (reply["seq"].as_u64(), reply["class"].to_string()))
        .collect();
    answered.sort();
    let all: Vec<_> = (1..=10)
        .map(|seq| (Some(seq), "\"ok\"".to_owned()))
        .collect();
    assert_eq!((answered, ended.code), (all, Some(0)));
}

#[test]
fn an_interrupt_ends_with_the_summary() {
    let echo = echo();
    for target in [&echo.tcp, &echo.udp] {
        let mut client = start(&["ping", target, "-i", "10ms"]);
        client.line();
        client.line();
        client.interrupt();
        let ended = client.end();
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{ended:?}"
        );
        assert!(ended.text().contains(" 0% loss"), "{ended:?}");
    }
}

#[test]
fn a_duration_ends_the_run_and_busy_polling_says_so() {
    let echo = echo();
    let start = Instant::now();
    let args = [&echo.udp, "-d", "200ms", "-i", "1ms", "--busy"];
    let (document, code) = ping(&args);
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!((flaws(&document), code), (vec![], Some(0)), "{document:#}");
    assert!(document["sent"].as_u64().unwrap() <= 201);
    assert!(
        document["notes"][0]
            .as_str()
            .unwrap()
            .contains("busy polling")
    );
}

#[test]
fn only_right_replies_keep_a_run_alive() {
    // Every request is answered, and then again and again by a drip without end.
    let dripping = udp(|_, request, reply| {
        for _ in 0..6000 {
            reply(request);
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let start = Instant::now();
    let (document, code) = ping(&[&dripping, "-c", "1"]);
    assert!(start.elapsed() < Duration::from_secs(20), "{document:#}");
    assert_eq!((&document["unique"], code), (&1.into(), Some(0)));
    let silent = udp(|_, _, _| {});
    let start = Instant::now();
    run(&["ping", &silent, "-w", "300ms", "-W", "1h"]);
    assert!(start.elapsed() < DEADLINE);
}

#[test]
fn requests_leave_evenly_however_long_the_round_trip() {
    let (sender, moments) = std::sync::mpsc::channel();
    let silent = udp(move |_, _, _| {
        let _ = sender.send(Instant::now());
    });
    // Where this machine lets either side stand still, what is due meanwhile comes at one time:
    // then once more.
    let bursts = std::iter::repeat_with(|| {
        run(&[
            "ping", &silent, "-i", "2ms", "-c", "150", "-W", "400ms", "-q",
        ]);
        let moments: Vec<_> = moments.try_iter().collect();
        let gaps = moments.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.filter(|gap| *gap < Duration::from_micros(500)).count()
    });
    let tried: Vec<usize> = bursts.take(20).take_while(|bursts| *bursts >= 40).collect();
    assert!(tried.len() < 20, "of 150 came in bursts: {tried:?}");
}

#[test]
fn a_flow_that_is_dropped_on_the_way_gets_a_new_socket() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = format!("udp://{}", socket.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut buffer, mut first, mut answered) = ([0; 100], None, 0);
        while let Ok((len, peer)) = socket.recv_from(&mut buffer) {
            // The first flow is forgotten after two requests.
            if *first.get_or_insert(peer) != peer || answered < 2 {
                answered += 1;
                let _ = socket.send_to(&buffer[..len], peer);
            }
        }
    });
    let (document, code) = ping(&[&target, "-c", "10", "-i", "0", "-W", "1s"]);
    assert_eq!(
        (flaws(&document), code),
        (vec![("lost", 3)], Some(1)),
        "{document:#}"
    );
    assert_eq!(document["connections"], 2);
}
