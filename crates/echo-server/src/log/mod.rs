//! Events as they are written to standard error: lines for people, or JSON lines for programs.

mod count;
mod digest;
mod explain;
mod json;
#[cfg(test)]
mod sample;
mod text;

use std::io::{self, Write};

use echo_explain::Explain;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::event::EventReader;

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lines that a person reads; more connections than one can read are summed up.
    #[default]
    Text,
    /// An object a line, with the keys of docs/EVENTS.md; never summed up.
    Json,
}

/// Writes every event to `out`, as `config` says, until the server is gone. `colour` only serves
/// explanations.
///
/// # Errors
/// The first one of `out`.
pub fn write(
    config: &Config,
    events: &EventReader,
    out: impl Write,
    colour: bool,
) -> io::Result<()> {
    match (config.explain, config.log) {
        (Explain::Off, Format::Text) => text::write(events, config.log_level, out),
        (Explain::Off, Format::Json) => json::write(events, out),
        (explain, _) => {
            let lang = config.lang.resolve(|name| std::env::var_os(name));
            explain::write(explain, lang, colour, events, out)
        }
    }
}
