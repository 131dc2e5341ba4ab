//! A report on standard output, and what the program ends with.

use std::io::{self, IsTerminal};

use echo_core::Failure;

use super::{Outcome, Report, columns, json, text};
use crate::output;

/// Prints a report as its document, or as text where it `has_text`, and says what the program
/// ends with.
///
/// # Errors
/// The run is no success, or standard output cannot be written.
pub fn print(report: &Report, as_json: bool, has_text: bool) -> Result<(), Failure> {
    match as_json {
        true => output::line(json(report)).map_err(output::failure)?,
        false if has_text => output::line(text(report, columns())).map_err(output::failure)?,
        false => {}
    }
    ended(&report.outcome, has_text && !as_json)
}

/// What the program ends with; a person who has just read why on a terminal is not told again.
///
/// # Errors
/// The run is no success.
pub fn ended(outcome: &Outcome, is_told: bool) -> Result<(), Failure> {
    match outcome.failure() {
        None => Ok(()),
        Some(ended) if is_told && io::stdout().is_terminal() => {
            Err(Failure::new(ended.exit, output::Told))
        }
        Some(ended) => Err(ended),
    }
}
