//! `cargo xtask ci`: everything a change must pass. Stops at the first check that fails; what this
//! machine lacks is said, and what needs it left out.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::cargo::{Profile, Programs, passes, root};
use crate::process::{Scratch, has};
use crate::terminal::{BOLD, GOOD, SKIPPED, Skipped, paint, say};
use crate::{demo, deploy, examples, pictures, strangers, torture};

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

use How::{Apart, Shell, Task};

/// A row of a table of checks.
pub const fn check(name: &'static str, needs: &'static [&'static str], how: How) -> Check {
    Check { name, needs, how }
}

/// The checks, the quick ones first.
const CHECKS: &[Check] = &[
    check("format", &[], Shell(include_str!("checks/format.sh"))),
    check("supply", &[], Shell(include_str!("checks/supply.sh"))),
    check("lints", &[], Shell(include_str!("checks/lints.sh"))),
    check("tests", &[], Shell("cargo test --locked --workspace")),
    check("docs", &[], Shell(include_str!("checks/docs.sh"))),
    check("examples", &[], Task(examples::run)),
    check("diagnose", &[], Shell(include_str!("checks/diagnose.sh"))),
    check("report", &["chromium"], Task(pictures::check)),
    check("stamp", &[], Task(strangers::run)),
    check(
        "mesh",
        &["root", "ip", "nft", "prometheus", "promtool", "python3"],
        Task(mesh),
    ),
    check(
        "explained",
        &[],
        Task(|| demo::run(demo::Options::explained())),
    ),
    check("demo", &[], Task(|| demo::run(demo::Options::default()))),
    check("deploy", &[], Task(deploy::run)),
    check(
        "torture",
        &[],
        Task(|| torture::run(&torture::Options::short())),
    ),
];

/// Six machines that watch one another, and a Prometheus that watches them.
fn mesh() -> Result<()> {
    let (own, script) = (Scratch::new("mesh")?, include_str!("checks/mesh.sh"));
    let programs = Programs::ours(Profile::Dev)?;
    passes(&mut shell(&["sh"], script, &own, programs.folder()?))
}

/// Which checks are made.
#[derive(Args)]
pub struct Options {
    /// Only these checks; all of them when none is named
    #[arg(value_name = "CHECK", value_parser = PossibleValuesParser::new(CHECKS.iter().map(|check| check.name)))]
    checks: Vec<String>,
}

/// Makes the checks, in order.
pub fn run(options: &Options) -> Result<()> {
    let is_asked =
        |name: &str| options.checks.is_empty() || options.checks.iter().any(|c| c == name);
    let checks: Vec<&Check> = CHECKS.iter().filter(|check| is_asked(check.name)).collect();
    let start = Instant::now();
    for (number, check) in (1..).zip(&checks) {
        let title = format!("[{number}/{}] {}", checks.len(), check.name);
        say(paint(BOLD, format_args!("=== {title}")))?;
        let began = Instant::now();
        make(check, root()).with_context(|| format!("ci stopped at {title}"))?;
        let ended = format!(
            "=== {title}: ended in {:.1} s",
            began.elapsed().as_secs_f64()
        );
        say(paint(BOLD, ended))?;
        say("")?;
    }
    let (count, seconds) = (checks.len(), start.elapsed().as_secs());
    say(paint(
        GOOD,
        format_args!("=== all {count} checks in {seconds} s"),
    ))
}

/// Makes a check, with programs in `folder`, or says why it is left out.
pub fn make(check: &Check, folder: &Path) -> Result<()> {
    let outcome = match check.needs.iter().find(|need| !has(need)) {
        Some(missing) => Err(Skipped(format!("there is no {missing} here")).into()),
        None => match check.how {
            Task(task) => task(),
            Shell(script) => Scratch::new(check.name)
                .and_then(|own| passes(&mut shell(&["sh"], script, &own, folder))),
            Apart(script) => Scratch::new(check.name)
                .and_then(|own| passes(&mut shell(APART, script, &own, folder))),
        },
    };
    match outcome.map_err(anyhow::Error::downcast::<Skipped>) {
        Ok(()) => say(paint(GOOD, format_args!("{}: passed", check.name))),
        Err(Ok(skipped)) => say(paint(SKIPPED, format_args!("{}: {skipped}", check.name))),
        Err(Err(error)) => Err(error.context(check.name)),
    }
}

/// How a shell is started with a network and a view of files that nobody else has.
pub const APART: &[&str] = &["unshare", "--mount", "--net", "sh"];

/// A shell, started by `words`, that does as `script` says, with the folder of programs.
pub fn shell(words: &[&str], script: &str, own: &Scratch, programs: &Path) -> Command {
    let mut shell = Command::new(words[0]);
    shell.args(&words[1..]).args(["-euc", script, "sh"]);
    shell.arg(own.path("")).arg(programs).current_dir(root());
    shell
}
