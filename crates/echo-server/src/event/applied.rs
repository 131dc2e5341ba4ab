//! A fault that happened, as events tell it.

use std::fmt;
use std::time::Duration;

/// What was done, with the values that chance chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// From here on connections wait.
    NoAccept,
    /// The connection was reset at once; or, without one, connections are refused.
    Refuse,
    /// What arrives is not answered.
    Stall,
    /// The message was not answered.
    Drop,
    /// The answer was changed.
    Corrupt {
        /// The first byte that differs, from 0.
        offset: usize,
        /// How many bytes differ.
        bytes: usize,
    },
    /// The answer was cut.
    Truncate {
        /// The bytes that were left.
        to: usize,
    },
    /// The message was answered twice.
    Duplicate,
    /// A later message was answered first.
    Reorder,
    /// The answer was held back for this long.
    Delay(Duration),
    /// Answers were joined.
    Merge {
        /// Their bytes.
        bytes: usize,
    },
    /// The answer was cut into pieces.
    Split {
        /// How many.
        pieces: usize,
    },
    /// From here on answers come in pieces.
    Trickle,
    /// From here on answers come at a limited rate.
    Rate,
    /// Our side of the connection was closed.
    HalfClose,
    /// The connection was closed.
    Close,
    /// The connection was reset.
    Reset,
}

impl Applied {
    /// The name under which the fault was asked for.
    pub fn name(&self) -> &'static str {
        match self {
            Applied::NoAccept => "no-accept",
            Applied::Refuse => "refuse",
            Applied::Stall => "stall",
            Applied::Drop => "drop",
            Applied::Corrupt { .. } => "corrupt",
            Applied::Truncate { .. } => "truncate",
            Applied::Duplicate => "duplicate",
            Applied::Reorder => "reorder",
            Applied::Delay(_) => "delay",
            Applied::Merge { .. } => "merge",
            Applied::Split { .. } => "split",
            Applied::Trickle => "trickle",
            Applied::Rate => "rate",
            Applied::HalfClose => "half-close-after",
            Applied::Close => "close-after",
            Applied::Reset => "reset-after",
        }
    }
}

impl Applied {
    /// What chance or the message decided, each with its key in JSON.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let (first, second) = match *self {
            Applied::Corrupt { offset, bytes } => (
                Some(("offset", offset as u64)),
                Some(("bytes", bytes as u64)),
            ),
            Applied::Truncate { to: bytes } | Applied::Merge { bytes } => {
                (Some(("bytes", bytes as u64)), None)
            }
            Applied::Split { pieces } => (Some(("pieces", pieces as u64)), None),
            Applied::Delay(delay) => {
                let ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
                (Some(("delay_ns", ns)), None)
            }
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// The name, then the values: `corrupt (1 byte from 17 on)`.
impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Applied::Corrupt { offset, bytes: 1 } => write!(f, " (byte {offset})"),
            Applied::Corrupt { offset, bytes } => {
                write!(f, " ({bytes} bytes, the first is byte {offset})")
            }
            Applied::Truncate { to } => write!(f, " (to {to} bytes)"),
            Applied::Delay(delay) => write!(f, " ({:.3} ms)", delay.as_secs_f64() * 1e3),
            Applied::Merge { bytes } => write!(f, " ({bytes} bytes)"),
            Applied::Split { pieces } => write!(f, " ({pieces} pieces)"),
            _ => Ok(()),
        }
    }
}
