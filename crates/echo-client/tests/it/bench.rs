//! `bench` counts every echo, against servers that behave and servers that do not.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::common::bench::{bench, counts, echo_stream, kind};
use crate::common::{Scratch, closed_port, echo, echo_on, faulty, run, start, tcp, udp};
use echo_core::Framing;
use echo_server::Config;

#[test]
fn every_echo_is_counted_over_every_transport_and_framing() {
    let server = echo();
    let scratch = Scratch::new("bench-transports");
    let path = format!("unix:{}", scratch.path("e.sock").display());
    let _unix = echo_on(&path);
    let load = ["-c", "3000", "-P", "7", "--depth", "5"];
    for (target, more) in [
        (&server.tcp, &[][..]),
        (&server.tcp, &["-s", "1"]),
        (&server.tcp, &["-s", "100k", "-c", "100"]),
        (&server.tcp, &["--threads", "3"]),
        (&server.tcp, &["-r", "20000"]),
        (&server.tcp, &["--no-verify"]),
        (&path, &["-s", "1000"]),
        (&server.udp, &[]),
        (
            &server.udp,
            &["-s", "1400", "--threads", "2", "-r", "20000"],
        ),
    ] {
        let mut args = vec![target.as_str()];
        args.extend(load.iter().filter(|_| !more.contains(&"-c")));
        args.extend(more);
        let report = bench(0, &args);
        let expected = if more.contains(&"-c") { 100 } else { 3000 };
        let classes = ["sent", "received", "unique", "rtt_samples"];
        assert_eq!(counts(&report, classes), [expected; 4], "{args:?}");
    }
}

#[test]
fn every_framing_is_echoed() {
    let lines = echo_framed(Framing::Lines);
    let length = echo_framed(Framing::Length);
    for (framing, server, wire_len) in [("lines", &lines, 65), ("length", &length, 68)] {
        let args = ["-c", "500", "--depth", "4", "--framing", framing];
        let report = bench(0, &[&[server.tcp.as_str()], &args[..]].concat());
        let bytes = ["unique", "sent_bytes", "received_bytes"];
        assert_eq!(
            counts(&report, bytes),
            [500, 500 * wire_len, 500 * wire_len]
        );
    }
}

fn echo_framed(framing: Framing) -> crate::common::Echo {
    crate::common::echo_with(Config {
        framing: vec![framing.into()],
        ..Config::default()
    })
}

#[test]
fn a_stream_that_lies_is_caught_at_the_byte() {
    let server = tcp(|_, stream| {
        let mut at = 0;
        echo_stream(stream, |piece| {
            // The 18th byte of the third echo of 64.
            if (at..at + piece.len()).contains(&145) {
                piece[145 - at] ^= 0x20;
            }
            at += piece.len();
        });
    });
    let report = bench(1, &[&server, "-c", "10"]);
    assert_eq!(kind(&report), "mismatch");
    let message = report["error"]["message"].as_str().unwrap();
    assert!(message.contains("byte 17 of echo 3"), "{message}");
    let classes = ["sent", "received", "unique", "corrupt", "lost"];
    assert_eq!(counts(&report, classes), [10, 10, 9, 1, 1]);
    // Who does not look does not see.
    let blind = bench(0, &[&server, "-c", "10", "--no-verify"]);
    assert_eq!(counts(&blind, ["unique", "corrupt"]), [10, 0]);
}

#[test]
fn bytes_that_nobody_sent_are_a_mismatch() {
    let server = tcp(|_, stream| echo_stream(stream, |piece| piece.push(b'!')));
    let report = bench(1, &[&server, "-c", "10"]);
    assert_eq!(kind(&report), "mismatch");
    assert_eq!(report["errors"]["mismatch"], 1);
}

