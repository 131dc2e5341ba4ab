//! `--explain`: what is said of calls is what strace sees of them.

#[path = "../../../echo-server/tests/common/strace.rs"]
pub mod strace;

use std::path::Path;
use std::process::Command;

use crate::common::{DEADLINE, Scratch, closed_port, command, echo, run};
use strace::Calls;

/// Runs the client under strace. Returns what it told of its calls and what was seen of them.
fn watched(file: &Path, args: &[&str], code: i32) -> (Calls, Calls) {
    let mut words = strace::words(file).into_iter();
    let mut watched = Command::new(words.next().expect("strace"));
    watched
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let client = command(args);
    watched
        .args(words)
        .arg(client.get_program())
        .args(client.get_args());
    let output = assert_cmd::Command::from_std(watched)
        .timeout(DEADLINE)
        .output()
        .expect("strace runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    (Calls::told(&text), Calls::seen(file))
}

#[test]
fn the_explained_calls_are_those_that_strace_sees() {
    if !strace::works() {
        return;
    }
    let server = echo();
    let tcp = server.tcp.as_str();
    let closed = closed_port().to_string();
    explains(
        "strace-ipv4",
        &[
            (&["--explain=json", "--buffer=16", tcp][..], 0, 4),
            (
                &["--explain=json", "--half-close", "-B", "127.0.0.1", tcp],
                0,
                5,
            ),
            (&["--explain=json", &server.udp], 0, 3),
            (&["--explain=json", &closed], 3, 3),
        ],
    );
}

#[test]
fn over_ipv6_too_they_are_those_that_strace_sees() {
    if !strace::works() || !crate::common::has_ipv6() {
        return;
    }
    let server = crate::common::echo_on("[::1]:0");
    let tcp = server.addresses()[0].socket().expect("a port").to_string();
    let udp = format!("udp://{tcp}");
    explains(
        "strace-ipv6",
        &[
            (&["--explain=json", "--buffer=16", &tcp], 0, 4),
            (&["--explain=json", "-B", "::1", &tcp], 0, 5),
            (&["--explain=json", &udp], 0, 3),
        ],
    );
}

/// Runs of the client, each with its exit code and the number of calls it makes, tell what strace
/// sees.
fn explains(name: &str, runs: &[(&[&str], i32, usize)]) {
    let scratch = Scratch::new(name);
    let file = scratch.path("calls");
    for &(args, code, most) in runs {
        for _ in 0..5 {
            let (told, seen) = watched(&file, args, code);
            assert_eq!(told, seen, "{args:?}");
            assert_eq!(told.sockets.len(), most, "{args:?}: {told:?}");
        }
    }
}

#[test]
fn a_small_buffer_makes_several_reads_of_one_message() {
    let server = echo();
    let ended = run(&[
        "--explain=json",
        "--buffer=16",
        "-m",
        "nineteen bytes long",
        &server.tcp,
    ]);
    assert_eq!(ended.text(), "Received: \"nineteen bytes long\"\n");
    let told = Calls::told(&ended.stderr);
    let reads: Vec<_> = told.received.into_values().flatten().collect();
    assert_eq!(reads, [(16, 16), (16, 3), (16, 0)]);
}

#[test]
fn a_sentence_stands_by_each_call() {
    let server = echo();
    let ended = run(&["--explain", "--lang=es", &server.tcp]);
    for words in [
        "s.connect((\"127.0.0.1\", ",
        "efímero",
        "TIME_WAIT",
        "TCP es un flujo de bytes",
    ] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
}

#[test]
fn no_size_of_a_read_is_a_usage_error() {
    for size in ["0", "17MiB"] {
        run(&["--buffer", size, "127.0.0.1:1"]).failed(2, &["--buffer", size, "16MiB"]);
    }
}

/// What is told, on one line.
fn told(args: &[&str], code: i32) -> String {
    let ended = run(args);
    assert_eq!(ended.code, Some(code), "{ended:?}");
    ended
        .stderr
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_call_that_fails_is_told_with_its_reason() {
    let closed = closed_port().to_string();
    let scratch = Scratch::new("explain");
    let path = scratch.path("e.sock").display().to_string();
    let (udp, unix) = (format!("udp://{closed}"), format!("unix:{path}"));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(listener);
    let missing = format!("{unix}-missing");
    for (target, english, spanish) in [
        (&closed, "a refusal (RST)", "un rechazo (RST)"),
        (&udp, "ICMP port unreachable", "ICMP port unreachable"),
        (&unix, "nothing listens on it", "nadie escucha en él"),
        (&missing, "does not exist", "no existe"),
    ] {
        for (lang, words) in [("en", english), ("es", spanish)] {
            let text = told(&["--explain", "--lang", lang, target], 3);
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}

#[test]
fn a_connection_that_is_reset_is_told_with_its_reason() {
    let server = crate::common::tcp(|_, stream| {
        crate::common::read(&stream, 1);
        crate::common::reset(stream);
    });
    let text = told(&["--explain", &server], 1);
    assert!(text.contains("broken the connection off (RST)"), "{text}");
}
