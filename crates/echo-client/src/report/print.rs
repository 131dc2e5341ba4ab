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
    let told = match as_json {
        true => output::line(json(report)),
        false if has_text => output::line(shown(report)),
        false => Ok(()),
    };
    ended(&report.outcome, told, has_text && !as_json)
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

/// What the program ends with, once the result has been `told`; a person who has just read why on a
/// terminal is not told again, and nobody is where standard output was closed.
///
/// # Errors
/// The run is no success, or standard output could not be written.
pub fn ended(outcome: &Outcome, told: Result<(), Failure>, is_told: bool) -> Result<(), Failure> {
    let is_closed = told
        .as_ref()
        .is_err_and(|told| told.error.is::<output::Told>());
    if !is_closed {
        told?;
    }
    match outcome.failure() {
        None => Ok(()),
        Some(ended) if is_closed || (is_told && io::stdout().is_terminal()) => {
            Err(Failure::new(ended.exit, output::Told))
        }
        Some(ended) => Err(ended),
    }
}
