//! Why something ended or was left out: connections, datagrams, whoever was turned away.

use std::fmt;
use std::io::{self, ErrorKind};

use echo_core::framing::FrameError;
use echo_core::stamp;
use echo_core::units::Size;
use serde::{Serialize, Serializer};

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The peer finished sending, and all of it was sent back.
    Finished,
    /// The peer reset the connection.
    Reset,
    /// Nothing arrived for the idle timeout.
    Idle,
    /// The peer took nothing for the write timeout.
    Unread,
    /// Of all peers that held too much together, it held most.
    Memory,
    /// The server stopped.
    Shutdown,
    /// Whoever controls the server asked for it.
    Asked,
    /// The system failed the connection.
    Failed(ErrorKind),
    /// A fault ended it; the name is the fault's.
    Fault(&'static str),
    /// Serving it hit a defect of this server, which ended nothing else.
    Defect,
    /// The peer broke the framing.
    Frame(FrameError),
}

impl Reason {
    /// The reasons as JSON and metrics name them.
    pub const CODES: [&str; 12] = [
        "finished",
        "reset",
        "idle",
        "unread",
        "memory",
        "shutdown",
        "failed",
        "fault",
        "defect",
        "frame-too-long",
        "frame-truncated",
        "asked",
    ];

    /// Its place in [`Reason::CODES`].
    pub(crate) fn index(&self) -> usize {
        match self {
            Reason::Finished => 0,
            Reason::Reset => 1,
            Reason::Idle => 2,
            Reason::Unread => 3,
            Reason::Memory => 4,
            Reason::Shutdown => 5,
            Reason::Failed(_) => 6,
            Reason::Fault(_) => 7,
            Reason::Defect => 8,
            Reason::Frame(FrameError::TooLong { .. }) => 9,
            Reason::Frame(FrameError::Truncated { .. }) => 10,
            Reason::Asked => 11,
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Reason::CODES[self.index()])
    }
}

/// What the system said of a connection.
impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Reason::Reset,
            kind => Reason::Failed(kind),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Finished => f.write_str("the peer finished"),
            Reason::Reset => f.write_str("the peer reset the connection"),
            Reason::Frame(error) => write!(f, "{error}"),
            Reason::Idle => f.write_str("idle for too long"),
            Reason::Unread => f.write_str("the peer stopped reading"),
            Reason::Memory => f.write_str("it held the most when --max-memory was reached"),
            Reason::Shutdown => f.write_str("the server is stopping"),
            Reason::Asked => f.write_str("a command asked for it"),
            Reason::Failed(kind) => write!(f, "{kind}"),
            Reason::Fault(name) => write!(f, "the fault {name}"),
            Reason::Defect => f.write_str("a defect of this server; please report it"),
        }
    }
}

/// Why a datagram got no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Its source is a service's port: a reply could start an endless exchange.
    ServicePort,
    /// Its source is one of this server's own sockets.
    OwnSocket,
    /// Its source or destination is multicast, broadcast or unspecified.
    NotUnicast,
    /// Its source has had its share of replies this second.
    Rate,
    /// It has come again and again from there, as it does where a reply is answered.
    Loop,
    /// It is no packet of a STAMP session.
    NotStamp,
    /// Its hash is not one that `--stamp-key` makes.
    Unauthentic,
    /// A fault that was asked for.
    Fault,
    /// The server stopped before its answer was due.
    Shutdown,
    /// The system could not send the reply, or say whether it may be sent.
    Failed(ErrorKind),
}

impl DropReason {
    /// The reasons as JSON and the texts name them.
    pub const CODES: [&str; 10] = [
        "service-port",
        "own-socket",
        "not-unicast",
        "rate",
        "loop",
        "fault",
        "shutdown",
        "failed",
        "not-stamp",
        "unauthentic",
    ];

