//! What goes wrong on purpose: a fault says what happens, and where. See `docs/FAULTS.md`.

mod applied;
mod datagram;
mod dice;
mod grammar;
mod pace;
mod plan;
mod seed;
mod stream;
mod text;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use echo_core::units::{Size, Timespan};
use serde::{Serialize, Serializer};

pub use applied::Applied;
pub(crate) use datagram::{DatagramFaults, Reply};
pub use grammar::ParseFaultError;
pub(crate) use plan::{Plan, backlog, refuses_all};
pub use seed::Seed;
pub(crate) use stream::{Due, End, StreamFaults};

/// The most that may be held back of one connection, in bytes; nothing more is read while it is.
pub const HELD_MAX: usize = 256 << 10;

/// One fault: what happens, and where.
///
/// ```
/// use echo_server::fault::Fault;
///
/// let fault: Fault = "delay = 50ms±10ms, udp, msg = ..100".parse().unwrap();
/// assert_eq!(fault.to_string(), "delay=50ms±10ms,udp,msg=..100");
/// let error = "delay=50mx".parse::<Fault>().unwrap_err().to_string();
/// assert!(error.starts_with("at character 9: "), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub action: Action,
    /// Where.
    pub place: Place,
}

/// What happens. Listed in the order in which faults are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connections are left waiting; the system holds this many, and one more on Linux.
    NoAccept(u16),
    /// The connection is refused, or reset as soon as it is accepted.
    Refuse,
    /// What arrives is read and never answered.
    Stall,
    /// The message is not answered.
    Drop,
    /// The answer is changed.
    Corrupt(Corruption),
    /// Only this many bytes of the message are sent back.
    Truncate(u64),
    /// The message is answered twice.
    Duplicate,
    /// The message's answer is overtaken by the next one's.
    Reorder,
    /// The answer comes later.
    Delay(Delay),
    /// Answers are held until there are this many bytes of them.
    Merge(usize),
    /// The answer comes in pieces of this many bytes.
    Split(usize),
    /// Answers come in pieces of this many bytes, this long apart.
    Trickle(usize, Duration),
    /// Answers come at this many bytes a second.
    Rate(u64),
    /// Our side of the connection is closed; what arrives is read on and never answered.
    HalfCloseAfter(After),
    /// The connection is closed.
    CloseAfter(After),
    /// The connection is reset.
    ResetAfter(After),
}

/// What is changed in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// One bit.
    Bit,
    /// This many bytes, or all of a shorter message.
    Bytes(u64),
}

/// How long an answer is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Always as long.
    Fixed(Duration),
    /// Anything from the first to the second, all equally likely.
    Uniform(Duration, Duration),
    /// Normally distributed about the first, the second being the standard deviation; never
    /// below zero.
    Normal(Duration, Duration),
}

/// When a connection's end comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Once this many bytes are sent back.
    Bytes(u64),
    /// Once this many messages are answered.
    Messages(u64),
    /// This long after it was accepted.
    Time(Duration),
}

/// Where a fault applies. The default is everywhere that its action can.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Only on this kind of socket.
    pub network: Option<Network>,
    /// Only for this peer.
    pub peer: Option<PeerFilter>,
    /// Only for these connections, counted from 1. On UDP, a source counts as a connection.
    pub connections: Pick,
    /// Only for these messages of each connection, counted from 1.
    pub messages: Pick,
}

/// A kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// TCP connections.
    Tcp,
    /// UDP datagrams.
    Udp,
    /// Unix stream connections.
    Unix,
}

/// A peer's address, with or without its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFilter {
    /// Any port of this address.
    Ip(IpAddr),
    /// This address and port.
    Socket(SocketAddr),
}

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

