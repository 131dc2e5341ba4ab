//! `cargo xtask demo`: both programs at work, step by step, each step saying what it proved.

mod explain;
mod picture;
mod screen;
mod stage;
mod steps;
mod trace;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use echo_explain::{Lang, wrap};

use crate::cargo::{Profile, Programs, root};
use crate::terminal::{Style, Terminal, WIDTH};
use stage::Stage;

/// What is shown.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// Explain every socket call of both programs, in order of time, and draw it
    #[arg(long)]
    explain: bool,
    /// The language of explanations: en or es; by default the locale's
    #[arg(
        long,
        value_name = "LANG",
        requires = "explain",
        default_value = "auto",
        hide_default_value = true
    )]
    lang: Lang,
    /// Draw to this SVG file instead of target/demo.svg
    #[arg(long, value_name = "FILE", requires = "explain")]
    picture: Option<PathBuf>,
    /// Draw what is printed to this SVG file, as a terminal shows it
    #[arg(long, value_name = "FILE")]
    screen: Option<PathBuf>,
}

impl Options {
    /// The calls explained, as without any other option.
    pub fn explained() -> Self {
        Options {
            explain: true,
            ..Options::default()
        }
    }
}

/// One part of the story: its title, and how it is played.
type Step = (&'static str, fn(&mut Stage) -> Result<Outcome>);

/// How a step ended, if it did not fail.
enum Outcome {
    /// What has been proved.
    Proved(String),
    /// What this machine lacks.
    Skipped(String),
}

/// Builds both programs and plays every step; the first that fails ends the demo.
pub fn run(options: Options) -> Result<()> {
    let programs = Programs::build(
        &root().join("Cargo.toml"),
        &["echo-server", "echo-client"],
        Profile::Dev,
    )?;
    let out = Terminal::stdout();
    if let Some(path) = options.screen {
        let args = ["demo", "--explain"];
        return screen::shoot(out, &args[..1 + usize::from(options.explain)], &path);
    }
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
    if options.explain {
        return explain::play(&mut stage, out, options.lang, options.picture);
    }
    let (mut proved, mut skipped) = (0, 0);
    for (number, (title, play)) in (1..).zip(steps::STORY) {
        out.line("")?;
        out.line(format!(
            "  {}  {}",
            out.paint(Style::Bold, format_args!("{number:>2}")),
            out.paint(Style::Bold, title)
        ))?;
        match play(&mut stage) {
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
                bail!("step {number} ({}): {error:#}{}", title, stage.complaints());
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
