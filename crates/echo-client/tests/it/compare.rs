//! Which of several targets is faster: measured in turn, or from saved documents.

use crate::common::{DEADLINE, Ended, Scratch, echo, echo_on, faulty, network, run, start, udp};
use echo_core::address::End;
use serde_json::Value;

/// Short rounds: what is tested is what is said of them, not how well they measure. They end by
/// their count, so that none is empty, however busy the machine is.
const SHORT: [&str; 6] = ["-c", "50", "--warmup", "0", "--rounds", "6"];
/// A server so slow that no stall of a busy machine looks like it.
const LONG: [&str; 6] = ["-c", "5", "--warmup", "0", "--rounds", "6"];
const SLOW: &[&str] = &["delay=100ms"];

#[track_caller]
fn document(ended: &Ended, code: i32) -> Value {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    serde_json::from_str(ended.text()).expect("one document")
}

/// What a comparison says of a figure of one target.
fn cell<'a>(document: &'a Value, figure: &str, target: &str) -> &'a Value {
    let cells = document["figures"].as_array().expect("figures");
    let mut found = cells
        .iter()
        .filter(|c| c["figure"] == figure && c["target"] == target);
    found
        .next()
        .unwrap_or_else(|| panic!("no {figure} of {target} in {document:#}"))
}

#[test]
fn the_slower_of_two_servers_is_named_with_every_round() {
    let (fast, slow) = (echo(), faulty(SLOW));
    let targets = ["bench", &fast.tcp, &slow.tcp, "--json"];
    let told = document(&run(&[&targets[..], &LONG].concat()), 0);
    assert_eq!(told["mode"], "compare");
    for (figure, is_more) in [("p50", true), ("rate", false)] {
        let cell = cell(&told, figure, &slow.tcp);
        assert_eq!(cell["verdict"], "slower", "{cell}");
        assert_eq!(cell["rounds"].as_array().map(Vec::len), Some(6));
        let [ratio, low, high] =
            ["ratio", "ratio_low", "ratio_high"].map(|key| cell[key].as_f64().unwrap());
        assert!(low <= ratio && ratio <= high, "{cell}");
        assert_eq!(ratio > 1.0, is_more, "{cell}");
        let beside = cell["value"].as_f64().unwrap()
            / self::cell(&told, figure, &fast.tcp)["value"]
                .as_f64()
                .unwrap();
        assert!((beside / ratio - 1.0).abs() < 2e-5, "{cell}");
    }
    for target in told["targets"].as_array().unwrap() {
        let rounds = target["rounds"].as_array().unwrap();
        let echoes: u64 = rounds
            .iter()
            .map(|round| round["echoes"].as_u64().unwrap())
            .sum();
        assert_eq!(target["unique"], echoes);
        assert_eq!(target["rtt_samples"], echoes);
    }
}

#[test]
fn text_page_and_rows_say_the_same_as_the_document() {
    let (one, other) = (echo(), faulty(SLOW));
    let files = Scratch::new("comparison");
    let [saved, page, seconds] =
        ["saved.json", "page.html", "seconds.csv"].map(|name| files.file(name, b""));
    let targets = [
        "bench", &one.tcp, &other.tcp, "--json", "--report", &page, "--csv", &seconds,
    ];
    let ended = run(&[&targets[..], &LONG].concat());
    let told = document(&ended, 0);
    std::fs::write(&saved, &ended.stdout).unwrap();

    let text = run(&["compare", &saved]);
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.text().contains("6 rounds each, in turn"), "{text:?}");
    let slower = text
        .text()
        .lines()
        .filter(|line| line.ends_with("slower"))
        .count();
    assert!(slower >= 2 && text.text().contains(&other.tcp), "{text:?}");

    let again = document(&run(&["compare", &saved, "--json"]), 0);
    assert_eq!(again["figures"], told["figures"]);

    let rows = run(&["compare", &saved, "--csv"]);
    let figures = told["figures"].as_array().unwrap().len();
    assert_eq!(rows.text().lines().count(), 1 + figures, "{rows:?}");

    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("slower") && page.matches("<svg").count() >= 3);
    let seconds = std::fs::read_to_string(seconds).unwrap();
    assert!(
        seconds.starts_with("target,start_s,") && seconds.lines().count() >= 3,
        "{seconds}"
    );
}

