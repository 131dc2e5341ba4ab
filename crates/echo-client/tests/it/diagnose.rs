//! What `diagnose` prints, and what it refuses; what it finds is tested in laboratories.

use echo_core::framing::Framing;
use echo_server::Config;
use serde_json::Value;

use super::report::check_as;
use crate::common::{DEADLINE, Ended, Scratch, closed_port, echo, echo_with, run, start};

/// Little enough for a test, and enough for each step that does not load the path.
const BRIEF: [&str; 3] = ["--gentle", "--budget", "150kB"];

/// The one document that was printed, which is as its schema says.
#[track_caller]
fn document(ended: &Ended) -> Value {
    let document: Value = serde_json::from_str(ended.text()).expect("one document");
    let schema = include_str!("../../../../docs/diagnosis.schema.json");
    assert_eq!(check_as(schema, &document), [""; 0], "{document:#}");
    let code = document["outcome"]["exit_code"].as_i64();
    assert_eq!(code, ended.code.map(i64::from), "{ended:?}");
    document
}

fn problems(document: &Value) -> usize {
    let found = document["findings"].as_array().expect("findings").iter();
    found.filter(|finding| finding["kind"] == "problem").count()
}

#[test]
fn the_document_of_a_good_path_and_of_a_bad_one_are_as_the_schema_says() {
    let server = echo();
    let good = document(&run(
        &[&["diagnose", &server.tcp, "--json"], &BRIEF[..]].concat()
    ));
    assert_eq!(problems(&good), 0, "{good:#}");
    let sent = good["sent_bytes"].as_u64().expect("a number");
    assert!((1..=150_000).contains(&sent), "{sent}");
    let closed = closed_port().to_string();
    let bad = document(&run(
        &[&["diagnose", &closed, "--json"], &BRIEF[..]].concat()
    ));
    let told = bad["findings"].as_array().expect("findings");
    let refused = told
        .iter()
        .find(|finding| finding["verdict"] == "tcp-refused");
    assert_eq!(refused.expect("tcp-refused")["kind"], "problem", "{bad:#}");
}

