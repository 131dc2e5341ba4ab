//! What `diagnose` prints, and what it refuses; what it finds is tested in laboratories.

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use echo_core::framing::Framing;
use echo_server::{Config, Server};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use super::report::check_as;
use crate::common::{Ended, Scratch, closed_port, echo, echo_with, eventually, run, start, tcp};
use crate::signals::by_shell;

/// Little enough for a test, and enough for each step that does not load the path.
pub const BRIEF: [&str; 3] = ["--gentle", "--budget", "150kB"];

/// The one document that was printed, which is as its schema says.
#[track_caller]
pub fn document(ended: &Ended) -> Value {
    let document: Value = serde_json::from_str(ended.text()).expect("one document");
    let schema = include_str!("../../../../docs/diagnosis.schema.json");
    assert_eq!(check_as(schema, &document), [""; 0], "{document:#}");
    let code = document["outcome"]["exit_code"].as_i64();
    assert_eq!(code, ended.code.map(i64::from), "{ended:?}");
    document
}

/// What is wrong, verdict by verdict.
pub fn problems(document: &Value) -> Vec<&str> {
    let found = document["findings"].as_array().expect("findings").iter();
    let problems = found.filter(|finding| finding["kind"] == "problem");
    problems
        .filter_map(|finding| finding["verdict"].as_str())
        .collect()
}

