//! Standard output: results only, a closed pipe is silent, a full disk is an error.

use std::fmt;
use std::io::{self, Write};

use anyhow::anyhow;
use echo_core::{Exit, Failure, Patient, cause};

/// The program ends in silence: why it fails has been told already, or nobody reads standard
/// output any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told;

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("see the result")
    }
}

impl std::error::Error for Told {}

/// Writes bytes as they are, at once.
pub fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = Patient(io::stdout().lock());
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Writes a text and, where it does not end in one, a newline, at once.
pub fn line(text: impl fmt::Display) -> io::Result<()> {
    let mut text = text.to_string();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    bytes(text.as_bytes())
}

/// Tells something beside the results, on standard error. Nobody is left to tell if that fails.
pub fn note(text: impl fmt::Display) {
    let _ = writeln!(Patient(io::stderr().lock()), "{text}");
}

/// Asks for a line on standard input, on standard error.
pub fn prompt(text: &str) {
    // Whoever does not see it can type all the same.
    let _: io::Result<()> = write!(Patient(io::stderr().lock()), "[{text}] ");
}

/// What a failed write to standard output means for the program.
pub fn failure(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        // It is no fault to have read enough, as `head` does.
        return Failure::new(Exit::Success, Told);
    }
    Failure::bad(anyhow!(
        "cannot write to standard output: {}; make room, or write elsewhere",
        cause(&error)
    ))
}
