//! `cargo xtask ci`: everything a change must pass. Stops at the first check that fails.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::cargo::{cargo, passes};
use crate::terminal::{BOLD, GOOD, paint, say};
use crate::{demo, examples, process, report_check, strangers, supply};

/// One check: its name, and how it is made.
type Check = (&'static str, fn() -> Result<()>);

/// The checks, the quick ones first.
const CHECKS: &[Check] = &[
    ("format", format),
    ("supply", supply::check),
    ("lints", lints),
    ("tests", tests),
    ("docs", docs),
    ("examples", examples::run),
    ("diagnose", diagnose),
    ("report", report_check::run),
    ("stamp", strangers::run),
    ("mesh", crate::mesh::run),
    ("explained", || demo::run(demo::Options::explained())),
    ("demo", || demo::run(demo::Options::default())),
    ("deploy", crate::deploy::run),
    ("torture", || {
        crate::torture::run(&crate::torture::Options::short())
    }),
];

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
    for (number, (name, check)) in (1..).zip(&checks) {
        let title = format!("[{number}/{}] {}", checks.len(), name);
        say(paint(BOLD, format_args!("=== {title}")))?;
        let began = Instant::now();
        check().with_context(|| format!("ci stopped at {title}"))?;
        let passed = format!(
            "=== {title}: passed in {:.1} s",
            began.elapsed().as_secs_f64()
        );
        say(paint(GOOD, passed))?;
        say("")?;
    }
    let passed = format!(
        "=== all {} checks passed in {:.0} s",
        checks.len(),
        start.elapsed().as_secs_f64()
    );
    say(paint(GOOD, passed))
}

/// Outside the workspace, so that it needs a check of its own.
const PEERS: &str = "--manifest-path=xtask/peers/Cargo.toml";

fn format() -> Result<()> {
    passes(cargo().args(["fmt", "--all", "--check"]))?;
    passes(cargo().args(["fmt", PEERS, "--check"]))
}

fn lints() -> Result<()> {
    for scope in ["--workspace", PEERS] {
        let args = format!("clippy --locked {scope} --all-targets -- -D warnings");
        passes(cargo().args(args.split(' ')))?;
    }
    within_a_test()
}

/// What runs the server within a test builds neither a command line nor what reads settings.
fn within_a_test() -> Result<()> {
    let server = "--locked --package=echo-server --no-default-features";
    let lints = format!("clippy {server} -- -D warnings");
    passes(cargo().args(lints.split(' ')))?;
    let tree = format!("tree {server} --edges=normal --prefix=none");
    let tree = process::run(cargo().args(tree.split(' ')), Duration::from_secs(60))?.success()?;
    let tree = String::from_utf8(tree)?;
    let unwanted = |line: &&str| line.starts_with("clap") || line.starts_with("toml");
    let found: Vec<&str> = tree.lines().filter(unwanted).collect();
    ensure!(
        found.is_empty(),
        "a test that runs the server within itself builds {found:?}"
    );
    Ok(())
}

fn tests() -> Result<()> {
    passes(cargo().args(["test", "--locked", "--workspace"]))
}

/// One thing after the other is broken between two machines, and diagnosed. What waits most of the
/// time runs side by side; a skip says what this machine does not grant.
fn diagnose() -> Result<()> {
    let args = "test --locked --workspace --test it paths:: -- --ignored --show-output";
    passes(cargo().args(args.split(' ')).arg("--test-threads=4"))
}

fn docs() -> Result<()> {
    let args = "doc --locked --workspace --no-deps --document-private-items";
    passes(
        cargo()
            .args(args.split(' '))
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}
