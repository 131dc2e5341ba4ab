//! What a run of `bench` measures, and what it says of that: rates, warm-up, thresholds, summaries.

use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::common::bench::{bench, counts, echo_stream, kind};
use crate::common::{Scratch, command, echo, faulty, run, start, tcp, udp};
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

#[test]
fn a_frozen_second_is_seen_whole_at_a_steady_rate() {
    // At 500 echoes the server sleeps for a second, and 1000 requests are due meanwhile.
    let server = tcp(|_, stream| {
        let mut echoed = 0;
        echo_stream(stream, |piece| {
            let before = echoed;
            echoed += piece.len() / 64;
            if before < 500 && echoed >= 500 {
                std::thread::sleep(Duration::from_secs(1));
            }
        });
    });
    // What a busy machine leaves unsent is in the books.
    let load = ["--rate", "1000", "-d", "5s", "-W", "30s"];
    let args = [&load[..], &["--fail-if", "unsent>5000"]].concat();
    let report = bench(0, &[&[server.as_str()], &args[..]].concat());
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
    assert!((900..=5000).contains(&delayed), "{report}");
}

#[test]
fn what_never_left_because_the_server_froze_counts_from_when_it_was_due() {
    // Frozen from about 0.5 s on, and until after the end.
    let server = tcp(|_, stream| {
        std::thread::spawn(move || {
            let mut echoed = 0;
            echo_stream(stream, |piece| {
                let before = echoed;
                echoed += piece.len() / 64;
                if before < 500 && echoed >= 500 {
                    std::thread::sleep(Duration::from_millis(1500));
                }
            });
        });
    });
    let args = [&server, "-r", "1000", "-d", "1500ms", "-W", "30s"];
    for (more, code) in [(&[][..], 1), (&["--fail-if", "unsent>1500"], 0)] {
        let report = bench(code, &[&args[..], more].concat());
        let [sent, unsent, p90, samples] =
            counts(&report, ["sent", "unsent", "rtt_p90_ns", "rtt_samples"]);
        assert_eq!((sent + unsent, samples), (1500, 1500), "{report}");
        assert!(unsent >= 500, "{report}");
        assert!(p90 >= 300_000_000, "{report}");
        // What never left is told where it was due, and is no echo.
        let told = |key: &str| {
            report["seconds"]
                .as_array()
                .unwrap()
                .iter()
                .map(|s| s[key].as_u64().unwrap_or(0))
                .collect::<Vec<_>>()
        };
        assert_eq!(told("unsent").iter().sum::<u64>(), unsent, "{report}");
        for (echoes, longest) in told("echoes").iter().zip(told("rtt_max_ns")) {
            assert!(*echoes > 0 || longest == 0, "{report}");
        }
    }
}

#[test]
fn rates_are_per_the_time_in_which_sending_was_meant() {
    let (server, slow) = (echo(), faulty(&["delay=700ms,msg=5"]));
    for (args, elapsed_ms, rate) in [
        (
            &["bench", &server.tcp, "-r", "2", "-d", "1s"][..],
            1000,
            2.0,
        ),
        (&["bench", &server.tcp, "-r", "10", "-c", "5"], 500, 10.0),
        (
            &["bench", &slow.udp, "-r", "100", "-c", "20", "--depth", "64"],
            200,
            100.0,
        ),
        (&["ping", &server.tcp, "-c", "1"], 1000, 1.0),
        (&["ping", &server.udp, "-c", "2", "-i", "100ms"], 200, 10.0),
    ] {
        let warmup = ["--warmup", "0"];
        let more = if args[0] == "bench" { &warmup[..] } else { &[] };
        let ended = run(&[args, &["--json"], more].concat());
        let report: Value = serde_json::from_str(ended.text()).unwrap();
        assert_eq!(
            counts(&report, ["elapsed_ns"]),
            [elapsed_ms * 1_000_000],
            "{args:?}"
        );
        let told = report["echoes_per_s"].as_f64().unwrap();
        assert!((told - rate).abs() < 1e-3, "{args:?}: {told}");
    }
    // Of a run so short nobody knows which share of a core it took.
    let report = bench(0, &[&server.tcp, "-c", "1"]);
    assert_eq!(report["generator"]["busiest_share"], Value::Null);
}

