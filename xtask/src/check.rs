//! A check: how it is made, or why it is left out.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo::root;
use crate::process::{Scratch, has};
use crate::terminal::{GOOD, SKIPPED, Skipped, paint, say};

/// What a check is called, and how it is made.
pub type Check = (&'static str, How);

/// How a check is made. What it finds lacking it says as [`Skipped`].
pub enum How {
    /// By a function.
    Task(fn() -> Result<()>),
    /// By a shell, as [`shell`] starts it.
    Script(&'static str),
}

/// Makes a check, with programs in `folder`, or says why it is left out.
pub fn make((name, how): &Check, folder: &Path) -> Result<()> {
    let outcome = match how {
        How::Task(task) => task(),
        How::Script(script) => Scratch::new(name).and_then(|own| run(script, &own, folder)),
    };
    match outcome.map_err(anyhow::Error::downcast::<Skipped>) {
        Ok(()) => say(paint(GOOD, format_args!("{name}: passed"))),
        Err(Ok(skipped)) => say(paint(SKIPPED, format_args!("{name}: {skipped}"))),
        Err(Err(error)) => Err(error.context(*name)),
    }
}

/// Looks for a program that a check cannot be made without, or for `root`, who may do what others may not.
///
/// # Errors
/// [`Skipped`] where this machine has none.
pub fn need(what: &str) -> Result<()> {
    ensure!(has(what), Skipped(format!("there is no {what} here")));
    Ok(())
}

/// A shell in the workspace's root that does as `script` says and stops at what fails. `$1` is a folder of
/// its own, `$2` that of the programs. What it needs is in a line of it, `# needs: ...`; where `unshare`
/// is, it has a network and a view of files that nobody else has.
///
/// # Errors
/// [`Skipped`] where something is missing.
pub fn shell(script: &str, own: &Scratch, programs: &Path) -> Result<Command> {
    let mut lines = script.lines();
    let needs = lines.find_map(|line| line.strip_prefix("# needs: "));
    let needs: Vec<&str> = needs.unwrap_or_default().split_whitespace().collect();
    needs.iter().try_for_each(|what| need(what))?;
    let mut shell = Command::new("sh");
    if needs.contains(&"unshare") {
        shell = Command::new("unshare");
        shell.args(["--mount", "--net", "sh"]);
    }
    shell.args(["-euc", script, "sh"]).arg(own.path(""));
    shell.arg(programs).current_dir(root()).stdin(Stdio::null());
    Ok(shell)
}

/// Has such a shell do as `script` says, which tells by itself what is wrong.
pub fn run(script: &str, own: &Scratch, programs: &Path) -> Result<()> {
    ends_well(&mut shell(script, own, programs)?)
}

/// The same of a script that gets these words instead, and needs nothing.
pub fn script(script: &str, words: &[String]) -> Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-euc", script, "sh"]).args(words);
    ends_well(shell.current_dir(root()))
}

fn ends_well(shell: &mut Command) -> Result<()> {
    let status = shell.status().context("cannot run a shell")?;
    ensure!(
        status.success(),
        "the script ended with {status}; it said why above"
    );
    Ok(())
}
