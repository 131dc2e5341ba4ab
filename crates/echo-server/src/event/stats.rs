//! What a server has done so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use echo_core::Clock;

use crate::event::DropReason;

/// Totals since the server was bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// When it was bound.
    pub since: SystemTime,
    /// When these were its totals.
    pub until: SystemTime,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once because of a limit.
    pub refused: u64,
    /// Connections that have ended.
    pub closed: u64,
    /// Bytes received on connections.
    pub received_bytes: u64,
    /// Bytes sent on connections.
    pub sent_bytes: u64,
    /// Datagrams received.
    pub datagrams: u64,
    /// Datagrams that got no reply, by reason: in the order of [`DropReason::CODES`].
    pub dropped: [u64; DropReason::CODES.len()],
    /// Datagrams that the system dropped before they could be received, as of the last second.
    pub overflowed: u64,
}

impl Stats {
    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.closed)
    }
}

/// A counter that one thread writes and any may read: no locked instruction on the way of a byte.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.wrapping_add(n), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One worker's counters. Aligned so that two workers never write to one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    pub(crate) closed: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) datagrams: Counter,
    pub(crate) dropped: [Counter; DropReason::CODES.len()],
    pub(crate) overflowed: Counter,
}

/// The counters of all workers, for whoever wants to know what they come to.
#[derive(Debug)]
pub(crate) struct Totals {
    clock: Clock,
    since: SystemTime,
    pub(crate) counters: Vec<Arc<Counters>>,
}

impl Totals {
    pub(crate) fn new(workers: usize, clock: Clock) -> Arc<Self> {
        Arc::new(Totals {
            since: clock.now(),
            clock,
            counters: (0..workers).map(|_| Arc::default()).collect(),
        })
    }

    /// What they come to now.
    pub(crate) fn stats(&self) -> Stats {
        let sum = |of: fn(&Counters) -> &Counter| {
            let counts = self.counters.iter();
            counts.map(|counters| of(counters).get()).sum()
        };
        Stats {
            since: self.since,
            until: self.clock.now(),
            accepted: sum(|all| &all.accepted),
            refused: sum(|all| &all.refused),
            closed: sum(|all| &all.closed),
            received_bytes: sum(|all| &all.received_bytes),
            sent_bytes: sum(|all| &all.sent_bytes),
            datagrams: sum(|all| &all.datagrams),
            dropped: std::array::from_fn(|reason| {
                let counts = self.counters.iter();
                counts.map(|counters| counters.dropped[reason].get()).sum()
            }),
            overflowed: sum(|all| &all.overflowed),
        }
    }
}