#[test]
fn single_runs_have_a_ratio_and_no_verdict() {
    let (one, other) = (echo(), faulty(SLOW));
    let files = Scratch::new("single");
    let saved = [(&one, "one"), (&other, "other")].map(|(echo, label)| {
        let ended = run(&[
            "bench", &echo.tcp, "--json", "-c", "20", "--warmup", "0", "--label", label,
        ]);
        files.file(label, &ended.stdout)
    });
    let told = document(&run(&["compare", &saved[0], &saved[1], "--json"]), 0);
    let cell = cell(&told, "p50", "other");
    assert!(cell["ratio"].as_f64().unwrap() > 1.0, "{cell}");
    assert_eq!(
        (&cell["verdict"], &cell["ratio_low"]),
        (&"unknown".into(), &Value::Null)
    );
    let text = run(&["compare", &saved[0], &saved[1]]);
    assert!(
        text.text().contains("unknown (at least 6 rounds can tell)"),
        "{text:?}"
    );
}

#[test]
fn a_baseline_gates_a_run() {
    let (fast, slow) = (echo(), faulty(SLOW));
    let files = Scratch::new("baseline");
    let short = ["--json", "-c", "5", "--warmup", "0"];
    let saved = run(&[&["bench", &fast.tcp][..], &short].concat());
    let base = files.file("base.json", &saved.stdout);
    let gated = |target: &str, condition: &str| {
        run(&[
            &["bench", target, "--baseline", &base, "--fail-if", condition][..],
            &short,
        ]
        .concat())
    };
    let passed = document(&gated(&slow.tcp, "p50>+9000000%,errors>0"), 0);
    assert_eq!(passed["outcome"]["result"], "passed");
    let text = run(&["compare", &base, &base]);
    assert!(text.text().ends_with("\npassed\n"), "{text:?}");
    let ended = gated(&slow.tcp, "p50>+10%,rate<-5%");
    ended.failed(1, &["p50 <= +10%", "rate >= -5%"]);
    let broken = document(&ended, 1);
    let notes = broken["targets"][1]["notes"].to_string();
    assert!(
        notes.contains("p50>+10% is judged by a ratio that may be noise"),
        "{notes}"
    );
    assert!(notes.contains("at least 6 rounds can tell"), "{notes}");
    assert_eq!(broken["outcome"]["result"], "failed");
    let verdicts = broken["targets"][1]["verdicts"].as_array().unwrap();
    assert!(
        verdicts.iter().all(|verdict| verdict["failed"] == true),
        "{verdicts:?}"
    );
    // It is no better than it should be: the absolute ones are judged as ever.
    gated(&slow.tcp, "p50>1ns,p50>+9000000%").failed(1, &["p50 <= 1ns"]);
}

#[test]
fn a_control_is_the_first_target_once_more() {
    let echo = echo();
    let args = ["bench", &echo.tcp, "--control", "--json"];
    let told = document(&run(&[&args[..], &SHORT].concat()), 0);
    assert_eq!(told["names"].as_array().map(Vec::len), Some(2));
    assert!(cell(&told, "p50", "control")["ratio"].is_f64());
}

