//! Why a connection could not be made, or ended badly.

use std::fmt;
use std::io;

use echo_core::units::Timespan;
use echo_core::{Failure, cause};
use serde::{Deserialize, Serialize};

use super::Address;
use crate::interrupt::Why;

/// What kind of thing went wrong: the `error.kind` of a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The name has no address, or none of the wanted family.
    Dns,
    /// Nothing listens there: a reset on connect, or an ICMP port unreachable.
    Refused,
    /// No answer in time.
    Timeout,
    /// No route: ICMP host or network unreachable.
    Unreachable,
    /// The connection was reset or broken off.
    Reset,
    /// The peer finished before it had returned every byte.
    Closed,
    /// What came back is not what was sent.
    Mismatch,
    /// No local port, descriptor or memory is left.
    Exhausted,
    /// The local address cannot be used.
    Local,
    /// The path of a Unix socket does not exist.
    NotFound,
    /// The system does not allow it.
    Permission,
    /// The user or a deadline stopped it.
    Interrupted,
    /// Requests got no right reply in time.
    Lost,
    /// Replies came after their time was up.
    Late,
    /// Requests were due and never left.
    Unsent,
    /// A condition of `--fail-if` holds.
    Threshold,
    /// A file could not be read or written.
    File,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// The kind of a system error on a socket.
    pub fn of(error: &io::Error) -> Self {
        use io::ErrorKind as Io;
        match error.kind() {
            Io::ConnectionRefused => ErrorKind::Refused,
            Io::TimedOut | Io::WouldBlock => ErrorKind::Timeout,
            Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown => {
                ErrorKind::Unreachable
            }
            Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe => ErrorKind::Reset,
            // On connect this says that every local port to that server is taken.
            Io::AddrNotAvailable | Io::OutOfMemory => ErrorKind::Exhausted,
            Io::AddrInUse => ErrorKind::Local,
            Io::NotFound => ErrorKind::NotFound,
            Io::PermissionDenied => ErrorKind::Permission,
            _ => match error.raw_os_error() {
                // EMFILE and ENFILE, alike on every Unix.
                Some(23 | 24) => ErrorKind::Exhausted,
                _ => ErrorKind::Other,
            },
        }
    }

    /// The name in a JSON document.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::Dns => "dns",
            ErrorKind::Refused => "refused",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::Reset => "reset",
            ErrorKind::Closed => "closed",
            ErrorKind::Mismatch => "mismatch",
            ErrorKind::Exhausted => "exhausted",
            ErrorKind::Local => "local",
            ErrorKind::NotFound => "not-found",
            ErrorKind::Permission => "permission",
            ErrorKind::Interrupted => "interrupted",
            ErrorKind::Lost => "lost",
            ErrorKind::Late => "late",
            ErrorKind::Unsent => "unsent",
            ErrorKind::Threshold => "threshold",
            ErrorKind::File => "file",
            ErrorKind::Other => "other",
        }
    }

    /// What the user can do about it, when connecting.
    fn remedy(self) -> &'static str {
        match self {
            ErrorKind::Dns => "check the name, or give an address",
            ErrorKind::Refused | ErrorKind::NotFound => {
                "start echo-server there, or wait for one with --wait 10s"
            }
            ErrorKind::Timeout => {
                "check the address and the firewalls on the way, or allow more with --connect-timeout"
            }
            ErrorKind::Unreachable => "check the address, and this machine's route to it",
            ErrorKind::Exhausted => {
                "close connections or wait for TIME_WAIT to pass, connect from another address with \
                 --bind, or raise the limit (ulimit -n, net.ipv4.ip_local_port_range)"
            }
            ErrorKind::Local => {
                "give an address of this machine and a free port, or leave --bind out"
            }
            ErrorKind::Permission => {
                "check the firewall rules, and the permissions of a Unix socket"
            }
            _ => "see the cause; -v shows more",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A connection that could not be made.
#[derive(Clone, Debug)]
pub struct ConnectError {
    /// The kind, for those who branch on it.
    pub kind: ErrorKind,
    /// Subject and cause.
    message: String,
    remedy: Option<String>,
}

impl ConnectError {
    /// `subject` could not be done because of `cause`.
    pub(super) fn new(
        kind: ErrorKind,
        subject: impl fmt::Display,
        cause: impl fmt::Display,
    ) -> Self {
        ConnectError {
            kind,
            message: format!("{subject}: {cause}"),
            remedy: Some(kind.remedy().to_owned()),
        }
    }

    /// A system error on the socket to `address`, before anything came back.
    pub fn on(address: &Address, error: &io::Error) -> Self {
        let subject = format!("cannot connect to {address}");
        ConnectError::new(ErrorKind::of(error), subject, cause(error))
    }

    /// It was stopped before there was a connection.
    pub(super) fn interrupted(subject: impl fmt::Display, why: Why) -> Self {
        ConnectError {
            kind: ErrorKind::Interrupted,
            message: format!("{subject}: {why}"),
            remedy: None,
        }
    }

    /// The same, with a better remedy than its kind has.
    pub(super) fn advise(self, remedy: impl Into<String>) -> Self {
        ConnectError {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// The same after `wait` was waited in vain, which need not be advised any more.
    pub(super) fn waited(self, wait: Timespan) -> Self {
        match self.kind {
            ErrorKind::Refused | ErrorKind::NotFound if !wait.0.is_zero() => {
                self.advise(format!("waited {wait}; start echo-server there"))
            }
            _ => self,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConnectError {}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Failure::unreachable(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_has_a_kind_and_words() {
        for (number, kind, words) in [
            (111, ErrorKind::Refused, "connection refused"),
            (104, ErrorKind::Reset, "connection reset by peer"),
            (110, ErrorKind::Timeout, "connection timed out"),
            (113, ErrorKind::Unreachable, "no route to host"),
            (99, ErrorKind::Exhausted, "cannot assign requested address"),
            (24, ErrorKind::Exhausted, "too many open files"),
        ] {
            if cfg!(target_os = "linux") {
                let error = io::Error::from_raw_os_error(number);
                assert_eq!(
                    (ErrorKind::of(&error), cause(&error).as_str()),
                    (kind, words)
                );
            }
        }
    }
}