    /// Its place in [`DropReason::CODES`].
    pub(crate) fn index(&self) -> usize {
        match self {
            DropReason::ServicePort => 0,
            DropReason::OwnSocket => 1,
            DropReason::NotUnicast => 2,
            DropReason::Rate => 3,
            DropReason::Loop => 4,
            DropReason::Fault => 5,
            DropReason::Shutdown => 6,
            DropReason::Failed(_) => 7,
            DropReason::NotStamp => 8,
            DropReason::Unauthentic => 9,
        }
    }

    /// Its name.
    pub fn code(&self) -> &'static str {
        DropReason::CODES[self.index()]
    }
}

impl From<stamp::Refusal> for DropReason {
    fn from(refusal: stamp::Refusal) -> Self {
        match refusal {
            stamp::Refusal::Short => DropReason::NotStamp,
            stamp::Refusal::Unauthentic => DropReason::Unauthentic,
            stamp::Refusal::Reply => DropReason::Loop,
        }
    }
}

impl Serialize for DropReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DropReason::ServicePort => f.write_str("its source port is a service's"),
            DropReason::OwnSocket => f.write_str("its source is this server"),
            DropReason::NotUnicast => f.write_str("its source or destination is not unicast"),
            DropReason::Rate => f.write_str("over --udp-rate"),
            DropReason::Loop => f.write_str("it comes again and again, as in a loop of replies"),
            DropReason::NotStamp => f.write_str("it is no packet of a STAMP session"),
            DropReason::Unauthentic => f.write_str("its sender does not have --stamp-key"),
            DropReason::Fault => f.write_str("a fault that was asked for"),
            DropReason::Shutdown => f.write_str("the server stopped before its answer was due"),
            DropReason::Failed(kind) => write!(f, "the reply could not be sent: {kind}"),
        }
    }
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", content = "max")]
pub enum Refusal {
    /// `--max-connections`.
    #[serde(rename = "max-connections")]
    Connections(usize),
    /// `--max-per-ip`.
    #[serde(rename = "max-per-ip")]
    PerIp(usize),
    /// `--max-memory`, in bytes.
    #[serde(rename = "max-memory")]
    Memory(usize),
    /// It ended before its PROXY header had come.
    #[serde(rename = "no-proxy-header")]
    NoHeader,
    /// It does not begin with a PROXY header, or with one that is too long.
    #[serde(rename = "bad-proxy-header")]
    BadHeader,
    /// Its PROXY header did not come in time.
    #[serde(rename = "late-proxy-header")]
    LateHeader,
}

impl Refusal {
    /// Why connections are refused, as JSON and metrics name it.
    pub const CODES: [&str; 7] = [
        "max-connections",
        "max-per-ip",
        "max-memory",
        "fault",
        "no-proxy-header",
        "bad-proxy-header",
        "late-proxy-header",
    ];

    /// The place in [`Refusal::CODES`] of a fault that was asked for, which is told as that.
    pub(crate) const FAULT: usize = 3;

    /// Its place in [`Refusal::CODES`].
    pub(crate) fn index(&self) -> usize {
        match self {
            Refusal::Connections(_) => 0,
            Refusal::PerIp(_) => 1,
            Refusal::Memory(_) => 2,
            Refusal::NoHeader => 4,
            Refusal::BadHeader => 5,
            Refusal::LateHeader => 6,
        }
    }

    /// The setting that has it so, as it is given on a command line.
    pub fn setting(&self) -> String {
        match self {
            Refusal::Connections(max) => format!("--max-connections {max}"),
            Refusal::PerIp(max) => format!("--max-per-ip {max}"),
            Refusal::Memory(max) => format!("--max-memory {}", Size(*max as u64)),
            Refusal::NoHeader | Refusal::BadHeader | Refusal::LateHeader => {
                "--proxy-protocol".to_owned()
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoHeader => f.write_str("it ended before a PROXY header had come"),
            Refusal::BadHeader => {
                f.write_str("it does not begin with a PROXY header, as --proxy-protocol expects")
            }
            Refusal::LateHeader => f.write_str("no PROXY header came in time"),
            _ => write!(f, "{} reached", self.setting()),
        }
    }
}
