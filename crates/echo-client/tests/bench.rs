//! `bench` as a user runs it, against servers that behave and servers that do not.

mod common;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Scratch, closed_port, command, echo, echo_on, faulty, run, start, tcp, udp};
use echo_core::Framing;
use echo_server::Config;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

/// Runs `bench --json` with short warm-up, and takes the document apart. Its exit code must be
/// `code`, and its books must balance.
#[track_caller]
fn bench(code: i32, args: &[&str]) -> Value {
    let args = [&["bench", "--json", "--warmup", "0"], args].concat();
    let ended = run(&args);
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stderr.is_empty(), code == 0, "{ended:?}");
    let report: Value = serde_json::from_str(ended.text()).expect("one document");
    let count = |key: &str| report[key].as_u64().expect(key);
    assert_eq!(count("sent"), count("unique") + count("lost"), "{report}");
    let others = ["duplicate", "corrupt", "truncated", "foreign"];
    let others: u64 = others.into_iter().map(count).sum();
    assert_eq!(count("received"), count("unique") + others, "{report}");
    report
}

/// The counts of a report, in this order.
fn counts<const N: usize>(report: &Value, keys: [&str; N]) -> [u64; N] {
    keys.map(|key| report[key].as_u64().expect(key))
}

/// The error's kind, or nothing.
fn kind(report: &Value) -> &str {
    report["error"]["kind"].as_str().unwrap_or_default()
}

/// Echoes `stream` until it ends, with `change` made to each piece.
fn echo_stream(stream: TcpStream, change: impl FnMut(&mut Vec<u8>)) {
    common::echo_changed(&stream, change);
}

#[test]
fn every_echo_is_counted_over_every_transport_and_framing() {
    let server = echo();
    let scratch = Scratch::new("bench-transports");
    let path = format!("unix:{}", scratch.0.join("e.sock").display());
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

fn echo_framed(framing: Framing) -> common::Echo {
    common::echo_with(Config {
        framing,
        ..Config::default()
    })
}

#[test]
fn a_frozen_second_is_seen_whole_at_a_steady_rate() {
    // At two thousand echoes the server sleeps for a second, and 1000 requests are due meanwhile.
    let server = tcp(|_, stream| {
        let mut echoed = 0;
        echo_stream(stream, |piece| {
            let before = echoed;
            echoed += piece.len() / 64;
            if before < 2000 && echoed >= 2000 {
                std::thread::sleep(Duration::from_secs(1));
            }
        });
    });
    let report = bench(0, &[&server, "--rate", "1000", "-d", "5s"]);
    let [max, p90, service_p90, sent, unsent] = counts(
        &report,
        [
            "rtt_max_ns",
            "rtt_p90_ns",
            "service_p90_ns",
            "sent",
            "unsent",
        ],
    );
    assert!(max >= 900_000_000, "{report}");
    assert!(p90 >= 150_000_000, "{report}");
    assert!(service_p90 < p90, "{report}");
    assert_eq!(sent + unsent, 5000, "{report}");
    let delayed = report["delayed"].as_u64().unwrap();
    assert!((900..5000).contains(&delayed), "{report}");
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
        std::thread::spawn(move || common::read(&stream, 1 << 20));
    });
    let start = Instant::now();
    let report = bench(1, &[&server, "-c", "10", "-W", "300ms", "-P", "3"]);
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(kind(&report), "timeout");
    assert_eq!(report["errors"]["timeout"], 3);
    assert_eq!(counts(&report, ["sent", "lost"]), [3, 3]);
}

