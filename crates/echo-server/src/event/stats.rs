//! What a server has done so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use echo_core::units::unix_ns;
use serde::{Serialize, Serializer};

use crate::event::{DropReason, Events, Reason, Refusal};

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

/// Declares each figure once: what it counts, for monitors too, its name here, its key in JSON, and its
/// name among metrics. Those by reason are in the order of the codes of that; those in all are no
/// worker's, and follow from what all of them are.
macro_rules! figures {
    (
        $(#[doc = $help:literal] $name:ident, $key:literal, $metric:literal;)+
        by reason:
        $(
            #[doc = $of_help:literal]
            $of_name:ident: $reason:ident, $of_key:literal as $written:literal, $of_metric:literal;
        )+
        in all, of $totals:ident and $stats:ident:
        $(
            #[doc = $all_help:literal]
            $all_name:ident, $all_key:literal, $all_metric:literal = $all:expr;
        )+
    ) => {
        /// Totals since the server was bound.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct Stats {
            /// When it was bound.
            #[serde(rename = "since_unix_ns", serialize_with = "since")]
            pub since: SystemTime,
            /// For how long it had been then, however the clock was set meanwhile.
            #[serde(skip)]
            pub up: Duration,
            $(#[doc = $help] #[serde(rename = $key)] pub $name: u64,)+
            $(
                #[doc = $of_help]
                #[serde(rename = $of_key, serialize_with = $written)]
                pub $of_name: [u64; $reason::CODES.len()],
            )+
            $(#[doc = $all_help] #[serde(rename = $all_key)] pub $all_name: u64,)+
        }

        /// One worker's counters. Aligned so that two workers never write to one cache line.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Counters {
            /// Times that it has looked for something to do.
            pub(crate) turns: Counter,
            $(pub(crate) $name: Counter,)+
            $(pub(crate) $of_name: [Counter; $reason::CODES.len()],)+
        }

        impl Totals {
            /// What they come to now.
            pub(crate) fn stats(&self) -> Stats {
                let sum = |of: &dyn Fn(&Counters) -> u64| self.counters.iter().map(|all| of(all)).sum();
                let ($totals, mut $stats) = (self, Stats {
                    since: self.since,
                    up: self.start.elapsed(),
                    $($name: sum(&|all| all.$name.get()),)+
                    $($of_name: std::array::from_fn(|reason| sum(&|all| all.$of_name[reason].get())),)+
                    $($all_name: 0,)+
                });
                $($stats.$all_name = $all;)+
                $stats
            }
        }

        impl Stats {
            /// Has `add` add each to the metrics: its name, what it counts, and the figures by reason,
            /// where they are.
            pub(crate) fn families(&self, mut add: impl FnMut(&str, &str, &[&'static str], &[u64])) {
                $(add($metric, $help, &[""], &[self.$name]);)+
                $(add($of_metric, $of_help, &$reason::CODES, &self.$of_name);)+
                $(add($all_metric, $all_help, &[""], &[self.$all_name]);)+
            }
        }
    };
}

figures! {
    /// Connections accepted
    accepted, "connections", "connections_accepted_total";
    /// Bytes received on connections
    received_bytes, "received_bytes", "received_bytes_total";
    /// Bytes sent on connections
    sent_bytes, "sent_bytes", "sent_bytes_total";
    /// Datagrams received
    datagrams, "datagrams", "datagrams_received_total";
    /// Datagrams that got a reply
    answered, "datagrams_answered", "datagrams_answered_total";
    /// Datagrams that the system dropped before they could be received, as of the last second
    overflowed, "datagrams_overflowed", "datagrams_overflowed_total";
    by reason:
    /// Connections that have ended, by reason
    closed: Reason, "closed_connections" as "closed", "connections_closed_total";
    /// Connections closed at once, by the limit or the fault that did it
    refused: Refusal, "refused_connections" as "in_all", "connections_refused_total";
    /// Datagrams that got no reply, by reason
    dropped: DropReason, "datagrams_dropped" as "dropped", "datagrams_dropped_total";
    in all, of totals and stats:
    /// Connections open now
    open, "open_connections", "connections" = stats.accepted.saturating_sub(stats.closed.iter().sum());
    /// Faults applied, each of which was asked for
    faults, "faults_applied", "faults_total" = totals.told.faults.load(Ordering::Relaxed);
    /// Events that came faster than they were read
    missed, "events_lost", "log_events_dropped_total" = totals.told.missed.load(Ordering::Relaxed);
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
    start: Instant,
    since: SystemTime,
    told: Arc<Told>,
    pub(crate) counters: Vec<Arc<Counters>>,
}

impl Totals {
    pub(crate) fn new(workers: usize, events: &Events) -> Arc<Self> {
        Arc::new(Totals {
            start: Instant::now(),
            since: events.clock().now(),
            told: events.told(),
            counters: (0..workers).map(|_| Arc::default()).collect(),
        })
    }

    /// How many turns each worker has taken.
    pub(crate) fn turns(&self) -> Vec<u64> {
        let counters = self.counters.iter();
        counters.map(|counters| counters.turns.get()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_forward_makes_no_server_older() {
        let mut totals = Totals::new(1, &Events::off());
        // Bound half a century ago, by a clock that nobody had set yet.
        Arc::get_mut(&mut totals).unwrap().since = SystemTime::UNIX_EPOCH;
        assert!(totals.stats().up < Duration::from_secs(3600));
    }
}
