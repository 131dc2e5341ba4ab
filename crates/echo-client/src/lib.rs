//! The echo client: sends what it is given to an echo server and checks every byte that comes back.
//!
//! A library so that other crates can use its parts; the program is [`run`] behind a thin `main`.

pub mod bench;
pub mod cli;
pub mod config;
pub mod connection;
pub mod engine;
pub mod interrupt;
pub mod narrator;
pub mod output;
pub mod ping;
pub mod report;
pub mod send;
pub mod wire;

use anyhow::anyhow;
use echo_core::Failure;

use cli::{Cli, Command, Invocation};
use config::{Mode, Setup};
use connection::Connect;
use interrupt::{Interrupt, Why};

/// Does what the command line asks for.
///
/// # Errors
/// Everything that is not a success, with the exit code it deserves.
pub fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        None => mode(cli.send, send::run),
        Some(Command::Ping(invocation)) => mode(invocation, ping::run),
        Some(Command::Bench(invocation)) => mode(invocation, bench::run),
    }
}

/// Resolves the configuration of one mode, and runs it.
fn mode<M: Mode>(
    invocation: Invocation<M>,
    run: impl FnOnce(Connect, M::Config, &Interrupt) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let setup = Setup::load(&invocation, |name| std::env::var_os(name))?;
    if invocation.print_config {
        return output::line(&setup.layers).map_err(output::failure);
    }
    setup.connect.check()?;
    let interrupt = Interrupt::install(setup.connect.deadline)?;
    let has_end = M::has_end(&setup.mode);
    run(setup.connect, setup.mode, &interrupt)?;
    match interrupt.why() {
        Some(why @ Why::Deadline(_)) if has_end => Err(Failure::bad(anyhow!(
            "{why}: the run takes longer than that; allow more time"
        ))),
        _ => Ok(()),
    }
}
