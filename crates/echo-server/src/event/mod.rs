//! What happened, said once. Text, JSON lines and explanations are renderings of it.

mod applied;
mod calls;
mod channel;
pub(crate) mod fields;
pub(crate) mod flood;
pub(crate) mod record;
pub(crate) mod stats;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

pub use echo_core::Address;
use echo_core::address::End;
use echo_core::escape::excerpt;
use echo_core::framing::FrameError;
use echo_core::units::Size;
use echo_core::{Transport, Zoned};
use echo_explain::Step;
use serde::{Serialize, Serializer};

pub use applied::{Applied, Done};
pub(crate) use channel::pieces;
pub use channel::{EventReader, Events, Level};
pub use flood::Datagrams;
pub use stats::Stats;

use crate::fault::Numbered;
use crate::name::Name;
use crate::sandbox::GivenUp;
pub use crate::shutdown::Stop;

/// The other end of a connection. A Unix peer has no address, only a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// IP address and port; a v4-mapped IPv6 address is shown as the IPv4 address it is.
    Inet(SocketAddr),
    /// A peer on a Unix socket.
    Unix,
}

/// Something that happened, and when.
#[derive(Clone, Debug)]
pub struct Event {
    /// When; see [`Clock`](echo_core::Clock). Events that are read after one another never go back.
    pub time: SystemTime,
    /// What happened.
    pub kind: Kind,
}

/// A connection's number, counted from 1 over the life of the server.
pub type ConnectionId = u64;

