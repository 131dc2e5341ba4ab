//! What went wrong: its class, what a person reads of it, and what helps.

use std::error::Error;
use std::fmt;
use std::io;

use echo_core::{cause, named, remedy};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// What to do where nobody takes the requests of STAMP.
pub const NO_REFLECTOR: &str =
    "start a STAMP reflector there (echo-server --listen stamp://HOST), or check the port";

/// What is told where a stream ends.
pub const CLOSED: &str = "the server closed the connection";

/// Something that went wrong with a run, a request or a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Its class, for programs.
    pub kind: ErrorKind,
    /// Subject, cause and remedy, for a person.
    pub message: String,
    /// The remedy, until it is said in the end: not with each of many.
    #[serde(skip)]
    pub remedy: Option<String>,
}

impl Fault {
    /// A fault of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Fault {
            kind,
            message: message.into(),
            remedy: None,
        }
    }

    /// The same, with what to do about it.
    pub fn advise(self, remedy: impl Into<String>) -> Self {
        Fault {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// The same, with what helps against its kind.
    pub fn remedied(self) -> Self {
        let remedy = self.kind.remedy().map(str::to_owned);
        Fault { remedy, ..self }
    }

    /// The same, as the cause of something that `subject` names.
    pub fn of(self, subject: impl fmt::Display) -> Self {
        Fault {
            message: format!("{subject}: {}", self.message),
            ..self
        }
    }

    /// The same, with its remedy said in the end of its message.
    pub fn whole(mut self) -> Self {
        if let Some(remedy) = self.remedy.take() {
            self.message += &format!("; {remedy}");
        }
        self
    }
}

/// What it is, without its remedy.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Fault {}

/// A system error, with what helps where the system has too little of something.
impl From<&io::Error> for Fault {
    fn from(error: &io::Error) -> Self {
        let message = match Errno::from_io_error(error) {
            // What ICMP says of a host that does not speak TCP, or UDP.
            Some(Errno::NOPROTOOPT | Errno::PROTO) => "protocol unreachable".to_owned(),
            _ => cause(error),
        };
        Fault {
            kind: ErrorKind::of(error),
            message,
            remedy: remedy(error).map(str::to_owned),
        }
    }
}

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
    /// No way leads there, or it is barred: ICMP host or network unreachable.
    Unreachable,
    /// The connection was reset or broken off.
    Reset,
    /// The peer finished before it had returned every byte.
    Closed,
    /// What came back is not what was sent.
    Mismatch,
    /// Local ports, descriptors or memory are exhausted.
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
    /// A message is larger than the path takes.
    TooLarge,
    /// Something is wrong with the path, as a diagnosis has found.
    Path,
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
            // A connection that was reset right after it was made is not connected.
            Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::NotConnected => {
                ErrorKind::Reset
            }
            // On connect this says that every local port to that server is taken.
            Io::AddrNotAvailable | Io::OutOfMemory => ErrorKind::Exhausted,
            Io::AddrInUse => ErrorKind::Local,
            Io::NotFound => ErrorKind::NotFound,
            Io::PermissionDenied => ErrorKind::Permission,
            Io::UnexpectedEof => ErrorKind::Closed,
            Io::InvalidData => ErrorKind::Mismatch,
            _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS) => ErrorKind::Exhausted,
                Some(Errno::AFNOSUPPORT | Errno::NOPROTOOPT | Errno::PROTO) => {
                    ErrorKind::Unreachable
                }
                Some(Errno::MSGSIZE) => ErrorKind::TooLarge,
                _ => ErrorKind::Other,
            },
        }
    }

    /// What the user can do about it.
    pub fn remedy(self) -> Option<&'static str> {
        Some(match self {
            ErrorKind::Interrupted => return None,
            ErrorKind::Dns => "check the name, or give an address",
            ErrorKind::Refused | ErrorKind::NotFound => {
                "start echo-server there, or wait for one with --wait 10s"
            }
            ErrorKind::Timeout => {
                "check the address and the firewalls on the way, or allow more with --connect-timeout"
            }
            ErrorKind::Unreachable => {
                "check the address, and the firewalls and gateways on the way: one of them says so (ICMP)"
            }
            ErrorKind::Exhausted => {
                "close connections or wait for TIME_WAIT to pass, connect from another address with \
                 --bind, or raise the limit (net.ipv4.ip_local_port_range)"
            }
            ErrorKind::Local => {
                "give an address of this machine and a free port, or leave --bind out"
            }
            ErrorKind::Permission => {
                "a firewall or a route forbids it, on this machine or on the way: check their rules"
            }
            ErrorKind::Closed | ErrorKind::Mismatch | ErrorKind::Reset => {
                "something else takes connections there: check the port, and what forwards it"
            }
            ErrorKind::TooLarge => "send less at a time (--size)",
            _ => "see the cause; -v shows more",
        })
    }
}

/// What to look at where nothing came back as it should.
pub const fn whether_it_is_there(is_stamp: bool, is_udp: bool) -> &'static str {
    match (is_stamp, is_udp) {
        (true, _) => "is a STAMP reflector there, and does it have the same --stamp-key, or none?",
        (false, true) => {
            "is an echo server there, and does every firewall on the way let UDP pass?"
        }
        (false, false) => "is it an echo server, with the same --framing?",
    }
}

named!(ErrorKind);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_has_a_kind_and_words() {
        for (number, kind, words) in [
            (111, ErrorKind::Refused, "connection refused"),
            (104, ErrorKind::Reset, "connection reset by peer"),
            (110, ErrorKind::Timeout, "connection timed out"),
            (113, ErrorKind::Unreachable, "host unreachable"),
            (99, ErrorKind::Exhausted, "cannot assign requested address"),
            (24, ErrorKind::Exhausted, "too many open files"),
            (92, ErrorKind::Unreachable, "protocol unreachable"),
            (71, ErrorKind::Unreachable, "protocol unreachable"),
        ] {
            let fault = Fault::from(&io::Error::from_raw_os_error(number));
            assert_eq!((fault.kind, fault.message.as_str()), (kind, words));
        }
    }
}
