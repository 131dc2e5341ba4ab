//! The one line that tells a person at a terminal how a run is going.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::engine::recorder::Slice;

/// Ten times a second: as often as an eye follows.
pub const INTERVAL: Duration = Duration::from_millis(100);

/// A line on standard error that overwrites itself; nothing where that is no terminal.
#[derive(Debug)]
pub struct Progress {
    is_shown: bool,
    last: Option<Instant>,
}

impl Progress {
    /// A line that has not been shown yet.
    pub fn new() -> Self {
        Progress {
            is_shown: io::stderr().is_terminal(),
            last: None,
        }
    }

    /// Whether somebody watches.
    pub fn is_shown(&self) -> bool {
        self.is_shown
    }

    /// Shows how it is going, unless it has just been shown.
    pub fn show(&mut self, line: impl fmt::Display) {
        let now = Instant::now();
        let is_new = self.last.is_none_or(|last| now - last >= INTERVAL);
        if self.is_shown && is_new {
            self.last = Some(now);
            self.write(format_args!("\r{line}\x1b[K"));
        }
    }

    /// Wipes the line. Says whether there was one.
    pub fn clear(&mut self) -> bool {
        let was_shown = self.last.take().is_some();
        if was_shown {
            self.write(format_args!("\r\x1b[K"));
        }
        was_shown
    }

    fn write(&self, text: fmt::Arguments<'_>) {
        // Whoever has closed the terminal does not miss it.
        let _ = io::stderr().write_all(text.to_string().as_bytes());
    }
}

/// What the line says: the time measured, the rate, the latency and the loss so far.
pub struct SoFar<'a> {
    /// Time since warm-up; `None` before its end.
    pub measured: Option<Duration>,
    /// The books so far.
    pub total: &'a Slice,
}

impl fmt::Display for SoFar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(measured) = self.measured else {
            return f.write_str("warming up");
        };
        let echoes = self.total.counts.unique;
        let rate = echoes as f64 / measured.as_secs_f64().max(1e-3);
        write!(f, "{:.1} s  {rate:.0} echoes/s", measured.as_secs_f64())?;
        if let Some(p99) = self.total.rtt.percentile(0.99) {
            write!(f, "  p99 {:.3} ms", p99.as_secs_f64() * 1e3)?;
        }
        let errors: u64 = self.total.errors.values().sum();
        if errors > 0 {
            write!(f, "  {errors} errors")?;
        }
        Ok(())
    }
}
