//! Saved runs beside one another: which can be, and by what they are judged.

use crate::common::{Scratch, echo, echo_on, faulty, run};
use crate::compare::document;
use echo_core::address::End;
use serde_json::Value;

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
    let page = files.path("page.html").display().to_string();
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
fn what_was_asked_of_a_comparison_is_asked_of_it_again() {
    let (fast, slow) = (echo(), faulty(&["delay=100ms"]));
    let files = Scratch::new("again");
    let short = ["-c", "5", "--warmup", "0", "--json"];
    let change = ["--fail-if", "p50>+10%"];
    let both = [&["bench", &fast.tcp, &slow.tcp][..], &short, &change].concat();
    let saved = run(&both);
    document(&saved, 1);
    let saved = files.file("both.json", saved.text().as_bytes());
    run(&["compare", &saved]).failed(1, &["broken: p50 <= +10%"]);
    // What is asked now takes the place of that.
    document(
        &run(&["compare", &saved, "--json", "--fail-if", "p50>1h"]),
        0,
    );

    let find = ["bench", &slow.tcp, "--find", "p50<1ms", "--rate", "2000"];
    let found = run(&[&find[..], &["-d", "50ms", "--warmup", "0", "--json"]].concat());
    let found = files.file("found.json", found.text().as_bytes());
    run(&["compare", &found, &found]).failed(1, &["p50<1ms is kept at no rate"]);
}

#[test]
fn of_saved_runs_that_were_cut_short_a_deadline_cut_the_worst() {
    let (echo, files) = (echo(), Scratch::new("cut"));
    let args = ["bench", &echo.tcp, "--json", "-c", "5", "--warmup", "0"];
    let run_of = |by: &str, exit_code: u8| {
        let mut one = document(&run(&args), 0);
        one["outcome"] = serde_json::json!({"result": "cut short", "by": by,
            "exit_code": exit_code, "reasons": [{"kind": "interrupted", "message": by}]});
        files.file(by, one.to_string().as_bytes())
    };
    let (user, deadline) = (run_of("interrupt", 0), run_of("deadline", 1));
    let told = run(&["compare", &user, &user, &deadline, "--json"]);
    assert_eq!(document(&told, 1)["outcome"]["by"], "deadline");
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
    // Longer rounds would not help.
    let told = run(&["compare", &one, &other, "--fail-if", "p50>+10%"]);
    told.failed(1, &["broken: p50 <= +10% (nothing was measured)"]);
    // A run without a name is called after its file.
    let note = format!("note: nothing came back from {other}");
    let words: Vec<_> = told.text().split_whitespace().collect();
    let text = words.join(" ");
    assert!(text.contains(&note) && !text.contains("no p50"), "{text}");
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