#[test]
fn the_command_of_a_comparison_can_be_typed_again_and_its_targets_are_told_apart() {
    let (one, files) = (echo(), Scratch::new("command"));
    let page = files.0.join("page.html").display().to_string();
    let pids = format!("--pid={0},{0}", std::process::id());
    let short = [
        "--rounds", "1", "-c", "9", "--warmup", "0", "--json", "--report", &page,
    ];
    let args = [&["bench", &one.tcp, &one.udp, &pids][..], &short].concat();
    let told = document(&run(&args), 0);
    let page_flag = format!("--report={page}");
    let command = [
        "echo-client",
        "bench",
        "--count=9",
        "--json",
        &pids,
        &page_flag,
    ];
    let command = [
        &command[..],
        &["--rounds=1", "--warmup=0s", &one.tcp, &one.udp],
    ]
    .concat();
    for target in told["targets"].as_array().expect("targets") {
        assert_eq!(target["command"], Value::from(command.clone()));
    }
    let udp = one.udp.trim_start_matches("udp://");
    let names = [format!("tcp {}", one.tcp), format!("udp {udp}")];
    assert_eq!(told["names"], Value::from(&names[..]));
    let page = std::fs::read_to_string(&page).unwrap();
    assert_eq!(page.matches("<pre>echo-client bench --count=9 ").count(), 1);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let echo = echo();
    let files = Scratch::new("refused");
    let saved = |name: &str, more: &[&str]| {
        let args = ["bench", &echo.tcp, "--json", "-c", "30", "--warmup", "0"];
        files.file(name, &run(&[&args[..], more].concat()).stdout)
    };
    let (small, large) = (
        saved("small.json", &[]),
        saved("large.json", &["--size", "1k"]),
    );
    run(&["compare", &small, &large]).failed(2, &["cannot be compared", "--size"]);
    run(&["compare", &small, &small, "--fail-if", "p50>1ns"]).failed(1, &["p50 <= 1ns"]);
    run(&["compare", &small]).failed(2, &["small.json", "nothing to be held against it"]);
    run(&["compare", &small, "/nowhere.json"]).failed(2, &["/nowhere.json", "no such file"]);

    let document = std::fs::read_to_string(&small).unwrap();
    let broken = |name: &str, text: &str| files.file(name, text.as_bytes());
    let foreign = broken("foreign.json", "{\"tool\": \"another\"}");
    run(&["compare", &small, &foreign])
        .failed(2, &["foreign.json", "byte 0", "no report of a run"]);
    for other in [
        "{\"schema\": 1, \"mode\": \"diagnose\"}",
        "{\"schema\": \"2\"}",
        "{\"schema\": 2.0}",
    ] {
        let other = broken("other.json", other);
        run(&["compare", &small, &other]).failed(2, &["other.json", "no report of a run"]);
    }
    let max = ["--fail-if", "max>+500%"];
    run(&[&["compare", &small, &small][..], &max].concat()).failed(2, &["write max>2ms"]);
    let text = broken("text.json", "p99 2 ms\n");
    run(&["compare", &small, &text]).failed(2, &["text.json", "byte 0", "no JSON document"]);
    run(&["compare", &small, &broken("empty.json", "")]).failed(2, &["empty.json", "no document"]);
    let half = broken("half.json", &document[..document.len() / 2]);
    run(&["compare", &small, &half]).failed(2, &["half.json", "byte 0"]);
    let at = document.find("\"rtt_histogram\": \"").unwrap() + 30;
    let mut damaged = document.clone();
    damaged.replace_range(at..at + 4, "AAAA");
    let damaged = broken("histogram.json", &damaged);
    run(&["compare", &small, &damaged]).failed(2, &["histogram.json", "rtt_histogram", "damaged"]);

    let twice = ["bench", &echo.tcp, &echo.tcp];
    run(&twice).failed(2, &["twice", "--control"]);
    for (one, other) in [
        ("127.0.0.1:7", "tcp://127.0.0.1:7"),
        ("localhost:7", "LOCALHOST:7"),
        ("udp://[::1]:7", "udp://[0:0::1]:7"),
    ] {
        run(&["bench", one, other]).failed(2, &["twice", "--control"]);
    }
    let both = ["bench", &echo.tcp, &echo.udp, "--new-connection"];
    run(&both).failed(2, &["--new-connection", "UDP"]);
    run(&["bench", &echo.tcp, "--fail-if", "p99>+10%"]).failed(2, &["+10%", "--baseline"]);
    for several in [
        ["--rounds", "2"],
        ["--find", "p50<1s"],
        ["udp://[::1]:1", "-u"],
    ] {
        run(&[&["bench", &echo.tcp, "--jsonl"][..], &several].concat()).failed(2, &["--jsonl"]);
    }
    run(&["bench", &echo.tcp, "--baseline", &small, "--hdr", "x"]).failed(2, &["--hdr"]);
    run(&["bench", &echo.tcp, "--rounds", "0"]).failed(2, &["--rounds"]);
    run(&["bench", &echo.tcp, "--rounds", "10000000000"]).failed(2, &["--rounds", "100000"]);
    let find = ["--find", "p99.99999999999999<1s", "--rate", "0.001"];
    run(&[&["bench", &echo.tcp][..], &find].concat()).failed(2, &["hours", "--rate"]);
    let most = ["-P", "9223372036854775807", "--depth", "65536"];
    run(&[&["bench", &echo.tcp][..], &most].concat()).failed(2, &["--parallel", "1048576"]);
    let seed = ["--seed", "18446744073709551615"];
    run(&[&["bench", &echo.tcp][..], &seed].concat()).failed(2, &["--seed"]);
    // All of that is known before anything is measured.
    run(&["bench", &echo.tcp, "--baseline", &large, "-d", "1h"]).failed(2, &["--size"]);
    let two = broken("two.json", &document.repeat(2));
    run(&["bench", &echo.tcp, "--baseline", &two, "-d", "1h"]).failed(2, &["several runs"]);
}

