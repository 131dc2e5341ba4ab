//! The peers of one worker: their turns and their deadlines, from hand-over to close.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use echo_core::Framing;
use echo_core::framing::Decoder;
use echo_explain::Audience;
use slab::Slab;

use crate::event::stats::Counters;
use crate::event::{ConnectionId, Kind, Reason, Stop};
use crate::fault::Plan;
#[cfg(test)]
use crate::serve::defect::{self, Mutant};
use crate::serve::inbox::{Accepted, Connection};
use crate::serve::peer::{Next, Peer, SILENT};
use crate::serve::shared::Shared;
use crate::serve::spin::Asked;
use crate::serve::timers::{Patience, Timers};
use crate::serve::turn::{Budget, Readiness, Turn};
use crate::shutdown::wake;
use crate::socket::pipe::Pipes;
use crate::socket::stream::Stream;

/// The peers of one worker, and what they share.
pub(crate) struct Peers {
    index: usize,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    slab: Slab<Peer>,
    /// Those that wait for another turn, or did when they ended.
    again: Vec<(usize, ConnectionId)>,
    timers: Timers,
    pipes: Pipes,
    /// Bytes stay in it only while they are passed on.
    buffer: Box<[u8]>,
    patience: Patience,
    /// The faults that apply now.
    faults: Option<Arc<Plan>>,
    /// When the current events were received.
    now: Instant,
    clock: fn() -> Instant,
}

impl Peers {
    /// No peers yet, of the worker `index`, which tells the time by `clock`.
    pub(crate) fn new(index: usize, shared: Arc<Shared>, clock: fn() -> Instant) -> Self {
        let config = &shared.config;
        Peers {
            index,
            counters: shared.inboxes[index].counters.clone(),
            slab: Slab::new(),
            again: Vec::new(),
            timers: Timers::default(),
            pipes: Pipes::new(shared.limits.pipes),
            buffer: vec![0; config.buffer_len()].into(),
            patience: Patience {
                idle: config.idle_timeout.into(),
                write: config.write_timeout.into(),
                silent: SILENT,
                drain_until: None,
            },
            faults: None,
            now: clock(),
            clock,
            shared,
        }
    }

