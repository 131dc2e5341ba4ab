//! Why something ended or was left out: connections, datagrams, whoever was turned away.

use std::io::{self, ErrorKind};

use echo_core::framing::FrameError;
use echo_core::stamp;
use echo_core::units::Size;

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

reasons! { Reason:
    Reason::Finished => "finished", "the peer finished";
    Reason::Reset => "reset", "the peer reset the connection";
    Reason::Idle => "idle", "idle for too long";
    Reason::Unread => "unread", "the peer stopped reading";
    Reason::Memory => "memory", "it held the most when --max-memory was reached";
    Reason::Shutdown => "shutdown", "the server is stopping";
    Reason::Failed(kind) => "failed", "{kind}";
    Reason::Fault(name) => "fault", "the fault {name}";
    Reason::Defect => "defect", "a defect of this server; please report it";
    Reason::Frame(error @ FrameError::TooLong { .. }) => "frame-too-long", "{error}";
    Reason::Frame(error @ FrameError::Truncated { .. }) => "frame-truncated", "{error}";
    Reason::Asked => "asked", "a command asked for it";
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

reasons! { DropReason:
    DropReason::ServicePort => "service-port", "its source port is a service's";
    DropReason::OwnSocket => "own-socket", "its source is this server";
    DropReason::NotUnicast => "not-unicast", "its source or destination is not unicast";
    DropReason::Rate => "rate", "over --udp-rate";
    DropReason::Loop => "loop", "it comes again and again, as in a loop of replies";
    DropReason::Fault => "fault", "a fault that was asked for";
    DropReason::Shutdown => "shutdown", "the server stopped before its answer was due";
    DropReason::Failed(kind) => "failed", "the reply could not be sent: {kind}";
    DropReason::NotStamp => "not-stamp", "it is no packet of a STAMP session";
    DropReason::Unauthentic => "unauthentic", "its sender does not have --stamp-key";
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

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `--max-connections`.
    Connections(usize),
    /// `--max-per-ip`.
    PerIp(usize),
    /// `--max-memory`, in bytes.
    Memory(Size),
    /// A fault that was asked for, which is told as that.
    Fault,
    /// It ended before its PROXY header had come.
    NoHeader,
    /// Its PROXY header is none, for this reason.
    BadHeader(&'static str),
    /// Its PROXY header did not come in time.
    LateHeader,
}

reasons! { Refusal:
    Refusal::Connections(max) => "max-connections", "--max-connections {max} reached", *max as u64;
    Refusal::PerIp(max) => "max-per-ip", "--max-per-ip {max} reached", *max as u64;
    Refusal::Memory(max) => "max-memory", "--max-memory {max} reached", max.0;
    Refusal::Fault => "fault", "a fault that was asked for";
    Refusal::NoHeader => "no-proxy-header", "it ended before a PROXY header had come";
    Refusal::BadHeader(why) => "bad-proxy-header", "{why}";
    Refusal::LateHeader => "late-proxy-header", "no PROXY header came in time";
}
