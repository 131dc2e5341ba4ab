//! The mode without a name: sends one message, or a stream, and checks every byte of the echo.

mod datagram;
mod difference;
mod show;
mod source;
mod stream;
mod watched;
mod window;

use std::io::IsTerminal;

use anyhow::anyhow;
use clap::Args;
use echo_core::units::Size;
use echo_core::{Failure, FilePath};
use echo_explain::{Explain, Lang};
use serde::{Deserialize, Serialize};

use crate::config::{Keys, Settings, defaults};
use crate::connection::{Connect, connect};
use crate::interrupt::Interrupt;
use crate::narrator::Narrator;
use show::Show;
use source::Source;
use watched::Watched;

/// What is sent when nothing else is given: the tutorial's message.
pub const DEFAULT_MESSAGE: &str = "Hello world! This is an echo server made with Rust.";

/// What is sent, and how the echo is shown.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Message")]
pub struct Send {
    /// Send this text; - sends standard input
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true,
          default_value = DEFAULT_MESSAGE)]
    pub message: String,
    /// Send this file
    #[arg(
        short,
        long,
        value_name = "FILE",
        conflicts_with = "message",
        default_value = ""
    )]
    pub file: FilePath,
    /// Write the returned bytes as they are, and nothing else
    #[arg(long)]
    pub raw: bool,
    /// End the sending half of the stream right after the last byte, while its echo is on the way
    #[arg(long)]
    pub half_close: bool,
    /// Read at most this much of a stream at a time; little shows that it has no messages
    #[arg(long, value_name = "SIZE", default_value = "64KiB")]
    pub buffer: Size,
    /// Tell each socket call and what it means, on standard error; `json` for programs
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "off",
          default_missing_value = "text", value_name = "FORMAT")]
    pub explain: Explain,
    /// Explain in `en` or `es`; auto goes by the locale
    #[arg(long, value_name = "LANG", default_value = "auto")]
    pub lang: Lang,
}

impl Default for Send {
    fn default() -> Self {
        defaults()
    }
}

impl Settings for Send {
    const TABLE: &str = "send";

    /// A message of one layer takes the place of a file of the layers below.
    fn complete(&mut self, keys: &mut Keys) {
        if keys.contains("message") {
            keys.insert("file".to_owned());
        }
    }
}

/// Sends, checks and shows.
pub fn run(
    mut connect_config: Connect,
    config: Send,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let options = stream::Options {
        timeout: connect_config.timeout,
        half_close: config.half_close,
        buffer: buffer(config.buffer)?,
    };
    let source = Source::open(&config, &connect_config)?;
    let mut show = Show::new(&config, &source, connect_config.framing);
    let colour = connect_config
        .color
        .enabled(std::io::stderr().is_terminal());
    connect_config.narrator = Narrator::new(config.explain, config.lang, colour);
    if connect_config.is_udp() {
        return datagram::exchange(&connect_config, source, &mut show, interrupt);
    }
    let connection = connect(&connect_config, interrupt)?;
    if connect_config.verbose {
        crate::output::note(format_args!("connected {}", connection.ends()));
    }
    let socket = Watched::new(connection.socket, &connect_config.narrator);
    let peer = connection.remote.to_string();
    stream::exchange(socket, peer, options, source, &mut show, interrupt)
}

/// The room for one read.
fn buffer(size: Size) -> Result<usize, Failure> {
    // More than a socket can hold by default.
    const MAX: u64 = 16 << 20;
    match usize::try_from(size.0) {
        Ok(len) if (1..=MAX).contains(&size.0) => Ok(len),
        _ => Err(Failure::usage(anyhow!(
            "--buffer {size} is no size for a read; give one from 1 to {}",
            Size(MAX)
        ))),
    }
}
