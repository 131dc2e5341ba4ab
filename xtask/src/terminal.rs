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
    /// Colour is for terminals, and for people who have not set `NO_COLOR`.
    pub fn stdout() -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Terminal {
            colour: io::stdout().is_terminal() && !refused,
        }
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

/// Cuts prose into lines of at most `width` columns; a longer word stands alone.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_wrapped_between_words() {
        let lines = wrap("one two  three\nfourteen-columns x", 9);
        assert_eq!(lines, ["one two", "three", "fourteen-columns", "x"]);
        assert_eq!(wrap("", 9), [""]);
    }
}
