//! `bench --find`: the highest rate that keeps a condition, and what ends the search for it.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::common::{Scratch, echo, eventually, faulty, run, start, udp};
use crate::compare::document;
use serde_json::Value;

#[test]
fn a_search_finds_where_it_bends() {
    // One request at a time, each of which takes 2 ms: some 400 in a second.
    let slow = faulty(&["delay=2ms"]);
    let files = Scratch::new("search");
    let log = files.path("log").display().to_string();
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
        ("p99<5", "write p99<5ms"),
        ("loss<=1", "write loss<=1%"),
        ("p99=5ms", "<"),
        ("loss=1%", "0"),
        ("", "nothing"),
    ] {
        run(&["bench", &slow.tcp, "--find", condition]).failed(2, &[word]);
    }
}

#[test]
fn a_search_that_is_stopped_says_so_and_not_that_it_failed() {
    let server = echo();
    let args = ["bench", &server.tcp, "--find", "p50<1ns", "-d", "1h"];
    let client = start(&[&args[..], &["--warmup", "0"]].concat());
    eventually(|| server.handle.stats().received_bytes >= 5_000);
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
    // Each step connects anew.
    eventually(|| server.handle.stats().accepted >= 2);
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
fn a_search_whose_server_dies_in_the_midst_fails_for_that() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = server.local_addr().unwrap().to_string();
    // Two rates are served, each on a connection of its own, and then nobody listens.
    let dying = thread::spawn(move || {
        let serve = |(mut stream, _): (TcpStream, SocketAddr)| {
            let mut answer = stream.try_clone().unwrap();
            let _: io::Result<u64> = io::copy(&mut stream, &mut answer);
        };
        serve(server.accept().expect("a connection"));
        let last = server.accept().expect("another connection");
        drop(server);
        serve(last);
    });
    let kept = "loss<50%,late<50%,unsent<100000,p50<10s";
    let args = ["bench", &target, "--find", kept, "--rate", "100"];
    let more = ["-d", "100ms", "--warmup", "0", "--json"];
    let ended = run(&[&args[..], &more].concat());
    dying.join().unwrap();
    ended.failed(3, &[&target, "refused"]);
    let curve = &document(&ended, 3)["curve"];
    assert_eq!(curve["kept_per_s"], 200.0, "{curve}");
    assert_eq!(curve["steps"].as_array().map(Vec::len), Some(2), "{curve}");
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
