//! Why something ended or was left out: connections, datagrams, whoever was turned away.

use std::io::{self, ErrorKind};

use echo_core::framing::FrameError;
use echo_core::stamp;
use echo_core::units::Size;

reasons! {
    /// Why a connection ended.
    Reason:
    /// The peer finished sending, and all of it was sent back.
    Finished => "finished", "the peer finished";
    /// The peer reset the connection.
    Reset => "reset", "the peer reset the connection";
    /// Nothing arrived for the idle timeout.
    Idle => "idle", "idle for too long";
    /// The peer took nothing for the write timeout.
    Unread => "unread", "the peer stopped reading";
    /// Of all peers that held too much together, it held most.
    Memory => "memory", "it held the most when --max-memory was reached";
    /// The server stopped.
    Shutdown => "shutdown", "the server is stopping";
    /// The system failed the connection.
    Failed(kind: ErrorKind) => "failed", "{kind}";
    /// A fault ended it; the name is the fault's.
    Fault(name: &'static str) => "fault", "the fault {name}";
    /// Serving it hit a defect of this server, which ended nothing else.
    Defect => "defect", "a defect of this server (please report it)";
    /// The peer sent a frame, or began one, that is longer than is allowed.
    FrameTooLong(error: FrameError) => "frame-too-long", "{error}";
    /// The peer finished within a frame.
    FrameTruncated(error: FrameError) => "frame-truncated", "{error}";
    /// Whoever controls the server asked for it.
    Asked => "asked", "a command asked for it";
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

/// How the peer broke the framing.
impl From<FrameError> for Reason {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLong { .. } => Reason::FrameTooLong(error),
            FrameError::Truncated { .. } => Reason::FrameTruncated(error),
        }
    }
}

reasons! {
    /// Why a datagram got no reply.
    DropReason:
    /// Its source is a service's port, or one of this server's at another address: a reply could start
    /// an endless exchange.
    ServicePort => "service-port", "its source port is a service's";
    /// Its source is one of this server's own sockets.
    OwnSocket => "own-socket", "its source is this server";
    /// Its source or destination is multicast, broadcast or unspecified.
    NotUnicast => "not-unicast", "its source or destination is not unicast";
    /// Its source has had its share of replies this second.
    Rate => "rate", "over --udp-rate";
    /// It has come again and again from there, as it does where a reply is answered.
    Loop => "loop", "it comes again and again, as in a loop of replies";
    /// A fault that was asked for.
    Fault => "fault", "a fault that was asked for";
    /// The server stopped before its answer was due.
    Shutdown => "shutdown", "the server stopped before its answer was due";
    /// The system could not send the reply, or say whether it may be sent.
    Failed(kind: ErrorKind) => "failed", "the reply could not be sent: {kind}";
    /// It is no packet of a STAMP session.
    NotStamp => "not-stamp", "it is no packet of a STAMP session";
    /// Its hash is not one that `--stamp-key` makes.
    Unauthentic => "unauthentic", "its sender does not have --stamp-key";
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

reasons! {
    /// Why a connection was turned away.
    Refusal:
    /// `--max-connections`.
    Connections(max: usize) => "max-connections", "--max-connections {max} reached", *max as u64;
    /// `--max-per-ip`.
    PerIp(max: usize) => "max-per-ip", "--max-per-ip {max} reached", *max as u64;
    /// `--max-memory`, in bytes.
    Memory(max: Size) => "max-memory", "--max-memory {max} reached", max.0;
    /// A fault that was asked for, which is told as that.
    Fault => "fault", "a fault that was asked for";
    /// It ended before its PROXY header had come.
    NoHeader => "no-proxy-header", "it ended before a PROXY header had come";
    /// Its PROXY header is none, for this reason.
    BadHeader(why: &'static str) => "bad-proxy-header", "{why}";
    /// Its PROXY header did not come in time.
    LateHeader => "late-proxy-header", "no PROXY header came in time";
}
