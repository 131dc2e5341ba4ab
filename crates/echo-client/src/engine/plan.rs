//! What a run is to do. It is resolved: it knows neither flags nor which command asked.

use std::time::Duration;

use crate::connection::{Connect, Timestamps};
use crate::wire::echo;

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to connect, and how.
    pub connect: Connect,
    /// Connections, or sockets.
    pub parallel: usize,
    /// Threads that make the load.
    pub threads: usize,
    /// Requests in flight on each connection.
    pub depth: usize,
    /// Bytes of a message, without its framing.
    pub size: usize,
    /// When requests are due.
    pub pace: Pace,
    /// How long to send for, unless a number or the user ends it.
    pub duration: Option<Duration>,
    /// How many requests to send.
    pub count: Option<u64>,
    /// Time before measuring.
    pub warmup: Duration,
    /// Compare what comes back with what was sent.
    pub verify: bool,
    /// A connection for each request.
    pub new_connection: bool,
    /// Never sleep while a reply is awaited.
    pub busy: bool,
    /// The server's process, where it is on this machine and its processor time is wanted.
    pub server: Option<u32>,
    /// Keep each second's lines of an HdrHistogram log.
    pub log: bool,
    /// How long a connection that used to be answered is opened anew in vain before it is given
    /// up; one that never was is given up at once. `None`: never.
    pub patience: Option<Duration>,
}

/// When requests are due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As soon as a connection has room.
    Closed,
    /// So many a second, whatever became of those before: latency counts from when one was due.
    Rate(f64),
    /// This long after one another. After a pause the missed ones are not made up for.
    Interval(Duration),
}

/// Which time stamps of the kernel a run uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// None.
    None,
    /// Of each datagram that comes.
    Arrivals,
    /// Of those that leave too: two more calls for each.
    All,
}

/// At a higher rate, hearing when each request left would slow the load down.
const STAMPED_RATE: f64 = 2_000.0;

/// The most that a socket's buffer is asked for.
const MOST: usize = 64 << 20;

impl Plan {
    /// One small request after the other on one connection, for as long as somebody waits.
    pub fn new(connect: Connect) -> Self {
        Plan {
            connect,
            parallel: 1,
            threads: 1,
            depth: 1,
            size: echo::HEADER_LEN,
            pace: Pace::Closed,
            duration: None,
            count: None,
            warmup: Duration::ZERO,
            verify: true,
            new_connection: false,
            busy: false,
            server: None,
            log: false,
            patience: None,
        }
    }

    /// The memory that the system needs for the replies to all requests in flight on a socket: it
    /// counts a datagram's own book-keeping, and pages rather than bytes.
    pub(super) fn window(&self) -> usize {
        self.room().saturating_mul(1024 + 2 * self.size).min(MOST)
    }

    /// The time stamps that are worth their cost.
    pub(super) fn stamps(&self) -> Stamps {
        let is_calm = match self.pace {
            Pace::Closed => false,
            Pace::Rate(per_s) => per_s <= STAMPED_RATE,
            Pace::Interval(_) => true,
        };
        match self.connect.timestamps {
            Timestamps::User => Stamps::None,
            _ if !self.connect.is_udp() => Stamps::None,
            Timestamps::Auto if !is_calm => Stamps::Arrivals,
            Timestamps::Auto | Timestamps::Kernel => Stamps::All,
        }
    }

    /// Requests in flight on a connection at most. Datagrams too small for a number go one at a
    /// time, and so do requests that have a connection of their own.
    pub(super) fn room(&self) -> usize {
        let is_numbered = self.connect.is_stamp() || echo::is_numbered(self.size);
        let is_told_apart = !self.connect.is_udp() || is_numbered;
        match self.new_connection || !is_told_apart {
            true => 1,
            false => self.depth,
        }
    }
}
