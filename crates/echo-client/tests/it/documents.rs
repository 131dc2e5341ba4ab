//! Documents that nobody of ours has written, and what becomes of the files around them.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::{Value, json};

use crate::common::bench::bench;
use crate::common::{Scratch, command, echo, echo_on, network, run};
use crate::signals::by_shell;
use echo_core::address::End;

/// The document of a short run.
fn measured(target: &str) -> Value {
    let ended = run(&["bench", target, "--json", "-c", "50", "--warmup", "0"]);
    serde_json::from_slice(&ended.stdout).expect("a document")
}

/// An encoded histogram that claims to be nearly 4 GiB long.
fn boastful() -> String {
    let mut plain = vec![0x1c, 0x84, 0x93, 0x13, 0xff, 0xff, 0xff, 0xf0];
    plain.extend([0, 0, 0, 0, 0, 0, 0, 3]);
    plain.extend(
        [
            1u64.to_be_bytes(),
            u64::to_be_bytes(1 << 41),
            1f64.to_be_bytes(),
        ]
        .concat(),
    );
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&plain).unwrap();
    let packed = packed.finish().unwrap();
    let mut encoded = vec![0x1c, 0x84, 0x93, 0x14];
    encoded.extend((packed.len() as u32).to_be_bytes());
    STANDARD.encode([encoded, packed].concat())
}

#[test]
fn a_document_with_figures_that_cannot_be_is_refused() {
    let server = echo();
    let files = Scratch::new("impossible");
    let (right, page) = (measured(&server.tcp), files.path("page.html"));
    let page = page.display().to_string();
    let other = files.file("other.json", measured(&server.tcp).to_string().as_bytes());
    let most = json!(u64::MAX);
    let second = json!({"start_s": most, "sent": 1, "echoes": 1, "lost": 0, "errors": 0});
    for (changes, word) in [
        (
            json!({"rtt_min_ns": 1_000_000_000, "rtt_max_ns": 1}),
            "rtt_histogram",
        ),
        (
            json!({"rtt_min_ns": null, "rtt_max_ns": null}),
            "rtt_histogram",
        ),
        (json!({"rtt_max_ns": 1u64 << 60}), "rtt_histogram"),
        (json!({"rtt_sum_ns": 1}), "rtt_histogram"),
        (
            json!({"rtt_histogram": boastful()}),
            "no whole HdrHistogram",
        ),
        (json!({"rtt_histogram": "HISTFAAA"}), "rtt_histogram"),
        (json!({"rtt_histogram": null}), "rtt_samples"),
        (
            json!({"rtt_histogram": null, "rtt_samples": null}),
            "rtt_histogram",
        ),
        (json!({"unique": 100_000}), "does not add up"),
        (json!({"late": 100_000}), "does not add up"),
        (json!({"rtt_squares_ns2": -1.0}), "cannot be"),
        (json!({"rtt_squares_ns2": 1e300}), "cannot be"),
        (json!({"sent": most}), "its sent is 18446744073709551615"),
        (json!({"errors": {"reset": most}}), "its reset"),
        (json!({"elapsed_ns": most}), "its elapsed_ns"),
        (json!({"started_unix_ns": most}), "its started_unix_ns"),
        (json!({"seconds": [second]}), "its start_s"),
        (json!({"sent": -1}), "-1"),
        (json!({"sent": 0.5}), "0.5"),
    ] {
        let mut wrong = right.clone();
        for (key, value) in changes.as_object().expect("changes") {
            wrong[key] = value.clone();
        }
        let wrong = files.file("wrong.json", wrong.to_string().as_bytes());
        for mode in ["compare", "merge"] {
            let ended = run(&[mode, &other, &wrong, "--report", &page]);
            ended.failed(2, &["wrong.json", "byte 0", word]);
        }
        assert!(!fs::exists(&page).unwrap(), "{changes}");
    }
    // Runs that ended before they began are of no length.
    let mut odd = right.clone();
    odd["machines"] =
        json!([{"hostname": "h", "started_unix_ns": 0, "elapsed_ns": 1, "sent": 1, "unique": 1}]);
    let odd = files.file("odd.json", odd.to_string().as_bytes());
    assert_eq!(run(&["merge", &odd, "--report", &page]).code, Some(0));
}

#[test]
fn nothing_of_a_long_foreign_document_is_kept() {
    let files = Scratch::new("foreign");
    let document = format!("{{\"parts\": [{}0]}}", "{\"\":0},".repeat(2_000_000));
    let foreign = files.file("foreign.json", document.as_bytes());
    // Taken apart, it would take more than this.
    let said = by_shell("ulimit -v 600000", &["merge", &foreign]).end();
    said.failed(2, &["no report of a run"]);
    let nested = files.file("nested.json", "[".repeat(100_000).as_bytes());
    run(&["merge", &nested]).failed(2, &["nested.json", "no report of a run"]);
}

