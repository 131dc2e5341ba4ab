//! What the document of a message says became of it, and what a threshold makes of that.

use std::io::Write;

use crate::common::*;
use crate::send::DEFAULT;

/// The document of a run, its exit code, and the books, which must balance.
#[track_caller]
fn document(args: &[&str], input: &[u8]) -> (serde_json::Value, Option<i32>) {
    let ended = run_with(&[args, &["--json"]].concat(), input);
    let document: serde_json::Value =
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let report = echo_client::report::read(ended.text()).expect("it reads back");
    assert!(report.counts.balance(), "{document:#}");
    (document, ended.code)
}

#[test]
fn a_document_says_what_became_of_the_message() {
    let echo = echo();
    let shouts = udp(|_, bytes, reply| reply(&bytes.to_ascii_uppercase()));
    let short = faulty(&["close-after=5"]);
    let silent = faulty(&["drop"]);
    let closed = closed_port().to_string();
    let quick = "-W=100ms";
    for (args, result, kind, code, counted) in [
        (&[echo.tcp.as_str()][..], "passed", None, 0, "unique"),
        (&[&echo.udp], "passed", None, 0, "unique"),
        (&[&echo.tcp, "-m", "-"], "passed", None, 0, "unique"),
        (&[&shouts], "failed", Some("mismatch"), 1, "corrupt"),
        (&[&short.tcp], "failed", Some("closed"), 1, "truncated"),
        (&[&silent.udp, quick], "failed", Some("timeout"), 1, "lost"),
        (&[&silent.tcp, quick], "failed", Some("timeout"), 1, "lost"),
        (&[&closed], "failed", Some("refused"), 3, "connections"),
    ] {
        let (document, exit) = document(args, b"hello\n");
        assert_eq!(document["outcome"]["result"], result, "{document:#}");
        assert_eq!(document["error"]["kind"].as_str(), kind, "{document:#}");
        assert_eq!(exit, Some(code));
        assert_eq!(document[counted], u64::from(code != 3), "{document:#}");
    }
    let (document, _) = document(&[&echo.tcp, "-m", "hello"], b"");
    let keys = ["sent_bytes", "received_bytes", "rtt_samples"];
    assert_eq!(
        keys.map(|key| document[key].as_u64()),
        [Some(5), Some(5), Some(1)]
    );
}

#[test]
fn a_threshold_decides_of_a_message_too() {
    let echo = echo();
    let ended = run(&[&echo.tcp, "--fail-if", "max>1ns"]);
    ended.failed(1, &["--fail-if: broken: max <= 1ns"]);
    assert_eq!(ended.text(), DEFAULT);
    run(&[&echo.tcp, "--fail-if", "max>1h"]).said(DEFAULT);
    // Of a stream nobody knows when it was due.
    run_with(&[&echo.tcp, "-m", "-", "--fail-if", "max>1h"], b"x")
        .failed(1, &["nothing was measured"]);
    run(&["--json", "--raw"]).failed(2, &["--raw"]);
}

#[test]
fn what_is_stopped_before_its_echo_comes_is_under_way_and_not_lost() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_read_timeout(Some(DEADLINE)).unwrap();
    let target = format!("udp://{}", silent.local_addr().unwrap());
    let client = start(&["--json", "--timeout", "1h", "-m", "hi", &target]);
    // Once it has been sent.
    silent.recv(&mut [0; 1024]).unwrap();
    client.interrupt();
    let ended = client.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let document: serde_json::Value = serde_json::from_str(ended.text()).unwrap();
    let told = ["sent", "lost", "under_way"].map(|count| document[count].as_u64());
    assert_eq!(told, [Some(1), Some(0), Some(1)], "{document:#}");
}

#[test]
fn an_interrupt_between_two_messages_cuts_a_stream_short() {
    let echo = echo();
    let mut client = start(&[&echo.tcp, "-m", "-", "--json"]);
    let stdin = client.child.stdin.as_mut().unwrap();
    stdin.write_all(b"one\n").unwrap();
    eventually(|| echo.handle.stats().sent_bytes >= 4);
    client.interrupt();
    let stdin = client.child.stdin.take();
    let ended = client.end();
    drop(stdin);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    let document: serde_json::Value = serde_json::from_str(ended.text()).unwrap();
    assert_eq!(document["outcome"]["result"], "cut short", "{document:#}");
}
