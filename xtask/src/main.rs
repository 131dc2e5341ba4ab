//! `cargo xtask`: what is done with this workspace besides building it. Dispatch only.

mod bench;
mod cargo;
mod check;
mod ci;
mod demo;
mod deploy;
mod examples;
mod pictures;
mod proc;
mod process;
mod server;
mod soak;
mod strangers;
mod terminal;
mod torture;
mod traffic;

use std::num::NonZeroU64;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use echo_core::Exit;

/// Tasks of this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build both programs and walk through what they do, each step saying what it proved
    Demo(demo::Options),
    /// Run the examples in docs/examples against the programs
    Examples,
    /// Make the pictures in docs/ anew, each of a real run
    Pictures(pictures::Options),
    /// Measure the server beside its peers
    Bench(bench::Options),
    /// Do to both programs what a bad day does, and check that nobody loses what they need not lose
    Torture(torture::Options),
    /// Hold 10,000 connections for a while beside other work, and check that nothing grows
    Soak(soak::Options),
    /// Play schedules drawn from a seed against the server's serving loop, and check every promise
    Simulate {
        /// Play schedules for as many minutes
        #[arg(long, default_value = "1")]
        minutes: NonZeroU64,
        /// The first schedule's seed; each further one has the next
        #[arg(long, default_value_t = 10_000)]
        seed: u64,
    },
    /// Print which lines the tests execute
    Coverage {
        /// Only the tests of these packages; all of them when none is named
        #[arg(short, long, value_name = "NAME")]
        package: Vec<String>,
    },
    /// Build a release twice, compare, and put all that belongs to it into target/dist
    Dist,
    /// Everything a change must pass, or the checks that are named
    Ci(ci::Options),
}

fn main() -> ExitCode {
    match stop_in_order().and_then(|()| run(Cli::parse().task)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(error) if error.is::<terminal::Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if process::is_interrupted() {
                Exit::Interrupted.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Makes signals stop this task in order; a second one ends it at once.
fn stop_in_order() -> Result<()> {
    let handler = || {
        if process::interrupt() {
            std::process::exit(Exit::Interrupted.code().into());
        }
    };
    ctrlc::set_handler(handler).context("cannot handle signals")
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Demo(options) => demo::run(options),
        Task::Examples => examples::run(),
        Task::Pictures(options) => pictures::run(&options),
        Task::Bench(options) => bench::run(options),
        Task::Torture(options) => torture::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Simulate { minutes, seed } => {
            let words = [minutes.to_string(), seed.to_string()];
            check::script(include_str!("tasks/simulate.sh"), &words)
        }
        Task::Coverage { package } => check::script(include_str!("tasks/coverage.sh"), &package),
        Task::Dist => deploy::dist(),
        Task::Ci(options) => ci::run(&options),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
