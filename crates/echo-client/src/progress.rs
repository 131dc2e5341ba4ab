//! The one line that tells a person at a terminal how a run is going.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Ten times a second: as often as an eye follows.
const INTERVAL: Duration = Duration::from_millis(100);

/// A line on standard error that overwrites itself; nothing where that is no terminal.
#[derive(Debug)]
pub struct Progress {
    is_shown: bool,
    last: Option<Instant>,
}

impl Progress {
    /// A line that has not been shown yet, where one is wanted.
    pub fn new(is_wanted: bool) -> Self {
        Progress {
            is_shown: is_wanted && io::stderr().is_terminal(),
            last: None,
        }
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
