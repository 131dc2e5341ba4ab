//! A comparison as text for a terminal, as a document, and as rows for a spreadsheet.

use std::fmt;

use echo_core::statistics::{Pairing, Verdict};
use serde_json::{Value, json};

use super::comparison::{Cell, Comparison, Row};
use crate::report::document::{self, SCHEMA};
use crate::report::{csv, wrapped};

/// What every terminal has room for.
const COLUMNS: usize = 80;

/// Shows a comparison as text.
pub struct Text<'a>(pub &'a Comparison);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison {
            names,
            rows,
            targets,
            ..
        } = self.0;
        writeln!(f, "--- {} ---", self.0.title())?;
        let width = names
            .iter()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(0);
        for row in rows {
            writeln!(f, "{}", row.figure.name())?;
            for (name, cell) in names.iter().zip(&row.cells) {
                let value = row.figure.shown(cell.value).to_string();
                let [ratio, verdict] = told(row, cell);
                let line = format!("  {name:<width$}  {value:<15} {ratio}  {verdict}");
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        for (name, target) in names.iter().zip(targets) {
            for note in &target.notes {
                wrapped(f, &format!("note: {name}: {note}"), COLUMNS)?;
            }
            for verdict in target.verdicts.iter().filter(|verdict| !verdict.failed) {
                writeln!(f, "{name}: {verdict}")?;
            }
        }
        let outcome = &self.0.outcome;
        for reason in &outcome.reasons {
            wrapped(
                f,
                &format!("{}: {}", outcome.result.name(), reason.message),
                COLUMNS,
            )?;
        }
        Ok(())
    }
}

/// The ratio of a cell, and what it says.
pub fn told(row: &Row, cell: &Cell) -> [String; 2] {
    let Some((ratio, verdict)) = cell.ratio.zip(row.verdict(cell)) else {
        return Default::default();
    };
    let told = match ratio.interval {
        Some([low, high]) => format!("{:.3}x ({low:.3} to {high:.3})", ratio.ratio),
        None => format!("{:.3}x", ratio.ratio),
    };
    [told, verdict.to_string()]
}

impl Comparison {
    /// How many targets, and how they were measured.
    pub fn title(&self) -> String {
        let rounds = || self.targets.iter().map(|target| target.as_rounds().len());
        let rounds = match (rounds().min().unwrap_or(0), rounds().max().unwrap_or(0)) {
            (1, 1) => "1 round".to_owned(),
            (fewest, most) if fewest == most => format!("{most} rounds"),
            (fewest, most) => format!("{fewest} to {most} rounds"),
        };
        let how = match self.pairing {
            Pairing::InTurn => "in turn",
            Pairing::Apart => "at different times",
        };
        format!("{} targets, {rounds} each, {how}", self.names.len())
    }

    /// The comparison as one JSON document, with a final newline.
    pub fn json(&self) -> String {
        let figures = self.lines(|row, name, cell| {
            let [low, high] = match cell.ratio.and_then(|ratio| ratio.interval) {
                Some(interval) => interval.map(Some),
                None => [None; 2],
            };
            let verdict = row.verdict(cell);
            json!({
                "figure": row.figure,
                "unit": row.figure.unit(),
                "target": name,
                "value": cell.value,
                "ratio": cell.ratio.map(|ratio| ratio.ratio),
                "ratio_low": low,
                "ratio_high": high,
                "rounds": cell.rounds,
                "verdict": verdict.map(Verdict::word),
                "rounds_needed": match verdict {
                    Some(Verdict::TooNoisy { needed }) => Some(needed),
                    _ => None,
                },
            })
        });
        let targets: Vec<Value> = self.targets.iter().map(document::value).collect();
        let document = json!({
            "schema": SCHEMA,
            "mode": "compare",
            "version": env!("CARGO_PKG_VERSION"),
            "outcome": self.outcome,
            "in_turn": self.pairing == Pairing::InTurn,
            "names": self.names,
            "figures": figures,
            "targets": targets,
        });
        format!("{document:#}\n")
    }

    /// A row for each figure of each target, for a spreadsheet.
    pub fn csv(&self) -> String {
        let heading = "figure,unit,target,value,ratio,ratio_low,ratio_high,rounds,verdict\n";
        let lines = self.lines(|row, name, cell| {
            let (figure, unit, value) = (row.figure.name(), row.figure.unit(), cell.value);
            let name = csv::quoted(name);
            let number = |number: Option<f64>| number.map_or(String::new(), |n| n.to_string());
            let interval = cell.ratio.and_then(|ratio| ratio.interval);
            let [low, high] = [0, 1].map(|i| number(interval.map(|interval| interval[i])));
            let ratio = number(cell.ratio.map(|ratio| ratio.ratio));
            let rounds = cell.rounds.len();
            let verdict = row.verdict(cell).map_or("", Verdict::word);
            format!("{figure},{unit},{name},{value},{ratio},{low},{high},{rounds},{verdict}\n")
        });
        heading.to_owned() + &lines.concat()
    }

    /// A value for each figure of each target.
    pub fn lines<T>(&self, line: impl Fn(&Row, &str, &Cell) -> T) -> Vec<T> {
        let mut lines = Vec::new();
        for row in &self.rows {
            let cells = self.names.iter().zip(&row.cells);
            lines.extend(cells.map(|(name, cell)| line(row, name, cell)));
        }
        lines
    }
}