#[test]
fn a_page_shows_the_path_and_what_was_found_there() {
    let scratch = Scratch::new("diagnose");
    let page = scratch.file("page.html", b"");
    let closed = closed_port().to_string();
    let words = ["diagnose", &closed, "--report", &page];
    let ended = run(&[&words[..], &BRIEF].concat());
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.text().contains("tcp-refused"), "{ended:?}");
    let page = std::fs::read_to_string(page).expect("the page");
    for part in ["<svg class=\"path\"", "127.0.0.1", "tcp-refused", "FAILED"] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn who_is_interrupted_tells_what_is_known_so_far() {
    let server = echo();
    let client = start(&["diagnose", &server.tcp, "--json"]);
    let begun = std::time::Instant::now();
    while server.handle.stats().datagrams < 100 {
        assert!(begun.elapsed() < DEADLINE);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    client.interrupt();
    let cut = document(&client.end());
    assert_eq!(cut["outcome"]["result"], "cut short", "{cut:#}");
    let steps = cut["steps"].as_array().expect("steps");
    assert!(
        steps[1]["told"]
            .as_str()
            .is_some_and(|told| told.contains("this machine"))
    );
    assert!(steps.iter().all(|step| step["name"] != "again"), "{cut:#}");
}

#[test]
fn whenever_it_is_cut_short_no_silence_is_made_up() {
    let server = echo();
    for limit in ["1ms", "20ms", "100ms", "150ms", "700ms", "1500ms"] {
        let cut = document(&run(&["diagnose", &server.tcp, "--json", "-w", limit]));
        assert_eq!(problems(&cut), 0, "{limit}: {cut:#}");
        assert_eq!(cut["outcome"]["result"], "cut short", "{limit}: {cut:#}");
    }
}

#[test]
fn nothing_is_sent_faster_or_more_than_is_allowed() {
    let server = echo();
    let slowly = [
        "diagnose",
        &server.tcp,
        "--json",
        "--max-rate",
        "100kbit",
        "-w",
        "6s",
    ];
    let told = document(&run(&slowly));
    let seconds = told["elapsed_ns"].as_f64().expect("a number") / 1e9;
    let bits = told["sent_bytes"].as_f64().expect("a number") * 8.0;
    // Connections and their ends are no trains.
    assert!(bits < 100_000.0 * seconds + 64_000.0, "{told:#}");
    let told = document(&run(&[
        "diagnose",
        &server.tcp,
        "--json",
        "--budget",
        "100kB",
    ]));
    assert!(told["sent_bytes"].as_u64() <= Some(100_000), "{told:#}");
    let left_out = told["steps"].as_array().expect("steps").iter();
    let spent = left_out.filter(|step| step["told"] == "the budget is spent");
    assert!(spent.count() > 2, "{told:#}");
}

#[test]
fn what_this_machine_refuses_is_no_fault_of_the_path() {
    let server = echo();
    for (asked, told) in [
        (["--interface", "nowhere0"], "no such device"),
        (["--bind", "192.0.2.77"], "cannot assign requested address"),
    ] {
        let ended = run(&[&["diagnose", &server.tcp][..], &asked].concat());
        ended.failed(3, &[told, "ip address"]);
    }
}

#[test]
fn what_has_no_path_or_no_echo_is_refused() {
    let refused = |target: &str, words: &[&str], told: &str| {
        let ended = run(&[&["diagnose", target][..], words].concat());
        ended.failed(2, &[told]);
    };
    refused("unix:/tmp/e.sock", &[], "no path to diagnose");
    refused("stamp://127.0.0.1", &[], "alone is no echo");
    refused("127.0.0.1:862", &["--stamp"], "alone is no echo");
    refused("127.0.0.1:1", &["--budget", "1k"], "100");
}

#[test]
fn what_is_said_in_spanish_is_spanish_throughout() {
    let scratch = Scratch::new("diagnose-es");
    let page = scratch.file("page.html", b"");
    let server = echo();
    let closed = closed_port().to_string();
    for target in [&server.tcp, &closed] {
        let words = ["diagnose", target, "--lang", "es", "--report", &page];
        let ended = run(&[&words[..], &BRIEF].concat());
        let page = std::fs::read_to_string(&page).expect("the page");
        assert!(page.contains("<html lang=\"es\">"), "{page}");
        let shown = page.split("<main>").nth(1).expect("a main part");
        let shown = shown
            .split("href=")
            .next()
            .expect("what comes before the document");
        for text in [ended.text(), shown] {
            for line in text.lines() {
                let english = [
                    " the ", " of ", " and ", " came ", " not ", "left out", " was ",
                ];
                let found = english.iter().find(|word| line.contains(**word));
                assert_eq!(found, None, "{line}");
            }
        }
    }
}

#[test]
fn a_server_that_waits_for_the_end_of_a_line_is_asked_in_lines() {
    let server = echo_with(Config {
        framing: vec![Framing::Lines.into()],
        ..Config::default()
    });
    let words = [&["diagnose", &server.tcp, "--json"], &BRIEF[..]].concat();
    let told = document(&run(&words));
    let found = told["findings"].as_array().expect("findings").iter();
    let found = found.map(|finding| finding["verdict"].as_str());
    assert!(
        found.clone().any(|found| found == Some("framing")),
        "{told:#}"
    );
    assert_eq!(problems(&told), 0, "{told:#}");
}

#[test]
fn how_long_a_silence_may_take_is_said_before_it_begins() {
    let closed = closed_port().to_string();
    let words = ["diagnose", &closed, "--idle", "1s"];
    let ended = run(&[&words[..], &BRIEF].concat());
    let first = ended.text().lines().next();
    assert_eq!(
        first,
        Some("with --idle this takes up to 1m22s"),
        "{ended:?}"
    );
}
