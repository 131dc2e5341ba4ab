//! `ping` against the server's faults: what the client counts is what the server tells.

use std::collections::HashMap;

use crate::common::*;
use echo_server::event::Kind;
use serde_json::Value;

/// The faults that the server told so far, by name.
fn told(echo: &Echo) -> HashMap<&'static str, u64> {
    let mut counts = HashMap::new();
    assert_eq!(echo.handle.stats().missed, 0);
    while let Some(event) = echo.handle.events().try_next() {
        if let Kind::Fault { what, .. } = event.kind {
            *counts.entry(what.name).or_default() += 1;
        }
    }
    counts
}

fn ping(target: &str, count: &str) -> impl Fn(&str) -> u64 {
    let ended = run(&[
        "ping", "--json", "-W", "3s", "-i", "1ms", "-c", count, target,
    ]);
    let document: Value = serde_json::from_slice(&ended.stdout).expect("a document");
    move |key| document[key].as_u64().expect(key)
}

#[test]
fn a_ping_counts_exactly_what_the_server_tells() {
    let echo = faulty(&["drop=20%", "duplicate=5%", "corrupt=1%"]);
    let seen = ping(&echo.udp, "2000");
    let told = told(&echo);
    let [drop, duplicate, corrupt] = ["drop", "duplicate", "corrupt"].map(|name| told[name]);
    assert_eq!(
        (seen("lost"), seen("duplicate"), seen("corrupt")),
        (drop + corrupt, duplicate, corrupt)
    );
    assert_eq!(
        (seen("sent"), seen("received")),
        (2000, 2000 - drop + duplicate)
    );
    assert_eq!(
        ["foreign", "truncated", "reordered", "late"].map(&seen),
        [0; 4]
    );
    // The shares that were asked for: 20 % of all, 1 % and 5 % of what was left, to within five
    // standard deviations.
    for (count, expected, deviation) in [
        (drop, 400.0, 17.9),
        (corrupt, 16.0, 4.0),
        (duplicate, 79.2, 8.7),
    ] {
        let off = (count as f64 - expected).abs();
        assert!(off < 5.0 * deviation, "{told:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_counts() {
    let run = || {
        let echo = faulty(&["drop=30%", "truncate=30,msg=10%", "reorder=10%,msg=..199"]);
        let seen = ping(&echo.udp, "200");
        let told = told(&echo);
        assert_eq!(seen("reordered"), told["reorder"]);
        assert_eq!(seen("truncated"), told["truncate"]);
        (seen("lost"), told)
    };
    assert_eq!(run(), run());
}
