//! A comparison as text for a terminal, as a document, and as rows for a spreadsheet.

use echo_core::statistics::{Pairing, Verdict};
use serde_json::{Value, json};

use super::comparison::Comparison;
use crate::report::document::{self, SCHEMA};
use crate::report::format::quotient;
use crate::report::{Metric, Table, csv, significant, wrapped};

impl Comparison {
    /// How many targets, and how they were measured.
    pub fn title(&self) -> String {
        let rounds = || self.targets.iter().map(|target| target.rounds.len().max(1));
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

    /// A row for each figure of each target.
    pub fn table(&self) -> Table {
        let mut table = Table::new(&["figure", "target", "measured", "ratio", "verdict"]);
        for figure in &self.figures {
            // Ratios are shown to as many digits.
            let value = figure.metric.unit().shown(figure.value, 4);
            let mut row = vec![
                figure.metric.to_string(),
                self.names[figure.target].clone(),
                value,
            ];
            if let Some((ratio, verdict)) = figure.ratio {
                let interval = ratio.interval.map(|range| range.map(quotient));
                let interval = interval.map(|[low, high]| format!(" ({low} to {high})"));
                let (ratio, interval) = (quotient(ratio.ratio), interval.unwrap_or_default());
                row.push(format!("{ratio}x{interval}"));
                row.push(verdict.to_string());
            }
            row.resize(table.heads.len(), String::new());
            table.rows.push(row);
        }
        table
    }

    /// The comparison as one JSON document, with a final newline.
    pub fn json(&self) -> String {
        let targets: Vec<Value> = self.targets.iter().map(document::value).collect();
        let document = json!({
            "schema": SCHEMA,
            "mode": "compare",
            "version": env!("CARGO_PKG_VERSION"),
            "outcome": self.outcome,
            "in_turn": self.pairing == Pairing::InTurn,
            "names": self.names,
            "figures": self.rows().collect::<Vec<_>>(),
            "targets": targets,
        });
        format!("{document:#}\n")
    }

    /// A row for each figure of each target, for a spreadsheet.
    pub fn csv(&self) -> String {
        let columns = "figure,unit,target,value,ratio,ratio_low,ratio_high,rounds,verdict";
        csv::rows(columns, self.rows())
    }

    fn rows(&self) -> impl Iterator<Item = Value> {
        self.figures.iter().map(|figure| {
            let (ratio, verdict) = figure.ratio.unzip();
            let interval = ratio.and_then(|ratio| ratio.interval);
            let needed = match verdict {
                Some(Verdict::TooNoisy { needed }) => Some(needed),
                _ => None,
            };
            json!({
                "figure": figure.metric,
                "unit": match figure.metric {
                    Metric::Rate => "echoes/s",
                    Metric::ServerCpu => "ns/echo",
                    _ => "ns",
                },
                "target": self.names[figure.target],
                "value": significant(figure.value),
                "ratio": ratio.map(|ratio| significant(ratio.ratio)),
                "ratio_low": interval.map(|[low, _]| significant(low)),
                "ratio_high": interval.map(|[_, high]| significant(high)),
                "rounds": figure.rounds,
                "verdict": verdict.map(Verdict::word),
                "rounds_needed": needed,
            })
        })
    }

    /// The comparison for a person, on a terminal of so many columns.
    pub fn text(&self, columns: usize) -> String {
        // A saved run, which may be the first, speaks no language.
        let phrases = self
            .targets
            .last()
            .map_or_else(Default::default, |t| t.phrases.clone());
        let mut lines = vec![phrases.say(&format!("--- {} ---", self.title()))];
        let notes = self.notes().into_iter();
        let mut ended: Vec<_> = notes.map(|note| format!("note: {note}")).collect();
        ended.extend(self.held());
        ended.extend(self.outcome.lines(&[]));
        let said = ended.iter().map(|line| phrases.say(line));
        let table = self.table().said(&phrases).to_string();
        lines.extend(table.lines().map(str::to_owned).chain(said));
        let lines = lines.iter().map(|line| wrapped(line, columns) + "\n");
        lines.collect()
    }
}
