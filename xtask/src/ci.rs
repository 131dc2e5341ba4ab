//! `cargo xtask ci`: everything a change must pass. Stops at the first step that fails.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::cargo::cargo;
use crate::terminal::{Style, Terminal};
use crate::{demo, examples, report_check, supply};

/// One check.
struct Check {
    name: &'static str,
    run: fn() -> Result<()>,
}

/// The checks, the quick ones first.
const CHECKS: &[Check] = &[
    Check {
        name: "format",
        run: format,
    },
    Check {
        name: "supply chain",
        run: supply::check,
    },
    Check {
        name: "lints",
        run: lints,
    },
    Check {
        name: "tests",
        run: tests,
    },
    Check {
        name: "docs",
        run: docs,
    },
    Check {
        name: "examples",
        run: examples::run,
    },
    Check {
        name: "report",
        run: report_check::run,
    },
    Check {
        name: "demo, explained",
        run: || demo::run(demo::Options::explained()),
    },
    Check {
        name: "demo",
        run: || demo::run(demo::Options::default()),
    },
    #[cfg(target_os = "linux")]
    Check {
        name: "torture",
        run: || crate::torture::run(&crate::torture::Options::short()),
    },
];

/// Runs every check.
pub fn run() -> Result<()> {
    let out = Terminal::stdout();
    let start = Instant::now();
    for (number, check) in (1..).zip(CHECKS) {
        let title = format!("[{number}/{}] {}", CHECKS.len(), check.name);
        out.line(out.paint(Style::Bold, format_args!("=== {title}")))?;
        let began = Instant::now();
        (check.run)().with_context(|| format!("ci stopped at {title}"))?;
        let passed = format!(
            "=== {title}: passed in {:.1} s",
            began.elapsed().as_secs_f64()
        );
        out.line(out.paint(Style::Good, passed))?;
        out.line("")?;
    }
    let passed = format!(
        "=== all {} checks passed in {:.0} s",
        CHECKS.len(),
        start.elapsed().as_secs_f64()
    );
    out.line(out.paint(Style::Good, passed))
}

/// Outside the workspace, so that it needs a check of its own.
const PEERS: &str = "--manifest-path=xtask/peers/Cargo.toml";

fn format() -> Result<()> {
    passes(cargo().args(["fmt", "--all", "--check"]))?;
    passes(cargo().args(["fmt", PEERS, "--check"]))
}

fn lints() -> Result<()> {
    let clippy = |scope| {
        let mut command = cargo();
        command.args([
            "clippy",
            "--locked",
            scope,
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]);
        command
    };
    passes(&mut clippy("--workspace"))?;
    passes(&mut clippy(PEERS))
}

fn tests() -> Result<()> {
    passes(cargo().args(["test", "--locked", "--workspace"]))
}

fn docs() -> Result<()> {
    passes(
        cargo()
            .args([
                "doc",
                "--locked",
                "--workspace",
                "--no-deps",
                "--document-private-items",
            ])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// Runs a tool that tells by itself what is wrong.
fn passes(command: &mut Command) -> Result<()> {
    let shown = crate::process::shown(command);
    let status = command
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "{shown}: {status}; it said why above");
    Ok(())
}
