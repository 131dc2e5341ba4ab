//! A figure beside another's, round by round, and the ratio that the two must reach.

use anyhow::{Context, Result};
use echo_core::statistics::{self, Better, Pairing, Ratio};
use serde::Deserialize;
use serde_json::Value;

/// What the rounds are shuffled and drawn again by: the same rounds give the same interval.
pub const SEED: u64 = 1;

/// What is read off each round.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Its name.
    pub name: String,
    unit: String,
    /// What it is called in what a load tells.
    key: String,
    /// The nanoseconds there that are one of its unit.
    ns: f64,
}

impl Figure {
    /// Reads it off.
    pub fn of(&self, told: &Value) -> Result<f64> {
        let value = told[&self.key].as_f64().filter(|value| *value > 0.0);
        let value = value.with_context(|| format!("a round has no {}", self.key));
        Ok(value? / self.ns)
    }

    /// The middle of several rounds, to as many digits as the noise leaves.
    pub fn shown(&self, rounds: &[f64]) -> Option<String> {
        let value = statistics::figure(rounds)?;
        let places = if value < 10.0 { 2 } else { 1 };
        Some(format!("{value:.places$} {}", self.unit))
    }
}

/// A ratio that must be reached.
pub struct Goal<'a> {
    /// What is done.
    pub work: &'a str,
    /// What is measured.
    pub figure: &'a Figure,
    /// Who has to reach it, and whom that one is held against.
    pub sides: [&'a str; 2],
    /// The most that the ratio may be.
    pub at_most: f64,
}

/// What [`Goal::cells`] are.
pub const HEADING: [&str; 8] = [
    "work", "measure", "of", " is at", "against", "ratio", " target", "verdict",
];

impl Goal<'_> {
    /// A row of a table: what was reached in rounds that were measured in turn; `None` of no rounds.
    pub fn cells(&self, rounds: [&[f64]; 2]) -> Option<[String; 8]> {
        let ratio = Ratio::of(rounds[0], rounds[1], Pairing::InTurn, SEED)?;
        let shown = match ratio.interval {
            Some([low, high]) => format!("{:.2}x ({low:.2} to {high:.2})", ratio.ratio),
            None => format!("{:.2}x", ratio.ratio),
        };
        Some([
            self.work.to_owned(),
            self.figure.name.clone(),
            self.sides[0].to_owned(),
            self.figure.shown(rounds[0])?,
            format!("{}, {}", self.sides[1], self.figure.shown(rounds[1])?),
            shown,
            format!("{:.2}x", self.at_most),
            self.verdict(ratio),
        ])
    }

    /// Whether the goal was reached, and what the ratio says by itself.
    fn verdict(&self, ratio: Ratio) -> String {
        let most = self.at_most;
        let reached = if ratio.ratio <= most { "pass" } else { "miss" };
        let is_sure = ratio
            .interval
            .is_some_and(|[low, high]| high <= most || low > most);
        let noise = if is_sure { "" } else { " within noise" };
        format!("{reached}{noise}, {}", ratio.verdict(Better::Less).word())
    }
}
