//! The command line as it is typed.

use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::bench::BenchSettings;
use crate::config::Mode;
use crate::connection::ConnectSettings;
use crate::ping::PingSettings;
use crate::send::SendSettings;

/// Sends a message to an echo server and checks that every byte comes back
#[derive(Debug, Parser)]
#[command(
    name = "echo-client",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 all went well; 1 the answer is bad; 2 usage or configuration; \
                  3 could not resolve or connect; 130 interrupted twice."
)]
pub struct Cli {
    /// What to do without a subcommand.
    #[command(flatten)]
    pub send: Invocation<SendSettings>,
    /// Something else.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The modes that have a name.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sends requests at an interval, and measures loss, corruption and round trips
    Ping(Invocation<PingSettings>),
    /// Makes load, and measures how the server bears it
    Bench(Invocation<BenchSettings>),
}

/// One mode's options, with those that all modes share. The last of the same flag wins, so that an
/// alias or a script can be overridden.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct Invocation<M: Mode> {
    /// Read settings from this TOML file; ECHO_CONFIG names it too
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the effective settings, and where each comes from, and exit
    #[arg(long)]
    pub print_config: bool,
    /// Where to connect, and how.
    #[command(flatten)]
    pub connect: ConnectSettings,
    /// The mode's own options.
    #[command(flatten)]
    pub mode: M,
}

/// The same error, with a hint where a subcommand was given too late to be one.
pub fn hinted(mut error: clap::Error) -> clap::Error {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let command = Cli::command();
    let late = [ContextKind::InvalidValue, ContextKind::InvalidArg]
        .into_iter()
        .filter_map(word)
        .find_map(|word| command.find_subcommand(word));
    if let Some(late) = late {
        let hint = format!("the subcommand goes first: echo-client {late} ...");
        let hint = ContextValue::StyledStrs(vec![hint.into()]);
        error.insert(ContextKind::Suggested, hint);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
