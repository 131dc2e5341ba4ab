//! The mode without a name: sends one message, or a stream, and checks every byte of the echo.

mod datagram;
mod difference;
mod show;
mod source;
mod stream;
mod window;

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;
use echo_core::Failure;
use serde::{Deserialize, Serialize};

use crate::config::{File, Mode};
use crate::connection::{Connect, connect};
use crate::interrupt::Interrupt;
use show::Show;
use source::Source;

/// What is sent when nothing else is given: the tutorial's message.
pub const DEFAULT_MESSAGE: &str = "Hello world! This is an echo server made with Rust.";

/// The options of sending, as they are typed.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Message")]
pub struct SendSettings {
    /// Send this text; - sends standard input
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Send this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "message")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Write the returned bytes as they are, and nothing else
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", hide_possible_values = true, value_parser = BoolishValueParser::new())]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<bool>,
    /// End the sending half of the stream right after the last byte, while its echo is on the way
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", hide_possible_values = true, value_parser = BoolishValueParser::new())]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_close: Option<bool>,
}

/// What is sent, and how the echo is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Send {
    /// The text, or `-` for standard input.
    pub message: String,
    /// A file to send instead, unless its name is empty.
    pub file: PathBuf,
    /// Bytes as they are instead of a line of text.
    pub raw: bool,
    /// When the sending half ends: right after the last byte, or once that has come back.
    pub half_close: bool,
}

impl Default for Send {
    fn default() -> Self {
        Send {
            message: DEFAULT_MESSAGE.to_owned(),
            file: PathBuf::new(),
            raw: false,
            half_close: false,
        }
    }
}

impl Mode for SendSettings {
    type Config = Send;
    const TABLE: &str = "send";

    fn pick(file: File) -> Self {
        file.send
    }

    /// A message of one layer takes the place of a file of the layers below.
    fn normalized(&self) -> Self {
        let replaced = self.message.as_ref().map(|_| PathBuf::new());
        SendSettings {
            file: self.file.clone().or(replaced),
            ..self.clone()
        }
    }
}

/// Sends, checks and shows.
pub fn run(connect_config: Connect, config: Send, interrupt: &Interrupt) -> Result<(), Failure> {
    let source = Source::open(&config, &connect_config)?;
    let mut show = Show::new(&config, &source, connect_config.framing);
    if connect_config.is_udp() {
        return datagram::exchange(&connect_config, source, &mut show, interrupt);
    }
    let connection = connect(&connect_config, interrupt)?;
    if connect_config.verbose {
        crate::output::note(format_args!("connected {}", connection.ends()));
    }
    let options = stream::Options {
        timeout: connect_config.timeout,
        half_close: config.half_close,
    };
    stream::exchange(connection, options, source, &mut show, interrupt)
}
