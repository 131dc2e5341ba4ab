//! What a server has done so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use echo_core::Clock;
use echo_core::units::unix_ns;
use serde::{Serialize, Serializer};

use crate::event::{DropReason, Events, Reason, Refusal};

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
    /// Connections that have ended, by reason: in the order of [`Reason::CODES`].
    #[serde(rename = "closed_connections", serialize_with = "closed")]
    pub closed: [u64; Reason::CODES.len()],
    /// Connections closed unserved, by reason: in the order of [`Refusal::CODES`].
    #[serde(rename = "refused_connections", serialize_with = "in_all")]
    pub refused: [u64; Refusal::CODES.len()],
    /// Bytes received on connections.
    pub received_bytes: u64,
    /// Bytes sent on connections.
    pub sent_bytes: u64,
    /// Datagrams received.
    pub datagrams: u64,
    /// Datagrams that got a reply.
    #[serde(rename = "datagrams_answered")]
    pub answered: u64,
    /// Datagrams that got no reply, by reason: in the order of [`DropReason::CODES`].
    #[serde(rename = "datagrams_dropped", serialize_with = "dropped")]
    pub dropped: [u64; DropReason::CODES.len()],
    /// Datagrams that the system dropped before they could be received, as of the last second.
    #[serde(rename = "datagrams_overflowed")]
    pub overflowed: u64,
    /// Faults applied.
    #[serde(rename = "faults_applied")]
    pub faults: u64,
    /// Events that came faster than they were read.
    #[serde(rename = "events_lost")]
    pub missed: u64,
}

fn since<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(unix_ns(*time))
}

fn closed<S: Serializer>(counts: &[u64], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(Reason::CODES.into_iter().zip(counts))
}

fn dropped<S: Serializer>(counts: &[u64], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(DropReason::CODES.into_iter().zip(counts))
}

fn in_all<S: Serializer>(counts: &[u64], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(counts.iter().sum())
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
    /// Times that it has looked for something to do.
    pub(crate) turns: Counter,
    pub(crate) accepted: Counter,
    pub(crate) refused: [Counter; Refusal::CODES.len()],
    pub(crate) closed: [Counter; Reason::CODES.len()],
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) datagrams: Counter,
    pub(crate) answered: Counter,
    pub(crate) dropped: [Counter; DropReason::CODES.len()],
    pub(crate) overflowed: Counter,
}

/// What is counted where events are told, by any thread.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Faults applied.
    pub(crate) faults: AtomicU64,
    /// Events that nobody has read yet.
    pub(crate) waiting: AtomicUsize,
    /// Events that nobody read in time; and those of them that the reader does not know of.
    pub(crate) missed: AtomicU64,
    pub(crate) missing: AtomicU64,
}

/// The counters of all workers, for whoever wants to know what they come to.
#[derive(Debug)]
pub(crate) struct Totals {
    clock: Clock,
    since: SystemTime,
    told: Arc<Told>,
    pub(crate) counters: Vec<Arc<Counters>>,
}

impl Totals {
    pub(crate) fn new(workers: usize, events: &Events) -> Arc<Self> {
        let clock = events.clock();
        Arc::new(Totals {
            since: clock.now(),
            clock,
            told: events.told(),
            counters: (0..workers).map(|_| Arc::default()).collect(),
        })
    }

    /// What they come to now.
    pub(crate) fn stats(&self) -> Stats {
        let sum = |of: fn(&Counters) -> &Counter| {
            let counts = self.counters.iter();
            counts.map(|counters| of(counters).get()).sum()
        };
        let of_reason = |counts: fn(&Counters) -> &[Counter], reason: usize| {
            let counters = self.counters.iter();
            counters.map(|all| counts(all)[reason].get()).sum::<u64>()
        };
        let closed = std::array::from_fn(|reason| of_reason(|all| &all.closed, reason));
        let accepted = sum(|all| &all.accepted);
        Stats {
            since: self.since,
            until: self.clock.now(),
            accepted,
            open: accepted.saturating_sub(closed.iter().sum()),
            closed,
            refused: std::array::from_fn(|reason| of_reason(|all| &all.refused, reason)),
            received_bytes: sum(|all| &all.received_bytes),
            sent_bytes: sum(|all| &all.sent_bytes),
            datagrams: sum(|all| &all.datagrams),
            answered: sum(|all| &all.answered),
            dropped: std::array::from_fn(|reason| of_reason(|all| &all.dropped, reason)),
            overflowed: sum(|all| &all.overflowed),
            faults: self.told.faults.load(Ordering::Relaxed),
            missed: self.told.missed.load(Ordering::Relaxed),
        }
    }

    /// How many turns each worker has taken.
    pub(crate) fn turns(&self) -> Vec<u64> {
        let counters = self.counters.iter();
        counters.map(|counters| counters.turns.get()).collect()
    }
}
