//! What the tool of Prometheus says of an answer; the tests of both programs ask it.

use std::io::Write;
use std::process::{Command, Stdio};

/// Passes an answer's metrics to promtool, which has nothing to say of them. Skips where there is none.
pub fn promtool_checks(answer: &str) {
    let mut promtool = Command::new("promtool");
    let promtool = promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let spawned = promtool
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        return eprintln!("skipped: promtool is not on this machine");
    };
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(body.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && told.is_empty(),
        "{}",
        String::from_utf8_lossy(&told)
    );
}
