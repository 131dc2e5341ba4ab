//! Where a fault applies.

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Bound, RangeBounds};
use std::str::FromStr;

use echo_core::{Transport, Zoned};

use super::Action;
use crate::event::{Applied, ConnectionId, Done, Events, Kind, PeerAddress, unmapped};
use crate::name::Name;

/// Where a fault applies. The default is everywhere that its action can.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Only on this kind of socket.
    pub transport: Option<Transport>,
    /// Only on the listeners of this name.
    pub on: Option<Name>,
    /// Only for this peer.
    pub peer: Option<PeerFilter>,
    /// Only for these connections, counted from 1. On UDP, a source counts as a connection.
    pub connections: Pick,
    /// Only for these messages of each connection, counted from 1.
    pub messages: Pick,
}

/// What a fault may concern: a connection, or a source of datagrams.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) transport: Transport,
    /// The name of the listener that it came to.
    pub(crate) listener: Option<Name>,
    pub(crate) number: ConnectionId,
    /// `None` where it has not come yet.
    pub(crate) peer: Option<PeerAddress>,
}

impl Subject {
    /// The connection of this number, of a listener; it will come where its peer is not known.
    pub(crate) fn new(
        transport: Transport,
        listener: Option<&Name>,
        number: ConnectionId,
        peer: Option<PeerAddress>,
    ) -> Self {
        Subject {
            transport,
            listener: listener.cloned(),
            number,
            peer,
        }
    }

    /// Tells that a fault is applied to a message of it, or to it as a whole; where it is still to come,
    /// to all after it too.
    pub(crate) fn tell(&self, events: &Events, message: Option<u64>, action: &Action, done: Done) {
        events.fault(|| Kind::Fault {
            what: Applied {
                name: action.name(),
                done,
            },
            transport: self.transport,
            connection: self.number,
            peer: self.peer,
            message,
        });
    }
}

/// A peer's address; port 0 and no zone stand for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerFilter(pub SocketAddr);

/// Some of a numbered sequence: those within the bounds, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The first one, from 1.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// How many of those between.
    pub share: Share,
}

/// A share, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Place {
    /// Whether it covers this connection or UDP source, leaving the share aside.
    pub(super) fn covers(&self, subject: &Subject) -> bool {
        let peer = subject.peer.and_then(PeerAddress::socket);
        let is_peer = |only: PeerFilter| peer.is_some_and(|peer| only.covers(peer));
        self.transport.is_none_or(|only| only == subject.transport)
            && self.is_on(subject.listener.as_ref())
            && self.connections.bounds(subject.number)
            && self.peer.is_none_or(is_peer)
    }

    /// Whether it covers a listener of this name.
    pub(super) fn is_on(&self, listener: Option<&Name>) -> bool {
        self.on.is_none() || self.on.as_ref() == listener
    }
}

impl PeerFilter {
    fn covers(self, peer: SocketAddr) -> bool {
        let zone = |address| match address {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        peer.ip().to_canonical() == self.0.ip().to_canonical()
            && [0, peer.port()].contains(&self.0.port())
            && [0, zone(peer)].contains(&zone(self.0))
    }
}

impl FromStr for PeerFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Zoned(address) = Zoned::with_or_without_port(text)?;
        Ok(PeerFilter(unmapped(address)))
    }
}

impl fmt::Display for PeerFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.port() {
            0 => f.write_str(&Zoned(self.0).ip()),
            _ => Zoned(self.0).fmt(f),
        }
    }
}

impl Pick {
    /// All within bounds.
    pub(super) fn within(numbers: impl RangeBounds<u64>) -> Self {
        Pick {
            first: match numbers.start_bound() {
                Bound::Included(first) => (*first).max(1),
                Bound::Excluded(before) => before.saturating_add(1),
                Bound::Unbounded => 1,
            },
            last: match numbers.end_bound() {
                Bound::Included(last) => *last,
                Bound::Excluded(behind) => behind.saturating_sub(1),
                Bound::Unbounded => u64::MAX,
            },
            share: Share::ALL,
        }
    }

    /// Whether `number` lies within the bounds.
    pub(super) fn bounds(&self, number: u64) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

impl Default for Pick {
    fn default() -> Self {
        Pick::within(..)
    }
}

impl Share {
    /// Every one.
    pub const ALL: Share = Share(1_000_000);

    /// A share from millionths; `None` above one.
    pub fn from_millionths(millionths: u32) -> Option<Self> {
        (millionths <= Share::ALL.0).then_some(Share(millionths))
    }

    /// The share in millionths.
    pub fn millionths(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(transport) = self.transport {
            write!(f, ",{transport}")?;
        }
        if let Some(on) = &self.on {
            write!(f, ",on={on}")?;
        }
        if let Some(peer) = self.peer {
            write!(f, ",peer={peer}")?;
        }
        self.connections.write(f, "conn")?;
        self.messages.write(f, "msg")
    }
}

impl Pick {
    fn write(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        match (self.first, self.last) {
            (1, u64::MAX) => {}
            (1, last) => write!(f, ",{name}=..{last}")?,
            (first, u64::MAX) => write!(f, ",{name}={first}..")?,
            (first, last) if first == last => write!(f, ",{name}={first}")?,
            (first, last) => write!(f, ",{name}={first}..{last}")?,
        }
        if self.share != Share::ALL {
            write!(f, ",{name}={}", self.share)?;
        }
        Ok(())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        match rest {
            0 => write!(f, "{whole}%"),
            rest => write!(f, "{whole}.{}%", format!("{rest:04}").trim_end_matches('0')),
        }
    }
}
