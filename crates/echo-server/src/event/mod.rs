//! What happened, said once. Text, JSON lines and explanations are renderings of it.

mod applied;
mod channel;
pub(crate) mod fields;
pub(crate) mod flood;
mod given_up;
mod peer;
mod reason;
pub(crate) mod record;
pub(crate) mod stats;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

pub use echo_core::Address;
use echo_core::Transport;
use echo_core::escape::excerpt;
use echo_explain::Step;
use serde::Serialize;

pub use applied::{Applied, Done};
pub(crate) use channel::pieces;
pub use channel::{EventReader, Events, Format, Level};
pub use flood::Datagrams;
pub use given_up::GivenUp;
pub use peer::{PeerAddress, unmapped};
pub use reason::{DropReason, Reason, Refusal};
pub use stats::Stats;

use crate::fault::Numbered;
use crate::name::Name;
pub use crate::shutdown::Stop;

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
    /// The open-file limit leaves room for fewer connections than were asked for.
    ConnectionsCapped {
        /// That many can be open.
        max: usize,
        /// As many were asked for.
        asked: usize,
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
    /// A connection was closed unserved: it was over a limit, or did not say for whom it came.
    Refused {
        /// This end.
        #[serde(flatten, serialize_with = "fields::local")]
        local: Address,
        /// The other end.
        peer: PeerAddress,
        /// Why, and which setting has it so.
        #[serde(flatten)]
        reason: Refusal,
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
        #[serde(flatten)]
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
        #[serde(flatten)]
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
    FaultAdded(Box<Numbered>),
    /// A fault went, and what it held back left.
    FaultRemoved(Box<Numbered>),
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
        #[serde(flatten)]
        why: Stop,
        /// Connections still open.
        connections: usize,
        /// At most this long.
        #[serde(rename = "at_most_ns", serialize_with = "fields::ns")]
        at_most: Duration,
    },
    /// Events are missing here: they could not be written, or not as fast as they came.
    Lost {
        /// How many.
        events: u64,
    },
    /// A call to the system about a socket, for `--explain`, which has a form of its own.
    #[serde(skip)]
    Call(Box<Step>),
    /// Someone asked what has been done so far.
    Stats(Box<Stats>),
    /// Everything is closed. The last event.
    Stopped {
        /// Why.
        #[serde(flatten)]
        why: Stop,
        /// What has been done.
        #[serde(flatten)]
        stats: Box<Stats>,
    },
}

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A connection.
    Stream(ConnectionId, Transport, PeerAddress),
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
            Origin::Stream(id, ..) => Kind::Received {
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
