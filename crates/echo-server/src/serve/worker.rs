//! One event loop: poll, dispatch, spin, timers. A server runs one in each of its threads.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use echo_core::Framing;
use echo_core::framing::Decoder;
use mio::{Interest, Poll, Token, Waker};
use slab::Slab;

use crate::config::Config;
use crate::event::stats::Counters;
use crate::event::{Events, Kind, Reason, Stop};
use crate::fault::{Plan, StreamFaults};
use crate::serve::acceptor::{Accepted, Acceptor};
use crate::serve::inbox::Inbox;
use crate::serve::limits::Limits;
use crate::serve::peer::{Next, Peer, Turn};
use crate::serve::spin::{Asked, Found, Spin};
use crate::serve::timers::Timers;
use crate::serve::udp::{Batch, UdpEcho, UdpTurn};
use crate::shutdown::Shutdown;
use crate::socket::listener::Listener;
use crate::socket::pipe::Pipes;

/// Readiness events taken from the system at once.
const EVENTS: usize = 1024;

/// A connection that has been silent for this long is not waited for when the server stops.
const SILENT: Duration = Duration::from_secs(1);

const WAKER: Token = Token(usize::MAX);
/// Tokens from here on are UDP sockets.
const UDP: usize = usize::MAX / 4 * 3;
/// Tokens from here on are listeners; below are peers.
const LISTENERS: usize = usize::MAX / 2;

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) events: Events,
    pub(crate) limits: Limits,
    pub(crate) faults: Option<Arc<Plan>>,
    pub(crate) shutdown: Shutdown,
    pub(crate) inboxes: Vec<Inbox>,
}

/// One event loop and what it serves.
pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    poll: Poll,
    acceptor: Option<Acceptor>,
    udp: Vec<UdpEcho>,
    /// UDP sockets that wait for another turn.
    udp_again: Vec<usize>,
    peers: Slab<Peer>,
    /// Peers that wait for another turn.
    again: Vec<usize>,
    timers: Timers,
    pipes: Pipes,
    buffer: Box<[u8]>,
    batch: Option<Box<Batch>>,
    /// When the current events were received.
    now: Instant,
    /// When connections that still talk are closed; set once the server is stopping.
    drain_until: Option<Instant>,
}

/// A poll instance and the inbox through which it is woken.
pub(crate) fn poll_and_inbox(counters: Arc<Counters>) -> io::Result<(Poll, Inbox)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    Ok((poll, Inbox::new(waker, counters)))
}

impl Worker {
    pub(crate) fn new(index: usize, poll: Poll, shared: Arc<Shared>) -> Self {
        let buffer_len = shared.config.buffer_len();
        shared
            .shutdown
            .register(shared.inboxes[index].waker.clone());
        Worker {
            index,
            counters: shared.inboxes[index].counters.clone(),
            shared,
            poll,
            acceptor: None,
            udp: Vec::new(),
            udp_again: Vec::new(),
            peers: Slab::new(),
            again: Vec::new(),
            timers: Timers::default(),
            pipes: Pipes::default(),
            buffer: vec![0; buffer_len].into(),
            batch: None,
            now: Instant::now(),
            drain_until: None,
        }
    }

    /// Has this worker accept for all.
    pub(crate) fn accept_from(&mut self, listeners: Vec<Listener>) -> io::Result<()> {
        self.acceptor = Some(Acceptor::new(listeners, self.poll.registry(), LISTENERS)?);
        Ok(())
    }

    /// Has this worker serve a UDP socket.
    pub(crate) fn add_udp(&mut self, mut udp: UdpEcho) -> io::Result<()> {
        let token = Token(UDP + self.udp.len());
        self.poll
            .registry()
            .register(&mut udp.socket, token, Interest::READABLE)?;
        self.udp.push(udp);
        self.batch.get_or_insert_with(|| Box::new(Batch::new()));
        Ok(())
    }

