//! `cargo xtask ci`: everything a change must pass. Stops at the first check that fails; what this
//! machine lacks is said, and what needs it left out.

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::cargo::{Profile, Programs, root};
use crate::check::How::{Script, Task};
use crate::check::{self, Check};
use crate::process::Scratch;
use crate::terminal::{BOLD, GOOD, paint, say};
use crate::{deploy, examples, pictures, strangers};

/// The checks, the quick ones first.
const CHECKS: &[Check] = &[
    ("format", Script(include_str!("checks/format.sh"))),
    ("supply", Script(include_str!("checks/supply.sh"))),
    ("lints", Script(include_str!("checks/lints.sh"))),
    ("tests", Script("cargo test --locked --workspace")),
    ("docs", Script(include_str!("checks/docs.sh"))),
    ("examples", Task(examples::run)),
    ("diagnose", Script(include_str!("checks/diagnose.sh"))),
    ("report", Task(pictures::check)),
    ("stamp", Task(strangers::run)),
    ("mesh", Task(mesh)),
    ("explained", Script("cargo xtask demo --explain")),
    ("demo", Script("cargo xtask demo")),
    ("deploy", Task(deploy::run)),
    // The same sample each time: what it says depends on the change alone.
    (
        "torture",
        Script("cargo xtask torture --minutes 0 --seed 5346"),
    ),
];

/// Six machines that watch one another, and a Prometheus that watches them.
fn mesh() -> Result<()> {
    let (own, programs) = (Scratch::new("mesh")?, Programs::ours(Profile::Dev)?);
    check::run(include_str!("checks/mesh.sh"), &own, programs.folder()?)
}

/// Which checks are made.
#[derive(Args)]
pub struct Options {
    /// Only these checks; all of them when none is named
    #[arg(value_name = "CHECK", value_parser = PossibleValuesParser::new(CHECKS.iter().map(|(name, _)| *name)))]
    checks: Vec<String>,
}

/// Makes the checks, in order.
pub fn run(options: &Options) -> Result<()> {
    let is_asked =
        |name: &str| options.checks.is_empty() || options.checks.iter().any(|c| c == name);
    let checks: Vec<&Check> = CHECKS.iter().filter(|(name, _)| is_asked(name)).collect();
    let start = Instant::now();
    for (number, check) in (1..).zip(&checks) {
        let title = format!("[{number}/{}] {}", checks.len(), check.0);
        say(paint(BOLD, format_args!("=== {title}")))?;
        let began = Instant::now();
        check::make(check, root()).with_context(|| format!("ci stopped at {title}"))?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use crate::cargo::root;

    /// The names of all files of Rust below a directory, without their endings.
    fn files(dir: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            match path.extension() {
                _ if path.is_dir() && !path.ends_with("target") => files(&path, names),
                Some(end) if end == "rs" => {
                    names.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
                }
                _ => {}
            }
        }
    }

    #[test]
    fn every_promise_names_tests_that_there_are() {
        let checks = super::CHECKS.iter().map(|(name, _)| *name);
        let names = checks.chain(["dist", "defect", "simulation"]);
        let mut names: BTreeSet<String> = names.map(str::to_owned).collect();
        for one in fs::read_dir(root().join("crates")).unwrap().flatten() {
            let tests = one.path().join("tests");
            if tests.is_dir() {
                files(&tests, &mut names);
            }
        }
        let text = fs::read_to_string(root().join("docs/SECURITY.md")).unwrap();
        let mut promises = 0;
        for row in text.lines().filter(|line| line.starts_with("| **")) {
            let (promise, tests) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap();
            let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
            assert!(!named.is_empty(), "{promise}");
            for name in named {
                assert!(names.contains(name), "{name} is no test; {promise}");
            }
            promises += 1;
        }
        assert!(promises > 10);
    }
}