#[test]
fn what_a_document_says_acts_on_no_terminal() {
    let server = echo();
    let files = Scratch::new("escapes");
    let mut evil = measured(&server.tcp);
    let words = "\u{1b}[2J\u{9b}1m\r\nfaked";
    evil["label"] = words.into();
    evil["notes"] = json!([words]);
    evil["environment"]["hostname"] = words.into();
    evil["outcome"] = json!({"result": "failed", "by": null, "exit_code": 1,
        "reasons": [{"kind": "other", "message": words}]});
    let [one, other] = ["one.json", "other.json"].map(|name| {
        evil["started_unix_ns"] = evil["started_unix_ns"].as_u64().map(|ns| ns + 1).into();
        files.file(name, evil.to_string().as_bytes())
    });
    evil["config"]["size"] = words.into();
    let unlike = files.file("unlike.json", evil.to_string().as_bytes());
    for args in [
        ["compare", &one, &other],
        ["merge", &one, &other],
        ["merge", &one, &one],
        ["compare", &one, &unlike],
        ["merge", &one, &unlike],
    ] {
        let ended = run(&args);
        for told in [ended.text(), &ended.stderr] {
            let acts = |c: char| c.is_control() && c != '\n';
            assert!(!told.contains(acts), "{told:?}");
            assert!(!told.contains("\nfaked"), "{told:?}");
        }
    }
}

#[test]
fn no_file_takes_the_place_of_a_document_that_is_read() {
    let server = echo();
    let files = Scratch::new("spared");
    let saved = measured(&server.tcp).to_string();
    let document = files.file("saved.json", saved.as_bytes());
    let (link, hard) = (files.path("link"), files.path("hard"));
    std::os::unix::fs::symlink(&document, &link).unwrap();
    fs::hard_link(&document, &hard).unwrap();
    let dotted = files.path("./saved.json");
    for name in [&link, &hard, &dotted] {
        let name = name.display().to_string();
        for args in [
            &["merge", &document, "--report", &name][..],
            &["merge", &document, "--csv", &name],
            &["compare", &document, &document, "--report", &name],
            &[
                "bench",
                &server.tcp,
                "--baseline",
                &document,
                "--report",
                &name,
            ],
            &[
                "bench",
                &server.tcp,
                "--baseline",
                &document,
                "--csv",
                &name,
            ],
        ] {
            run(args).failed(2, &["a file to read and --", "of its own"]);
        }
    }
    assert_eq!(fs::read_to_string(&document).unwrap(), saved);
    let directory = files.path("none/").display().to_string();
    run(&["merge", &document, "--report", &directory]).failed(1, &["is a directory"]);
    assert!(!files.path("none").exists());
}

