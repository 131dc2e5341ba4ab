//! `cargo xtask simulate`: the server's serving loop and the client's engine on a clock and sockets of
//! their tests' own, for as long as one wants. What is played and checked lies with each: in
//! `serve/simulation.rs` and in `engine/simulation.rs`.

use std::num::NonZeroU64;

use anyhow::Result;
use clap::Args;

use crate::cargo::{cargo, passes};

/// How long, and from where.
#[derive(Args)]
pub struct Options {
    /// Play schedules for as many minutes
    #[arg(long, default_value = "1")]
    minutes: NonZeroU64,
    /// The first schedule's seed; each further one has the next
    #[arg(long, default_value_t = 10_000)]
    seed: u64,
}

/// Plays them, of either half of the time. One that breaks a promise is shown as short as it gets,
/// with its seed.
pub fn run(options: &Options) -> Result<()> {
    for (package, module) in [("echo-server", "serve"), ("echo-client", "engine")] {
        let mut command = cargo();
        command
            .args(["test", "--release", "--locked", "--quiet"])
            .args(["--package", package, "--lib", "--"])
            .arg(format!("{module}::simulation::simulate"))
            .args(["--exact", "--ignored", "--nocapture"])
            .env("SIMULATE_SECONDS", (options.minutes.get() * 30).to_string())
            .env("SIMULATE_SEED", options.seed.to_string());
        passes(&mut command)?;
    }
    Ok(())
}
