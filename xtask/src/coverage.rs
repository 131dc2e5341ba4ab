//! `cargo xtask coverage`: which lines the tests execute, fuzz corpora and simulations among them.

use std::env;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::cargo::{cargo, passes};
use crate::process::{has, words};

/// What is measured.
#[derive(Args)]
pub struct Options {
    /// Only the tests of these packages; all of them when none is named
    #[arg(short, long, value_name = "NAME")]
    package: Vec<String>,
}

/// Runs the tests with the compiler's own counters and prints a line a file.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        has("cargo-llvm-cov"),
        "there is no cargo-llvm-cov here; cargo install cargo-llvm-cov --locked"
    );
    let mut command = cargo();
    command.args(["llvm-cov", "test", "--locked", "--summary-only"]);
    // The suite itself has targets that are no code of the product's.
    command.arg("--ignore-filename-regex=(^|/)(tests|examples|xtask)/");
    match &options.package[..] {
        [] => drop(command.args(["--workspace", "--exclude=xtask"])),
        packages => drop(command.args(packages.iter().map(|name| format!("--package={name}")))),
    }
    // The compiler's files are read by tools of its LLVM's version alone. Where rustup's are missing,
    // Debian's do.
    let compiler = words("rustc -vV")?;
    let version = compiler.split("LLVM version: ").nth(1);
    let version = version.and_then(|version| version.split('.').next());
    let version = version.context("rustc names no version of LLVM")?;
    for (variable, tool) in [("LLVM_COV", "llvm-cov"), ("LLVM_PROFDATA", "llvm-profdata")] {
        let tool = format!("{tool}-{version}");
        if env::var_os(variable).is_none() && has(&tool) {
            command.env(variable, tool);
        }
    }
    passes(&mut command).with_context(|| {
        format!(
            "it needs LLVM's own tools: rustup component add llvm-tools, or apt-get install llvm-{version}"
        )
    })
}
