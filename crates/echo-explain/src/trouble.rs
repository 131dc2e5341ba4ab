//! Why a call failed: in the system's words, and as a kind that can be explained.

use std::io;

use serde::{Deserialize, Serialize};

use super::{Call, Family, SocketKind};
use echo_core::cause;

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
    /// What Python raises.
    pub(super) fn exception(self) -> &'static str {
        match self {
            TroubleKind::Refused => "ConnectionRefusedError",
            TroubleKind::NotFound => "FileNotFoundError",
            TroubleKind::TimedOut => "TimeoutError",
            TroubleKind::Reset => "ConnectionResetError",
            TroubleKind::BrokenPipe => "BrokenPipeError",
            TroubleKind::NotAllowed => "PermissionError",
            TroubleKind::Unreachable
            | TroubleKind::InUse
            | TroubleKind::NotAvailable
            | TroubleKind::NotConnected
            | TroubleKind::Other => "OSError",
        }
    }

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

    /// The key of the text that says why `call` fails like this on such a socket, where one does.
    pub(super) fn key(self, call: &Call, family: Family, kind: SocketKind) -> Option<&'static str> {
        use TroubleKind::{
            BrokenPipe, InUse, NotAllowed, NotAvailable, NotConnected, NotFound, Other, Refused,
            Reset, TimedOut, Unreachable,
        };
        let (binds, connects) = (
            matches!(call, Call::Bind { .. }),
            matches!(call, Call::Connect { .. }),
        );
        let unix = family == Family::Unix;
        Some(match self {
            Refused if unix => "refused-unix",
            Refused if kind == SocketKind::Datagram => "refused-udp",
            Refused => "refused-tcp",
            NotFound if binds => "no-directory",
            NotFound => "no-path",
            TimedOut if connects => "no-answer",
            TimedOut => "given-up",
            Unreachable => "unreachable",
            Reset if unix => "reset-unix",
            Reset => "reset-tcp",
            BrokenPipe if unix => "broken-unix",
            BrokenPipe => "broken-tcp",
            InUse if unix => "in-use-path",
            InUse => "in-use-port",
            NotAvailable if binds => "not-ours",
            NotAvailable => "none-left",
            NotAllowed if unix => "not-allowed-path",
            NotAllowed if binds => "not-allowed-port",
            NotAllowed => "not-allowed",
            NotConnected => "not-connected",
            Other => return None,
        })
    }
}
