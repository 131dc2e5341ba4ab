//! What tasks print: plain lines, colour only on a terminal.

use std::io::{self, Write};
use std::path::Path;
use std::{fmt, fs};

use anstyle::{AnsiColor, Style};
use anstyle_svg::Term;
use anyhow::{Context, Result};

/// The columns that prose is wrapped to; they fit the narrowest common terminal.
pub const WIDTH: usize = 80;

/// Titles.
pub const BOLD: Style = Style::new().bold();
/// What matters less.
pub const DIM: Style = Style::new().dimmed();
/// What went well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What did not.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What was left out.
pub const SKIPPED: Style = AnsiColor::Yellow.on_default();
/// What one would type.
pub const TYPED: Style = AnsiColor::Cyan.on_default();

/// Stdout's reader has gone: no failure, but a reason to stop.
#[derive(Debug)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stdout is closed")
    }
}

impl std::error::Error for Closed {}

/// What this machine lacks, so that a step is left out: no failure either.
#[derive(Debug)]
pub struct Skipped(pub String);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped: {}", self.0)
    }
}

impl std::error::Error for Skipped {}

/// Writes one line, at once. Its styles are seen on a terminal, and where `CLICOLOR_FORCE` asks for
/// them; not by people who have set `NO_COLOR`.
///
/// # Errors
/// [`Closed`] when nobody reads stdout any more.
pub fn say(text: impl fmt::Display) -> Result<()> {
    let mut out = anstream::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        result => Ok(result?),
    }
}

/// Draws to `path`, as a terminal shows it, what `typed` has printed: SVG.
pub fn draw(typed: &str, printed: &str, path: &Path) -> Result<()> {
    let typed = paint(TYPED, format_args!("$ {typed}"));
    let svg = Term::new().render_svg(&format!("{typed}\n{printed}"));
    fs::write(path, svg).with_context(|| format!("cannot write the picture {}", path.display()))
}

/// The text in a style.
pub fn paint(style: Style, text: impl fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}
