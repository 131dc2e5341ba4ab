//! `cargo xtask coverage`: which lines the tests execute, fuzz corpora and simulations among them.

use std::env;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::cargo::{cargo, passes};
use crate::terminal::{SKIPPED, paint, say};

/// What is measured.
#[derive(Args)]
pub struct Options {
    /// Only the tests of these packages; all of them when none is named
    #[arg(short, long, value_name = "NAME")]
    package: Vec<String>,
}

/// Runs the tests with the compiler's own counters and prints a line a file.
pub fn run(options: &Options) -> Result<()> {
    let skipped = |why: &str| say(paint(SKIPPED, format_args!("skipped: {why}")));
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !is_there("cargo-llvm-cov") {
        return skipped("cargo-llvm-cov is missing; cargo install cargo-llvm-cov --locked");
    }
    let mut command = cargo();
    command.args(["llvm-cov", "test", "--locked", "--summary-only"]);
    // The suite itself has targets that are no code of the product's.
    command.arg("--ignore-filename-regex=(^|/)(tests|examples|xtask)/");
    match &options.package[..] {
        [] => drop(command.args(["--workspace", "--exclude=xtask"])),
        packages => drop(command.args(packages.iter().map(|name| format!("--package={name}")))),
    }
    // Where rustup's llvm-tools are missing, Debian's of the compiler's own version do.
    let version = llvm()?;
    for (variable, tool) in [("LLVM_COV", "llvm-cov"), ("LLVM_PROFDATA", "llvm-profdata")] {
        let tool = format!("{tool}-{version}");
        if env::var_os(variable).is_none() && is_there(&tool) {
            command.env(variable, tool);
        }
    }
    passes(&mut command).with_context(|| {
        format!(
            "it needs LLVM's own tools: rustup component add llvm-tools, or apt-get install llvm-{version}"
        )
    })
}

/// The major version of the compiler's LLVM, whose files only tools of that version read.
fn llvm() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "));
    let major = version.and_then(|version| version.split('.').next());
    Ok(major.context("rustc names no version of LLVM")?.to_owned())
}
