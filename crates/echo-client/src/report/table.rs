//! Texts in columns, as text and page show them.

use std::{fmt, iter};

use echo_core::escape::printable;
use echo_explain::Phrases;

/// Texts in columns; the values of a picture, or a picture of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// What the columns are called.
    pub heads: Vec<String>,
    /// Each as long as the heads, if there are any.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// No rows yet.
    pub fn new(heads: &[&str]) -> Self {
        Table {
            heads: heads.iter().map(|&head| head.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// The same, each cell in the language of `phrases`.
    pub fn said(mut self, phrases: &Phrases) -> Self {
        for cell in self.rows.iter_mut().flatten().chain(&mut self.heads) {
            *cell = phrases.say(cell);
        }
        self
    }
}

/// A line for each row, each column as wide as its widest text.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |line: &Vec<String>| line.iter().map(|cell| printable(cell)).collect();
        let lines = iter::once(&self.heads).chain(&self.rows).map(shown);
        let lines: Vec<Vec<String>> = lines.collect();
        let width = |column: usize| {
            let texts = lines.iter().filter_map(|line| line.get(column));
            texts.map(|text| text.chars().count()).max().unwrap_or(0)
        };
        for line in &lines {
            let cells = line.iter().enumerate();
            let cells: Vec<_> = cells
                .map(|(i, cell)| format!("{cell:<width$}", width = width(i)))
                .collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}
