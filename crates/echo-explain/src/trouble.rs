//! Why a call failed: in the system's words, and as a kind that can be explained.

use std::io::{self, ErrorKind};

use echo_core::cause;
use serde::{Deserialize, Serialize};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// In words, such as `connection refused`.
    #[serde(rename = "error")]
    pub words: String,
    /// What kind of thing it is: `refused`, `timed-out` and the like, or `other`.
    #[serde(rename = "error_kind")]
    pub kind: String,
}

/// The kinds that are explained, and what the system says of each.
const KINDS: [(&str, &[ErrorKind]); 10] = [
    ("refused", &[ErrorKind::ConnectionRefused]),
    ("not-found", &[ErrorKind::NotFound]),
    ("timed-out", &[ErrorKind::TimedOut]),
    (
        "unreachable",
        &[
            ErrorKind::HostUnreachable,
            ErrorKind::NetworkUnreachable,
            ErrorKind::NetworkDown,
        ],
    ),
    (
        "reset",
        &[ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted],
    ),
    ("broken-pipe", &[ErrorKind::BrokenPipe]),
    ("in-use", &[ErrorKind::AddrInUse]),
    ("not-available", &[ErrorKind::AddrNotAvailable]),
    ("not-allowed", &[ErrorKind::PermissionDenied]),
    ("not-connected", &[ErrorKind::NotConnected]),
];

impl Trouble {
    /// What a system error is.
    pub fn of(error: &io::Error) -> Self {
        let is_it = |(_, errors): &&(_, &[ErrorKind])| errors.contains(&error.kind());
        let kind = KINDS.iter().find(is_it);
        Trouble {
            words: cause(error),
            kind: kind.map_or("other", |(kind, _)| *kind).to_owned(),
        }
    }
}