#[test]
fn what_ends_a_run_ends_its_log_and_its_time() {
    let (server, scratch) = (echo(), Scratch::new("ends"));
    let log = scratch.file("log", b"");
    // A second request is due at the end of the first second; its interval would end after the run.
    bench(0, &[&server.tcp, "-r", "1", "-d", "1500ms", "--hdr", &log]);
    let text = std::fs::read(&log).unwrap();
    let last = IntervalLogIterator::new(&text).filter_map(|entry| match entry {
        Ok(LogEntry::Interval(interval)) => Some(interval.duration()),
        _ => None,
    });
    assert_eq!(last.last(), Some(Duration::from_millis(500)));
    let mut client = start(&["ping", &server.tcp, "-c", "9", "-i", "1h"]);
    client.line();
    client.line();
    client.interrupt();
    let ended = client.end();
    let told = ended.text().split("interrupted after ").nth(1);
    let seconds: f64 = told.unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(seconds < 60.0, "{ended:?}");
}

#[test]
fn every_reply_is_judged_late_by_its_own_time() {
    let slow = faulty(&["delay=80ms"]);
    for args in [&["-c", "10"][..], &["-c", "10", "--depth", "4"]] {
        let report = bench(1, &[&[&slow.udp, "-W", "60ms"], args].concat());
        assert_eq!(counts(&report, ["late", "lost"]), [10, 0], "{report}");
    }
}

#[test]
fn who_stands_still_himself_says_so() {
    let server = echo();
    let mut client = start(&["ping", &server.udp, "-i", "10ms"]);
    client.line();
    client.line();
    client.signal("STOP");
    std::thread::sleep(Duration::from_millis(300));
    client.signal("CONT");
    // Those that were printed before it stood still, and some after it.
    let seen = server.handle.stats().datagrams;
    (0..seen + 10).for_each(|_| drop(client.line()));
    client.interrupt();
    let ended = client.end();
    assert!(
        ended.text().contains("this side stood still itself"),
        "{ended:?}"
    );
}

/// Whether every thread of a process is stopped.
fn stands_still(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it is there");
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat"));
        stat.is_ok_and(|stat| stat.contains(") T "))
    })
}

#[test]
fn a_client_that_stands_still_has_its_kernel_time_the_replies() {
    for whose in ["kernel", "user"] {
        // It is stopped while the reply to its fifth request comes.
        let (tell, told) = mpsc::channel::<u32>();
        let server = udp(move |number, request, reply| {
            let signal = |name: &str, pid: u32| {
                let kill = format!("kill -{name} {pid}");
                let status = Command::new("sh").args(["-c", &kill]).status();
                assert!(status.expect("sh runs").success());
            };
            let pid = (number == 4).then(|| told.recv().expect("it runs"));
            if let Some(pid) = pid {
                signal("STOP", pid);
                // On a busy machine some of its threads hear of it late.
                while !stands_still(pid) {
                    std::thread::yield_now();
                }
            }
            reply(request);
            if let Some(pid) = pid {
                std::thread::sleep(Duration::from_millis(400));
                signal("CONT", pid);
            }
        });
        let args = ["-c", "5", "-i", "1ms", "-W", "30s", "--timestamps", whose];
        let client = start(&[&["ping", server.as_str(), "--json"], &args[..]].concat());
        tell.send(client.child.id()).expect("the server waits");
        let ended = client.end();
        let report: Value = serde_json::from_str(ended.text()).expect("one document");
        assert_eq!(report["timestamps"], whose, "{report}");
        let [unique, max] = counts(&report, ["unique", "rtt_max_ns"]);
        assert_eq!(unique, 5, "{report}");
        match whose {
            "kernel" => {
                let [samples, host] = counts(&report, ["host_samples", "host_max_ns"]);
                assert!(host >= 300_000_000 && max < host, "{report}");
                assert_eq!(samples, 5, "{report}");
            }
            _ => {
                assert!(max >= 300_000_000, "{report}");
                assert_eq!(report["host_samples"], Value::Null);
            }
        }
    }
    let stream = bench(0, &[&echo().tcp, "-c", "9", "--warmup", "0"]);
    assert_eq!(stream["timestamps"], Value::Null, "{stream}");
}

