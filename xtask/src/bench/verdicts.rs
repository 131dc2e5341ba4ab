//! Whether `echo-client bench A B` tells the truth: of a server that is slower by exactly 5 %, and
//! of one that is not slower at all.

use std::time::Duration;

use anyhow::{Context, Result};

use super::contender::Running;
use super::fact::Fact;
use super::lab::Lab;

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
    let mut answers: Vec<(&str, String, String)> = Vec::new();
    for run in 1..=RUNS {
        eprintln!("bench: verdicts, run {run} of {RUNS}");
        let rounds = format!("--control --rounds 15 --duration 250ms --warmup 50ms --seed {run}");
        let told = match lab.bench(&[&base, &slower], &rounds) {
            Ok(told) => told,
            // No answer is no right one.
            Err(error) => {
                eprintln!("bench: {error:#}");
                continue;
            }
        };
        for figure in told["figures"].as_array().context("no figures")? {
            let [name, target, verdict] =
                ["figure", "target", "verdict"].map(|key| figure[key].as_str().unwrap_or_default());
            let name = ["p50", "rate"].into_iter().find(|known| *known == name);
            answers.extend(name.map(|name| (name, target.to_owned(), verdict.to_owned())));
        }
    }
    let address = slower.address.to_string();
    let questions = [
        ("5 % slower", address.as_str(), "slower", 19),
        ("the same", "control", "tie", 18),
    ];
    let facts = questions
        .into_iter()
        .flat_map(|(title, target, right, least)| {
            let answers = &answers;
            ["p50", "rate"].map(move |figure| {
                let of = answers
                    .iter()
                    .filter(|(f, t, _)| *f == figure && t == target);
                let said =
                    |word: &str| of.clone().filter(|(_, _, verdict)| verdict == word).count();
                let [faster, slower, tie, unknown] =
                    ["faster", "slower", "tie", "unknown"].map(said);
                Fact {
                    title: format!("verdict of 15 rounds on a server that is {title}"),
                    measure: figure,
                    value: format!(
                        "{slower} slower, {faster} faster, {tie} tie, {unknown} unknown"
                    ),
                    target: format!("{right} in {least} of {RUNS}"),
                    pass: said(right) >= least,
                }
            })
        });
    Ok(facts.collect())
}

/// A server that works so long for each echo.
fn working(lab: &Lab, work: Duration) -> Result<Running> {
    lab.start_peer("blocking", &[&work.as_nanos().to_string()])
}
