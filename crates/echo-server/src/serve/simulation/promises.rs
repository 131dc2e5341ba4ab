//! What holds of the serving loop, whatever happens to its peers.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use echo_core::Framing;

use super::schedule::{CHANGING, MERGE, SHORT};
use super::{Other, Simulation, TOLD};
use crate::event::stats::Counter;
use crate::event::{Kind, Reason, Stop};
use crate::socket::simulated::{Wire, whole_lines};

/// Longer than anything takes that depends on no timeout.
const SOON: Duration = Duration::from_secs(30);

impl Simulation<'_> {
    fn exact(&self) -> bool {
        self.setup.fault < CHANGING
    }

    /// What of `bytes` that were read is to come back.
    fn due(&self, wire: &Wire, bytes: u64) -> u64 {
        match self.setup.framing {
            Framing::Raw => bytes,
            _ if wire.ended && wire.read == wire.sent => bytes,
            _ => whole_lines(bytes),
        }
    }

    pub(super) fn check(&mut self) -> Result<(), String> {
        for other in &self.others {
            let wire = other.wire();
            if let Some(broken) = &wire.broken {
                return Err(broken.clone());
            }
            // An event, a timer and a turn that was waited for.
            if wire.calls > 3 * 34 || wire.bytes > 3 * (2 << 20) {
                return Err(format!("a round is bounded: {} calls", wire.calls));
            }
        }
        while let Some(event) = TOLD.with(|(_, reader)| reader.try_next()) {
            if let Kind::Closed {
                id,
                reason,
                received,
                sent,
                ..
            } = event.kind
            {
                let is = |other: &&Other| other.place.is_some_and(|(_, number)| number == id);
                let wire = self.others.iter().find(is).expect("it was let in").wire();
                // What is discarded behind a broken frame, or our own end, is not received.
                let discards = self.setup.max_frame == SHORT || !self.exact();
                let balance = received == wire.read || (discards && received < wire.read);
                if !balance || sent != wire.written || !wire.closed {
                    return Err(format!("books balance: {received}, {sent}"));
                }
                self.received += received;
                self.is_over(&wire, reason)
                    .map_err(|why| format!("#{id} ended for {reason:?}: {why}"))?;
            }
        }
        let open = |other: &&Other| other.place.is_some() && !other.wire().closed;
        let open = self.others.iter().filter(open).count();
        match self.shared.limits.open() {
            counted if counted != open => Err(format!("{counted} places are taken by {open}")),
            _ if self.shared.limits.excess_memory().is_some() => {
                Err("peers hold no more than they may".to_owned())
            }
            _ if open > 0 && self.drain_until.is_some_and(|until| until < self.now) => {
                Err("draining has an end".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Whether a connection may end so.
    fn is_over(&self, wire: &Wire, reason: Reason) -> Result<(), &'static str> {
        let owed = self.exact() && self.due(wire, wire.read) > wire.written;
        let takes = wire.room() > 0 && !wire.pressed;
        let late = self.drain_until.is_some_and(|until| until <= self.now);
        match reason {
            Reason::Defect => Err("it panicked"),
            Reason::Memory if self.setup.max_memory == 1 << 30 => Err("there is memory"),
            Reason::Idle if owed => Err("it is owed an answer"),
            Reason::Unread if takes => Err("it takes what it is owed"),
            Reason::Shutdown if !late && owed && (takes || !wire.refused) => {
                Err("it is owed an answer, and there is time")
            }
            Reason::Finished if owed || !wire.ended => Err("not all of it came back"),
            Reason::Reset | Reason::Failed(_) if wire.failure.is_none() => Err("nothing failed"),
            _ => Ok(()),
        }
    }

    /// Once peers take what there is, all that they are owed comes.
    pub(super) fn everything_owed_is_sent(&mut self) -> Result<(), String> {
        let until = self.now + SOON;
        // What is joined waits for others.
        while self.exact() && self.setup.fault != MERGE {
            let waits = |other: &&Other| {
                let wire = other.wire();
                let open = other.place.is_some() && !wire.closed && wire.failure.is_none();
                open && (self.due(&wire, wire.sent) > wire.written && self.setup.max_frame > SHORT)
            };
            if self.others.iter().find(waits).is_none() {
                break;
            }
            self.round(until, "what is owed is sent to a peer that takes it")?;
        }
        Ok(())
    }

    pub(super) fn nothing_is_held_at_the_end(&mut self) -> Result<(), String> {
        for other in &self.others {
            let mut wire = other.wire();
            wire.ended = true;
            wire.readable = true;
        }
        let until = self.now + SOON;
        while !self.peers.is_empty() {
            self.round(until, "a connection ends when its peer has ended")?;
        }
        self.check()?;
        let counted = &self.counters;
        let moved = (counted.received_bytes.get(), counted.sent_bytes.get());
        let held = counted.accepted.get() - counted.closed.iter().map(Counter::get).sum::<u64>();
        let written: u64 = self.others.iter().map(|other| other.wire().written).sum();
        let inbox = &self.shared.inboxes[0];
        let load = inbox.load.load(Ordering::Relaxed) + inbox.held.load(Ordering::Relaxed);
        let served = self.shared.limits.is_last_admitted();
        let why = self.shared.shutdown.why();
        if moved != (self.received, written) {
            return Err(format!("books balance: {moved:?}, {written}"));
        }
        if held != 0 || load != 0 || self.peers.next().is_some() {
            return Err(format!("nothing is held at the end: {held}, {load}"));
        }
        match why {
            Some(Stop::Asked) => Ok(()),
            why if (why == Some(Stop::Served)) != served => {
                Err("served is all that was to be served".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Peers take all there is, and the worker has a round, now or when it wants one, by `until`.
    fn round(&mut self, until: Instant, promise: &str) -> Result<(), String> {
        for other in &self.others {
            other.wire().take(u64::MAX);
        }
        let told = |other: &Other| {
            let wire = other.wire();
            let told = wire.readable || wire.writable || wire.arrived < wire.sent;
            told && other.place.is_some() && !wire.closed
        };
        if !self.others.iter().any(told) {
            match self.peers.next() {
                Some(at) if at <= until => self.set(at),
                _ => return Err(promise.to_owned()),
            }
        }
        self.poll(true);
        self.check()
    }
}