#[test]
fn whoever_reads_the_lines_slowly_delays_no_request() {
    let server = echo();
    let client = start(&["ping", &server.udp, "-i", "1ms", "-c", "3000", "--jsonl"]);
    // Nobody reads, and the pipe holds a few hundred lines.
    let began = Instant::now();
    while server.handle.stats().datagrams < 3000 {
        assert!(began.elapsed() < crate::common::DEADLINE);
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = client.end();
    let replies = ended.text().matches("\"event\":\"reply\"").count();
    assert_eq!((replies, ended.code), (3000, Some(0)));
}

#[test]
fn what_this_sides_socket_drops_is_no_loss_of_the_path() {
    let (asked, is_asked) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let mut first = None;
    let server = crate::common::udp(move |number, request, reply| match number {
        0 => first = Some(request.to_vec()),
        _ => {
            asked.send(()).unwrap();
            may_go.recv().unwrap();
            // Far more than its socket holds, and then the one that it waits for.
            (0..3000).for_each(|_| reply(first.as_ref().unwrap()));
            reply(request);
            asked.send(()).unwrap();
        }
    });
    let args = ["bench", &server, "-c", "2", "--depth", "2", "--json"];
    let client = start(&[&args[..], &["--warmup", "0", "-W", "2s"]].concat());
    is_asked.recv_timeout(crate::common::DEADLINE).unwrap();
    client.signal("STOP");
    go.send(()).unwrap();
    is_asked.recv_timeout(crate::common::DEADLINE).unwrap();
    client.signal("CONT");
    let ended = client.end();
    let report: Value = serde_json::from_str(ended.text()).unwrap();
    let [lost, received, overflowed] = counts(&report, ["lost", "received", "overflowed"]);
    // Thousands of copies found no room; they excuse the one that is missing, and nothing else.
    assert_eq!((lost, overflowed), (1, 1), "{report}");
    assert!(received < 3001, "{report}");
    assert_eq!(report["loss_percent"].as_f64(), Some(0.0), "{report}");
    assert!(report["notes"].to_string().contains("rmem_max"), "{report}");
}

#[test]
fn thresholds_decide_the_exit_code() {
    let server = echo();
    let lossy = faulty(&["drop,msg=4", "drop,msg=14"]);
    let lossy = [lossy.udp.as_str(), "-c", "20", "-W", "1s", "--fail-if"];
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
        let args = ["-r", "1e9", "-d", "1s", "--warmup", warmup];
        let args = [&["bench", &server.tcp, "--json"], &args[..]].concat();
        let report: Value = serde_json::from_str(run(&args).text()).unwrap();
        assert!(start.elapsed() < crate::common::DEADLINE);
        let [sent, unsent] = counts(&report, ["sent", "unsent"]);
        assert!(sent > 0, "{report}");
        assert_eq!(sent + unsent, 1_000_000_000, "{report}");
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
    seen.recv_timeout(crate::common::DEADLINE).unwrap();
    bench.interrupt();
    let ended = bench.end();
    assert!(ended.code.is_some_and(|code| code < 130), "{ended:?}");
}

#[test]
fn a_run_that_measured_nothing_is_no_success() {
    let (first, seen) = mpsc::channel();
    let server = tcp(move |_, stream| {
        crate::common::read(&stream, 64);
        first.send(()).unwrap();
        std::thread::spawn(move || crate::common::read(&stream, 1 << 20));
    });
    let bench = start(&["bench", &server, "--json", "--warmup", "60s"]);
    seen.recv_timeout(crate::common::DEADLINE).unwrap();
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

    // Over before anybody could use it.
    let ended = run(&["bench", &server.tcp, "--warmup", "0", "-d", "1ns"]);
    ended.failed(1, &["nothing was measured", "this side had no core"]);

    // Silence is no lack of requests.
    let silent = tcp(|_, stream| {
        std::thread::spawn(move || std::io::copy(&mut &stream, &mut std::io::sink()));
    });
    for pace in [&[][..], &["-r", "100"]] {
        let bench = ["bench", &silent, "--warmup", "500ms", "-d", "500ms"];
        let ended = run(&[&bench[..], &["-W", "2s"], pace].concat());
        ended.failed(1, &["nothing was measured", "were awaited"]);
        assert!(!ended.stderr.contains("was due"), "{ended:?}");
    }
}

#[test]
fn warm_up_is_not_measured() {
    let (first, seen) = mpsc::channel();
    let server = tcp(move |_, stream| {
        let mut echoes = 0u64;
        echo_stream(stream, |_| echoes += 1);
        first.send(echoes).unwrap();
    });
    let report = run(&["bench", &server, "--json", "-c", "10", "--warmup", "1s"]);
    let report: Value = serde_json::from_str(report.text()).unwrap();
    assert_eq!(
        counts(&report, ["sent", "unique", "rtt_samples"]),
        [10, 10, 10]
    );
    assert!(seen.recv_timeout(crate::common::DEADLINE).unwrap() > 10);
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
    seen.recv_timeout(crate::common::DEADLINE).unwrap();
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
        "% ##",
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
