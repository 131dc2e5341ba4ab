//! What went wrong, in the classes that programs branch on.

use std::fmt;
use std::io;

use serde::Serialize;

/// What ended a run early, or made its answer bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its class.
    pub kind: FaultKind,
    /// Subject, cause and remedy, for a person.
    pub message: String,
}

impl Fault {
    /// A fault of `kind`.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Fault {
            kind,
            message: message.into(),
        }
    }
}

/// The class of a fault: `error.kind` in the JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// The name has no address.
    Dns,
    /// Nothing listens there.
    Refused,
    /// Nothing was heard in time.
    Timeout,
    /// No way leads there.
    Unreachable,
    /// The connection was ended by the other side, or by something in between.
    Reset,
    /// What came back is not what was sent.
    Mismatch,
    /// This machine is in the way: out of ports or descriptors, or not permitted.
    Local,
}

impl FaultKind {
    /// The name in the JSON document.
    pub const fn name(self) -> &'static str {
        match self {
            FaultKind::Dns => "dns",
            FaultKind::Refused => "refused",
            FaultKind::Timeout => "timeout",
            FaultKind::Unreachable => "unreachable",
            FaultKind::Reset => "reset",
            FaultKind::Mismatch => "mismatch",
            FaultKind::Local => "local",
        }
    }

    /// Whether a run that heard nothing at all and ended so never reached its target.
    pub const fn is_unreachable(self) -> bool {
        !matches!(self, FaultKind::Mismatch)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<&io::Error> for FaultKind {
    fn from(error: &io::Error) -> Self {
        use io::ErrorKind as E;
        match error.kind() {
            // A Unix socket that is not there refuses as a port without a listener does.
            E::ConnectionRefused | E::NotFound => FaultKind::Refused,
            E::TimedOut | E::WouldBlock => FaultKind::Timeout,
            E::HostUnreachable | E::NetworkUnreachable | E::NetworkDown => FaultKind::Unreachable,
            E::ConnectionReset
            | E::ConnectionAborted
            | E::BrokenPipe
            | E::NotConnected
            | E::UnexpectedEof => FaultKind::Reset,
            _ => FaultKind::Local,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_has_its_class() {
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, FaultKind::Refused),
            (io::ErrorKind::HostUnreachable, FaultKind::Unreachable),
            (io::ErrorKind::BrokenPipe, FaultKind::Reset),
            (io::ErrorKind::TimedOut, FaultKind::Timeout),
            (io::ErrorKind::AddrNotAvailable, FaultKind::Local),
        ] {
            assert_eq!(FaultKind::from(&io::Error::from(kind)), expected);
        }
    }

    #[test]
    fn the_name_is_the_one_that_is_serialized() {
        for kind in [
            FaultKind::Dns,
            FaultKind::Refused,
            FaultKind::Timeout,
            FaultKind::Unreachable,
            FaultKind::Reset,
            FaultKind::Mismatch,
            FaultKind::Local,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