#[test]
fn an_output_that_cannot_be_is_refused_before_the_run() {
    let server = echo_on("stamp://127.0.0.1:0");
    let target = format!("stamp://{}", End::from(&server.addresses()[0]));
    let files = Scratch::new("outputs");
    let socket = files.path("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let socket = socket.display().to_string();
    run(&["ping", &target, "--report", &socket]).failed(1, &["a socket is no file"]);
    let pipe = files.path("pipe").display().to_string();
    network::run(&format!("mkfifo {pipe}"));
    for flag in ["--report", "--hdr"] {
        let ended = run(&["ping", "-c1", "--json", &target, flag, &pipe]);
        assert!(ended.text().contains("rtt_p50_ns"), "{ended:?}");
        ended.failed(1, &[&pipe, "nobody reads it"]);
    }
    let key = files.file("key", b"0123456789abcdef");
    for mode in ["ping", "bench"] {
        let spared = [mode, &target, "--stamp-key", &key, "--hdr", &key];
        run(&spared).failed(2, &["a file to read and --hdr", "of its own"]);
    }
    let before = format!("ulimit -f 0; exec > {key}");
    by_shell(&before, &["--help"])
        .end()
        .failed(1, &["too large"]);
}

#[test]
fn neither_settings_nor_a_message_become_an_output() {
    let server = echo();
    let files = Scratch::new("settings");
    let settings = files.file("echo.toml", b"[connect]\nudp = false\n");
    for (mode, flag) in [
        ("ping", "--report"),
        ("ping", "--hdr"),
        ("bench", "--csv"),
        ("diagnose", "--report"),
    ] {
        let args = [mode, &server.tcp, "--config", &settings, flag, &settings];
        run(&args).failed(2, &["a file to read and --", "of its own"]);
    }
    let message = files.file("message", b"hello\n");
    let appended = format!("exec >> {message}");
    for args in [
        &[&server.tcp, "--file", &message][..],
        &["compare", &message, &message],
    ] {
        let ended = by_shell(&appended, args).end();
        ended.failed(2, &["standard output and a file to read", &message]);
    }
    assert_eq!(fs::read(&message).unwrap(), b"hello\n");
}

#[test]
fn what_is_compared_and_added_up_is_told_in_spanish() {
    let server = echo();
    let files = Scratch::new("spanish");
    let [one, other] = ["one.json", "other.json"]
        .map(|name| files.file(name, measured(&server.tcp).to_string().as_bytes()));
    let rounds = ["--rounds=2", "-c5", "--warmup=0", "-q"];
    for args in [
        &["compare", &one, &other, "--fail-if", "p50>+9999999%"][..],
        &["merge", &one, &other, "--expect", "3"],
        &[&["bench", &server.tcp, &server.udp], &rounds[..]].concat(),
    ] {
        let ended = run(&[args, &["--lang=es"]].concat());
        let said = format!("{}{}", ended.text(), ended.stderr);
        for english in [
            " the ", " of ", " ratio", "ounds", "FAILED", "passed", "expected", "unknown",
            "target", "held", "note",
        ] {
            assert!(!said.contains(english), "{english}: {ended:?}");
        }
    }
    let find = ["bench", "--lang=es", "--find=p99<1ms", "-c1"];
    run(&find).failed(2, &["elige cuántas peticiones enviar"]);
    let text = files.file("text", b"text");
    let foreign = ["compare", "--lang=es", &one, &text];
    run(&foreign).failed(
        2,
        &["no se puede leer el documento", "no es un documento JSON"],
    );
}

#[test]
fn a_change_is_no_condition_where_there_is_nothing_to_hold_a_run_against() {
    let server = echo();
    let files = Scratch::new("alone");
    let saved = files.file("saved.json", measured(&server.tcp).to_string().as_bytes());
    for args in [
        &["ping", &server.tcp, "-c1", "--fail-if", "p99>+1%"][..],
        &["--fail-if", "max>1h,p50>+1%", &server.tcp],
        &["merge", &saved, "--fail-if", "p99>+1%"],
        &["bench", &server.tcp, "--fail-if", "p99>+1%"],
        &["bench", &server.tcp, "--find", "p99<+1%"],
    ] {
        run(args).failed(2, &["+1%", "nothing to hold the run against", "--baseline"]);
    }
}

#[test]
fn who_closes_standard_output_is_not_told_that_all_is_well() {
    let server = echo();
    let files = Scratch::new("closed");
    let saved = files.file("saved.json", measured(&server.tcp).to_string().as_bytes());
    let page = files.path("page.html").display().to_string();
    let (bench, ping) = (
        ["bench", &server.tcp, "-c", "9"],
        ["ping", &server.tcp, "-c2", "-i1ms"],
    );
    for (args, code) in [
        ([&bench[..], &["--fail-if", "max>1ns"]].concat(), 1),
        (
            [&bench[..], &["--fail-if", "max>1ns", "--json"]].concat(),
            1,
        ),
        (
            [&bench[..], &["--rounds", "2", "--fail-if", "max>1ns"]].concat(),
            1,
        ),
        (
            [&bench[..], &["--jsonl", "--fail-if", "max>1ns"]].concat(),
            1,
        ),
        ([&bench[..], &["--report", &page]].concat(), 0),
        ([&ping[..], &["--fail-if", "max>1ns"]].concat(), 1),
        (vec!["merge", &saved, "--fail-if", "max>1ns"], 1),
        (vec!["compare", &saved, &saved, "--fail-if", "max>1ns"], 1),
        (vec!["compare", &saved, &saved], 0),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ended = command(&args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output();
        let ended = ended.expect("the client runs");
        assert_eq!(ended.status.code(), Some(code), "{args:?}: {ended:?}");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{args:?}");
    }
    assert!(fs::read_to_string(&page).is_ok_and(|page| page.trim_end().ends_with("</html>")));
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
    let (mut intervals, mut lengths) = (0, Vec::new());
    for entry in IntervalLogIterator::new(&text) {
        if let LogEntry::Interval(interval) = entry.expect("a valid log") {
            intervals += 1;
            lengths.push(interval.duration().as_millis());
            let bytes = STANDARD
                .decode(interval.encoded_histogram())
                .expect("base 64");
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
    assert_eq!(lengths, [1000, 1000, 200, 200]);
    for (histogram, prefix) in total.iter().zip(["rtt", "service"]) {
        let figure = |name: &str| report[format!("{prefix}_{name}")].as_u64().unwrap();
        assert_eq!(histogram.len(), figure("samples"));
        assert!(histogram.equivalent(histogram.max(), figure("max_ns")));
        assert!(histogram.equivalent(histogram.min(), figure("min_ns")));
        let p99 = histogram.value_at_quantile(0.99);
        assert!(histogram.equivalent(p99, figure("p99_ns")), "{report}");
    }
}
