//! The supply chain: every dependency comes from crates.io, once, under a licence that may be
//! shipped, and with no known flaw. cargo-deny judges, by the rules in `xtask/deny.toml`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo::{cargo, home, root};
use crate::process;
use crate::terminal::{SKIPPED, paint, say};

/// Every lock file's manifest.
const MANIFESTS: &[&str] = &[
    "Cargo.toml",
    "crates/fuzz/Cargo.toml",
    "xtask/peers/Cargo.toml",
];

/// Judges all of them; without cargo-deny, only whether each lock file fits its manifest.
pub fn check() -> Result<()> {
    let mut checks = vec!["licenses", "bans", "sources"];
    let skipped = if deny(&["--version"]).output().is_err() {
        checks.clear();
        "licences, duplicates, sources and advisories: skipped, there is no cargo-deny here"
    } else if !has_advisories() {
        "advisories: skipped, RustSec's database is not here and cannot be fetched"
    } else {
        checks.push("advisories");
        ""
    };
    if !skipped.is_empty() {
        say(paint(SKIPPED, skipped))?;
    }
    for manifest in MANIFESTS {
        let path = root().join(manifest);
        let mut command = cargo();
        command.args(["metadata", "--locked", "--format-version=1"]);
        passes(command.arg("--manifest-path").arg(&path))?;
        let mut verdict = "it fits its lock file".to_owned();
        if !checks.is_empty() {
            // What is to be fetched has been.
            let mut command = deny(&["--offline", "--locked", "--manifest-path"]);
            verdict = passes(command.arg(&path).arg("check").args(&checks))?;
        }
        say(format!("{manifest}: {}", verdict.trim()))?;
    }
    Ok(())
}

/// Runs a tool that says what is wrong on stderr, and returns the last line of what it prints.
fn passes(command: &mut Command) -> Result<String> {
    let shown = process::shown(command);
    let output = command
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown}:\n{said}");
    let printed = String::from_utf8_lossy(&output.stdout);
    Ok(printed.lines().last().unwrap_or_default().to_owned())
}

fn deny(args: &[&str]) -> Command {
    let mut command = Command::new("cargo-deny");
    command.current_dir(root());
    command.arg("--config=xtask/deny.toml").args(args);
    command
}

/// Whether the database can be brought up to date, or is here from an earlier day.
fn has_advisories() -> bool {
    let fetched = deny(&["fetch", "db"]).output();
    fetched.is_ok_and(|output| output.status.success())
        || home().is_ok_and(|home| is_filled(&home.join("advisory-dbs")))
}

fn is_filled(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|database| database.join("crates").is_dir())
}