#[test]
fn a_comparison_of_saved_runs_judges_by_its_own_conditions() {
    let (echo, files) = (echo(), Scratch::new("judged"));
    let short = ["--json", "-c", "50", "--warmup", "0"];
    let right = document(&run(&[&["bench", &echo.tcp][..], &short].concat()), 0);
    let mut lossy = right.clone();
    (lossy["sent"], lossy["lost"]) = (51.into(), 1.into());
    lossy["outcome"] = serde_json::json!({"result": "failed", "by": null, "exit_code": 1,
        "reasons": [{"kind": "lost", "message": "1 of 51 is missing"}]});
    let save = |name: &str, document: &Value| files.file(name, document.to_string().as_bytes());
    let lossy_run = lossy;
    let (right, lossy) = (save("right.json", &right), save("lossy.json", &lossy_run));
    let page = files.0.join("page.html").display().to_string();
    let allowed = ["--fail-if", "loss>5%", "--report", &page];
    let text = run(&[&["compare", &right, &lossy][..], &allowed].concat());
    assert_eq!(text.code, Some(0), "{text:?}");
    let page = std::fs::read_to_string(&page).unwrap();
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for told in [text.text(), &page.replace("&#60;", "<")].map(plain) {
        let held = "lossy.json: held: loss <= 5% (2.0%)";
        assert!(told.contains(held), "{told}");
        assert!(!told.contains("is missing"), "{told}");
    }
    run(&["compare", &right, &lossy]).failed(1, &["lossy.json: 1 of 51 requests"]);
    // What was allowed when it was measured is allowed where nothing else is asked.
    let mut excused = lossy_run.clone();
    let allows = ["--fail-if", "loss>5%"];
    let other = document(
        &run(&[&["bench", &echo.tcp][..], &short, &allows].concat()),
        0,
    );
    excused["outcome"] = other["outcome"].clone();
    excused["verdicts"] = other["verdicts"].clone();
    let excused = save("excused.json", &excused);
    let text = run(&["compare", &right, &excused]);
    assert_eq!(text.code, Some(0), "{text:?}");
    // How the first ended is worth a note.
    let text = run(&["compare", &lossy, &right]);
    assert_eq!(text.code, Some(0), "{text:?}");
    let note = "when this was measured it ended so: FAILED: 1 of 51 is missing";
    assert!(plain(text.text()).contains(note), "{text:?}");

    // What did not run is as bad here as where it is merged.
    let dead = crate::common::closed_port().to_string();
    let dead = run(&[&["bench", &dead][..], &short].concat());
    let dead = files.file("dead.json", &dead.stdout);
    run(&["compare", &right, &dead]).failed(1, &["dead.json", "refused"]);
    run(&["merge", &right, &dead]).failed(1, &["refused"]);
}

