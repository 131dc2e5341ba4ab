//! Events as they are written to standard error: lines for people, or JSON lines for programs.

mod json;
#[cfg(test)]
mod sample;
mod text;

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::event::{EventReader, Level};

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

/// Writes every event to `out` until the server is gone. `level` is the one they were asked for at.
///
/// # Errors
/// The first one of `out`.
pub fn write(
    format: Format,
    level: Level,
    events: &EventReader,
    out: impl Write,
) -> io::Result<()> {
    match format {
        Format::Text => text::write(events, level, out),
        Format::Json => json::write(events, out),
    }
}

/// Nanoseconds since 1970; until the year 2554 they fit.
pub(crate) fn unix_ns(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
