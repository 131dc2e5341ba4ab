//! What a server has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Totals since the server was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
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
    /// Datagrams that got no reply.
    pub datagrams_dropped: u64,
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
    pub(crate) datagrams_dropped: Counter,
}

impl Counters {
    /// Adds this worker's counts to `total`.
    pub(crate) fn add_to(&self, total: &mut Stats) {
        total.accepted += self.accepted.get();
        total.refused += self.refused.get();
        total.closed += self.closed.get();
        total.received_bytes += self.received_bytes.get();
        total.sent_bytes += self.sent_bytes.get();
        total.datagrams += self.datagrams.get();
        total.datagrams_dropped += self.datagrams_dropped.get();
    }
}