#[test]
fn what_never_came_back_took_no_time() {
    let (echo, files) = (echo(), Scratch::new("silent"));
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let silent = format!("udp://{}", silent.local_addr().unwrap());
    let [one, other] = [&echo.udp, &silent].map(|target| {
        let args = ["-c", "3", "-W", "50ms", "--warmup", "0", "--json"];
        let ended = run(&[&["bench", target][..], &args].concat());
        files.file(&target.replace(['/', ':'], ""), &ended.stdout)
    });
    let told = document(&run(&["compare", &one, &other, "--json"]), 1);
    assert_eq!(told["figures"], serde_json::json!([]));
}

#[test]
fn what_reflectors_told_of_each_way_matters_to_those_who_add_it_up() {
    let reflector = echo_on("stamp://127.0.0.1:0");
    let target = format!("stamp://{}", End::from(&reflector.addresses()[0]));
    let files = Scratch::new("ways");
    let args = ["bench", &target, "--json", "-c", "20", "--warmup", "0"];
    let saved = ["delay", "variation"].map(|one_way| {
        let mut told = document(&run(&args), 0);
        told["stamp"]["one_way"] = one_way.into();
        files.file(one_way, told.to_string().as_bytes())
    });
    let [delay, variation] = &saved;
    document(&run(&["compare", delay, variation, "--json"]), 0);
    run(&["merge", delay, variation]).failed(2, &["of each way", "one-way delay"]);
}

#[test]
fn one_round_has_no_verdict_and_a_dead_target_ends_all() {
    let echo = echo();
    let dead = crate::common::closed_port().to_string();
    let other = faulty(&["delay=1ms"]);
    let args = [
        "bench", &echo.tcp, &other.tcp, "--rounds", "1", "-c", "20", "--warmup", "0",
    ];
    let ended = run(&args);
    let words: Vec<_> = ended.text().split_whitespace().collect();
    let told = words.join(" ");
    assert!(
        told.contains("unknown (at least 6 rounds can tell)"),
        "{ended:?}"
    );
    assert!(
        ended.text().lines().all(|line| line.chars().count() <= 80),
        "{ended:?}"
    );
    let started = std::time::Instant::now();
    let ended = run(&[&["bench", &echo.tcp, &dead, "--json"][..], &SHORT].concat());
    ended.failed(3, &[&dead]);
    assert_eq!(document(&ended, 3)["outcome"]["exit_code"], 3);
    assert!(started.elapsed() < DEADLINE);
}

#[test]
fn the_processor_time_of_a_server_is_a_figure_where_its_process_is_named() {
    if !std::path::Path::new("/proc/self/task").exists() {
        eprintln!("skipped: this system does not tell what other processes use");
        return;
    }
    let name = "the_processor_time_of_a_server_is_a_figure_where_its_process_is_named";
    network::in_own_process(name, || {
        // The servers of a test are threads of this process, and another's must not end meanwhile.
        let (one, other, pid) = (echo(), echo(), std::process::id());
        let pids = format!("{pid},{pid}");
        let args = ["bench", &one.tcp, &other.tcp, "--pid", &pids, "--json"];
        let told = document(&run(&[&args[..], &SHORT].concat()), 0);
        let cell = cell(&told, "server-cpu", &other.tcp);
        assert!(
            cell["value"].as_f64().is_some_and(|ns| ns > 100.0),
            "{cell}"
        );
        let single = ["bench", &one.tcp, "--pid", &pid.to_string(), "-c", "200"];
        let told = document(
            &run(&[&single[..], &["--json", "--warmup", "0"]].concat()),
            0,
        );
        assert!(
            told["server_cpu_ns"].as_u64().is_some_and(|ns| ns > 0),
            "{told:#}"
        );
        let files = Scratch::new("processor");
        let page = files.0.join("page.html").display().to_string();
        let text = run(&[&single[..], &["--warmup", "0", "--report", &page]].concat());
        assert!(text.text().contains("server CPU "), "{text:?}");
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains("; server CPU "));
        run(&["bench", &one.tcp, "--pid", "4294967295"]).failed(2, &["--pid", "no process"]);
        run(&["bench", &one.tcp, "--pid", &pids]).failed(2, &["2 processes of 1 targets"]);
    });
}

