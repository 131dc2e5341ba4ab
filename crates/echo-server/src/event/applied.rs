//! A fault that happened, as events tell it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::fields;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The name under which the fault was asked for.
    #[serde(rename = "fault")]
    pub name: &'static str,
    /// What chance or the message decided.
    #[serde(flatten)]
    pub done: Done,
}

/// The values that chance or the message chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Done {
    /// There are none.
    Plainly,
    /// The answer was changed.
    Corrupted {
        /// The first byte that differs, from 0.
        offset: usize,
        /// How many bytes differ.
        bytes: usize,
    },
    /// The answer was cut.
    Truncated {
        /// The bytes that were left.
        #[serde(rename = "bytes")]
        to: usize,
    },
    /// The answer was held back.
    Delayed {
        /// For this long.
        #[serde(rename = "delay_ns", serialize_with = "fields::ns")]
        by: Duration,
    },
    /// Answers were joined.
    Merged {
        /// Their bytes.
        bytes: usize,
    },
    /// The answer was cut into pieces.
    Split {
        /// How many.
        pieces: usize,
    },
}

/// The name, then the values: `corrupt (byte 17)`.
impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match self.done {
            Done::Plainly => Ok(()),
            Done::Corrupted { offset, bytes: 1 } => write!(f, " (byte {offset})"),
            Done::Corrupted { offset, bytes } => {
                write!(f, " ({bytes} bytes, the first is byte {offset})")
            }
            Done::Truncated { to } => write!(f, " (to {to} bytes)"),
            Done::Delayed { by } => write!(f, " ({:.3} ms)", by.as_secs_f64() * 1e3),
            Done::Merged { bytes } => write!(f, " ({bytes} bytes)"),
            Done::Split { pieces } => write!(f, " ({pieces} pieces)"),
        }
    }
}
