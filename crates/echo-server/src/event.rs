//! What happened, said once. Text, JSON lines and explanations are renderings of it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use echo_core::framing::FrameError;
use serde::{Deserialize, Serialize};

use crate::fault::{Applied, Network};

/// A socket's own address, with its transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP socket.
    Tcp(SocketAddr),
    /// A UDP socket.
    Udp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Address {
    /// The IP address and port; `None` for a Unix socket.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Address::Tcp(address) | Address::Udp(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }
}

/// As the ready lines have it: `tcp 127.0.0.1:5346`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "tcp {address}"),
            Address::Udp(address) => write!(f, "udp {address}"),
            Address::Unix(path) => write!(f, "unix {}", path.display()),
        }
    }
}

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
    /// Since the server was bound.
    pub at: Duration,
    /// What happened.
    pub kind: Kind,
}

/// A connection's number, counted from 1 over the life of the server.
pub type ConnectionId = u64;

/// What happened.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A connection was accepted.
    Accepted {
        /// Its number.
        id: ConnectionId,
        /// The other end.
        peer: PeerAddress,
    },
    /// A connection was closed at once, because it was over a limit.
    Refused {
        /// The other end.
        peer: PeerAddress,
        /// The limit, and how to raise it.
        limit: Limit,
    },
    /// Bytes arrived.
    Received {
        /// The connection.
        id: ConnectionId,
        /// How many.
        bytes: usize,
    },
    /// Bytes were handed to the system to be sent.
    Sent {
        /// The connection.
        id: ConnectionId,
        /// How many.
        bytes: usize,
    },
    /// A connection ended.
    Closed {
        /// Its number.
        id: ConnectionId,
        /// The other end.
        peer: PeerAddress,
        /// Why.
        reason: Reason,
        /// Bytes received.
        received: u64,
        /// Bytes sent back.
        sent: u64,
    },
    /// Datagrams arrived from one source since the last such event, and were answered.
    Datagrams {
        /// The last one's source.
        peer: SocketAddr,
        /// How many datagrams.
        count: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A datagram was not answered.
    DatagramDropped {
        /// Its source.
        peer: SocketAddr,
        /// Why not.
        why: DropReason,
        /// How many since the last such event.
        count: u64,
    },
    /// Faults are configured.
    Faults {
        /// How many.
        count: usize,
        /// The seed with which they can be repeated.
        seed: u64,
    },
    /// A fault was applied.
    Fault {
        /// What was done.
        what: Applied,
        /// To which kind of socket.
        network: Network,
        /// To which connection or, on UDP, source of datagrams; each is counted from 1.
        connection: ConnectionId,
        /// The other end, if it is known.
        peer: Option<PeerAddress>,
        /// The message, counted from 1; 0 when the connection as a whole is meant.
        message: u64,
    },
    /// Connections cannot be accepted for now.
    AcceptFailed {
        /// What the system said.
        error: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// Stopping: no new connections; those that talk go on until they are done or time is up.
    Draining {
        /// Connections still open.
        connections: usize,
        /// At most this long.
        at_most: Duration,
    },
    /// Everything is closed.
    Stopped,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The peer finished sending, and all of it was sent back.
    Finished,
    /// The peer reset the connection.
    Reset,
    /// The peer broke the framing.
    Frame(FrameError),
    /// Nothing arrived for the idle timeout.
    Idle,
    /// The peer took nothing for the write timeout.
    Unread,
    /// The server stopped.
    Shutdown,
    /// The system failed the connection.
    Failed(std::io::ErrorKind),
    /// A fault ended it; the name is the fault's.
    Fault(&'static str),
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
    /// The system could not send the reply.
    Failed(std::io::ErrorKind),
}

/// Which cap refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `--max-connections`.
    Connections(usize),
    /// `--max-per-ip`.
    PerIp(usize),
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Inet(address) => write!(f, "{}", unmapped(*address)),
            PeerAddress::Unix => f.write_str("a unix peer"),
        }
    }
}

/// `::ffff:192.0.2.1` as the IPv4 address it is.
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Finished => f.write_str("the peer finished"),
            Reason::Reset => f.write_str("the peer reset the connection"),
            Reason::Frame(error) => write!(f, "{error}"),
            Reason::Idle => f.write_str("idle for too long"),
            Reason::Unread => f.write_str("the peer stopped reading"),
            Reason::Shutdown => f.write_str("the server is stopping"),
            Reason::Failed(kind) => write!(f, "{kind}"),
            Reason::Fault(name) => write!(f, "the fault {name}"),
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
            DropReason::Failed(kind) => write!(f, "the reply could not be sent: {kind}"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Connections(max) => write!(f, "--max-connections {max} reached"),
            Limit::PerIp(max) => write!(f, "--max-per-ip {max} reached"),
        }
    }
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    Off,
    /// Connections, datagrams in summary, and what goes wrong.
    Connections,
    /// Every read and write too.
    Traffic,
}

/// Events waiting for their reader; past this they are dropped and counted. At about 100 bytes
/// an event, a reader that stands still costs under half a megabyte.
const QUEUE: usize = 4096;

/// Where the workers tell what happened. Never blocks: a reader that is too slow loses events,
/// and the loss is counted.
#[derive(Clone, Debug)]
pub struct Events {
    level: Level,
    start: Instant,
    queue: Option<SyncSender<Event>>,
    missed: Arc<AtomicU64>,
}

/// The reading end of [`Events`].
#[derive(Debug)]
pub struct EventReader {
    queue: Receiver<Event>,
    missed: Arc<AtomicU64>,
}

impl Events {
    /// Nobody listens.
    pub fn off() -> Self {
        Events {
            level: Level::Off,
            start: Instant::now(),
            queue: None,
            missed: Arc::default(),
        }
    }

    /// A writing and a reading end.
    pub fn channel(level: Level) -> (Self, EventReader) {
        let (sender, receiver) = sync_channel(QUEUE);
        let missed = Arc::<AtomicU64>::default();
        let events = Events {
            level,
            start: Instant::now(),
            queue: Some(sender),
            missed: missed.clone(),
        };
        (
            events,
            EventReader {
                queue: receiver,
                missed,
            },
        )
    }

    /// Whether anyone wants events of `level`.
    pub fn wants(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Tells of a connection event; what it says is only put together when someone listens.
    pub fn tell(&self, kind: impl FnOnce() -> Kind) {
        self.send(Level::Connections, kind);
    }

    /// Tells of a read or a write.
    pub fn trace(&self, kind: impl FnOnce() -> Kind) {
        self.send(Level::Traffic, kind);
    }

    fn send(&self, level: Level, kind: impl FnOnce() -> Kind) {
        if level > self.level {
            return;
        }
        let Some(queue) = &self.queue else { return };
        let event = Event {
            at: self.start.elapsed(),
            kind: kind(),
        };
        if let Err(TrySendError::Full(_)) = queue.try_send(event) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl EventReader {
    /// The next event; `None` once the server is gone and all are read.
    pub fn next(&self) -> Option<Event> {
        self.queue.recv().ok()
    }

    /// The next event, if there is one already.
    pub fn try_next(&self) -> Option<Event> {
        self.queue.try_recv().ok()
    }

    /// Events lost since the last call, because nobody read them in time.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}
