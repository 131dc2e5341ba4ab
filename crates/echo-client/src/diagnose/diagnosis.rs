//! All that a diagnosis found out, as data and as one JSON document.

use std::time::Duration;

use echo_explain::{Lang, Phrases, Texts};
use serde::Serialize;
use serde_json::{Value, json};

use super::Told;
use super::finding::{Finding, Kind};
use super::path::{Hop, Path};
use crate::connection::ErrorKind;
use crate::interrupt::Why;
use crate::report::{Fault, Outcome};

/// The version of the document; it changes when a key's meaning does.
const SCHEMA: u32 = 1;

/// What came of a diagnosis.
#[derive(Debug)]
pub struct Diagnosis {
    /// How it ended: it fails when there is a problem.
    pub outcome: Outcome,
    /// The target as it was written.
    pub target: String,
    /// Where the probes went to.
    pub address: Option<String>,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
    /// What was done, in order.
    pub steps: Vec<Done>,
    /// Who answered on the way.
    pub hops: Vec<Hop>,
    /// Bytes that were sent, headers included.
    pub sent_bytes: u64,
    /// Bytes that came back, headers included.
    pub received_bytes: u64,
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
    pub fn new(name: &'static str, told: anyhow::Result<Told>, elapsed: Duration) -> Self {
        let (told, left_out) = match told {
            Ok(Told::Seen(told)) => (told, false),
            Ok(Told::LeftOut(why)) => (why, true),
            Err(error) => (format!("{error:#}"), true),
        };
        Done {
            name,
            told,
            left_out,
            elapsed,
        }
    }

    /// The step in a line.
    pub fn line(&self, phrases: &Phrases) -> String {
        let told = phrases.say(&self.told);
        match self.left_out {
            true => format!("{:<8} {}: {told}", self.name, phrases.say("left out")),
            false => format!("{:<8} {told}", self.name),
        }
    }
}

impl Diagnosis {
    /// What is known of `path`; `why` says what stopped the probes, if anything did.
    pub fn of(path: &Path<'_>, findings: Vec<Finding>, steps: Vec<Done>, why: Option<Why>) -> Self {
        let elapsed = path.spent.start.elapsed();
        let texts = Texts::of_verdicts(Lang::En);
        let mut outcome = Outcome::default();
        for problem in findings.iter().filter(|found| found.kind == Kind::Problem) {
            let told = format!("{}: {}", problem.verdict, problem.title(&texts));
            outcome.fail(Fault::new(ErrorKind::Path, told));
        }
        if let Some(why) = why {
            outcome.cut(why, elapsed);
        }
        Diagnosis {
            outcome,
            target: path.connect.target.to_string(),
            address: path.remote.map(|remote| remote.to_string()),
            findings,
            steps,
            hops: path.hops.clone(),
            sent_bytes: path.spent.sent_bytes,
            received_bytes: path.spent.received_bytes,
            elapsed,
        }
    }

    /// The whole as one document, with a final newline.
    pub fn json(&self) -> String {
        let texts = Texts::of_verdicts(Lang::En);
        let told = |finding: &Finding| {
            let mut told = serde_json::to_value(finding).expect("every key is a string");
            told["title"] = finding.title(&texts).into();
            told["means"] = finding.means(&texts).into();
            told["next"] = finding.next(&texts).into();
            told
        };
        let document: Value = json!({
            "schema": SCHEMA,
            "version": env!("CARGO_PKG_VERSION"),
            "mode": "diagnose",
            "outcome": self.outcome,
            "target": self.target,
            "address": self.address,
            "findings": self.findings.iter().map(told).collect::<Vec<_>>(),
            "steps": self.steps,
            "hops": self.hops,
            "sent_bytes": self.sent_bytes,
            "received_bytes": self.received_bytes,
            "elapsed_ns": self.elapsed.as_nanos() as u64,
        });
        format!("{document:#}\n")
    }
}
