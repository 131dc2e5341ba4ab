//! The rows of the comparison, which `echo-client bench` loads and measures in turn.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::comparison::{Figure, Goal, SEED};
use super::contender::Running;
use super::lab::Lab;
use super::plan::Row;

/// What was measured of a row.
pub struct Measured<'a> {
    /// The row.
    pub row: &'a Row,
    lab: &'a Lab,
    /// What each server gave, or why it could not be measured.
    pub series: BTreeMap<&'a str, Result<Series, String>>,
}

/// What one server gave.
pub struct Series {
    /// The row's figure, round by round.
    figures: Vec<f64>,
    /// Echoes per second, round by round.
    pub rates: Vec<f64>,
    /// The share of datagrams lost.
    pub lost: f64,
}

/// Measures all of a row's servers: those with a target in turn, the others one after another.
pub fn measure<'a>(lab: &'a Lab, row: &'a Row) -> Result<Measured<'a>> {
    let compared = row.compared();
    let document = bench(lab, row, &compared)?;
    let targets = document["targets"].as_array().context("no targets")?;
    let mut series = BTreeMap::new();
    for (server, told) in compared.into_iter().zip(targets) {
        series.insert(server, Ok(Series::of(told, &row.figure)?));
    }
    for other in &row.others {
        let alone = || Series::of(&bench(lab, row, &[other.as_str()])?, &row.figure);
        let measured = lab.plan.server(other).version().and_then(|_| {
            alone().map_err(|error| {
                eprintln!("bench: {other}: {error:#}");
                format!("{error:#}")
            })
        });
        series.insert(other, measured);
    }
    Ok(Measured { row, lab, series })
}

fn bench(lab: &Lab, row: &Row, servers: &[&str]) -> Result<Value> {
    let servers = servers.iter().map(|server| lab.start(server));
    let servers = servers.collect::<Result<Vec<Running>>>()?;
    let servers: Vec<&Running> = servers.iter().collect();
    let rounds = format!("{} --rounds {} --seed {SEED}", row.load, lab.rounds);
    lab.bench(&servers, &format!("{rounds} {}", lab.span()))
}

impl Series {
    /// Reads the rounds of a target from the client's document.
    fn of(told: &Value, figure: &Figure) -> Result<Self> {
        let rounds = told["rounds"].as_array().context("no rounds")?.iter();
        let rate = |round: &Value| {
            round["echoes_per_s"]
                .as_f64()
                .context("a round has no rate")
        };
        let [lost, sent] = ["lost", "sent"].map(|key| told[key].as_f64().unwrap_or(0.0));
        Ok(Series {
            figures: rounds
                .clone()
                .map(|round| figure.of(round))
                .collect::<Result<_>>()?,
            rates: rounds.map(rate).collect::<Result<_>>()?,
            lost: lost / sent,
        })
    }
}

impl Measured<'_> {
    /// The samples of a server that could be measured.
    pub fn samples(&self, server: &str) -> Option<&Series> {
        self.series.get(server)?.as_ref().ok()
    }

    /// A server's figure, where it could be measured.
    pub fn figure(&self, server: &str) -> Option<String> {
        self.row.figure.shown(&self.samples(server)?.figures)
    }

    /// What became of every target of the row.
    pub fn targets(&self) -> impl Iterator<Item = [String; 8]> {
        self.row
            .targets
            .iter()
            .filter_map(|(ours, against, at_most)| {
                let sides = [ours, against];
                let goal = Goal {
                    work: &self.row.title,
                    figure: &self.row.figure,
                    sides: sides.map(|side| self.lab.plan.server(side).name.as_str()),
                    at_most: *at_most,
                };
                let [ours, against] = sides.map(|side| self.samples(side));
                goal.cells([&ours?.figures, &against?.figures])
            })
    }
}