#[test]
fn a_connection_that_ends_is_reported() {
    let resets = tcp(|_, stream| {
        common::read(&stream, 64);
        common::reset(stream);
    });
    let closes = tcp(|_, mut stream| {
        let echo = common::read(&stream, 64);
        stream.write_all(&echo[..10]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        std::thread::spawn(move || common::read(&stream, 1));
    });
    for (server, expected) in [(resets, "reset"), (closes, "closed")] {
        let report = bench(1, &[&server, "-d", "30s"]);
        assert_eq!(kind(&report), expected);
        assert_eq!(report["errors"][expected], 1);
        assert_eq!(counts(&report, ["sent", "unique", "lost"]), [1, 0, 1]);
    }
}

#[test]
fn a_server_that_dies_ends_the_run() {
    let (dying, alive) = mpsc::channel();
    let server = tcp(move |_, stream| {
        let dying = dying.clone();
        std::thread::spawn(move || {
            let closer = stream.try_clone().unwrap();
            let mut echoes = 0;
            echo_stream(stream, |_| {
                echoes += 1;
                if echoes == 1000 {
                    dying.send(closer.try_clone().unwrap()).unwrap();
                }
            });
        });
    });
    std::thread::spawn(move || {
        for stream in alive {
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    let start = Instant::now();
    let report = bench(1, &[&server, "-d", "60s", "-P", "4", "--depth", "2"]);
    assert!(start.elapsed() < common::DEADLINE);
    // A request that was on its way when the server closed is answered by a reset.
    let ends = ["closed", "reset"];
    assert!(ends.contains(&kind(&report)), "{report}");
    let ended = ends.map(|kind| report["errors"][kind].as_u64().unwrap_or(0));
    assert_eq!(ended.iter().sum::<u64>(), 4, "{report}");
    assert!(report["unique"].as_u64().unwrap() >= 4 * 900, "{report}");
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
fn thresholds_decide_the_exit_code() {
    let server = echo();
    let lossy = faulty(&["drop,msg=4", "drop,msg=14"]);
    let lossy = [lossy.udp.as_str(), "-c", "20", "-W", "50ms", "--fail-if"];
    let sound = [server.tcp.as_str(), "-c", "200", "--fail-if"];
    for (args, condition, code) in [
        (&sound[..], "p99>1h,loss>0%", 0),
        (&sound, "p50>1ns", 1),
        (&sound, "rate<1", 0),
        (&sound, "max<1h", 1),
        (&lossy, "loss>10%", 0),
        (&lossy, "loss>9.9%", 1),
    ] {
        let report = bench(code, &[args, &[condition]].concat());
        let failed = report["verdicts"].as_array().unwrap();
        assert_eq!(
            failed.iter().any(|v| v["failed"] == true),
            code == 1,
            "{condition}"
        );
    }
}

#[test]
fn a_rate_is_kept_to_the_request() {
    let server = echo();
    let args = [
        &server.tcp,
        "-r",
        "2000",
        "-d",
        "500ms",
        "-P",
        "3",
        "--threads",
        "2",
    ];
    let report = bench(0, &args);
    let [sent, unsent] = counts(&report, ["sent", "unsent"]);
    assert_eq!(sent + unsent, 1000, "{report}");
    assert_eq!(report["load"], "rate");
}

#[test]
fn a_rate_beyond_what_is_possible_ends_in_time_and_owns_up() {
    let server = echo();
    for warmup in ["0", "100ms"] {
        let start = Instant::now();
        let args = ["-r", "1e9", "-d", "200ms", "--warmup", warmup];
        let args = [&["bench", &server.tcp, "--json"], &args[..]].concat();
        let report: Value = serde_json::from_str(run(&args).text()).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
        let [sent, unsent] = counts(&report, ["sent", "unsent"]);
        assert!(sent > 0, "{report}");
        assert_eq!(sent + unsent, 200_000_000, "{report}");
        let busy = report["generator"]["busiest_share"].as_f64().unwrap();
        assert!((0.0..1.1).contains(&busy), "{report}");
    }
}

#[test]
fn an_interrupt_ends_a_run_at_any_rate() {
    let (first, seen) = mpsc::channel();
    let server = tcp(move |_, stream| {
        first.send(()).unwrap();
        std::thread::spawn(|| echo_stream(stream, |_| {}));
    });
    let args = ["-r", "1e9", "-d", "60s", "--warmup", "0"];
    let bench = start(&[&["bench", &server], &args[..]].concat());
    seen.recv_timeout(common::DEADLINE).unwrap();
    bench.interrupt();
    let ended = bench.end();
    assert!(ended.code.is_some_and(|code| code < 130), "{ended:?}");
}

#[test]
fn a_run_that_measured_nothing_is_no_success() {
    let (first, seen) = mpsc::channel();
    let server = tcp(move |_, stream| {
        common::read(&stream, 64);
        first.send(()).unwrap();
        std::thread::spawn(move || common::read(&stream, 1 << 20));
    });
    let bench = start(&["bench", &server, "--json", "--warmup", "60s"]);
    seen.recv_timeout(common::DEADLINE).unwrap();
    bench.interrupt();
    let ended = bench.end();
    ended.failed(1, &["nothing was measured", "--warmup"]);
    let report: Value = serde_json::from_str(ended.text()).unwrap();
    assert_eq!(kind(&report), "interrupted");

    let server = echo();
    let idle = ["-r", "0.1", "--warmup", "1ms", "-d", "10ms"];
    let ended = run(&[&["bench", &server.tcp], &idle[..]].concat());
    ended.failed(1, &["nothing was measured", "--rate"]);
    assert_eq!(ended.text(), "");
}

#[test]
fn warm_up_is_not_measured() {
    let (first, seen) = mpsc::channel();
    let server = tcp(move |_, stream| {
        let mut echoes = 0u64;
        echo_stream(stream, |_| echoes += 1);
        first.send(echoes).unwrap();
    });
    let report = run(&["bench", &server, "--json", "-c", "10", "--warmup", "200ms"]);
    let report: Value = serde_json::from_str(report.text()).unwrap();
    assert_eq!(
        counts(&report, ["sent", "unique", "rtt_samples"]),
        [10, 10, 10]
    );
    assert!(seen.recv_timeout(common::DEADLINE).unwrap() > 10);
}

#[test]
fn the_log_holds_the_latencies_of_the_report() {
    let (server, scratch) = (echo(), Scratch::new("bench-hdr"));
    let log = scratch.file("latency.hlog", b"");
    let args = [&server.tcp, "-d", "1200ms", "-r", "3000", "--hdr", &log];
    let report = bench(0, &args);
    let text = std::fs::read(&log).unwrap();
    let mut total = [(); 2].map(|()| hdrhistogram::Histogram::<u64>::new(3).unwrap());
    let mut intervals = 0;
    for entry in IntervalLogIterator::new(&text) {
        if let LogEntry::Interval(interval) = entry.expect("a valid log") {
            intervals += 1;
            let bytes = base64(interval.encoded_histogram());
            let part: hdrhistogram::Histogram<u64> =
                hdrhistogram::serialization::Deserializer::new()
                    .deserialize(&mut &bytes[..])
                    .expect("a valid histogram");
            total[usize::from(interval.tag().is_some())]
                .add(part)
                .unwrap();
        }
    }
    assert_eq!(
        intervals, 4,
        "two seconds, each with latency and service time"
    );
    for (histogram, prefix) in total.iter().zip(["rtt", "service"]) {
        let figure = |name: &str| report[format!("{prefix}_{name}")].as_u64().unwrap();
        assert_eq!(histogram.len(), figure("samples"));
        assert!(histogram.equivalent(histogram.max(), figure("max_ns")));
        assert!(histogram.equivalent(histogram.min(), figure("min_ns")));
        let p99 = histogram.value_at_quantile(0.99);
        assert!(histogram.equivalent(p99, figure("p99_ns")), "{report}");
    }
}

/// RFC 4648, so that the log is read by other code than has written it.
fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter(|&b| b != b'=');
    let (mut bits, mut held, mut out) = (0u32, 0, Vec::new());
    for digit in digits {
        let value = ALPHABET.iter().position(|&b| b == digit).expect("base 64");
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    out
}

#[test]
fn an_interrupt_ends_the_run_with_its_summary() {
    let (first, seen) = mpsc::channel();
    let server = tcp(move |_, stream| {
        let first = first.clone();
        let mut echoes = 0;
        echo_stream(stream, |_| {
            echoes += 1;
            if echoes == 100 {
                first.send(()).unwrap();
            }
        });
    });
    let bench = start(&["bench", &server, "-d", "60s", "--warmup", "0"]);
    seen.recv_timeout(common::DEADLINE).unwrap();
    bench.interrupt();
    let ended = bench.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.text().contains(" 0% loss"), "{ended:?}");
}

#[test]
fn the_summary_says_what_kind_of_load_it_was() {
    let server = echo();
    let text = |args: &[&str]| {
        let args = [&["bench", &server.tcp, "--warmup", "0", "-c", "300"], args].concat();
        let ended = run(&args);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{ended:?}"
        );
        ended.text().to_owned()
    };
    let closed = text(&["-P", "2", "--depth", "3"]);
    for words in [
        "closed loop, 6 in flight",
        "300 sent, 300 received, 0% loss",
        "p99 =",
        "█",
    ] {
        assert!(closed.contains(words), "{words:?} is not in {closed}");
    }
    let paced = text(&["-r", "5000"]);
    for words in [
        "5000 requests/s",
        "service min/avg/max/mdev",
        "rtt p50/p90/p99 =",
    ] {
        assert!(paced.contains(words), "{words:?} is not in {paced}");
    }
}

#[test]
fn what_makes_no_sense_is_exit_2() {
    for (args, words) in [
        (&["--parallel", "0"][..], "--parallel"),
        (&["--depth", "0"], "--depth"),
        (&["--depth", "70000"], "--parallel"),
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
        (&["--fail-if", "p99"], "p99>2ms"),
    ] {
        run(&[&["bench"], args].concat()).failed(2, &[words]);
    }
}

#[test]
fn a_file_that_cannot_be_written_is_an_error() {
    let server = echo();
    for flag in ["--report", "--hdr"] {
        let args = ["bench", &server.tcp, "-c", "1", flag, "/nonexistent/file"];
        run(&args).failed(
            1,
            &["cannot write /nonexistent/file", "directory /nonexistent,"],
        );
    }
    if cfg!(target_os = "linux") {
        for flag in ["--report", "--hdr"] {
            let args = ["bench", &server.tcp, "-d", "100ms", flag, "/dev/full"];
            run(&args).failed(1, &["no space left"]);
        }
    }
}

#[test]
fn a_closed_pipe_is_silent() {
    let server = echo();
    let mut child = command(&["bench", &server.tcp, "-c", "10"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