impl Action {
    /// The name it is written with.
    pub fn name(&self) -> &'static str {
        match self {
            Action::NoAccept(_) => "no-accept",
            Action::Refuse => "refuse",
            Action::Stall => "stall",
            Action::Drop => "drop",
            Action::Corrupt(_) => "corrupt",
            Action::Truncate(_) => "truncate",
            Action::Duplicate => "duplicate",
            Action::Reorder => "reorder",
            Action::Delay(_) => "delay",
            Action::Merge(_) => "merge",
            Action::Split(_) => "split",
            Action::Trickle(..) => "trickle",
            Action::Rate(_) => "rate",
            Action::HalfCloseAfter(_) => "half-close-after",
            Action::CloseAfter(_) => "close-after",
            Action::ResetAfter(_) => "reset-after",
        }
    }

    /// Its place in the order of application.
    fn rank(&self) -> u8 {
        match self {
            Action::NoAccept(_) => 0,
            Action::Refuse => 1,
            Action::Stall => 2,
            Action::Drop => 3,
            Action::Corrupt(_) => 4,
            Action::Truncate(_) => 5,
            Action::Duplicate => 6,
            Action::Reorder => 7,
            Action::Delay(_) => 8,
            Action::Merge(_) => 9,
            Action::Split(_) => 10,
            Action::Trickle(..) => 11,
            Action::Rate(_) => 12,
            Action::HalfCloseAfter(_) => 13,
            Action::CloseAfter(_) => 14,
            Action::ResetAfter(_) => 15,
        }
    }

    /// Whether it happens to single messages, not to a connection as a whole.
    fn is_per_message(&self) -> bool {
        matches!(
            self,
            Action::Drop
                | Action::Corrupt(_)
                | Action::Truncate(_)
                | Action::Duplicate
                | Action::Reorder
                | Action::Delay(_)
                | Action::Split(_)
        )
    }

    /// The kinds of socket on which it can happen.
    fn networks(&self) -> &'static [Network] {
        match self {
            Action::Reorder => &[Network::Udp],
            // A Unix socket has no reset.
            Action::Refuse | Action::ResetAfter(_) => &[Network::Tcp],
            Action::Rate(_) => &[Network::Tcp, Network::Udp, Network::Unix],
            action if action.is_per_message() => &[Network::Tcp, Network::Udp, Network::Unix],
            _ => &[Network::Tcp, Network::Unix],
        }
    }
}

impl Place {
    /// Whether it covers this connection or UDP source, leaving the share aside.
    fn covers(&self, network: Network, number: u64, peer: Option<SocketAddr>) -> bool {
        self.network.is_none_or(|only| only == network)
            && self.connections.bounds(number)
            && self.peer.is_none_or(|only| match (only, peer) {
                (PeerFilter::Ip(ip), Some(peer)) => peer.ip().to_canonical() == ip,
                (PeerFilter::Socket(socket), Some(peer)) => {
                    (peer.ip().to_canonical(), peer.port()) == (socket.ip(), socket.port())
                }
                (_, None) => false,
            })
    }
}

impl Pick {
    /// Whether `number` lies within the bounds.
    fn bounds(&self, number: u64) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

impl Default for Pick {
    fn default() -> Self {
        Pick {
            first: 1,
            last: u64::MAX,
            share: Share::ALL,
        }
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.action, self.place)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Action::NoAccept(backlog) => write!(f, "={backlog}"),
            Action::Truncate(bytes) | Action::Rate(bytes) => write!(f, "={}", Size(*bytes)),
            Action::Corrupt(Corruption::Bytes(bytes)) => write!(f, "={}", Size(*bytes)),
            Action::Merge(bytes) | Action::Split(bytes) => write!(f, "={}", Size(*bytes as u64)),
            Action::Delay(delay) => write!(f, "={delay}"),
            Action::Trickle(bytes, every) => {
                write!(f, "={}/{}", Size(*bytes as u64), Timespan(*every))
            }
            Action::HalfCloseAfter(after)
            | Action::CloseAfter(after)
            | Action::ResetAfter(after) => write!(f, "={after}"),
            Action::Refuse
            | Action::Stall
            | Action::Drop
            | Action::Corrupt(Corruption::Bit)
            | Action::Duplicate
            | Action::Reorder => Ok(()),
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Delay::Fixed(delay) => write!(f, "{}", Timespan(*delay)),
            Delay::Uniform(least, most) => write!(f, "{}..{}", Timespan(*least), Timespan(*most)),
            Delay::Normal(mean, deviation) => {
                write!(f, "{}±{}", Timespan(*mean), Timespan(*deviation))
            }
        }
    }
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            After::Bytes(bytes) => write!(f, "{}", Size(*bytes)),
            After::Messages(messages) => write!(f, "{messages}msg"),
            After::Time(time) => write!(f, "{}", Timespan(*time)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(network) = self.network {
            write!(f, ",{network}")?;
        }
        match self.peer {
            Some(PeerFilter::Ip(ip)) => write!(f, ",peer={ip}")?,
            Some(PeerFilter::Socket(socket)) => write!(f, ",peer={socket}")?,
            None => {}
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

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Network::Tcp => "tcp",
            Network::Udp => "udp",
            Network::Unix => "unix",
        })
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
