//! What tasks print: plain lines, colour only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::{env, fmt};

use anyhow::Result;

/// The columns that prose is wrapped to; they fit the narrowest common terminal.
pub const WIDTH: usize = 80;

/// Stdout's reader has gone: no failure, but a reason to stop.
#[derive(Debug)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stdout is closed")
    }
}

impl std::error::Error for Closed {}

/// How a piece of text looks.
#[derive(Clone, Copy)]
pub enum Style {
    /// Titles.
    Bold,
    /// What matters less.
    Dim,
    /// What went well.
    Good,
    /// What did not.
    Bad,
    /// What was left out.
    Skipped,
    /// What one would type.
    Typed,
}

/// Stdout, and whether it shows colours.
#[derive(Clone, Copy)]
pub struct Terminal {
    colour: bool,
}

impl Terminal {
    /// Colour is for terminals, and for people who have not set `NO_COLOR`; `CLICOLOR_FORCE` asks
    /// for it anyway.
    pub fn stdout() -> Self {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let wanted = io::stdout().is_terminal() || is_set("CLICOLOR_FORCE");
        Terminal {
            colour: wanted && !is_set("NO_COLOR"),
        }
    }

    /// The same with colours, wherever they go.
    pub fn coloured(self) -> Self {
        Terminal { colour: true }
    }

    /// Whether it shows colours.
    pub fn colour(self) -> bool {
        self.colour
    }

    /// Writes one line, at once.
    ///
    /// # Errors
    /// [`Closed`] when nobody reads stdout any more.
    pub fn line(self, text: impl fmt::Display) -> Result<()> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
            result => Ok(result?),
        }
    }

    /// The text in a style, or as it is where there is no colour.
    pub fn paint(self, style: Style, text: impl fmt::Display) -> String {
        if !self.colour {
            return text.to_string();
        }
        let code = match style {
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Bad => "1;31",
            Style::Skipped => "33",
            Style::Typed => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
