//! What the demo prints, as a terminal shows it: SVG.

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use anstyle_svg::Term;
use anyhow::{Context, Result};

use crate::process;
use crate::terminal::{TYPED, paint, say};

/// The demo takes about two seconds, and a build before it has been done.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs this program with `args` and in colour, shows what it prints, and draws that to `path`.
pub fn shoot(args: &[String], path: &Path) -> Result<()> {
    let mut command = Command::new(env::current_exe().context("where is this program?")?);
    let stdout = process::run(command.args(args).env("CLICOLOR_FORCE", "1"), LIMIT)?.success()?;
    let text = String::from_utf8_lossy(&stdout);
    let typed = format!("$ cargo xtask {}", args.join(" "));
    let typed = paint(TYPED, typed);
    let svg = Term::new().render_svg(&format!("{typed}\n{text}"));
    fs::write(path, svg).with_context(|| format!("cannot write the picture {}", path.display()))?;
    say(text.trim_end())
}
