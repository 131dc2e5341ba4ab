//! A check, what it needs, and how it is made or left out.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo::root;
use crate::process::{Scratch, has};
use crate::terminal::{GOOD, SKIPPED, Skipped, paint, say};

/// One check.
pub struct Check {
    /// What it is called.
    pub name: &'static str,
    /// The programs that it cannot be made without, and `root`, who may do what others may not.
    pub needs: &'static [&'static str],
    /// How it is made.
    pub how: How,
}

/// How a check is made. What it finds lacking only on its way it says as [`Skipped`].
pub enum How {
    /// By a function.
    Task(fn() -> Result<()>),
    /// By a shell in the workspace's root, which stops at what fails. `$1` is a folder of the check's
    /// own, `$2` that of the programs, where there are some.
    Shell(&'static str),
    /// The same, with a network and a view of files that nobody else has.
    Apart(&'static str),
}

impl Check {
    /// A row of a table of checks.
    pub const fn new(name: &'static str, needs: &'static [&'static str], how: How) -> Self {
        Check { name, needs, how }
    }

    /// Makes it, with programs in `folder`, or says why it is left out.
    pub fn make(&self, folder: &Path) -> Result<()> {
        // Who is not root has neither.
        let apart: &[&str] = match self.how {
            How::Apart(_) => &["root", "unshare"],
            _ => &[],
        };
        let outcome = match self.needs.iter().chain(apart).find(|need| !has(need)) {
            Some(missing) => Err(Skipped(format!("there is no {missing} here")).into()),
            None => match self.how {
                How::Task(task) => task(),
                How::Shell(script) => {
                    Scratch::new(self.name).and_then(|own| run(PLAIN, script, &own, folder))
                }
                How::Apart(script) => {
                    Scratch::new(self.name).and_then(|own| run(APART, script, &own, folder))
                }
            },
        };
        match outcome.map_err(anyhow::Error::downcast::<Skipped>) {
            Ok(()) => say(paint(GOOD, format_args!("{}: passed", self.name))),
            Err(Ok(skipped)) => say(paint(SKIPPED, format_args!("{}: {skipped}", self.name))),
            Err(Err(error)) => Err(error.context(self.name)),
        }
    }
}

/// How a shell is started.
pub const PLAIN: &[&str] = &["sh"];
/// How a shell is started with a network and a view of files that nobody else has.
pub const APART: &[&str] = &["unshare", "--mount", "--net", "sh"];

/// A shell, started by `words`, that does as `script` says, with the folder of programs.
pub fn shell(words: &[&str], script: &str, own: &Scratch, programs: &Path) -> Command {
    let mut shell = Command::new(words[0]);
    shell.args(&words[1..]).args(["-euc", script, "sh"]);
    shell.arg(own.path("")).arg(programs).current_dir(root());
    shell
}

/// Has such a shell do as `script` says, which tells by itself what is wrong.
pub fn run(words: &[&str], script: &str, own: &Scratch, programs: &Path) -> Result<()> {
    let status = shell(words, script, own, programs).status();
    let status = status.with_context(|| format!("cannot run {}", words[0]))?;
    ensure!(
        status.success(),
        "the script ended with {status}; it said why above"
    );
    Ok(())
}
