//! Targets side by side: each figure, its ratio to that of the first, and a verdict.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use echo_core::statistics::{self, Better, Pairing, Ratio, Verdict};

use crate::report::{Ending, Fault, Figure, Outcome, Report, Round, Thresholds};

/// Targets side by side.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What each is called, no two of them alike.
    pub names: Vec<String>,
    /// What was measured of each; the first is what the others are held against.
    pub targets: Vec<Report>,
    /// How their rounds belong together.
    pub pairing: Pairing,
    /// The figures that all of them have.
    pub rows: Vec<Row>,
    /// How all of it ended, once it has been judged.
    pub outcome: Outcome,
}

/// One figure of all targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which.
    pub figure: Figure,
    /// What each target has of it.
    pub cells: Vec<Cell>,
}

/// One figure of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The middle of the rounds.
    pub value: f64,
    /// Round by round.
    pub rounds: Vec<f64>,
    /// Against the first target; of that itself, nothing.
    pub ratio: Option<Ratio>,
}

impl Comparison {
    /// Holds each of the targets against the first.
    ///
    /// # Errors
    /// There is nothing to compare, or what was done to them differs.
    pub fn of(targets: Vec<Report>, pairing: Pairing, seed: u64) -> Result<Self> {
        let names = names(&targets);
        let [first, others @ ..] = &targets[..] else {
            bail!("there is nothing to compare");
        };
        for (name, other) in names[1..].iter().zip(others) {
            if let Some(difference) = other.difference(first) {
                bail!("{name} cannot be compared with {}: {difference}", names[0]);
            }
        }
        let rounds: Vec<Vec<Round>> = targets.iter().map(Report::as_rounds).collect();
        let row = |figure| Row::of(figure, &rounds, pairing, seed);
        let rows = Figure::ALL.into_iter().filter_map(row).collect();
        Ok(Comparison {
            names,
            targets,
            pairing,
            rows,
            outcome: Outcome::default(),
        })
    }

    /// Applies to every target but the first the conditions about how much a figure may differ
    /// from the first's, and decides how all of it ended.
    pub fn judge(&mut self, thresholds: &Thresholds) {
        for threshold in thresholds.changes() {
            let row = self
                .rows
                .iter()
                .find(|row| Some(row.figure) == threshold.metric.figure());
            for (i, target) in self.targets.iter_mut().enumerate().skip(1) {
                let ratio = row.and_then(|row| row.cells[i].ratio);
                target.decide(threshold, ratio.map(|ratio| (ratio.ratio - 1.0) * 100.0));
            }
        }
        self.conclude();
    }

    /// How all of it ended: as the target did that ended worst.
    fn conclude(&mut self) {
        let mut whole = Outcome::default();
        for (name, target) in self.names.iter().zip(&self.targets) {
            let outcome = &target.outcome;
            whole.exit_code = whole.exit_code.max(outcome.exit_code);
            whole.by = whole.by.or(outcome.by);
            if whole.result != Ending::Failed && outcome.result != Ending::Passed {
                whole.result = outcome.result;
            }
            let told =
                |reason: &Fault| Fault::new(reason.kind, format!("{name}: {}", reason.message));
            whole.reasons.extend(outcome.reasons.iter().map(told));
        }
        self.outcome = whole;
    }
}

impl Row {
    /// `None` where a target has no such figure.
    fn of(figure: Figure, rounds: &[Vec<Round>], pairing: Pairing, seed: u64) -> Option<Self> {
        let count = rounds.iter().map(Vec::len).min()?;
        // A round in turn that lacks the figure of one target says nothing of the others either.
        let is_whole = |round: &usize| {
            let mut of_all = rounds.iter().map(|rounds| figure.of(&rounds[*round]));
            of_all.all(|figure| figure.is_some())
        };
        let whole: Vec<usize> = (0..count).filter(is_whole).collect();
        let series: Vec<Vec<f64>> = rounds
            .iter()
            .map(|rounds| match pairing {
                Pairing::InTurn => whole
                    .iter()
                    .filter_map(|i| figure.of(&rounds[*i]))
                    .collect(),
                Pairing::Apart => rounds.iter().filter_map(|r| figure.of(r)).collect(),
            })
            .collect();
        let base = series.first()?.clone();
        let cells = series.into_iter().enumerate().map(|(i, rounds)| {
            let ratio = match i {
                0 => None,
                _ => Some(Ratio::of(&rounds, &base, pairing, seed)?),
            };
            Some(Cell {
                value: statistics::figure(&rounds)?,
                rounds,
                ratio,
            })
        });
        let cells = cells.collect::<Option<_>>()?;
        Some(Row { figure, cells })
    }

    /// What the ratio of a cell says.
    pub fn verdict(&self, cell: &Cell) -> Option<Verdict> {
        let better = match self.figure.is_gain() {
            true => Better::More,
            false => Better::Less,
        };
        cell.ratio.map(|ratio| ratio.verdict(better))
    }
}

/// What the targets are called: a label, else the target; numbered where two are called alike.
fn names(targets: &[Report]) -> Vec<String> {
    let mut seen = BTreeMap::<&str, u32>::new();
    targets
        .iter()
        .map(|report| {
            let name = report.label.as_deref().unwrap_or(&report.target.name);
            let times = seen.entry(name).or_default();
            *times += 1;
            match *times {
                1 => name.to_owned(),
                times => format!("{name} ({times})"),
            }
        })
        .collect()
}
