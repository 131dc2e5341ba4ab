//! More lines about connections than a person can read, summed up.

use std::fmt::{self, Write};
use std::mem::discriminant;
use std::time::{Duration, Instant};

use super::count::{Count, bytes};
use crate::event::{Kind, Reason};

/// Lines a second about connections that a person can still follow. Past it they are summed up.
pub(super) const READABLE: u64 = 50;

const SECOND: Duration = Duration::from_secs(1);

/// Decides which lines about connections are shown, and sums up the others.
pub(super) struct Digest {
    /// When the current second started.
    since: Instant,
    /// Lines of this second, shown or summed up.
    lines: u64,
    /// Whether all of this second's lines are summed up: the last one had too many.
    busy: bool,
    sum: Connections,
}

/// Connections that are not told one by one.
#[derive(Default)]
struct Connections {
    accepted: u64,
    refused: u64,
    closed: u64,
    received: u64,
    sent: u64,
    /// The ends that no peer wanted, by kind: how many, and why the first of them.
    bad: Vec<(u64, Reason)>,
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "In the last second: {} opened, {} closed, {} refused; received {}, sent {}",
            Count(self.accepted, "connection"),
            self.closed,
            self.refused,
            bytes(self.received),
            bytes(self.sent),
        )?;
        self.bad
            .iter()
            .try_for_each(|(count, reason)| write!(f, "; {count} of them: {reason}"))
    }
}

impl Digest {
    pub(super) fn new(now: Instant) -> Self {
        Digest {
            since: now,
            lines: 0,
            busy: false,
            sum: Connections::default(),
        }
    }

    /// When the sum is due; `None` while there is none.
    pub(super) fn sums_up_at(&self) -> Option<Instant> {
        (self.busy || self.lines > READABLE).then(|| self.since + SECOND)
    }

    /// Goes on to the next second when it has come, and adds the sum of the last one. Returns of how
    /// many events it is the sum.
    pub(super) fn turn(&mut self, now: Instant, over: bool, out: &mut String) -> u64 {
        if now < self.since + SECOND && !over {
            return 0;
        }
        let sum = std::mem::take(&mut self.sum);
        let events = sum.accepted + sum.refused + sum.closed;
        if events > 0 {
            let _ = writeln!(out, "{sum}");
        }
        self.busy = self.lines > READABLE;
        self.lines = 0;
        self.since = now;
        events
    }

    /// Whether this event goes into the sum and not into a line of its own.
    pub(super) fn takes(&mut self, kind: &Kind) -> bool {
        let sums_up = self.busy || self.lines >= READABLE;
        match kind {
            Kind::Accepted { .. } | Kind::Refused { .. } | Kind::Closed { .. } if !sums_up => {}
            Kind::Accepted { .. } => self.sum.accepted += 1,
            Kind::Refused { .. } => self.sum.refused += 1,
            Kind::Closed {
                received,
                sent,
                reason,
                ..
            } => {
                self.sum.closed += 1;
                self.sum.received += received;
                self.sum.sent += sent;
                if *reason != Reason::Finished {
                    let kind = discriminant(reason);
                    let bad = &mut self.sum.bad;
                    match bad.iter_mut().find(|(_, one)| discriminant(one) == kind) {
                        Some((count, _)) => *count += 1,
                        None => bad.push((1, *reason)),
                    }
                }
            }
            _ => return false,
        }
        self.lines += 1;
        sums_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests as sample;

    #[test]
    fn lines_come_back_when_the_rush_is_over() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut digest = Digest::new(start);
        let mut out = String::new();
        let summed_up = |digest: &mut Digest, n| {
            let lines = (0..n).map(sample::accepted);
            lines.filter(|kind| digest.takes(kind)).count()
        };
        assert_eq!(summed_up(&mut digest, 60), 10);
        assert_eq!(digest.sums_up_at(), Some(at(1000)));
        digest.turn(at(1000), false, &mut out);
        assert_eq!(out.lines().count(), 1);
        // A second that follows a rush is summed up from its first line on.
        assert_eq!(summed_up(&mut digest, 5), 5);
        digest.turn(at(2000), false, &mut out);
        assert_eq!(out.lines().count(), 2);
        assert_eq!(summed_up(&mut digest, 5), 0);
        assert_eq!(digest.sums_up_at(), None);
    }
}