/// What happened. As JSON it has the keys of docs/EVENTS.md, which are a contract.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Kind {
    /// A socket is bound, and peers can reach it.
    Listening {
        /// The address it got.
        #[serde(flatten, serialize_with = "fields::local")]
        local: Address,
        /// The name of its listener.
        #[serde(skip_serializing_if = "Option::is_none")]
        listener: Option<Name>,
    },
    /// Sockets were handed over that nobody has asked for; see [`Sockets`](crate::Sockets).
    #[serde(rename = "sockets-unused")]
    Unused {
        /// The name of each.
        names: Vec<String>,
    },
    /// A connection was accepted.
    Accepted {
        /// Its number.
        #[serde(rename = "connection")]
        id: ConnectionId,
        /// This end.
        #[serde(flatten, serialize_with = "fields::local")]
        local: Address,
        /// The other end.
        peer: PeerAddress,
        /// The name of the listener that it came to.
        #[serde(skip_serializing_if = "Option::is_none")]
        listener: Option<Name>,
    },
    /// A connection was closed at once, because it was over a limit.
    Refused {
        /// This end.
        #[serde(flatten, serialize_with = "fields::local")]
        local: Address,
        /// The other end.
        peer: PeerAddress,
        /// The limit, and how to raise it.
        #[serde(flatten)]
        limit: Limit,
    },
    /// Bytes arrived.
    Received {
        /// The connection.
        #[serde(rename = "connection")]
        id: ConnectionId,
        /// How many.
        #[serde(rename = "received_bytes")]
        bytes: usize,
        /// The first of them, escaped; empty where nobody has looked at them.
        #[serde(skip)]
        data: String,
    },
    /// Bytes were handed to the system to be sent.
    Sent {
        /// The connection.
        #[serde(rename = "connection")]
        id: ConnectionId,
        /// How many.
        #[serde(rename = "sent_bytes")]
        bytes: usize,
    },
    /// The peer said that it sends no more; what it sent may still be on its way back.
    PeerFinished {
        /// The connection.
        #[serde(rename = "connection")]
        id: ConnectionId,
    },
    /// A connection ended.
    Closed {
        /// Its number.
        #[serde(rename = "connection")]
        id: ConnectionId,
        /// The other end.
        peer: PeerAddress,
        /// Why.
        #[serde(flatten, serialize_with = "fields::reasoned")]
        reason: Reason,
        /// Bytes received.
        #[serde(rename = "received_bytes")]
        received: u64,
        /// Bytes sent back.
        #[serde(rename = "sent_bytes")]
        sent: u64,
        /// Time since it was accepted.
        #[serde(rename = "duration_ns", serialize_with = "fields::ns")]
        lasted: Duration,
    },
    /// Datagrams arrived from one source with one call.
    DatagramsReceived {
        /// How many, and from where.
        #[serde(flatten, serialize_with = "fields::received")]
        sum: Datagrams,
        /// The start of the first, escaped.
        #[serde(skip)]
        data: String,
    },
    /// Datagrams were sent to one source with one call.
    DatagramsSent(#[serde(serialize_with = "fields::sent")] Datagrams),
    /// Datagrams were answered since the last such event.
    #[serde(rename = "datagrams")]
    DatagramsAnswered(#[serde(serialize_with = "fields::received")] Datagrams),
    /// Datagrams were not answered since the last such event, for this reason.
    DatagramsDropped {
        /// Why.
        #[serde(flatten, serialize_with = "fields::reasoned")]
        reason: DropReason,
        /// Which.
        #[serde(flatten)]
        sum: Datagrams,
    },
    /// The system dropped datagrams before they could be received: its buffer was full.
    DatagramsOverflowed {
        /// The socket.
        #[serde(flatten, serialize_with = "fields::local")]
        local: Address,
        /// How many since the last such event.
        #[serde(rename = "datagrams")]
        count: u64,
    },
    /// Faults are configured.
    Faults {
        /// How many.
        #[serde(rename = "faults")]
        count: usize,
        /// The seed with which they can be repeated.
        seed: u64,
    },
    /// A fault came.
    FaultAdded(Numbered),
    /// A fault went, and what it held back left.
    FaultRemoved(Numbered),
    /// Listeners take nothing more until they are resumed.
    Paused {
        /// Those of this name; `None`: all.
        listener: Option<Name>,
    },
    /// Listeners take connections and datagrams again.
    Resumed {
        /// Those of this name; `None`: all.
        listener: Option<Name>,
    },
    /// A fault was applied.
    Fault {
        /// What was done.
        #[serde(flatten)]
        what: Applied,
        /// To which kind of socket.
        transport: Transport,
        /// To which connection or, on UDP, source of datagrams; each is counted from 1.
        connection: ConnectionId,
        /// The other end, if it is known.
        peer: Option<PeerAddress>,
        /// The message, counted from 1; `None` when the connection as a whole is meant.
        message: Option<u64>,
    },
    /// Connections cannot be accepted for now.
    AcceptFailed {
        /// What the system said.
        #[serde(rename = "detail")]
        error: String,
        /// When it is tried again.
        #[serde(rename = "retry_in_ns", serialize_with = "fields::ns")]
        retry_in: Duration,
    },
    /// Datagrams cannot be received for now.
    ReceiveFailed {
        /// The socket.
        #[serde(flatten, serialize_with = "fields::local")]
        local: Address,
        /// What the system said.
        #[serde(rename = "detail")]
        error: String,
        /// When it is tried again.
        #[serde(rename = "retry_in_ns", serialize_with = "fields::ns")]
        retry_in: Duration,
    },
    /// The server has given up what it does not need.
    Confined(GivenUp),
    /// Stopping: no new connections; those that talk go on until they are done or time is up.
    Draining {
        /// Why.
        #[serde(rename = "reason")]
        why: Stop,
        /// Connections still open.
        connections: usize,
        /// At most this long.
        #[serde(rename = "at_most_ns", serialize_with = "fields::ns")]
        at_most: Duration,
    },
    /// A call to the system about a socket, for `--explain`, which has a form of its own.
    #[serde(skip)]
    Call(Box<Step>),
    /// Someone asked what has been done so far.
    Stats(Stats),
    /// Everything is closed. The last event.
    Stopped {
        /// Why.
        #[serde(flatten, serialize_with = "fields::reasoned")]
        why: Stop,
        /// What has been done.
        #[serde(flatten)]
        stats: Stats,
    },
}

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A connection.
    Stream(ConnectionId, PeerAddress),
    /// Datagrams to a socket.
    Datagram {
        /// Where they were sent to.
        local: SocketAddr,
        /// Where they were sent from.
        peer: SocketAddr,
    },
}