#[test]
fn a_silent_server_is_given_up() {
    let server = tcp(|_, stream| {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut &stream, &mut std::io::sink());
        });
    });
    let began = Instant::now();
    let report = bench(1, &[&server, "-c", "100", "-W", "400ms", "-P", "3"]);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(kind(&report), "timeout");
    // Three requests in a row on each connection: it may have been the first that got lost.
    assert_eq!(report["errors"]["timeout"], 3);
    assert_eq!(counts(&report, ["sent", "lost", "unsent"]), [9, 9, 91]);
}

#[test]
fn a_connection_that_ends_is_reported() {
    let resets = tcp(|_, stream| {
        crate::common::read(&stream, 64);
        crate::common::reset(stream);
    });
    let closes = tcp(|_, mut stream| {
        let echo = crate::common::read(&stream, 64);
        stream.write_all(&echo[..10]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        std::thread::spawn(move || crate::common::read(&stream, 1));
    });
    for (server, expected) in [(resets, "reset"), (closes, "closed")] {
        let report = bench(1, &[&server, "-d", "30s"]);
        assert_eq!(kind(&report), expected);
        assert_eq!(report["errors"][expected], 1);
        assert_eq!(counts(&report, ["sent", "unique", "lost"]), [1, 0, 1]);
    }
}

#[test]
fn a_server_that_dies_for_good_ends_the_run() {
    let server = tcp(|number, stream| {
        if number >= 4 {
            return crate::common::reset(stream);
        }
        std::thread::spawn(move || {
            let closer = stream.try_clone().unwrap();
            let mut echoes = 0;
            echo_stream(stream, |_| {
                echoes += 1;
                if echoes == 1000 {
                    let _ = closer.shutdown(Shutdown::Both);
                }
            });
        });
    });
    let began = Instant::now();
    let report = bench(1, &[&server, "-d", "1h", "-P", "4", "--depth", "2"]);
    assert!(began.elapsed() < crate::common::DEADLINE);
    assert!(["closed", "reset"].contains(&kind(&report)), "{report}");
    assert!(report["unique"].as_u64().unwrap() >= 4 * 900, "{report}");
    // Each was tried again and again, with pauses between.
    let connections = report["connections"].as_u64().unwrap();
    assert!((12..200).contains(&connections), "{report}");
}

#[test]
fn a_run_ends_though_its_time_is_up_before_each_connection_had_its_turn() {
    let server = echo_on("127.0.0.1:0");
    let address = server.addresses()[0].socket().unwrap().to_string();
    for duration in ["4ms", "6ms", "8ms", "10ms", "12ms", "16ms", "24ms"] {
        // Whether anything was measured is up to the machine.
        let code = run(&[
            "bench", &address, "-P", "400", "--warmup", "0", "-d", duration,
        ])
        .code;
        assert!(code == Some(0) || code == Some(1), "{duration}: {code:?}");
    }
}

#[test]
fn a_server_that_restarts_is_found_again() {
    let has_100 = |server: &echo_server::Handle| {
        let began = Instant::now();
        while requests(server) < 100 {
            assert!(began.elapsed() < crate::common::DEADLINE);
            std::thread::yield_now();
        }
    };
    for options in [
        &["-r", "500"][..],
        &["-P", "3"],
        &["-P", "2", "-u"],
        &["-u"],
        &["-r", "500", "-u"],
    ] {
        let first = echo_on("127.0.0.1:0");
        let address = first.addresses()[0].socket().unwrap().to_string();
        let args = [
            "bench", "--json", "-d", "1h", "--warmup", "0", "-W", "200ms",
        ];
        let client = start(&[&args[..], &[&address], options].concat());
        has_100(&first);
        let began = Instant::now();
        drop(first);
        let second = echo_on(&address);
        has_100(&second);
        // At a rate, what is due meanwhile is lost.
        let most = 100 + began.elapsed().as_millis() as u64 / 2;
        client.interrupt();
        let ended = client.end();
        let report: serde_json::Value = serde_json::from_str(ended.text()).unwrap();
        let again = requests(&second);
        let [sent, unique, lost] = counts(&report, ["sent", "unique", "lost"]);
        assert_eq!(sent, unique + lost, "{report}");
        assert!(lost < most && unique > again / 2, "{again} {report}");
        // A datagram may just be lost; a connection cannot.
        let errors = report["errors"].as_object().unwrap();
        assert!(options.contains(&"-u") || !errors.is_empty(), "{report}");
    }
}

/// What a server has had to echo so far, in messages of 64 bytes.
fn requests(server: &echo_server::Handle) -> u64 {
    server.stats().received_bytes / 64 + server.stats().datagrams
}

#[test]
fn a_target_that_is_not_there_is_exit_3() {
    let closed = closed_port().to_string();
    let udp_closed = format!("udp://{closed}");
    for (target, expected) in [
        (closed.as_str(), "refused"),
        (udp_closed.as_str(), "refused"),
        ("unix:/nonexistent/e.sock", "not-found"),
        ("name.invalid:7", "dns"),
    ] {
        let report = bench(3, &[target, "-d", "30s"]);
        assert_eq!(kind(&report), expected, "{target}");
        assert_eq!(counts(&report, ["received"]), [0]);
    }
}

#[test]
fn every_class_of_datagram_is_counted_exactly() {
    let server = udp(|number, request, reply| match number {
        10 => {}
        20 => (0..3).for_each(|_| reply(request)),
        30 => {
            let mut wrong = request.to_vec();
            wrong[40] ^= 1;
            reply(&wrong);
        }
        40 => reply(&request[..30]),
        50 => {
            reply(b"none of yours");
            reply(request);
        }
        _ => reply(request),
    });
    let report = bench(1, &[&server, "-c", "60", "-W", "100ms"]);
    let classes = [
        "sent",
        "received",
        "unique",
        "lost",
        "duplicate",
        "corrupt",
        "truncated",
        "foreign",
    ];
    assert_eq!(counts(&report, classes), [60, 62, 57, 3, 2, 1, 1, 1]);
    assert_eq!(kind(&report), "mismatch");
}

#[test]
fn late_and_reordered_datagrams_are_not_lost() {
    let mut held = Vec::new();
    let late = udp(move |number, request, reply| match number {
        5 => held = request.to_vec(),
        6 => {
            reply(&held);
            reply(request);
        }
        _ => reply(request),
    });
    let classes = ["sent", "unique", "lost", "late", "reordered"];
    let report = bench(1, &[&late, "-c", "10", "-W", "100ms"]);
    assert_eq!(counts(&report, classes), [10, 10, 0, 1, 0]);

    let swaps = faulty(&["reorder"]);
    let report = bench(0, &[&swaps.udp, "-c", "10", "--depth", "2"]);
    assert_eq!(counts(&report, classes), [10, 10, 0, 0, 5]);
}

#[test]
fn what_makes_no_sense_is_exit_2() {
    for (args, words) in [
        (&["--parallel", "0"][..], "--parallel"),
        (&["--depth", "0"], "--depth"),
        (&["--depth", "70000"], "from 1 to 65536"),
        (&["--threads", "0"], "--threads"),
        (&["-d", "0"], "--duration"),
        (&["-s", "0"], "--size 0"),
        (&["-u", "-s", "27"], "28 to 65507"),
        (&["-u", "-s", "65508"], "28 to 65507"),
        (&["-u", "--framing", "lines"], "--framing"),
        (&["--framing", "lines", "-s", "1MiB"], "--max-frame"),
        (&["-r", "-1"], "requests a second"),
        (&["-r", "inf"], "requests a second"),
        (&["-r", "1e10"], "requests a second"),
        (&["-s", "2GiB"], "1GiB at most"),
        (&["--fail-if", "p99"], "p99>2ms"),
        (&["--baseline", "x", "--hdr", "y"], "--hdr is the log"),
    ] {
        run(&[&["bench"], args].concat()).failed(2, &[words]);
    }
}
