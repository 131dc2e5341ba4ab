//! The echo client: sends what it is given to an echo server and checks every byte that comes back.
//!
//! A library so that other crates can use its parts; the program is [`run`] behind a thin `main`.

pub mod bench;
pub mod cli;
pub mod compare;
pub mod config;
pub mod connection;
pub mod diagnose;
pub mod engine;
mod hint;
pub mod interrupt;
pub mod measure;
pub mod merge;
pub mod mesh;
pub mod narrator;
pub mod output;
pub mod ping;
pub(crate) mod progress;
pub mod report;
pub mod send;
pub mod thread;
pub mod wire;

use clap::CommandFactory;
use echo_core::{Failure, completions};
use echo_explain::Phrases;

use cli::{Cli, Command, File, Invocation};
use config::{Below, Keys, Settings};
use connection::Connect;
use interrupt::{Hangup, Interrupt};

/// Does what the command line asks for, of which the user has typed `keys`.
///
/// # Errors
/// Everything that is not a success, with the exit code it deserves.
pub fn run(cli: Cli, keys: &Keys) -> Result<(), Failure> {
    match cli.command {
        None => mode(cli.send, keys, send::run),
        Some(Command::Ping(invocation)) => mode(*invocation, keys, ping::run),
        Some(Command::Bench(invocation)) => mode(*invocation, keys, bench::run),
        Some(Command::Diagnose(invocation)) => mode(*invocation, keys, diagnose::run),
        Some(Command::Compare(config)) => compare::run(config),
        Some(Command::Merge(config)) => merge::run(config),
        Some(Command::Mesh(config)) => mesh::run(*config),
        Some(Command::Completions { shell }) => output::line(completions(shell, Cli::command())),
    }
}

/// Settles what one mode is to do, and runs it.
fn mode<M: Settings>(
    invocation: Invocation<M>,
    keys: &Keys,
    run: impl FnOnce(Connect, M, &Interrupt) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let below = Below::read::<File>(invocation.config)?;
    let connect = below.settle(invocation.connect, keys)?;
    let mode = below.settle(invocation.mode, keys)?;
    if invocation.print_config {
        return output::line(format_args!("{connect}\n{mode}"));
    }
    let (mut connect, mode) = (connect.settings, mode.settings);
    connect.phrases = Phrases::of(connect.lang.resolve(|name| std::env::var_os(name)));
    connect.check().map_err(Failure::usage)?;
    connect.read_key()?;
    mode.check(&connect).map_err(Failure::usage)?;
    let key = connect.stamp_key.iter().cloned();
    connect.read = key.chain(below.path()).collect();
    let interrupt = Interrupt::install(connect.deadline, Hangup::Stops)?;
    let outcome = run(connect, mode, &interrupt);
    interrupt.end();
    outcome
}