#[test]
fn a_search_finds_where_it_bends() {
    // One request at a time, each of which takes 2 ms: some 400 in a second.
    let slow = faulty(&["delay=2ms"]);
    let files = Scratch::new("search");
    let log = files.0.join("log").display().to_string();
    let args = [
        "bench",
        &slow.tcp,
        "--find",
        "p50<1s,loss=0",
        "--rate",
        "50",
        "-d",
        "200ms",
    ];
    let told = document(
        &run(&[&args[..], &["--warmup", "0", "--json", "--hdr", &log]].concat()),
        0,
    );
    let logged = std::fs::read_to_string(&log).expect("a log");
    assert!(logged.contains("HISTFAAA"), "{logged}");
    let curve = &told["curve"];
    let found = curve["kept_per_s"].as_f64().expect("a rate");
    // Where the machine is busy, it may be less.
    assert!((1.0..=500.0).contains(&found), "{curve}");
    assert_eq!(told["rate_per_s"].as_f64(), Some(found));
    let command = told["command"].as_array().unwrap();
    assert!(command.contains(&"--rate=50".into()), "{command:?}");
    let steps = curve["steps"].as_array().unwrap();
    let rates: Vec<f64> = steps
        .iter()
        .map(|step| step["rate_per_s"].as_f64().unwrap())
        .collect();
    assert!(rates.is_sorted() && rates.len() >= 3, "{curve}");
    let broken = steps
        .iter()
        .find(|step| step["kept"] == false)
        .expect("one is too much");
    assert!(broken["rate_per_s"].as_f64().unwrap() > found);
    assert!(
        curve["limit"]
            .as_str()
            .is_some_and(|limit| !limit.is_empty())
    );
}

#[test]
fn a_search_that_finds_nothing_says_so() {
    let slow = faulty(&["delay=20ms"]);
    let args = [
        "bench", &slow.tcp, "--find", "p50<1ms", "--rate", "1600", "-d", "100ms",
    ];
    let ended = run(&[&args[..], &["--warmup", "0"]].concat());
    ended.failed(1, &["p50 < 1ms"]);
    assert!(ended.text().contains("not kept at any rate"), "{ended:?}");
    assert!(!ended.text().contains("FAILED: broken"), "{ended:?}");
    for (condition, word) in [
        ("p99", "FIGURE"),
        ("p99=5ms", "<"),
        ("loss=1%", "0"),
        ("", "nothing"),
    ] {
        run(&["bench", &slow.tcp, "--find", condition]).failed(2, &[word]);
    }
}

