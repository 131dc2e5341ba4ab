//! What a run of `bench` measures, and what it says of that: rates, warm-up, thresholds, summaries.

mod common;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::bench::{bench, counts, echo_stream, kind};
use common::{Scratch, command, echo, faulty, run, start, tcp};
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

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
        // On a busy machine some do not get their turn.
        "--fail-if",
        "unsent>1000",
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
    let rate = ["-d", "1200ms", "-r", "3000", "--fail-if", "unsent>3600"];
    let args = [&[server.tcp.as_str(), "--hdr", &log], &rate[..]].concat();
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
