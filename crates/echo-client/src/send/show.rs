//! Shows what comes back: as it is, or as a line of text in which nothing acts on a terminal.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use echo_core::Failure;
use echo_core::escape::Escaped;
use echo_core::framing::Framing;
use echo_explain::Phrases;

use super::Send;
use super::source::Source;
use crate::connection::Connect;
use crate::output;
use crate::progress::Progress;

/// A stream's part that is shown as text at most; of more, the number of bytes says enough.
const SHOWN: usize = 1024;

/// A file that takes less is there before anybody wonders.
const SLOW: Duration = Duration::from_millis(500);

/// Bytes, the time they took, and what that makes a second.
fn speed(received: u64, elapsed: Duration) -> String {
    let (mb, seconds) = (received as f64 / 1e6, elapsed.as_secs_f64());
    let rate = mb / seconds.max(1e-9);
    format!("{mb:.1} MB in {seconds:.1} s, {rate:.1} MB/s each way")
}

/// Where the echo goes, payload only.
pub struct Show {
    raw: bool,
    /// The result is a document.
    is_silent: bool,
    progress: Progress,
    /// Some progress was shown, so that the end is told too.
    is_slow: bool,
    start: Instant,
    /// How long a file is.
    total: Option<u64>,
    is_stream: bool,
    has_headers: bool,
    phrases: Phrases,
    /// Nothing that differs from what was sent has been taken.
    is_identical: bool,
    /// The start of what has not been shown yet, and how many bytes that is.
    pending: Vec<u8>,
    count: u64,
    has_shown: bool,
}

impl Show {
    /// Shows the echo of `source` as `config` says.
    pub fn new(config: &Send, source: &Source, connect: &Connect) -> Self {
        Show {
            raw: config.raw,
            is_silent: config.json,
            progress: Progress::new(true),
            is_slow: false,
            start: Instant::now(),
            // Where the bytes themselves fill the terminal, nothing is to be seen between them.
            total: source
                .len
                .filter(|_| !config.raw || !io::stdout().is_terminal()),
            is_stream: source.is_stream,
            has_headers: connect.framing == Framing::Length,
            phrases: connect.phrases.clone(),
            is_identical: true,
            pending: Vec::new(),
            count: 0,
            has_shown: false,
        }
    }

    /// Takes the next payload of the echo, which is what was sent.
    pub fn take(&mut self, payload: &[u8]) -> Result<(), Failure> {
        if self.is_silent {
            return Ok(());
        }
        if self.raw {
            return output::bytes(payload);
        }
        self.count += payload.len() as u64;
        let room = match self.is_stream {
            true => SHOWN.saturating_sub(self.pending.len()),
            false => payload.len(),
        };
        self.pending
            .extend_from_slice(&payload[..room.min(payload.len())]);
        Ok(())
    }

    /// Tells a person how far a file is that takes its time.
    pub fn progress(&mut self, received: u64) {
        let elapsed = self.start.elapsed();
        if let (Some(total), true) = (self.total, elapsed >= SLOW) {
            let speed = speed(received, elapsed);
            let share = received as f64 / total.max(1) as f64 * 100.0;
            self.progress.show(format_args!("{share:.0}%  {speed}"));
        }
    }

    /// Ends what [`Show::progress`] tells, if it has told anything.
    pub fn sum_up(&mut self, received: u64, elapsed: Duration) {
        self.is_slow |= self.progress.clear();
        if self.is_slow {
            output::note(speed(received, elapsed));
        }
    }

    /// Takes bytes that are not what was sent, and ends. Of frames with headers nothing is shown
    /// from there on, since nobody knows what is payload.
    pub fn unexpected(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.is_identical = false;
        if !self.has_headers {
            self.take(bytes)?;
        }
        self.end_early()
    }

    /// Nothing is on its way: shows a stream's echo so far, for those who type.
    pub fn pause(&mut self) -> Result<(), Failure> {
        if self.is_stream && self.count > 0 {
            self.line()?;
        }
        Ok(())
    }

    /// The echo ends before it is complete: shows what came, if anything did.
    pub fn end_early(&mut self) -> Result<(), Failure> {
        if self.count > 0 {
            self.line()?;
        }
        Ok(())
    }

    /// The echo is complete.
    pub fn end(&mut self) -> Result<(), Failure> {
        if self.count > 0 || !self.has_shown {
            self.line()?;
        }
        Ok(())
    }

    fn line(&mut self) -> Result<(), Failure> {
        if self.raw || self.is_silent {
            return Ok(());
        }
        let verdict = if self.is_identical { " identical" } else { "" };
        let noun = if self.count == 1 { "byte" } else { "bytes" };
        let count = format!("{} {noun}{verdict}", self.count);
        let text = Escaped(&self.pending);
        let line = match self.is_stream {
            true if self.count > SHOWN as u64 => format!("Received: {count}"),
            true => format!("Received: \"{text}\" ({count})"),
            false => format!("Received: \"{text}\""),
        };
        self.pending.clear();
        self.count = 0;
        self.has_shown = true;
        self.is_slow |= self.progress.clear();
        output::line(self.phrases.say(&line))
    }
}