#[test]
fn rounds_that_are_interrupted_in_a_warm_up_are_cut_short_and_have_not_failed() {
    let server = echo();
    let args = [
        "bench",
        &server.tcp,
        "--rounds",
        "50",
        "-c",
        "20",
        "--warmup",
        "1s",
    ];
    let client = start(&[&args[..], &["--json"]].concat());
    let begun = std::time::Instant::now();
    while server.handle.stats().accepted < 2 {
        assert!(begun.elapsed() < DEADLINE);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    client.interrupt();
    let told = document(&client.end(), 0);
    assert_eq!(told["outcome"]["result"], "cut short", "{told:#}");
    assert_eq!(told["generator"]["threads"], 1);
    assert!(told["unique"].as_u64().is_some_and(|echoes| echoes >= 20));
}

#[test]
fn a_search_that_is_stopped_says_so_and_not_that_it_failed() {
    let server = echo();
    let args = ["bench", &server.tcp, "--find", "p50<1ns", "-d", "1h"];
    let client = start(&[&args[..], &["--warmup", "0"]].concat());
    let begun = std::time::Instant::now();
    while server.handle.stats().received_bytes < 5_000 {
        assert!(begun.elapsed() < DEADLINE);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    client.interrupt();
    let ended = client.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let last = ended.text().lines().last();
    let is_cut = |last: &str| last.starts_with("CUT SHORT: interrupted after ");
    assert!(last.is_some_and(is_cut), "{ended:?}");
    assert!(!ended.text().contains("broken"), "{ended:?}");
}

#[test]
fn a_search_that_is_stopped_in_a_warm_up_tells_the_rates_that_were_tried() {
    let server = echo();
    let args = ["bench", &server.tcp, "--find", "max<1h", "--rate", "1000"];
    let client = start(&[&args[..], &["-d", "100ms", "--warmup", "2s"]].concat());
    let begun = std::time::Instant::now();
    // Each step connects anew.
    while server.handle.stats().accepted < 2 {
        assert!(begun.elapsed() < DEADLINE);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    client.interrupt();
    let ended = client.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let text = ended.text();
    assert!(
        text.contains("\n1,000 ") && !text.contains("FAILED"),
        "{text}"
    );
    assert!(text.contains("CUT SHORT: interrupted after "), "{text}");
}

#[test]
fn a_search_goes_down_from_a_rate_that_is_too_much_for_whoever_spins() {
    let slow = faulty(&["delay=2ms"]);
    let args = ["bench", &slow.tcp, "--find", "p50<1s", "--rate", "3200"];
    let more = ["-d", "100ms", "--warmup", "0", "--busy", "--json"];
    let ended = run(&[&args[..], &more].concat());
    let told: Value = serde_json::from_str(ended.text()).expect("a document");
    // Where the machine is busy, it keeps no rate at all.
    let curve = &told["curve"];
    assert!(curve["steps"].as_array().unwrap().len() > 3, "{curve}");
    assert!(!curve["limit"].to_string().contains("generator"), "{curve}");
}

#[test]
fn a_rate_at_which_nothing_comes_back_any_more_is_one_that_is_not_kept() {
    let mut runs: Vec<Vec<u8>> = Vec::new();
    // What comes of the third rate is dropped, as a policer does.
    let server = udp(move |_, datagram, answer| {
        let Some(token) = datagram.get(8..16).filter(|_| datagram.len() == 64) else {
            return answer(datagram);
        };
        if !runs.iter().any(|known| known == token) {
            runs.push(token.to_owned());
        }
        if runs.get(2).is_none_or(|third| third != token) {
            answer(datagram);
        }
    });
    let kept = "loss<50%,late<50%,unsent<100000,p50<1s";
    let args = [
        "bench", &server, "--find", kept, "--rate", "100", "-W", "1s",
    ];
    let more = ["-d", "100ms", "--warmup", "0", "--json"];
    let told = document(&run(&[&args[..], &more].concat()), 0);
    let curve = &told["curve"];
    assert!(curve["kept_per_s"].as_f64().unwrap() >= 200.0, "{curve}");
    let steps = curve["steps"].as_array().unwrap();
    let is_dropped = |step: &&Value| step["rate_per_s"] == 400.0 && step["kept"] == false;
    assert!(steps.iter().any(|step| is_dropped(&step)), "{curve}");
}

#[test]
fn rounds_too_short_for_a_percentile_say_so() {
    // Twenty requests a round: enough for a median, and not for more.
    let (server, files) = (echo(), Scratch::new("short"));
    let short = [
        "bench",
        &server.tcp,
        "-c",
        "20",
        "--warmup",
        "0",
        "--rounds",
        "2",
    ];
    let saved = run(&[&short[..], &["--json"]].concat());
    let base = files.file("base.json", saved.text().as_bytes());
    let why = "a round has fewer than 100 samples: no p99; make --duration longer";
    let gate = ["--fail-if", "p99>+100%"];
    for told in [
        run(&[&short[..], &["--baseline", &base], &gate].concat()),
        run(&[&["compare", &base, &base][..], &gate].concat()),
        run(&[&short[..], &["--control"], &gate].concat()),
    ] {
        told.failed(1, &["broken: p99 <= +100%", why]);
        let words: Vec<_> = told.text().split_whitespace().collect();
        assert!(
            words.join(" ").contains(&format!("note: {why}")),
            "{told:?}"
        );
    }
}
