//! Standard output: results only, a closed pipe is silent, a full disk is an error.

use std::fmt;
use std::io::{self, Write};

use anyhow::anyhow;
use echo_core::Failure;

use crate::connection::cause;

/// Nobody reads standard output any more. The program ends in silence, as `head` expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for Closed {}

/// Writes bytes as they are, at once.
pub fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
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
    let _ = writeln!(io::stderr(), "{text}");
}

/// What a failed write to standard output means for the program.
pub fn failure(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::bad(Closed);
    }
    Failure::bad(anyhow!(
        "cannot write to standard output: {}; make room, or write elsewhere",
        cause(&error)
    ))
}
