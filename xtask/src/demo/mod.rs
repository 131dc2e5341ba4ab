//! `cargo xtask demo`: both programs at work, step by step, each step saying what it proved.

mod stage;
mod steps;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::cargo::{Profile, Programs, root};
use crate::terminal::{Style, Terminal, WIDTH, wrap};
use stage::Stage;

/// One part of the story.
struct Step {
    title: &'static str,
    play: fn(&mut Stage) -> Result<Outcome>,
}

/// How a step ended, if it did not fail.
enum Outcome {
    /// What has been proved.
    Proved(String),
    /// What this machine lacks.
    Skipped(String),
}

/// Builds both programs and plays every step; the first that fails ends the demo.
pub fn run() -> Result<()> {
    let programs = Programs::build(
        &root().join("Cargo.toml"),
        &["echo-server", "echo-client"],
        Profile::Dev,
    )?;
    let out = Terminal::stdout();
    out.line("")?;
    out.line(format!(
        "  {}",
        out.paint(
            Style::Bold,
            "echo: a server, its clients, and what the system sees of them"
        )
    ))?;

    let start = Instant::now();
    let mut stage = Stage::new(out, programs)?;
    let (mut proved, mut skipped) = (0, 0);
    for (number, step) in (1..).zip(steps::STORY) {
        out.line("")?;
        out.line(format!(
            "  {}  {}",
            out.paint(Style::Bold, format_args!("{number:>2}")),
            out.paint(Style::Bold, step.title)
        ))?;
        match (step.play)(&mut stage) {
            Ok(Outcome::Proved(what)) => {
                proved += 1;
                verdict(out, Style::Good, "✓", &what)?;
            }
            Ok(Outcome::Skipped(why)) => {
                skipped += 1;
                verdict(out, Style::Skipped, "-", &format!("Skipped: {why}"))?;
            }
            Err(error) if error.is::<crate::terminal::Closed>() => return Err(error),
            Err(error) => {
                verdict(out, Style::Bad, "✗", "Failed.")?;
                bail!(
                    "step {number} ({}): {error:#}{}",
                    step.title,
                    stage.complaints()
                );
            }
        }
    }
    out.line("")?;
    let skips = if skipped == 0 {
        String::new()
    } else {
        format!(", {skipped} skipped")
    };
    let summary = format!(
        "{proved} steps proved{skips} in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    out.line(format!("  {}", out.paint(Style::Bold, summary)))?;
    out.line("")
}

/// What a step came to, wrapped beside its mark.
fn verdict(out: Terminal, style: Style, mark: &str, text: &str) -> Result<()> {
    const INDENT: usize = 8;
    for (i, line) in wrap(text, WIDTH - INDENT).iter().enumerate() {
        let mark = if i == 0 { mark } else { " " };
        out.line(format!(
            "      {}",
            out.paint(style, format_args!("{mark} {line}"))
        ))?;
    }
    Ok(())
}
