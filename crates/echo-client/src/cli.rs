//! The command line as it is typed, and the file in which the same can be written.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use echo_core::Endpoint;
use echo_core::release::long_version;
use echo_core::tip::hinted;
use echo_explain::Lang;
use serde::Deserialize;

use crate::bench::Bench;
use crate::compare::Compare;
use crate::config::{Keys, Settings, switches, typed};
use crate::connection::Connect;
use crate::diagnose::Diagnose;
use crate::hint;
use crate::merge::Merge;
use crate::mesh::Mesh;
use crate::ping::Ping;
use crate::send::Send;

/// Sends a message to an echo server and checks that every byte comes back
#[derive(Debug, Parser)]
#[command(
    name = "echo-client",
    version,
    long_version = long_version(env!("CARGO_PKG_VERSION")),
    args_conflicts_with_subcommands = true,
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
    Ping(Box<Invocation<Ping>>),
    /// Makes load, and measures how the server bears it
    Bench(Box<Invocation<Bench>>),
    /// Says what is wrong with the path to a target, and what to do about it
    Diagnose(Box<Invocation<Diagnose>>),
    /// Holds saved runs against the first of them
    Compare(Compare),
    /// Adds up what several machines have measured at the same time
    Merge(Merge),
    /// Watches the paths to many peers, for a monitor that asks
    Mesh(Box<Mesh>),
    /// Prints what a shell needs to complete the options of this program
    Completions {
        /// The shell
        shell: Shell,
    },
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
    /// Finding out what is wrong with a path.
    pub diagnose: Diagnose,
}

/// Parses a command line. Returns what it says, the keys that were typed, and the language that was
/// asked for, before files are looked at.
///
/// # Errors
/// What clap says of it, with a hint where a subcommand was given too late to be one; help and the
/// version too.
pub fn parse(words: impl Iterator<Item = OsString>) -> Result<(Cli, Keys, Lang), clap::Error> {
    let mut words: Vec<OsString> = words.collect();
    let mut command = brief(switches(Cli::command()));
    if let [_, one, other] = &mut words[..] {
        let is_mode = |word: &OsString| command.find_subcommand(word).is_some();
        if ["help", "-h", "--help"].iter().any(|help| one == help) && is_mode(other) {
            std::mem::swap(one, other);
        }
        if is_mode(one) && other == "help" {
            *other = "--help".into();
        }
    }
    if words.iter().any(|word| word == "--stamp") {
        let parser = OsStringValueParser::new().try_map(stamp_target);
        let target = |command: clap::Command| {
            command.mut_args(|argument| match argument.get_id() == "target" {
                true => argument.value_parser(parser.clone()),
                false => argument,
            })
        };
        command = command.mut_subcommands(target);
    }
    let matches = command
        .try_get_matches_from_mut(&words)
        .map_err(|error| hinted(error, &words, Cli::command(), &hint::MEANT, &hint::RULES))?;
    let (own, of) = match matches.subcommand() {
        Some((name, own)) => (own, command.find_subcommand(name).unwrap_or(&command)),
        None => (&matches, &command),
    };
    let keys = typed(own, of);
    let lang = own.try_get_one("lang").ok().flatten().copied();
    Ok((
        Cli::from_arg_matches(&matches)?,
        keys,
        lang.unwrap_or_default(),
    ))
}

/// A target where `--stamp` says what is spoken: there is a port that STAMP has.
fn stamp_target(typed: OsString) -> Result<Endpoint, String> {
    let text = typed.to_str().filter(|text| !text.contains("://"));
    match text.map(|text| format!("stamp://{text}").parse()) {
        Some(Ok(endpoint)) => Ok(endpoint),
        _ => Endpoint::try_from(typed),
    }
}

/// What `-h` shows of the options, since most people want no other; `--help` shows all.
const FIRST: &str = "udp timeout wait verbose message file interactive explain step lang json count \
                     interval size duration parallel rate fail_if report targets peers transport \
                     metrics plan gentle idle";

fn brief(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| {
        let is_named = FIRST.split(' ').any(|first| argument.get_id() == first);
        let is_first = argument.is_positional() || is_named;
        argument.hide_short_help(!is_first)
    });
    command.mut_subcommands(brief)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        switches(Cli::command()).debug_assert();
    }
}
