//! Why a call failed: in the system's words, and as a kind that can be explained.

use std::io;

use serde::{Deserialize, Serialize};

use echo_core::{cause, named};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// In words, such as `connection refused`.
    #[serde(rename = "error")]
    pub words: String,
    /// What kind of thing it is.
    #[serde(rename = "error_kind")]
    pub kind: TroubleKind,
}

/// What kind of thing made a call fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TroubleKind {
    /// Nothing listens there.
    Refused,
    /// A path, or its directory, does not exist.
    NotFound,
    /// No answer came in time.
    TimedOut,
    /// No way leads there.
    Unreachable,
    /// The other side broke the connection off.
    Reset,
    /// Nobody takes what is sent any more.
    BrokenPipe,
    /// The address is taken.
    InUse,
    /// The address is not this machine's, or none is left for this end.
    NotAvailable,
    /// A permission is missing.
    NotAllowed,
    /// The connection had ended before.
    NotConnected,
    /// Anything else.
    Other,
}

impl Trouble {
    /// What a system error is.
    pub fn of(error: &io::Error) -> Self {
        Trouble {
            words: cause(error),
            kind: TroubleKind::of(error.kind()),
        }
    }
}

impl TroubleKind {
    fn of(kind: io::ErrorKind) -> Self {
        use io::ErrorKind as Io;
        match kind {
            Io::ConnectionRefused => TroubleKind::Refused,
            Io::NotFound => TroubleKind::NotFound,
            Io::TimedOut => TroubleKind::TimedOut,
            Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown => {
                TroubleKind::Unreachable
            }
            Io::ConnectionReset | Io::ConnectionAborted => TroubleKind::Reset,
            Io::BrokenPipe => TroubleKind::BrokenPipe,
            Io::AddrInUse => TroubleKind::InUse,
            Io::AddrNotAvailable => TroubleKind::NotAvailable,
            Io::PermissionDenied => TroubleKind::NotAllowed,
            Io::NotConnected => TroubleKind::NotConnected,
            _ => TroubleKind::Other,
        }
    }
}

named!(TroubleKind);
