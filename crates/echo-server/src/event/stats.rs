//! What a server has done so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use echo_core::Clock;
use echo_core::units::unix_ns;
use serde::{Serialize, Serializer};

use crate::event::DropReason;

/// Totals since the server was bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// When it was bound.
    #[serde(rename = "since_unix_ns", serialize_with = "since")]
    pub since: SystemTime,
    /// When these were its totals.
    #[serde(skip)]
    pub until: SystemTime,
    /// Connections accepted.
    #[serde(rename = "connections")]
    pub accepted: u64,
    /// Connections open now.
    #[serde(rename = "open_connections")]
    pub open: u64,
    /// Connections closed at once because of a limit.
    #[serde(rename = "refused_connections")]
    pub refused: u64,
    /// Bytes received on connections.
    pub received_bytes: u64,
    /// Bytes sent on connections.
    pub sent_bytes: u64,
    /// Datagrams received.
    pub datagrams: u64,
    /// Datagrams that got no reply, by reason: in the order of [`DropReason::CODES`].
    #[serde(rename = "datagrams_dropped", serialize_with = "by_reason")]
    pub dropped: [u64; DropReason::CODES.len()],
    /// Datagrams that the system dropped before they could be received, as of the last second.
    #[serde(rename = "datagrams_overflowed")]
    pub overflowed: u64,
}

fn since<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(unix_ns(*time))
}

fn by_reason<S: Serializer>(counts: &[u64], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(DropReason::CODES.into_iter().zip(counts))
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
        let accepted = sum(|all| &all.accepted);
        Stats {
            since: self.since,
            until: self.clock.now(),
            accepted,
            open: accepted.saturating_sub(sum(|all| &all.closed)),
            refused: sum(|all| &all.refused),
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
