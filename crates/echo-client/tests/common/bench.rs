//! `bench` as a user runs it, and its document taken apart.

use std::net::TcpStream;

use serde_json::Value;

use super::{echo_changed, run};

/// Runs `bench --json` with short warm-up, and takes the document apart. Its exit code must be
/// `code`, and its books must balance.
#[track_caller]
pub fn bench(code: i32, args: &[&str]) -> Value {
    let args = [&["bench", "--json", "--warmup", "0"], args].concat();
    let ended = run(&args);
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stderr.is_empty(), code == 0, "{ended:?}");
    let report: Value = serde_json::from_str(ended.text()).expect("one document");
    let count = |key: &str| report[key].as_u64().expect(key);
    assert_eq!(count("sent"), count("unique") + count("lost"), "{report}");
    let others = ["duplicate", "corrupt", "truncated", "foreign"];
    let others: u64 = others.into_iter().map(count).sum();
    assert_eq!(count("received"), count("unique") + others, "{report}");
    report
}

/// The counts of a report, in this order.
pub fn counts<const N: usize>(report: &Value, keys: [&str; N]) -> [u64; N] {
    keys.map(|key| report[key].as_u64().expect(key))
}

/// The error's kind, or nothing.
pub fn kind(report: &Value) -> &str {
    report["error"]["kind"].as_str().unwrap_or_default()
}

/// Echoes `stream` until it ends, with `change` made to each piece.
pub fn echo_stream(stream: TcpStream, change: impl FnMut(&mut Vec<u8>)) {
    echo_changed(&stream, change);
}