#[test]
fn the_document_of_a_good_path_and_of_a_bad_one_are_as_the_schema_says() {
    let server = echo();
    let good = document(&run(
        &[&["diagnose", &server.tcp, "--json"], &BRIEF[..]].concat()
    ));
    assert_eq!(problems(&good), [""; 0], "{good:#}");
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
    for part in [
        "<svg class=\"path\"",
        "127.0.0.1",
        "class=\"told bad\"",
        "FAILED",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn who_is_interrupted_tells_what_is_known_so_far() {
    let server = echo();
    let client = start(&["diagnose", &server.tcp, "--json"]);
    eventually(|| server.handle.stats().datagrams >= 100);
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
        assert_eq!(problems(&cut), [""; 0], "{limit}: {cut:#}");
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
    refused("127.0.0.1:1", &["--max-rate", "20"], "100kbit");
    refused("127.0.0.1:1", &["-B", "127.0.0.1:40000"], "without a port");
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
    assert!(verdicts(&told).contains(&"framing"), "{told:#}");
    assert_eq!(problems(&told), [""; 0], "{told:#}");
}

#[test]
fn who_waits_for_a_line_and_answers_something_else_is_no_echo_server() {
    let http = tcp(|_, stream| {
        let mut line = Vec::new();
        let mut request = BufReader::new(&stream);
        let _: std::io::Result<usize> = request.read_until(b'\n', &mut line);
        let mut answer = &stream;
        let _: std::io::Result<()> = answer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let words = [&["diagnose", http.as_str(), "--json"], &BRIEF[..]].concat();
    let told = document(&run(&words));
    assert_eq!(problems(&told), ["not-echo"], "{told:#}");
}

#[test]
fn who_never_answered_over_udp_nor_with_an_echo_has_not_stopped() {
    let mute = tcp(|_, mut stream| {
        let _: std::io::Result<u64> = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let lines = Config {
        listen: vec!["tcp://127.0.0.1:0".parse().unwrap()],
        framing: vec![Framing::Lines.into()],
        ..Config::default()
    };
    let lines = Server::bind(lines).and_then(Server::spawn).unwrap();
    let address = lines.addresses()[0].socket().unwrap().to_string();
    for (target, wanted) in [(&mute, "tcp-no-echo"), (&address, "framing")] {
        let words = [&["diagnose", target.as_str(), "--json"], &BRIEF[..]].concat();
        let told = document(&run(&words));
        let found = verdicts(&told);
        assert!(found.contains(&wanted), "{told:#}");
        assert!(found.contains(&"udp-refused"), "{told:#}");
        assert!(!found.contains(&"stopped"), "{told:#}");
    }
}

#[test]
fn how_long_a_silence_may_take_is_said_before_it_begins() {
    let closed = closed_port().to_string();
    let words = ["diagnose", &closed, "--idle", "1s"];
    let ended = run(&[&words[..], &BRIEF].concat());
    let first = ended.text().lines().next();
    assert_eq!(
        first,
        Some("with --idle this takes up to about 1m21s"),
        "{ended:?}"
    );
}

/// What was found, verdict by verdict.
pub fn verdicts(document: &Value) -> Vec<&str> {
    let found = document["findings"].as_array().expect("findings").iter();
    found
        .filter_map(|finding| finding["verdict"].as_str())
        .collect()
}

#[test]
fn a_port_is_refused_by_whichever_address_of_this_machine_it_is_asked_for() {
    let port = closed_port().port();
    for host in ["[::ffff:127.0.0.1]", "0.0.0.0", "[::]"] {
        let target = format!("{host}:{port}");
        let told = document(&run(
            &[&["diagnose", &target, "--json"], &BRIEF[..]].concat()
        ));
        let found = verdicts(&told);
        assert_eq!(found, ["udp-refused", "tcp-refused"], "{host}: {told:#}");
    }
}

#[test]
fn too_few_open_files_are_this_machines_own_fault_and_nothing_is_said_of_the_path() {
    let server = echo();
    let words = [&["diagnose", &server.tcp, "--json"], &BRIEF[..]].concat();
    for limit in ["ulimit -n 8", "ulimit -n 9"] {
        let told = document(&by_shell(limit, &words).end());
        assert_eq!(problems(&told), [""; 0], "{limit}: {told:#}");
        let found = told["findings"][0]["came"].as_str();
        let is_told = |word| found.is_some_and(|found| found.contains(word));
        assert!(is_told("too many open files"), "{limit}: {told:#}");
        assert!(is_told("ulimit -n"), "{limit}: {told:#}");
    }
}

#[test]
fn whether_anybody_is_there_is_unknown_where_this_machine_cannot_ask() {
    let server = echo();
    let words = [&["diagnose", &server.tcp, "--json"], &BRIEF[..]].concat();
    let client = start(&words);
    eventually(|| server.handle.stats().datagrams >= 100);
    // From now on it opens nothing, and then nobody answers any more.
    let few = Rlimit {
        current: Some(3),
        maximum: Some(3),
    };
    let child = Pid::from_child(&client.child);
    prlimit(Some(child), Resource::Nofile, few).expect("it is ours");
    drop(server);
    let told = document(&client.end());
    let is_unknown = |verdict: &&str| *verdict == "unjudged";
    assert!(verdicts(&told).iter().all(is_unknown), "{told:#}");
    let found = told["findings"].as_array().expect("findings");
    let found = found.iter().find(|found| {
        found["title"]
            .as_str()
            .is_some_and(|title| title.starts_with("steady"))
    });
    assert!(
        found.is_some_and(|found| found.to_string().contains("too many open files")),
        "{told:#}"
    );
}

#[test]
fn who_sends_one_reply_again_and_again_holds_up_no_train() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let target = format!("udp://{}", socket.local_addr().expect("an address"));
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        let mut count = 0;
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            count += 1;
            // One is swallowed, and the next comes for ever.
            match count {
                100 => continue,
                101 => {
                    let (reply, socket) = (buffer[..len].to_vec(), socket.try_clone().unwrap());
                    thread::spawn(move || {
                        while socket.send_to(&reply, from).is_ok() {
                            thread::sleep(Duration::from_millis(100));
                        }
                    });
                }
                _ => {}
            }
            let _: std::io::Result<usize> = socket.send_to(&buffer[..len], from);
        }
    });
    let words = [&["diagnose", &target, "--json", "-w", "25s"], &BRIEF[..]].concat();
    let told = document(&run(&words));
    assert_ne!(told["outcome"]["result"], "cut short", "{told:#}");
}
