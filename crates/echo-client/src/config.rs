//! Settings in layers, a table at a time: defaults, file, environment, flags.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::{Arg, ArgAction, ArgMatches, Args, Command};
use echo_core::config::{Layers, Source, Table, parse, read_text, switch, variable};
use echo_core::path::shown;
use echo_core::{Failure, FilePath};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connection::Connect;

/// A table of settings. One struct is what a file, the environment and the command line may say,
/// and what comes of it; its defaults are those of its flags.
pub trait Settings: Args + Default + Serialize + DeserializeOwned {
    /// The name of its table in the file.
    const TABLE: &str;

    /// Spells out, in a layer that has these `keys`, what is short for or replaces something else.
    ///
    /// # Errors
    /// It says what can have no meaning.
    fn complete(&mut self, _keys: &mut Keys) -> Result<()> {
        Ok(())
    }

    /// Refuses what contradicts itself, or what `connect` asks for.
    ///
    /// # Errors
    /// What does so, and what helps.
    fn check(&self, _connect: &Connect) -> Result<()> {
        Ok(())
    }
}

/// The keys that a layer has, spelled as in a file: what it says, where the rest is default.
pub type Keys = BTreeSet<String>;

/// The layers below the command line.
pub struct Below {
    /// The file, and its tables.
    file: Option<(PathBuf, Table)>,
}

/// A table that is settled.
pub struct Settled<T> {
    /// What applies.
    pub settings: T,
    /// Where each value came from; shown as a part of a configuration file.
    layers: Layers,
}

/// What the environment says of a key; an empty variable says nothing.
fn environment(key: &str) -> Option<OsString> {
    std::env::var_os(variable(key)).filter(|value| !value.is_empty())
}

impl Below {
    /// Reads the file that a flag or the environment names. As a whole it is an `F`.
    pub fn read<F: DeserializeOwned>(flag: Option<PathBuf>) -> Result<Self, Failure> {
        let path = flag.or_else(|| environment("config").map(PathBuf::from));
        let read = |path: PathBuf| -> Result<_> {
            let text = read_text(&path)?;
            let checked = parse::<F>(&text).and_then(|_| parse(&text));
            let tables = checked.with_context(|| shown(&path).to_string())?;
            Ok((path, tables))
        };
        let file = path.map(read).transpose().map_err(Failure::usage)?;
        Ok(Below { file })
    }

    /// The file, if there is one.
    pub fn path(&self) -> Option<FilePath> {
        self.file.as_ref().map(|(path, _)| FilePath(path.clone()))
    }

    /// Folds all the layers of one table. The command line has `keys`.
    pub fn settle<T: Settings>(&self, flags: T, keys: &Keys) -> Result<Settled<T>, Failure> {
        self.fold(flags, keys).map_err(Failure::usage)
    }

    fn fold<T: Settings>(&self, flags: T, keys: &Keys) -> Result<Settled<T>> {
        let mut layers = Layers::defaults(&T::default())?;
        if let Some((path, tables)) = &self.file
            && let Some(table) = tables.get(T::TABLE).and_then(|table| table.as_table())
        {
            let keys = table.keys().cloned().collect();
            let layer = layer::<T>(table.clone().try_into()?, keys)?;
            layers = layers.over(Source::File(path.clone()), &layer)?;
        }
        let command = switches(T::augment_args(Command::new("echo-client")));
        for argument in command.get_arguments() {
            let key = key(argument);
            let Some(word) = environment(&key).and_then(|value| word(argument, value)) else {
                continue;
            };
            // Each alone, so that an error names it: a variable is a flag spelled otherwise.
            let matches = command
                .clone()
                .try_get_matches_from(["echo-client".into(), word])
                .map_err(|error| bad_variable(&variable(&key), &error))?;
            let layer = layer(T::from_arg_matches(&matches)?, [key].into())?;
            layers = layers.over(Source::Environment, &layer)?;
        }
        let layers = layers.over(Source::Flag, &layer(flags, keys.clone())?)?;
        Ok(Settled {
            settings: layers.resolve()?,
            layers,
        })
    }
}

impl<T: Settings> fmt::Display for Settled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]\n{}", T::TABLE, self.layers)
    }
}

/// What a layer says of a table: of `settings` that which has been given.
fn layer<T: Settings>(mut settings: T, mut keys: Keys) -> Result<Table> {
    settings.complete(&mut keys)?;
    let mut table = Table::try_from(&settings)?;
    table.retain(|key, _| keys.contains(key));
    Ok(table)
}

/// What was typed, and is no default.
pub fn typed(matches: &ArgMatches, command: &Command) -> Keys {
    let is_typed = |argument: &&Arg| {
        let source = matches.value_source(argument.get_id().as_str());
        source == Some(clap::parser::ValueSource::CommandLine)
    };
    command.get_arguments().filter(is_typed).map(key).collect()
}

/// A flag's key in a file.
fn key(argument: &Arg) -> String {
    argument.get_id().as_str().replace('_', "-")
}

/// What would be typed to say the same; of what has no long name, nothing.
fn word(argument: &Arg, value: OsString) -> Option<OsString> {
    if argument.is_positional() {
        return Some(value);
    }
    let mut word = OsString::from(format!("--{}=", argument.get_long()?));
    word.push(value);
    Some(word)
}

/// The defaults of the flags, as settings.
pub fn defaults<T: Args>() -> T {
    let command = switches(T::augment_args(Command::new("defaults")));
    let matches = command.get_matches_from(["defaults"]);
    T::from_arg_matches(&matches).expect("the text of a default is a value")
}

/// Has settings begin as the [`defaults`] of their flags.
macro_rules! by_flags {
    ($type:ty) => {
        impl Default for $type {
            fn default() -> Self {
                $crate::config::defaults()
            }
        }
    };
}

pub(crate) use by_flags;

/// Has every flag that is on or off take a value too (`--raw=false`), so that it can be taken back.
pub fn switches(command: Command) -> Command {
    let switched = command.mut_args(|argument| {
        let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
        let argument = match is_switch && argument.get_long().is_some() {
            true => argument
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_value("false")
                .default_missing_value("true")
                .value_name("BOOL")
                .value_parser(switch),
            false => argument,
        };
        match argument.get_default_values() {
            [value] if value.is_empty() || value == "false" => argument.hide_default_value(true),
            _ => argument,
        }
    });
    switched.mut_subcommands(switches)
}

fn bad_variable(variable: &str, error: &clap::Error) -> anyhow::Error {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let cause = first.strip_prefix("error: ").unwrap_or(first).trim_end();
    anyhow!("the environment variable {variable}: {cause}")
}
