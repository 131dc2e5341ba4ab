//! `cargo xtask demo`: both programs at work, step by step, each step saying what it proved.

mod explain;
mod picture;
mod stage;
mod steps;
mod trace;

use std::env;
use std::path::PathBuf;
use std::time::Instant;

use anstyle::Style;
use anyhow::{Result, bail};
use clap::Args;
use echo_explain::{Lang, wrap};

use crate::cargo::{Profile, Programs};
use crate::terminal::{BAD, BOLD, Closed, GOOD, SKIPPED, Skipped, WIDTH, paint, say};
use stage::Stage;

/// What is shown.
#[derive(Debug, Args)]
pub struct Options {
    /// Explain every socket call of both programs, in order of time, and draw it
    #[arg(long)]
    explain: bool,
    /// The language it is told in: en or es; by default the locale's
    #[arg(
        long,
        value_name = "LANG",
        default_value = "auto",
        hide_default_value = true
    )]
    lang: Lang,
    /// Draw to this SVG file instead of demo.svg in the target directory
    #[arg(long, value_name = "FILE", requires = "explain")]
    picture: Option<PathBuf>,
}

/// One part of the story: its title, and how it is played, which tells what it has proved.
type Step = (&'static str, fn(&mut Stage) -> Result<String>);

/// Builds both programs and plays every step; the first that fails ends the demo.
pub fn run(options: Options) -> Result<()> {
    let programs = Programs::ours(Profile::Dev)?;
    let lang = options.lang.resolve(|name| env::var_os(name));
    let mut stage = Stage::new(programs, lang)?;
    say("")?;
    say(format!(
        "  {}",
        paint(
            BOLD,
            stage.say("echo: a server, its clients, and what the system sees of them")
        )
    ))?;

    let start = Instant::now();
    if options.explain {
        return explain::play(&mut stage, lang, options.picture);
    }
    let (mut proved, mut skipped) = (0, 0);
    for (number, (title, play)) in (1..).zip(steps::STORY) {
        say("")?;
        say(format!(
            "  {}  {}",
            paint(BOLD, format_args!("{number:>2}")),
            paint(BOLD, stage.say(title))
        ))?;
        match play(&mut stage) {
            Ok(what) => {
                proved += 1;
                verdict(GOOD, "✓", &stage.say(&what))?;
            }
            Err(error) if error.is::<Closed>() => return Err(error),
            Err(error) => match error.downcast::<Skipped>() {
                Ok(Skipped(why)) => {
                    skipped += 1;
                    let told = stage.say(&format!("Skipped: {why}"));
                    verdict(SKIPPED, "-", &told)?;
                }
                Err(error) => {
                    verdict(BAD, "✗", &stage.say("Failed."))?;
                    bail!("step {number} ({}): {error:#}{}", title, stage.complaints());
                }
            },
        }
    }
    say("")?;
    let skips = if skipped == 0 {
        String::new()
    } else {
        format!(", {skipped} skipped")
    };
    let summary = format!(
        "{proved} steps proved{skips} in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    say(format!("  {}", paint(BOLD, stage.say(&summary))))?;
    say("")
}

/// What a step came to, wrapped beside its mark.
fn verdict(style: Style, mark: &str, text: &str) -> Result<()> {
    const INDENT: usize = 8;
    for (i, line) in wrap(text, WIDTH - INDENT).iter().enumerate() {
        let mark = if i == 0 { mark } else { " " };
        say(format!(
            "      {}",
            paint(style, format_args!("{mark} {line}"))
        ))?;
    }
    Ok(())
}
