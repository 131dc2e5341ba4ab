//! The command line, and the layers below it.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use echo_core::FilePath;
use echo_core::config::{self, Layers, Source};
use echo_core::release::long_version;
use echo_core::tip::{Meant, Wrong, hinted};
use echo_explain::Lang;

use crate::Listen;
use crate::config::Config;
use crate::event::Level;
use crate::settings::Settings;

/// What other programs take.
const MEANT: [Meant; 6] = [
    (
        &["-p", "-l", "--host", "--bind", "--address"],
        None,
        "where to listen needs no flag: echo-server 5346, or --listen HOST:PORT",
    ),
    (
        &["-u", "--udp"],
        None,
        "UDP is echoed beside TCP; for UDP alone: echo-server udp://127.0.0.1:5346",
    ),
    (
        &["-t", "--tcp"],
        None,
        "TCP is echoed beside UDP; for TCP alone: echo-server tcp://127.0.0.1:5346",
    ),
    (&["--json"], None, "events are JSON with --log json"),
    (
        &[
            "--banner",
            "--corrupt",
            "--delay",
            "--drop",
            "--latency",
            "--loss",
        ],
        None,
        "what is to go wrong is told to --fault, as in --fault delay=200ms; echo-server fault help",
    ),
    (
        &["--forward", "--proxy", "--upstream"],
        None,
        "it answers by itself, and forwards nothing; behind a load balancer: --proxy-protocol",
    ),
];

/// Commands about faults go to a server that runs.
fn live(wrong: &Wrong<'_>) -> Option<String> {
    let is_fault = wrong.own.get_name() == "fault" && !wrong.word.starts_with('-');
    is_fault.then(|| "of a server that runs: echo-server control unix:PATH 'fault list'".to_owned())
}

