//! All that a diagnosis found out, as one JSON document.

use echo_explain::{Lang, Phrases};
use serde_json::json;

use super::finding::Finding;
use super::path::Path;
use super::words::Words;
use crate::connection::ErrorKind;
use crate::report::{Fault, Outcome};

/// The version of the document; it changes when a key's meaning does.
const SCHEMA: u32 = 1;

fn english() -> Words {
    Words::of(Lang::En, Phrases::default())
}

/// How it ended: it fails when there is a problem.
pub fn outcome(path: &Path<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    for problem in path.findings.problems() {
        outcome.fail(Fault::new(ErrorKind::Path, english().title(problem)));
    }
    if let Some(why) = path.interrupt.why() {
        outcome.cut(why, path.elapsed);
    }
    outcome
}

/// The whole, with a final newline.
pub fn json(path: &Path<'_>, outcome: &Outcome) -> String {
    let words = english();
    let told = |finding: &Finding| {
        let mut told = json!(finding);
        for part in ["title", "sent", "came", "test", "means", "next"] {
            told[part] = words.say(finding, part).into();
        }
        if let Some(place) = finding.place() {
            told["where"] = place.as_str().into();
        }
        told
    };
    let document = json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "mode": "diagnose",
        "outcome": outcome,
        "target": path.connect.target.to_string(),
        "address": path.remote.map(|remote| remote.to_string()),
        "findings": path.findings.all().iter().map(told).collect::<Vec<_>>(),
        "steps": path.steps,
        "hops": path.hops,
        "sent_bytes": path.sent_bytes,
        "received_bytes": path.received_bytes,
        "elapsed_ns": path.elapsed.as_nanos() as u64,
    });
    format!("{document:#}\n")
}
