//! Settings in layers, for whichever mode runs: defaults, file, environment, flags.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::{Args, Command, FromArgMatches};
use echo_core::Failure;
use echo_core::config::{Layers, Source, flags_from_environment, read_file, variable};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bench::BenchSettings;
use crate::cli::Invocation;
use crate::connection::{Connect, ConnectSettings};
use crate::ping::PingSettings;
use crate::send::SendSettings;

/// A mode's settings: a table in the file, and flags on the command line.
pub trait Mode: Args + FromArgMatches + Serialize {
    /// The resolved configuration, whose `Default` is the bottom layer.
    type Config: Default + Serialize + DeserializeOwned;
    /// The name of its table in the file.
    const TABLE: &str;

    /// Its table of a file that has been read.
    fn pick(file: File) -> Self;

    /// As a layer: what is typed in short or replaces something else, spelled out.
    fn normalized(&self) -> Self;

    /// Whether a run ends by itself, so that a deadline that comes first cuts it short.
    fn has_end(_config: &Self::Config) -> bool {
        true
    }
}

/// The configuration file: a table that all modes share, and one for each.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// Where to connect, and how.
    pub connect: ConnectSettings,
    /// Sending one message.
    pub send: SendSettings,
    /// Sending requests at an interval.
    pub ping: PingSettings,
    /// Making load.
    pub bench: BenchSettings,
}

/// The effective configuration of a mode.
pub struct Setup<M: Mode> {
    /// Where to connect, and how.
    pub connect: Connect,
    /// The mode's own part.
    pub mode: M::Config,
    /// Where each value came from; shown as a configuration file.
    pub layers: Tables,
}

/// The layers of the shared table, and of the mode's.
#[derive(Debug)]
pub struct Tables {
    connect: Layers,
    mode: Layers,
    name: &'static str,
}

impl<M: Mode> Setup<M> {
    /// Folds all the layers. `environment` looks a variable up.
    pub fn load(
        invocation: &Invocation<M>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Failure> {
        Self::fold(invocation, environment).map_err(Failure::usage)
    }

    fn fold(
        invocation: &Invocation<M>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self> {
        let mut layers = Tables {
            connect: Layers::defaults(&Connect::default())?,
            mode: Layers::defaults(&M::Config::default())?,
            name: M::TABLE,
        };
        let path = invocation.config.clone().or_else(|| {
            let path = environment(&variable("config"))?;
            (!path.is_empty()).then(|| PathBuf::from(path))
        });
        if let Some(path) = path {
            let (connect, mode) = file::<M>(&path)?;
            layers = layers.over(Source::File(path), &connect, &mode)?;
        }
        for (connect, mode) in from_environment::<M>(environment)? {
            layers = layers.over(Source::Environment, &connect, &mode)?;
        }
        layers = layers.over(Source::Flag, &invocation.connect, &invocation.mode)?;
        Ok(Setup {
            connect: layers.connect.resolve()?,
            mode: layers.mode.resolve()?,
            layers,
        })
    }
}

impl Tables {
    fn over(self, source: Source, connect: &ConnectSettings, mode: &impl Mode) -> Result<Self> {
        Ok(Tables {
            connect: self.connect.over(source.clone(), &connect.normalized())?,
            mode: self.mode.over(source, &mode.normalized())?,
            name: self.name,
        })
    }
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[connect]\n{}\n", self.connect)?;
        write!(f, "[{}]\n{}", self.name, self.mode)
    }
}

fn file<M: Mode>(path: &Path) -> Result<(ConnectSettings, M)> {
    let mut file: File = read_file(path)?;
    let connect = std::mem::take(&mut file.connect);
    Ok((connect, M::pick(file)))
}

/// What each variable that is set says. A variable is parsed alone, so that an error names it.
fn from_environment<M: Mode>(
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<(ConnectSettings, M)>> {
    let command = ConnectSettings::augment_args(Command::new("echo-client"));
    let command = M::augment_args(command).disable_help_flag(true);
    let keys: Vec<_> = command
        .get_arguments()
        .filter_map(|argument| argument.get_long())
        .collect();
    let mut flags = flags_from_environment(keys, &lookup);
    // The target is a flag to the environment's eyes only: on the command line it has no name.
    let target = variable("target");
    if let Some(value) = lookup(&target).filter(|value| !value.is_empty()) {
        flags.push((target, value));
    }
    flags
        .into_iter()
        .map(|(variable, flag)| {
            let words = [OsString::from("echo-client"), flag];
            let matches = command
                .clone()
                .try_get_matches_from(words)
                .map_err(|error| bad_variable(&variable, &error))?;
            Ok((
                ConnectSettings::from_arg_matches(&matches)?,
                M::from_arg_matches(&matches)?,
            ))
        })
        .collect()
}

fn bad_variable(variable: &str, error: &clap::Error) -> anyhow::Error {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let cause = first.strip_prefix("error: ").unwrap_or(first).trim_end();
    anyhow!("the environment variable {variable}: {cause}")
}
