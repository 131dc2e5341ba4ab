//! `--explain`: what is said of calls is what strace sees of them.

mod common;
#[path = "../../echo-server/tests/common/strace.rs"]
mod strace;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{DEADLINE, closed_port, command, echo, run};
use strace::Calls;

/// A file of this test's own, removed with it.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        let name = format!("echo-client-{name}-{}", std::process::id());
        File(std::env::temp_dir().join(name))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = std::fs::remove_file(&self.0);
    }
}

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
    let file = File::new("strace");
    let tcp = server.tcp.as_str();
    let closed = closed_port().to_string();
    for (args, code, most) in [
        (&["--explain=json", "--buffer=16", tcp][..], 0, 4),
        (
            &["--explain=json", "--half-close", "-B", "127.0.0.1", tcp],
            0,
            5,
        ),
        (&["--explain=json", &server.udp], 0, 3),
        (&["--explain=json", &closed], 3, 3),
    ] {
        for _ in 0..5 {
            let (told, seen) = watched(&file.0, args, code);
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
        "TCP es una corriente",
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
