//! Standard output: results only, a closed pipe is silent, a full disk is an error.

use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::anyhow;
use echo_core::{Exit, Failure, Patient, remedied};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{retry_on_intr, write};
use rustix::pipe::PIPE_BUF;

use crate::thread::start;

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
///
/// # Errors
/// What a failed write ends the program with: nothing is said where nobody reads any more.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = Patient(io::stdout().lock());
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(failure)
}

/// Writes a text and, where it does not end in one, a newline, at once.
///
/// # Errors
/// What a failed write ends the program with: nothing is said where nobody reads any more.
pub fn line(text: impl fmt::Display) -> Result<(), Failure> {
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

/// How long the end of the program waits for whoever is to hear why.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Says on standard error what the program ends with. Where nobody takes it in time, the exit code alone
/// tells: what cannot be said must not keep the program from its end.
pub fn last_words(text: impl fmt::Display) {
    let text = text.to_string();
    let ((said, heard), words) = (channel::<()>(), text.clone());
    let speaker = start("last words", move || {
        note(words.trim_end());
        drop(said);
    });
    match speaker {
        // It says nothing but that it is done.
        Ok(_) => drop(heard.recv_timeout(LAST_WORDS)),
        Err(_) => at_once(text.trim_end()),
    }
}

/// Says it without a thread that may wait: as much as what is ready takes at once, or nothing.
fn at_once(text: &str) {
    let stderr = io::stderr();
    let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
    if poll(&mut ready, Some(&Timespec::default())) == Ok(1) {
        let line = format!("{text}\n");
        let taken = line.len().min(PIPE_BUF);
        // Nobody is left to tell if that fails.
        let _ = retry_on_intr(|| write(&stderr, &line.as_bytes()[..taken]));
    }
}

/// Asks for a line on standard input, on standard error.
pub fn prompt(text: &str) {
    // Whoever does not see it can type all the same.
    let _: io::Result<()> = write!(Patient(io::stderr().lock()), "[{text}] ");
}

/// What a failed write to standard output means for the program.
fn failure(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        // It is no fault to have read enough, as `head` does.
        return Failure::new(Exit::Success, Told);
    }
    let why = remedied(&error, "see where it leads");
    Failure::bad(anyhow!(
        "cannot write to standard output: {why}, or write elsewhere"
    ))
}