    /// Takes note that events were received at `now`.
    pub(crate) fn polled(&mut self, now: Instant) {
        self.now = now;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// When a peer wants to be looked at, whether or not something happens: `now` at the latest
    /// for one that waits for a turn.
    pub(crate) fn next(&self) -> Option<Instant> {
        match self.again.iter().any(|turn| self.waits(*turn)) {
            true => Some(self.now),
            false => self.timers.next(),
        }
    }

    /// Whether a turn is still waited for: by then its key may be another peer's.
    fn waits(&self, (key, id): (usize, ConnectionId)) -> bool {
        let peer = self.slab.get(key);
        peer.is_some_and(|peer| peer.queued && peer.id == id)
    }

    /// Takes a connection in. `register` has events of its socket announced under the given key.
    pub(crate) fn add(
        &mut self,
        accepted: Accepted,
        register: impl FnOnce(&Stream, usize) -> std::io::Result<()>,
    ) {
        #[cfg(test)]
        defect::strike_from(accepted.newcomer.address);
        let config = &self.shared.config;
        let listen = &accepted.newcomer.listen;
        let decoder = match config.framing_of(listen) {
            Framing::Raw => None,
            framing => {
                let max = config.max_frame_of(listen);
                Some(Box::new(Decoder::new(framing, max)))
            }
        };
        let peer = Peer::new(accepted, decoder, self.now);
        let key = self.slab.insert(peer);
        match register(&self.slab[key].stream, key) {
            Ok(()) => {
                self.revise(key);
                if let Some(peer) = self.slab.get_mut(key) {
                    peer.outbox.greet((self.clock)(), &self.shared.events);
                    self.arm(key);
                }
            }
            Err(error) => self.close(key, Reason::Failed(error.kind())),
        }
        self.relieve();
    }

    /// Has the faults of `plan` apply from now on.
    pub(crate) fn set_faults(&mut self, plan: Option<Arc<Plan>>) {
        self.faults = plan;
        for key in self.keys() {
            if self.revise(key) {
                self.queue(key);
            }
        }
    }

    /// Has the faults apply to a peer. Returns whether it has something to do.
    fn revise(&mut self, key: usize) -> bool {
        let (shared, peer) = (&self.shared, &mut self.slab[key]);
        let framing = shared.config.framing_of(&peer.listen);
        let now = (self.clock)();
        let revised = peer.revise(self.faults.as_ref(), framing, now, &shared.events);
        revised.unwrap_or_else(|reason| {
            self.close(key, reason);
            false
        })
    }

    /// Gives a peer another turn.
    fn queue(&mut self, key: usize) {
        let peer = &mut self.slab[key];
        if !std::mem::replace(&mut peer.queued, true) {
            self.again.push((key, peer.id));
        }
    }

    /// The connections of which `chosen` is one, or all.
    pub(crate) fn list(&self, chosen: Option<ConnectionId>) -> Vec<Connection> {
        let peers = self.slab.iter().map(|(_, peer)| peer);
        let peers = peers.filter(|peer| chosen.is_none_or(|id| peer.id == id));
        peers
            .map(|peer| Connection {
                id: peer.id,
                local: peer.stream.local(None),
                peer: peer.address,
                listener: peer.listen.name.clone(),
                received: peer.received,
                sent: peer.outbox.sent(),
                lasted: (self.clock)().saturating_duration_since(peer.since),
            })
            .collect()
    }

    /// Ends a connection, or all: with a reset, or once what is owed is sent.
    pub(crate) fn end(&mut self, chosen: Option<ConnectionId>, reset: bool) {
        for key in self.keys() {
            let peer = &mut self.slab[key];
            match chosen.is_none_or(|id| peer.id == id) {
                true if reset => {
                    // Without it the peer sees the end all the same.
                    let _: std::io::Result<()> = peer.stream.reset_on_close();
                    self.close(key, Reason::Asked);
                }
                true => {
                    peer.finish_when_sent(Reason::Asked);
                    self.queue(key);
                }
                false => {}
            }
        }
    }

    /// Does what an event asks for. Returns what it was about.
    pub(crate) fn notice(&mut self, key: usize, ready: Readiness) -> Asked {
        let Some(peer) = self.slab.get_mut(key) else {
            return Asked::Nothing;
        };
        if !peer.note(ready) {
            return Asked::Nothing;
        }
        let before = peer.received;
        if !peer.queued {
            self.advance(key);
        }
        match self.slab.get(key) {
            Some(peer) if before > 0 && peer.received > before => Asked::Again,
            _ => Asked::Once,
        }
    }

    /// Gives a turn to all that wait for one.
    pub(crate) fn take_turns(&mut self) {
        for turn in std::mem::take(&mut self.again) {
            if self.waits(turn) {
                self.slab[turn.0].queued = false;
                self.advance(turn.0);
            }
        }
    }

    fn advance(&mut self, key: usize) {
        let peer = &mut self.slab[key];
        let mut turn = Turn {
            now: self.now,
            clock: self.clock,
            events: &self.shared.events,
            counters: &self.counters,
            pipes: &mut self.pipes,
            budget: Budget::new(),
        };
        // A defect that one peer's bytes bring out must not be the end of the others.
        let advance = AssertUnwindSafe(|| peer.advance(&mut self.buffer, &mut turn));
        match catch_unwind(advance).unwrap_or(Err(Reason::Defect)) {
            Ok(next) => {
                if next == Next::Turn {
                    self.queue(key);
                }
                self.arm(key);
                self.weigh(key);
            }
            Err(reason @ Reason::Failed(ErrorKind::OutOfMemory)) => {
                self.close(key, reason);
                // What is small and could not be done without would find nothing next.
                self.end_largest();
            }
            Err(reason) => self.close(key, reason),
        }
    }

    /// Takes note of what a peer holds after its turn: the same as before where all came back.
    fn weigh(&mut self, key: usize) {
        let peer = &mut self.slab[key];
        let (before, held) = (peer.permit.held(), peer.held());
        if held != before {
            peer.permit.hold(held);
            self.sum_up(before, held);
            self.relieve();
        }
    }

    fn sum_up(&self, before: usize, held: usize) {
        let sum = &self.shared.inboxes[self.index].held;
        // No other worker changes it.
        sum.store(
            sum.load(Ordering::Relaxed) - before + held,
            Ordering::Relaxed,
        );
    }

    /// While peers hold more than they may, ends the one that holds most. Where that is likely
    /// another worker's, because all of its peers hold more than ours, it is asked to do so; but
    /// on a busy machine it may get no time, while ours, which hold nearly as much, take more.
    pub(crate) fn relieve(&mut self) {
        while let Some(excess) = self.shared.limits.excess_memory() {
            let sum = |index: usize| self.shared.inboxes[index].held.load(Ordering::Relaxed);
            let most = (0..self.shared.inboxes.len()).max_by_key(|index| sum(*index));
            if let Some(other) = most.filter(|most| *most != self.index)
                && (excess < sum(other) / 8 || sum(self.index) < sum(other) / 2)
            {
                return wake(&self.shared.inboxes[other].waker);
            }
            if !self.end_largest() {
                return;
            }
        }
    }

    /// Ends the peer that holds most of this worker's. Returns whether any holds something.
    fn end_largest(&mut self) -> bool {
        let peers = self.slab.iter().filter(|(_, peer)| peer.permit.held() > 0);
        let largest = peers.max_by_key(|(_, peer)| peer.permit.held());
        let Some((key, _)) = largest else {
            return false;
        };
        self.close(key, Reason::Memory);
        true
    }

    fn arm(&mut self, key: usize) {
        let peer = &mut self.slab[key];
        let ends = [peer.end(&self.patience), peer.deadline(&self.patience)];
        let ends = ends.into_iter().flatten().map(|(at, _)| at);
        // What a turn that is to come will do needs no timer.
        let wake = peer.outbox.wake().filter(|_| !peer.queued);
        if let Some(at) = ends.chain(wake).min() {
            self.timers.arm(key, at);
        }
    }

    /// Ends what is over, and sends what is due: once for each peer, which may have something due again.
    pub(crate) fn expire(&mut self) {
        let due = std::iter::from_fn(|| self.timers.expired(self.now));
        for key in due.collect::<Vec<_>>() {
            // One that held most may have been ended for another.
            if self.slab.contains(key) {
                self.wake(key);
            }
        }
    }

    fn wake(&mut self, key: usize) {
        let is_over = |end: &(Instant, Reason)| end.0 <= self.now;
        let peer = &mut self.slab[key];
        if let Some((_, reason)) = peer.end(&self.patience).filter(is_over) {
            self.close(key, reason);
        } else if let Some((_, reason)) = peer.deadline(&self.patience).filter(is_over) {
            #[cfg(test)]
            if defect::has(Mutant::Untried) && reason == Reason::Unread {
                return self.close(key, reason);
            }
            // Nobody is given up untried: the system tells of room only once a third of its buffer
            // is free, which may take a slow reader longer than it is given.
            let before = peer.moved();
            peer.wait_for_no_others(self.now, &self.shared.events);
            self.advance(key);
            let peer = self.slab.get(key);
            let over = peer.and_then(|peer| peer.deadline(&self.patience));
            if over.is_some_and(|end| end.0 <= self.now)
                && peer.is_some_and(|peer| peer.moved() == before)
            {
                self.close(key, reason);
            }
        } else if !peer.queued && peer.outbox.wake().is_some_and(|at| at <= self.now) {
            self.advance(key);
        } else {
            self.arm(key);
        }
    }

    fn close(&mut self, key: usize, reason: Reason) {
        // Closing its descriptor takes it out of the poll instance too.
        let peer = self.slab.remove(key);
        self.timers.disarm(key);
        if self.slab.is_empty() {
            self.pipes.close_spare();
        }
        self.counters.closed[reason.index()].add(1);
        let load = &self.shared.inboxes[self.index].load;
        load.fetch_sub(1, Ordering::Relaxed);
        self.sum_up(peer.permit.held(), 0);
        let (received, sent) = (peer.received, peer.outbox.sent());
        let clock = self.clock;
        self.shared.events.close(peer.stream);
        self.shared.events.tell(|| Kind::Closed {
            id: peer.id,
            peer: peer.address,
            reason,
            received,
            sent,
            lasted: clock().saturating_duration_since(peer.since),
        });
        // Whoever comes into its place is told after it.
        drop(peer.permit);
    }

    /// Closes every connection at `until`, and those with which nothing happens sooner.
    pub(crate) fn drain(&mut self, until: Instant) {
        self.patience.drain_until = Some(until);
        // Whoever holds the server, as a test does, knows that nobody is going to say more. What has
        // come is still answered.
        if let Some(Stop::Asked | Stop::StdinClosed) = self.shared.shutdown.why() {
            self.patience.silent = Duration::ZERO;
        }
        for key in self.keys() {
            self.arm(key);
        }
    }

    pub(crate) fn close_all(&mut self) {
        for key in self.keys() {
            self.close(key, Reason::Shutdown);
        }
    }

    fn keys(&self) -> Vec<usize> {
        self.slab.iter().map(|(key, _)| key).collect()
    }
}
