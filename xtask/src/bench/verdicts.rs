//! Whether `echo-client bench A B` tells the truth: of a server that is slower by exactly 5 %, and
//! of one that is not slower at all.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::contender::Running;
use super::lab::Lab;
use super::report::Fact;

/// How often the same question is asked.
const RUNS: usize = 20;
/// What a server works for each echo: long beside the noise of a wake-up, short beside a round.
const WORK: Duration = Duration::from_micros(200);
/// How much slower one of them is.
const SLOWER: f64 = 0.05;

/// Asks, and counts the right answers.
pub fn measure(lab: &Lab) -> Result<Vec<Fact>> {
    let base = working(lab, WORK)?;
    // The work is not all of a round trip; 5 % of all of it are added.
    let before = lab.bench(&[&base], "--warmup 50ms --duration 2s")?;
    let p50 = before["rtt_p50_ns"]
        .as_f64()
        .context("no round trip was timed")?;
    let slower = working(lab, WORK + Duration::from_nanos((p50 * SLOWER) as u64))?;
    // Of each run, what it says of a figure and a target.
    let mut answers = Vec::new();
    for run in 1..=RUNS {
        eprintln!("bench: verdicts, run {run} of {RUNS}");
        let rounds = format!("--control --rounds 15 --duration 250ms --warmup 50ms --seed {run}");
        match lab.bench(&[&base, &slower], &rounds) {
            Ok(told) => answers.extend(told["figures"].as_array().context("no figures")?.clone()),
            // No answer is no right one.
            Err(error) => eprintln!("bench: {error:#}"),
        }
    }
    let slower = slower.address.to_string();
    let mut facts = Vec::new();
    for (title, target, right, least) in [
        ("5 % slower", &*slower, "slower", 19),
        ("the same", "control", "tie", 18),
    ] {
        for figure in ["p50", "rate"] {
            let of = |answer: &&Value| answer["figure"] == figure && answer["target"] == target;
            let of: Vec<&Value> = answers.iter().filter(of).collect();
            let said = |word: &str| of.iter().filter(|answer| answer["verdict"] == word).count();
            let words = ["slower", "faster", "tie", "unknown"];
            facts.push(Fact {
                title: format!("verdict of 15 rounds on a server that is {title}"),
                measure: figure,
                value: words
                    .map(|word| format!("{} {word}", said(word)))
                    .join(", "),
                target: format!("{right} in {least} of {RUNS}"),
                pass: said(right) >= least,
            });
        }
    }
    Ok(facts)
}

/// A server that works so long for each echo.
fn working(lab: &Lab, work: Duration) -> Result<Running> {
    lab.start_peer("blocking", &[&work.as_nanos().to_string()])
}