    /// Serves until the server is asked to stop and every connection has ended.
    ///
    /// # Errors
    /// The system's, when it can no longer be asked for events.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut ready = mio::Events::with_capacity(EVENTS);
        let mut spin = Spin::new(self.shared.config.spin.into());
        loop {
            if self.shared.shutdown.is_requested() && self.drain() {
                return Ok(());
            }
            let timeout = match spin.is_on() {
                true => Some(Duration::ZERO),
                false => self.timeout(),
            };
            match self.poll.poll(&mut ready, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => self.now = Instant::now(),
            }
            let before = self.counters.received_bytes.get();
            let mut found = Found::default();
            for event in &ready {
                found.note(self.dispatch(event));
            }
            self.take_turns();
            self.expire();
            found.received_bytes = self.counters.received_bytes.get() - before;
            spin.polled(&found, self.now);
        }
    }

    /// How long the next poll may sleep; `None` is until something happens.
    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() || !self.udp_again.is_empty() {
            return Some(Duration::ZERO);
        }
        let accept = self
            .acceptor
            .as_ref()
            .and_then(|acceptor| acceptor.due(self.now));
        let udp = self.udp.iter().filter_map(UdpEcho::deadline).min();
        let next = [self.timers.next(), accept, udp]
            .into_iter()
            .flatten()
            .min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Does what an event asks for.
    fn dispatch(&mut self, event: &mio::event::Event) -> Asked {
        match event.token() {
            WAKER => {
                for accepted in self.shared.inboxes[self.index].take() {
                    self.add(accepted);
                }
            }
            Token(token) if token >= UDP => {
                self.udp_again.push(token - UDP);
                return Asked::Again;
            }
            Token(token) if token >= LISTENERS => {
                if let Some(acceptor) = &mut self.acceptor {
                    acceptor.note(token - LISTENERS);
                }
            }
            Token(key) => {
                let Some(peer) = self.peers.get_mut(key) else {
                    return Asked::Nothing;
                };
                if !peer.note(event) {
                    return Asked::Nothing;
                }
                let before = peer.received;
                if !peer.queued {
                    self.advance(key);
                }
                let more = |peer: &Peer| peer.received > before;
                if before > 0 && self.peers.get(key).is_some_and(more) {
                    return Asked::Again;
                }
            }
        }
        Asked::Once
    }

    /// Gives a turn to all that wait for one.
    fn take_turns(&mut self) {
        if !self.again.is_empty() {
            for key in std::mem::take(&mut self.again) {
                // Its key may have gone to another peer, which only a turn of its own makes wait.
                if self.peers.get(key).is_some_and(|peer| peer.queued) {
                    self.peers[key].queued = false;
                    self.advance(key);
                }
            }
        }
        if !self.udp_again.is_empty() {
            for index in std::mem::take(&mut self.udp_again) {
                self.advance_udp(index);
            }
        }
        self.accept();
    }

    fn advance(&mut self, key: usize) {
        let peer = &mut self.peers[key];
        let mut turn = Turn {
            buffer: &mut self.buffer,
            now: self.now,
            events: &self.shared.events,
            counters: &self.counters,
            pipes: &mut self.pipes,
        };
        // A defect that one peer's bytes bring out must not be the end of the others.
        let next = catch_unwind(AssertUnwindSafe(|| peer.advance(&mut turn)));
        match next.unwrap_or(Err(Reason::Defect)) {
            Ok(Next::Event) => self.arm(key),
            Ok(Next::Turn) => {
                peer.queued = true;
                self.again.push(key);
                self.arm(key);
            }
            Err(reason) => self.close(key, reason),
        }
    }

    fn advance_udp(&mut self, index: usize) {
        let (Some(udp), Some(batch)) = (self.udp.get_mut(index), &mut self.batch) else {
            return;
        };
        let mut turn = UdpTurn {
            batch,
            now: self.now,
            events: &self.shared.events,
            counters: &self.counters,
        };
        if catch_unwind(AssertUnwindSafe(|| udp.advance(&mut turn))).unwrap_or(true) {
            self.udp_again.push(index);
        } else if let Some(at) = udp.wake() {
            self.timers.arm(UDP + index, &mut udp.armed, at);
        }
    }

    fn accept(&mut self) {
        let due = |acceptor: &mut Acceptor| acceptor.due(self.now).is_some();
        let Some(mut acceptor) = self.acceptor.take_if(due) else {
            return;
        };
        let shared = self.shared.clone();
        let over = acceptor.advance(&shared, self.now, |accepted| self.hand_over(accepted));
        match over {
            true => acceptor.close(&shared.events),
            false => self.acceptor = Some(acceptor),
        }
    }

    /// Gives a connection to the worker that has the fewest.
    fn hand_over(&mut self, accepted: Accepted) {
        self.counters.accepted.add(1);
        self.shared.events.tell(|| Kind::Accepted {
            id: accepted.id,
            local: accepted.stream.local(),
            peer: accepted.address,
        });
        let shared = self.shared.clone();
        let load = |index: &usize| shared.inboxes[*index].load.load(Ordering::Relaxed);
        let chosen = (0..shared.inboxes.len())
            .min_by_key(load)
            .unwrap_or(self.index);
        let kept = match chosen == self.index {
            true => Some(accepted),
            false => {
                shared.inboxes[chosen].load.fetch_add(1, Ordering::Relaxed);
                let back = shared.inboxes[chosen].offer(accepted);
                if back.is_some() {
                    shared.inboxes[chosen].load.fetch_sub(1, Ordering::Relaxed);
                }
                back
            }
        };
        if let Some(accepted) = kept {
            shared.inboxes[self.index]
                .load
                .fetch_add(1, Ordering::Relaxed);
            self.add(accepted);
        }
    }

    fn add(&mut self, accepted: Accepted) {
        let Accepted {
            stream,
            id,
            address,
        } = accepted;
        let Config {
            framing, max_frame, ..
        } = &self.shared.config;
        let faults = self.shared.faults.as_ref().and_then(|plan| {
            let now = Instant::now();
            StreamFaults::new(plan, stream.network(), id, address, *framing, now)
        });
        let decoder = match framing {
            Framing::Raw => None,
            framing => Some(Box::new(Decoder::new(*framing, max_frame.0))),
        };
        let entry = self.peers.vacant_entry();
        let key = entry.key();
        let peer = entry.insert(Peer::new(stream, id, address, decoder, self.now));
        peer.faults = faults;
        let interest = Interest::READABLE | Interest::WRITABLE;
        #[cfg(target_os = "linux")]
        let interest = interest | Interest::PRIORITY;
        match self
            .poll
            .registry()
            .register(peer.stream.source(), Token(key), interest)
        {
            Ok(()) => self.arm(key),
            Err(error) => self.close(key, Reason::Failed(error.kind())),
        }
    }

    fn close(&mut self, key: usize, reason: Reason) {
        // Closing its descriptor takes it out of the poll instance too.
        let mut peer = self.peers.remove(key);
        self.timers.disarm(key, &mut peer.armed);
        if peer.holds_pipe() {
            self.pipes.lose();
        }
        if self.peers.is_empty() {
            self.pipes.close_spare();
        }
        self.counters.closed.add(1);
        self.shared.inboxes[self.index]
            .load
            .fetch_sub(1, Ordering::Relaxed);
        self.shared.limits.release(peer.address);
        let Peer {
            id,
            address,
            received,
            sent,
            stream,
            ..
        } = peer;
        self.shared.events.close(stream);
        self.shared.events.tell(|| Kind::Closed {
            id,
            peer: address,
            reason,
            received,
            sent,
        });
        let limits = &self.shared.limits;
        if limits.is_last_admitted() && limits.open() == 0 {
            self.shared.shutdown.request_for(Stop::Served);
        }
    }

    /// When a peer is over even if nothing happens, and why.
    fn deadline(&self, peer: &Peer) -> Option<(Instant, Reason)> {
        let config = &self.shared.config;
        let own = peer.deadline(config.idle_timeout.into(), config.write_timeout.into());
        let drain = self
            .drain_until
            .map(|until| (until.min(peer.active + SILENT), Reason::Shutdown));
        own.into_iter().chain(drain).min_by_key(|(at, _)| *at)
    }

    fn arm(&mut self, key: usize) {
        let peer = &self.peers[key];
        let deadline = self.deadline(peer).map(|(at, _)| at);
        if let Some(at) = deadline.into_iter().chain(peer.wake()).min() {
            self.timers.arm(key, &mut self.peers[key].armed, at);
        }
    }

    /// Ends what is over, and tells what is due.
    fn expire(&mut self) {
        while let Some(key) = self.timers.expired(self.now) {
            match key {
                UDP.. => self.wake_udp(key - UDP),
                key => self.wake(key),
            }
        }
        for udp in &mut self.udp {
            if udp.deadline().is_some_and(|at| at <= self.now) {
                udp.tell(self.now, &self.shared.events);
            }
        }
    }

    fn wake(&mut self, key: usize) {
        let now = self.now;
        let peer = &mut self.peers[key];
        peer.armed = None;
        let (queued, due) = (peer.queued, peer.wake().is_some_and(|at| at <= now));
        match self.deadline(&self.peers[key]) {
            Some((at, Reason::Unread)) if at <= now => {
                if self.is_stuck(key) {
                    self.close(key, Reason::Unread);
                }
            }
            Some((at, reason)) if at <= now => self.close(key, reason),
            // Its next turn arms it again.
            _ if queued => {}
            _ if due => self.advance(key),
            _ => self.arm(key),
        }
    }

    fn wake_udp(&mut self, index: usize) {
        if let Some(udp) = self.udp.get_mut(index) {
            udp.armed = None;
            self.advance_udp(index);
        }
    }

    /// Whether a peer with a backlog takes none of it even now. The system tells of room only once
    /// a third of its buffer is free, which may take a slow reader longer than it is given.
    fn is_stuck(&mut self, key: usize) -> bool {
        let sent = self.peers[key].sent;
        self.advance(key);
        self.peers.get(key).is_some_and(|peer| peer.sent == sent)
    }

    /// Stops listening, once, and returns whether every connection has ended.
    fn drain(&mut self) -> bool {
        if self.drain_until.is_none() {
            let drain = Duration::from(self.shared.config.drain);
            self.drain_until = Some(self.now + drain);
            if self.index == 0 {
                let connections = self.shared.limits.open();
                let why = self.shared.shutdown.why().unwrap_or(Stop::Asked);
                self.shared.events.tell(|| Kind::Draining {
                    why,
                    connections,
                    at_most: drain,
                });
            }
            if let Some(acceptor) = self.acceptor.take() {
                acceptor.close(&self.shared.events);
            }
            for mut udp in self.udp.drain(..) {
                udp.tell(self.now + SILENT, &self.shared.events);
                self.shared.events.close(udp.socket);
            }
            for key in self.keys() {
                self.arm(key);
            }
        }
        if self.shared.shutdown.is_immediate() {
            for key in self.keys() {
                self.close(key, Reason::Shutdown);
            }
        }
        self.peers.is_empty() && self.shared.inboxes[self.index].close()
    }

    fn keys(&self) -> Vec<usize> {
        self.peers.iter().map(|(key, _)| key).collect()
    }
}
