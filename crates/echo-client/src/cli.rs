//! The command line as it is typed, and the file in which the same can be written.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::Deserialize;

use crate::bench::Bench;
use crate::config::{Keys, Settings, switches, typed};
use crate::connection::Connect;
use crate::ping::Ping;
use crate::send::Send;

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
    pub send: Invocation<Send>,
    /// Something else.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The modes that have a name.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sends requests at an interval, and measures loss, corruption and round trips
    Ping(Invocation<Ping>),
    /// Makes load, and measures how the server bears it
    Bench(Invocation<Bench>),
}

/// One mode's options, with those that all modes share. The last of the same flag wins, so that an
/// alias or a script can be overridden.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct Invocation<M: Settings> {
    /// Read settings from this TOML file; ECHO_CONFIG names it too
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the effective settings, and where each comes from, and exit
    #[arg(long)]
    pub print_config: bool,
    /// Where to connect, and how.
    #[command(flatten)]
    pub connect: Connect,
    /// The mode's own options.
    #[command(flatten)]
    pub mode: M,
}

/// The configuration file: a table that all modes share, and one for each.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// Where to connect, and how.
    pub connect: Connect,
    /// Sending one message.
    pub send: Send,
    /// Sending requests at an interval.
    pub ping: Ping,
    /// Making load.
    pub bench: Bench,
}

/// Parses a command line. Returns what it says, and the keys that were typed.
///
/// # Errors
/// What clap says of it, with a hint where a subcommand was given too late to be one; help and the
/// version too.
pub fn parse(words: impl Iterator<Item = OsString>) -> Result<(Cli, Keys), clap::Error> {
    let mut command = switches(Cli::command());
    let matches = command.try_get_matches_from_mut(words).map_err(hinted)?;
    let keys = match matches.subcommand() {
        Some((name, matches)) => typed(matches, command.find_subcommand(name).unwrap_or(&command)),
        None => typed(&matches, &command),
    };
    Ok((Cli::from_arg_matches(&matches)?, keys))
}

/// The same error, with a hint where a subcommand was given too late to be one.
fn hinted(mut error: clap::Error) -> clap::Error {
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
        switches(Cli::command()).debug_assert();
    }
}
