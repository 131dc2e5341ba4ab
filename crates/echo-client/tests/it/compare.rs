//! Which of several targets is faster: measured in turn, or from saved documents.

use crate::common::{DEADLINE, Ended, Scratch, echo, eventually, faulty, network, run, start};
use echo_client::compare::Comparison;
use echo_client::report::{Part, Report};
use echo_core::statistics::Pairing;
use serde_json::Value;

/// Short rounds: what is tested is what is said of them, not how well they measure. They end by
/// their count, so that none is empty, however busy the machine is.
const SHORT: [&str; 6] = ["-c", "50", "--warmup", "0", "--rounds", "6"];
/// A server so slow that no stall of a busy machine looks like it.
const LONG: [&str; 6] = ["-c", "5", "--warmup", "0", "--rounds", "6"];
const SLOW: &[&str] = &["delay=100ms"];

#[track_caller]
pub fn document(ended: &Ended, code: i32) -> Value {
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
fn a_control_that_differs_warns_of_all_differences_as_small() {
    for (ns, is_told) in [(120, true), (100, false)] {
        let round = |ns| Part {
            echoes: 1,
            rtt_p50_ns: Some(ns),
            ..Part::default()
        };
        let target = |ns| Report {
            rounds: vec![round(ns); 8],
            ..Report::default()
        };
        let targets = vec![target(100), target(ns)];
        let mut comparison = Comparison::of(targets, Pairing::InTurn, 1).expect("rounds");
        comparison.distrust_control();
        let notes = comparison.notes().join("");
        assert_eq!(notes.contains("p50 is slower"), is_told, "{notes}");
    }
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
    let page = files.path("page.html").display().to_string();
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
        let page = files.path("page.html").display().to_string();
        let text = run(&[&single[..], &["--warmup", "0", "--report", &page]].concat());
        assert!(text.text().contains("server CPU "), "{text:?}");
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains("; server CPU "));
        run(&["bench", &one.tcp, "--pid", "4294967295"]).failed(2, &["--pid", "no process"]);
        run(&["bench", &one.tcp, "--pid", &pids]).failed(2, &["2 processes of 1 targets"]);
    });
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
    eventually(|| server.handle.stats().accepted >= 2);
    client.interrupt();
    let told = document(&client.end(), 0);
    assert_eq!(told["outcome"]["result"], "cut short", "{told:#}");
    assert_eq!(told["generator"]["threads"], 1);
    assert!(told["unique"].as_u64().is_some_and(|echoes| echoes >= 20));
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
