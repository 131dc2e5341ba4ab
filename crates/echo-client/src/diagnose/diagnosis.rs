//! All that a diagnosis found out, as data and as one JSON document.

use std::time::Duration;

use echo_core::cause;
use echo_explain::{Lang, Phrases};
use serde::Serialize;
use serde_json::{Value, json};

use super::finding::Finding;
use super::path::Path;
use super::words::Words;
use crate::connection::ErrorKind;
use crate::interrupt::Why;
use crate::report::{Fault, Outcome};

/// The version of the document; it changes when a key's meaning does.
const SCHEMA: u32 = 1;

/// What came of a diagnosis.
pub struct Diagnosis<'a> {
    /// How it ended: it fails when there is a problem.
    pub outcome: Outcome,
    /// The path, as far as it is known, and what the probes have taken.
    pub path: &'a Path<'a>,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
    /// What was done, in order.
    pub steps: Vec<Done>,
    /// How long all took.
    pub elapsed: Duration,
}

/// One step, and what came of it.
#[derive(Debug, Serialize)]
pub struct Done {
    /// What it is called.
    pub name: &'static str,
    /// What was seen, or why nothing was, in English.
    pub told: String,
    /// Whether it was left out.
    pub left_out: bool,
    #[serde(rename = "elapsed_ns", with = "crate::report::document::nanos")]
    elapsed: Duration,
}

impl Done {
    /// A step that took so long.
    pub fn new(name: &'static str, told: &anyhow::Result<String>, elapsed: Duration) -> Self {
        Done {
            name,
            told: match told {
                Ok(told) => told.clone(),
                Err(why) => match why.downcast_ref() {
                    Some(refused) => cause(refused),
                    None => format!("{why:#}"),
                },
            },
            left_out: told.is_err(),
            elapsed,
        }
    }
}

impl<'a> Diagnosis<'a> {
    /// What is known of `path`; `why` says what stopped the probes, if anything did.
    pub fn of(
        path: &'a Path<'a>,
        findings: Vec<Finding>,
        steps: Vec<Done>,
        why: Option<Why>,
    ) -> Self {
        let elapsed = path.start.elapsed();
        let words = Words::of(Lang::En, Phrases::default());
        let mut outcome = Outcome::default();
        for problem in findings.iter().filter(|found| found.is_problem()) {
            outcome.fail(Fault::new(ErrorKind::Path, words.title(problem)));
        }
        if let Some(why) = why {
            outcome.cut(why, elapsed);
        }
        Diagnosis {
            outcome,
            path,
            findings,
            steps,
            elapsed,
        }
    }

    /// The whole as one document, with a final newline.
    pub fn json(&self) -> String {
        let words = Words::of(Lang::En, Phrases::default());
        let told = |finding: &Finding| {
            let mut told = json!({
                "verdict": finding.verdict,
                "kind": finding.kind,
                "values": finding.values,
            });
            for part in ["title", "sent", "came", "test", "means", "next"] {
                told[part] = words.say(finding, part).into();
            }
            if let Some(p) = finding.p {
                told["p"] = p.into();
            }
            if let Some(place) = &finding.place {
                told["where"] = place.as_str().into();
            }
            told
        };
        let path = self.path;
        let document: Value = json!({
            "schema": SCHEMA,
            "version": env!("CARGO_PKG_VERSION"),
            "mode": "diagnose",
            "outcome": self.outcome,
            "target": path.connect.target.to_string(),
            "address": path.remote.map(|remote| remote.to_string()),
            "findings": self.findings.iter().map(told).collect::<Vec<_>>(),
            "steps": self.steps,
            "hops": path.hops,
            "sent_bytes": path.sent_bytes,
            "received_bytes": path.received_bytes,
            "elapsed_ns": self.elapsed.as_nanos() as u64,
        });
        format!("{document:#}\n")
    }
}
