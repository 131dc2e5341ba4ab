//! `compare`: which is faster, and is that true.

mod comparison;
mod page;
mod text;

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use echo_core::statistics::Pairing;
use echo_core::{Failure, Whole};
use echo_explain::{Lang, Phrases};

use crate::output;
use crate::report::{self, Files, Report, Saved, Thresholds, columns};

pub use comparison::{Comparison, comparable};

/// The seed of a comparison, where none is given: the same rounds then give the same interval.
pub const SEED: &str = "1";

/// Holds saved runs against the first of them
#[derive(Debug, Args)]
pub struct Compare {
    /// Documents that --json has printed, any number in a file; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Fail when a figure differs from the first run's by more: p99>+10%,rate<-5%
    #[arg(long, value_name = "CONDITIONS")]
    pub fail_if: Option<Thresholds>,
    /// What the rounds are drawn by
    #[arg(long, value_name = "N", default_value = SEED)]
    pub seed: Whole,
    /// Print the comparison as one JSON document
    #[arg(long)]
    pub json: bool,
    /// Print the comparison as rows for a spreadsheet
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Write the comparison as a page for a browser, too
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Speak `en` or `es` to people; auto goes by the locale
    #[arg(long, value_name = "LANG", default_value = "auto")]
    pub lang: Lang,
}

/// In which form a comparison is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For a person.
    Text,
    /// One document.
    Json,
    /// Rows for a spreadsheet.
    Csv,
}

/// Reads the documents, and tells what they are against one another.
///
/// # Errors
/// A document cannot be read, or cannot be compared (2); a condition is broken (1).
pub fn run(config: Compare) -> Result<(), Failure> {
    let files = Files::check([config.report.as_deref(), None, None], &config.files)?;
    let saved = Saved::load(&config.files, false).map_err(Failure::usage)?;
    if let [only] = &saved[..] {
        return Err(Failure::usage(anyhow!(
            "{} holds one run, and nothing to be held against it; name another file",
            only.source
        )));
    }
    let mut of_each = saved.iter().map(|one| (&one.source, one.compared));
    let first = saved.first().map(|one| (&one.source, Some(true)));
    let pairing = match of_each.all(|one| Some(one) == first) {
        true => Pairing::InTurn,
        false => Pairing::Apart,
    };
    // Where nothing is asked now, what was asked then holds.
    let asked = |saved: &Saved| config.fail_if.clone().unwrap_or(saved.report.asked());
    let asked: Vec<_> = saved.iter().map(asked).collect();
    let phrases = Phrases::of(config.lang.resolve(|name| std::env::var_os(name)));
    let named = |saved: Saved| Report {
        phrases: phrases.clone(),
        ..saved.named()
    };
    let judged = |(i, report): (usize, Report)| match i {
        0 => report.as_base(),
        _ => report.judged_again(&asked[i]),
    };
    let targets = saved.into_iter().map(named).enumerate().map(judged);
    let targets = targets.collect();
    let mut comparison = Comparison::of(targets, pairing, config.seed.0).map_err(Failure::usage)?;
    comparison.judge(&asked);
    let form = match (config.json, config.csv) {
        (true, _) => Form::Json,
        (_, true) => Form::Csv,
        _ => Form::Text,
    };
    show(comparison, form, &files)
}

/// Writes the files of a comparison, prints it, and says what the program ends with.
///
/// # Errors
/// A target ended badly, or something cannot be written.
pub fn show(mut comparison: Comparison, form: Form, files: &Files) -> Result<(), Failure> {
    let page = page::html(&comparison);
    files.write_all(&comparison.targets, &page, &mut comparison.outcome);
    let text = match form {
        Form::Text => comparison.text(columns()),
        Form::Json => comparison.json(),
        Form::Csv => comparison.csv(),
    };
    report::ended(&comparison.outcome, output::line(text), form == Form::Text)
}
