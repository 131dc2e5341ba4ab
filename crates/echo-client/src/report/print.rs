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
        false if has_text => output::line(shown(report)).map_err(output::failure)?,
        false => {}
    }
    ended(&report.outcome, has_text && !as_json)
}

/// The text as this terminal can show it: with bars of blocks only where the locale has them.
fn shown(report: &Report) -> String {
    let text = text(report, columns());
    let set = |name: &&str| std::env::var_os(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set);
    let locale = locale.unwrap_or_default().to_string_lossy().to_lowercase();
    match locale.ends_with("utf-8") || locale.ends_with("utf8") {
        true => text,
        // From a whole one to an eighth.
        false => text.replace(|char| ('\u{2588}'..='\u{258f}').contains(&char), "#"),
    }
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