impl Origin {
    /// The event that tells of `bytes`, in datagrams of `size` bytes.
    fn received(self, bytes: &[u8], size: usize) -> Kind {
        let (data, len) = (excerpt(bytes), bytes.len());
        match self {
            Origin::Stream(id, _) => Kind::Received {
                id,
                bytes: len,
                data,
            },
            Origin::Datagram { local, peer } => Kind::DatagramsReceived {
                sum: Datagrams {
                    local,
                    peer,
                    count: len.div_ceil(size.max(1)).max(1) as u64,
                    bytes: len as u64,
                },
                data,
            },
        }
    }
}

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
    Failed(std::io::ErrorKind),
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
    /// A fault that was asked for.
    Fault,
    /// The server stopped before its answer was due.
    Shutdown,
    /// The system could not send the reply, or say whether it may be sent.
    Failed(std::io::ErrorKind),
}

impl DropReason {
    /// The reasons as JSON and the texts name them.
    pub const CODES: [&str; 8] = [
        "service-port",
        "own-socket",
        "not-unicast",
        "rate",
        "loop",
        "fault",
        "shutdown",
        "failed",
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
        }
    }

    /// Its name.
    pub fn code(&self) -> &'static str {
        DropReason::CODES[self.index()]
    }
}

impl Serialize for DropReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// Which cap refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", content = "max")]
pub enum Limit {
    /// `--max-connections`.
    #[serde(rename = "max-connections")]
    Connections(usize),
    /// `--max-per-ip`.
    #[serde(rename = "max-per-ip")]
    PerIp(usize),
    /// `--max-memory`, in bytes.
    #[serde(rename = "max-memory")]
    Memory(usize),
}

impl Limit {
    /// Why connections are refused, as JSON and metrics name it; the last one tells of no limit, but of
    /// a fault that was asked for.
    pub const CODES: [&str; 4] = ["max-connections", "max-per-ip", "max-memory", "fault"];

    /// The place of a fault in [`Limit::CODES`].
    pub(crate) const FAULT: usize = 3;

    /// Its place in [`Limit::CODES`].
    pub(crate) fn index(&self) -> usize {
        match self {
            Limit::Connections(_) => 0,
            Limit::PerIp(_) => 1,
            Limit::Memory(_) => 2,
        }
    }
}

/// The IP address and port; one on a Unix socket has neither.
impl Serialize for PeerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            PeerAddress::Inet(address) => fields::address(address, serializer),
            PeerAddress::Unix => serializer.serialize_none(),
        }
    }
}

impl PeerAddress {
    /// The IP address and port.
    pub fn socket(self) -> Option<SocketAddr> {
        match self {
            PeerAddress::Inet(address) => Some(address),
            PeerAddress::Unix => None,
        }
    }
}

impl From<PeerAddress> for End {
    fn from(peer: PeerAddress) -> Self {
        match peer {
            PeerAddress::Inet(address) => End::Inet(address),
            PeerAddress::Unix => End::Unix(PathBuf::new()),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Inet(address) => Zoned(unmapped(*address)).fmt(f),
            PeerAddress::Unix => f.write_str("a unix peer"),
        }
    }
}

/// `::ffff:192.0.2.1` as the IPv4 address it is.
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// What the system said of a connection.
impl From<std::io::Error> for Reason {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
        match error.kind() {
            ConnectionReset | BrokenPipe => Reason::Reset,
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

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DropReason::ServicePort => f.write_str("its source port is a service's"),
            DropReason::OwnSocket => f.write_str("its source is this server"),
            DropReason::NotUnicast => f.write_str("its source or destination is not unicast"),
            DropReason::Rate => f.write_str("over --udp-rate"),
            DropReason::Loop => f.write_str("it comes again and again, as in a loop of replies"),
            DropReason::Fault => f.write_str("a fault that was asked for"),
            DropReason::Shutdown => f.write_str("the server stopped before its answer was due"),
            DropReason::Failed(kind) => write!(f, "the reply could not be sent: {kind}"),
        }
    }
}

/// As it is given on a command line.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Connections(max) => write!(f, "--max-connections {max}"),
            Limit::PerIp(max) => write!(f, "--max-per-ip {max}"),
            Limit::Memory(max) => write!(f, "--max-memory {}", Size(*max as u64)),
        }
    }
}