/// Echoes what TCP, UDP and Unix socket peers send
#[derive(Debug, Parser)]
#[command(
    name = "echo-server",
    version,
    long_version = long_version(env!("CARGO_PKG_VERSION")),
    args_conflicts_with_subcommands = true,
    after_help = "Every option but --config can be set in the configuration file \
                  (max-frame = \"1MiB\") and in the environment (ECHO_MAX_FRAME=1MiB). Flags win over \
                  the environment, the environment over the file.\n\n\
                  Exit codes: 0 stopped as asked; 1 cannot listen, --exit-after was too early, or the \
                  record is incomplete; 2 usage or configuration; 130 interrupted twice."
)]
pub struct Cli {
    /// Listen here; short for --listen. A port alone is that of 127.0.0.1
    #[arg(value_name = "ENDPOINT",
          value_parser = OsStringValueParser::new().try_map(Listen::typed))]
    endpoints: Vec<Listen>,
    #[command(flatten)]
    settings: Settings,
    /// Tell of every read and write; short for --log-level traffic
    #[arg(short, long, conflicts_with_all = ["quiet", "log_level"])]
    verbose: bool,
    /// Tell nothing; short for --log-level off
    #[arg(short, long, conflicts_with = "log_level")]
    quiet: bool,
    /// Read settings from this TOML file [env: ECHO_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the effective configuration, with where each value came from, and exit
    #[arg(long)]
    pub print_config: bool,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Tells of every fault: what can happen, and where
    Fault {
        /// help, which is what there is to be asked
        #[arg(value_parser = ["help"], hide = true)]
        what: Option<String>,
    },
    /// Gives a running server a command, such as 'fault add drop=20%', and prints its answer
    Control {
        /// The server's --control
        #[arg(value_name = "unix:PATH")]
        path: FilePath,
        /// The command and its words.
        #[arg(
            required = true,
            help = "fault list, fault add SPEC, fault remove N, fault clear, stats, connections, \
                    close N|all [reset], pause [LISTENER], resume [LISTENER] or stop"
        )]
        command: Vec<String>,
    },
    /// Prints what a shell needs to complete the options of this program
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Cli {
    /// As it is typed.
    ///
    /// # Errors
    /// clap's, with a tip that helps.
    pub fn typed() -> Result<Self, clap::Error> {
        Cli::try_parse().map_err(|error| {
            let typed: Vec<_> = std::env::args_os().collect();
            hinted(error, &typed, Cli::command(), &MEANT, &[live])
        })
    }

    /// Folds defaults, file, environment and flags.
    ///
    /// # Errors
    /// It names the file and line, or the variable.
    pub fn layers(&self, environment: impl Fn(&str) -> Option<OsString>) -> Result<Layers> {
        let mut layers = Layers::defaults(&Config::default())?;
        if let Some(path) = self.file(&environment) {
            let settings: Settings = config::read_file(&path)?;
            layers = layers.over(Source::File(path), &settings.spelled_out())?;
        }
        // What is short for another key is overridden by it, as in a file.
        let keys = ["once"].into_iter().chain(layers.keys());
        for (variable, flag) in config::flags_from_environment(keys, environment) {
            let cli = Cli::try_parse_from(["echo-server".into(), flag]).map_err(|error| {
                let text = error.to_string();
                // The cause and what can be written instead; after an empty line comes the usage.
                let lines = text.lines().map(str::trim);
                let cause: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                let cause = cause.join(" ");
                anyhow!("{variable}: {}", cause.trim_start_matches("error: "))
            })?;
            layers = layers.over(Source::Environment, &cli.settings.spelled_out())?;
        }
        layers.over(Source::Flag, &self.flags())
    }

    /// The language that is asked for, before files are looked at.
    pub fn lang(&self) -> Lang {
        self.settings.lang.unwrap_or_default()
    }

    /// The configuration file, where one is named.
    pub fn file(&self, environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        let named = || environment("ECHO_CONFIG").filter(|path| !path.is_empty());
        self.config.clone().or_else(|| named().map(PathBuf::from))
    }

    fn flags(&self) -> Settings {
        let mut settings = self.settings.clone();
        if !self.endpoints.is_empty() {
            let listen = settings.listen.get_or_insert_default();
            listen.extend(self.endpoints.clone());
        }
        if self.verbose {
            settings.log_level = Some(Level::Traffic);
        } else if self.quiet {
            settings.log_level = Some(Level::Off);
        }
        settings.spelled_out()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_key_of_the_configuration_has_a_flag() {
        let command = Cli::command();
        let layers = Layers::defaults(&Config::default()).unwrap();
        for key in layers.keys() {
            assert!(
                command
                    .get_arguments()
                    .any(|arg| arg.get_long() == Some(key)),
                "{key}"
            );
        }
    }

    #[test]
    fn flags_win_over_the_environment() {
        let cli = Cli::parse_from(["echo-server", "--workers=3", "-q"]);
        let environment = |name: &str| match name {
            "ECHO_WORKERS" => Some("7".into()),
            "ECHO_DRAIN" => Some("2".into()),
            "ECHO_ONCE" => Some("true".into()),
            "ECHO_LISTEN" => Some("unix:a,tcp://[::1]:0".into()),
            _ => None,
        };
        let config: Config = cli.layers(environment).unwrap().resolve().unwrap();
        assert_eq!(config.workers.get(), 3);
        assert_eq!(config.drain.to_string(), "2s");
        assert_eq!(config.max_total, 1);
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.log_level, Level::Off);
    }

    #[test]
    fn once_is_a_spelling_of_max_total() {
        let total = |words: &str, once: &'static str| {
            let cli = Cli::parse_from(words.split(' '));
            let environment = |name: &str| match name {
                "ECHO_ONCE" => Some(once.into()),
                "ECHO_MAX_TOTAL" if once == "true" => Some("3".into()),
                _ => None,
            };
            let layers = cli.layers(environment).unwrap();
            layers.resolve::<Config>().unwrap().max_total
        };
        assert_eq!(total("echo-server", "1"), 1);
        assert_eq!(total("echo-server --max-total=2", "1"), 2);
        assert_eq!(total("echo-server --once=false", "1"), 0);
        assert_eq!(total("echo-server --once", ""), 1);
        assert_eq!(total("echo-server", "true"), 3);
    }

    #[test]
    fn a_bad_variable_is_named() {
        let cli = Cli::parse_from(["echo-server"]);
        let environment = |name: &str| (name == "ECHO_DRAIN").then(|| "soon".into());
        let error = cli.layers(environment).unwrap_err().to_string();
        assert!(
            error.contains("ECHO_DRAIN") && error.contains("200ms"),
            "{error}"
        );
    }
}
