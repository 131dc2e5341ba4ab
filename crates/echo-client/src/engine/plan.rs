//! What a run is to do. It is resolved: it knows neither flags nor which command asked.

use std::time::Duration;

use crate::connection::{Connect, Timestamps};
use crate::report::{Counts, Whose};
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
    /// How long a connection is opened anew in vain before it is given up. One that never was answered
    /// is given up at once, unless the target is known to be there; one whose replies are wrong always
    /// is. `None`: never.
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

/// At a higher rate, hearing when each request left would slow the load down.
const STAMPED_RATE: f64 = 2_000.0;

/// The most that a socket's buffer is asked for.
const MOST: usize = 64 << 20;

impl Plan {
    /// How many connections are made before the run begins: all, or where each request has its own, one,
    /// which shows that the target is there.
    pub fn beforehand(&self) -> usize {
        match self.new_connection {
            true => 1,
            false => self.parallel,
        }
    }

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
    pub(super) fn buffer(&self) -> usize {
        self.room().saturating_mul(1024 + 2 * self.size).min(MOST)
    }

    /// The time stamps that are worth their cost: the kernel's of sending are two more calls for each.
    pub(super) fn stamps(&self) -> Whose {
        let is_calm = match self.pace {
            Pace::Closed => false,
            Pace::Rate(per_s) => per_s <= STAMPED_RATE,
            Pace::Interval(_) => true,
        };
        match self.connect.timestamps {
            Timestamps::User => Whose::User,
            _ if !self.connect.is_udp() => Whose::User,
            Timestamps::Auto if !is_calm => Whose::Receive,
            Timestamps::Auto | Timestamps::Kernel => Whose::Kernel,
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

    /// For how long sending was meant of which `counts` tell, in the `measured` time. The interval of each
    /// request that was due counts to its end, or a single one would have no rate, two the rate of one,
    /// and a time that is no whole number of intervals a rate above the one asked for; without a rate a
    /// pacer says until when it was `meant`, after warm-up.
    pub(super) fn window(&self, counts: &Counts, measured: Duration, meant: Duration) -> Duration {
        // Where time ended it, it ended no sooner.
        let timed = self.duration.filter(|duration| measured >= *duration);
        let least = timed.unwrap_or_default();
        match self.pace {
            Pace::Closed => timed.unwrap_or(measured.max(meant)),
            Pace::Interval(_) => meant.max(least),
            Pace::Rate(per_s) => {
                let due = (counts.sent + counts.unsent) as f64;
                Duration::from_nanos((due * 1e9 / per_s).ceil() as u64).max(least)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn plan(pace: Pace, duration_ms: Option<u32>) -> Plan {
        Plan {
            pace,
            duration: duration_ms.map(|ms| MS * ms),
            ..Plan::new(Connect::default())
        }
    }

    fn sent(sent: u64) -> Counts {
        Counts {
            sent,
            ..Counts::default()
        }
    }

    #[test]
    fn no_window_makes_a_rate_above_the_one_asked_for() {
        for (per_s, duration_ms, measured_ms, due, window_ms) in [
            (1.0, Some(2500), 2500, 3, 3000),
            (0.5, Some(2500), 2500, 2, 4000),
            (0.5, Some(4000), 4000, 2, 4000),
            (2.0, Some(600), 600, 2, 1000),
            (1.0, Some(100), 100, 1, 1000),
            // The first was due some time after warm-up.
            (1.0, Some(1600), 1600, 1, 1600),
            (10.0, Some(4000), 4000, 40, 4000),
            // By number, however late the last one left; and until it was interrupted.
            (10.0, None, 410, 5, 500),
            (10.0, None, 2000, 5, 500),
            (10.0, Some(4000), 250, 3, 300),
        ] {
            let plan = plan(Pace::Rate(per_s), duration_ms);
            let window = plan.window(&sent(due), MS * measured_ms, MS * 60_000);
            assert_eq!(window, MS * window_ms, "{per_s}/s for {measured_ms} ms");
        }
        for (per_s, due) in [
            (7.0, 11),
            (0.3, 1),
            (0.7, 3),
            (1.1, 5),
            (29.0, 30),
            (997.0, 7),
        ] {
            let window = plan(Pace::Rate(per_s), None).window(&sent(due), MS, MS);
            let told = due as f64 / window.as_secs_f64();
            assert!(told <= per_s, "{told} of {per_s}");
        }
    }

    #[test]
    fn without_a_rate_the_pacer_says_until_when_sending_was_meant() {
        let second = Pace::Interval(Duration::from_secs(1));
        for (pace, duration_ms, measured_ms, meant_ms, window_ms) in [
            (second, Some(2500), 2500, 3000, 3000),
            (second, Some(4000), 4000, 3000, 4000),
            (second, None, 1, 1000, 1000),
            (Pace::Closed, Some(2), 2, 3, 2),
            (Pace::Closed, Some(9), 1, 3, 3),
            (Pace::Closed, None, 3, 0, 3),
        ] {
            let plan = plan(pace, duration_ms);
            let window = plan.window(&sent(1), MS * measured_ms, MS * meant_ms);
            assert_eq!(window, MS * window_ms, "{pace:?} for {measured_ms} ms");
        }
    }
}
