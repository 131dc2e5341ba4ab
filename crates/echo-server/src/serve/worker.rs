//! One event loop: poll, dispatch, spin, timers. A server runs one in each of its threads.

use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token, Waker};
use slab::Slab;

use crate::event::stats::Counters;
use crate::event::{Kind, Stop};
use crate::fault::Plan;
use crate::serve::acceptor::Acceptor;
use crate::serve::inbox::{Accepted, Connection, Inbox, Mail, Order};
use crate::serve::peers::Peers;
use crate::serve::shared::Shared;
use crate::serve::spin::{Asked, Found, Spin};
use crate::serve::udp::{UdpEcho, UdpTurn};
use crate::socket::datagram::Batch;
use crate::socket::listener::Listener;

/// Readiness events taken from the system at once.
const EVENTS: usize = 1024;

/// Turns in which those are accepted who have come before the end: with 256 in each, all that a listen
/// queue holds.
const LAST_TURNS: usize = 16;

const WAKER: Token = Token(usize::MAX);
/// Tokens from here on are UDP sockets.
const UDP: usize = usize::MAX / 4 * 3;
/// Tokens from here on are listeners; below are peers.
const LISTENERS: usize = usize::MAX / 2;

/// One event loop and what it serves.
pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    poll: Poll,
    acceptor: Option<Acceptor>,
    udp: Slab<UdpEcho>,
    /// UDP sockets that wait for another turn.
    udp_again: Vec<usize>,
    peers: Peers,
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
        shared
            .shutdown
            .register(shared.inboxes[index].waker.clone());
        Worker {
            index,
            counters: shared.inboxes[index].counters.clone(),
            peers: Peers::new(index, shared.clone(), Instant::now),
            shared,
            poll,
            acceptor: None,
            udp: Slab::new(),
            udp_again: Vec::new(),
            batch: None,
            now: Instant::now(),
            drain_until: None,
        }
    }

    /// Has this worker accept for all.
    pub(crate) fn accept_from(&mut self, bound: Vec<Listener>) -> io::Result<()> {
        self.acceptor = Some(Acceptor::new(
            bound,
            self.poll.registry(),
            LISTENERS,
            &self.shared.config,
        )?);
        Ok(())
    }

    /// Has this worker serve a UDP socket.
    pub(crate) fn add_udp(&mut self, udp: UdpEcho) -> io::Result<()> {
        let entry = self.udp.vacant_entry();
        let token = Token(UDP + entry.key());
        let mut source = SourceFd(&udp.socket.as_raw_fd());
        let registry = self.poll.registry();
        registry.register(&mut source, token, Interest::READABLE)?;
        entry.insert(udp);
        self.batch.get_or_insert_with(|| Box::new(Batch::new()));
        Ok(())
    }

    /// Has the faults of `plan` apply from now on.
    pub(crate) fn set_faults(&mut self, plan: Option<&Arc<Plan>>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.set_faults(&self.shared, self.poll.registry(), plan.cloned());
        }
        for (_, udp) in &mut self.udp {
            udp.set_faults(plan.cloned());
        }
        self.peers.set_faults(plan.cloned());
    }

    /// Does what whoever controls the server asks for. Returns the connections that it is about.
    fn obey(&mut self, order: Order) -> Vec<Connection> {
        match order {
            Order::Revise(plan) => self.set_faults(plan.as_ref()),
            Order::List => return self.peers.list(None),
            Order::Close(chosen, reset) => {
                let closed = self.peers.list(chosen);
                self.peers.end(chosen, reset);
                return closed;
            }
            Order::Pause(listener, paused) => {
                if let Some(acceptor) = &mut self.acceptor {
                    acceptor.pause(listener.as_ref(), paused);
                }
                let all = self.udp.iter_mut();
                for (key, udp) in all.filter(|(_, udp)| udp.listen.is_called(listener.as_ref())) {
                    udp.pause(paused);
                    self.udp_again.push(key);
                }
            }
        }
        Vec::new()
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
            self.counters.turns.add(1);
            self.peers.polled(self.now);
            let before = self.counters.received_bytes.get();
            let mut found = Found::default();
            for event in &ready {
                found.note(self.dispatch(event));
            }
            self.expire();
            self.take_turns();
            found.received_bytes = self.counters.received_bytes.get() - before;
            spin.polled(&found, self.now);
        }
    }

    /// How long the next poll may sleep; `None` is until something happens.
    fn timeout(&self) -> Option<Duration> {
        if !self.udp_again.is_empty() {
            return Some(Duration::ZERO);
        }
        let acceptor = self.acceptor.as_ref();
        let accept = acceptor.and_then(|acceptor| acceptor.due(self.now));
        let dues = |(_, udp): (usize, &UdpEcho)| udp.deadline().into_iter().chain(udp.wake()).min();
        let udp = self.udp.iter().filter_map(dues).min();
        let until = self.drain_until.filter(|_| !self.udp.is_empty());
        let next = [self.peers.next(), accept, udp, until];
        let next = next.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Does what an event asks for.
    fn dispatch(&mut self, event: &mio::event::Event) -> Asked {
        match event.token() {
            WAKER => {
                for mail in self.shared.inboxes[self.index].take() {
                    match mail {
                        Mail::Accepted(accepted) => self.add(accepted),
                        Mail::Order(order, answer) => {
                            // Whoever asked may be gone.
                            let _ = answer.send(self.obey(order));
                        }
                    }
                }
                self.peers.relieve();
            }
            Token(token) if token >= UDP => {
                self.udp_again.push(token - UDP);
                return Asked::Again;
            }
            Token(token) if token >= LISTENERS => {
                if let Some(acceptor) = &mut self.acceptor {
                    acceptor.note(token - LISTENERS, event.is_read_closed());
                }
            }
            Token(key) => return self.peers.notice(key, event.into()),
        }
        Asked::Once
    }

    /// Gives a turn to all that wait for one.
    fn take_turns(&mut self) {
        self.peers.take_turns();
        if !self.udp_again.is_empty() {
            for key in std::mem::take(&mut self.udp_again) {
                self.advance_udp(key);
            }
        }
        self.accept();
    }

    fn advance_udp(&mut self, key: usize) {
        let (Some(udp), Some(batch)) = (self.udp.get_mut(key), &mut self.batch) else {
            return;
        };
        let mut turn = UdpTurn {
            batch,
            now: self.now,
            events: &self.shared.events,
            counters: &self.counters,
            spent: 0,
        };
        if catch_unwind(AssertUnwindSafe(|| udp.advance(&mut turn))).unwrap_or(true) {
            self.udp_again.push(key);
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
        let newcomer = &accepted.newcomer;
        self.shared.events.tell(|| Kind::Accepted {
            id: accepted.id,
            local: newcomer.stream.local(newcomer.local),
            peer: newcomer.address,
            listener: newcomer.listen.name.clone(),
        });
        let shared = self.shared.clone();
        let load = |index: &usize| shared.inboxes[*index].load.load(Ordering::Relaxed);
        let chosen = (0..shared.inboxes.len())
            .min_by_key(load)
            .unwrap_or(self.index);
        let kept = match chosen == self.index {
            true => Some(Mail::Accepted(accepted)),
            false => {
                shared.inboxes[chosen].load.fetch_add(1, Ordering::Relaxed);
                let back = shared.inboxes[chosen].offer(Mail::Accepted(accepted));
                if back.is_some() {
                    shared.inboxes[chosen].load.fetch_sub(1, Ordering::Relaxed);
                }
                back
            }
        };
        if let Some(Mail::Accepted(accepted)) = kept {
            shared.inboxes[self.index]
                .load
                .fetch_add(1, Ordering::Relaxed);
            self.add(accepted);
        }
    }

    fn add(&mut self, accepted: Accepted) {
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let registry = self.poll.registry();
        self.peers.add(accepted, |stream, key| {
            let mut source = SourceFd(&stream.as_raw_fd());
            registry.register(&mut source, Token(key), interest)
        });
    }

    /// Ends what is over, and sends and tells what is due.
    fn expire(&mut self) {
        self.peers.expire();
        for (key, udp) in &mut self.udp {
            if udp.deadline().is_some_and(|at| at <= self.now) {
                udp.tell(self.now, &self.shared.events, &self.counters);
            }
            if udp.wake().is_some_and(|at| at <= self.now) {
                self.udp_again.push(key);
            }
        }
    }

    /// Stops listening, once, and returns whether every connection has ended.
    fn drain(&mut self) -> bool {
        let until = match self.drain_until {
            Some(until) => until,
            None => self.start_draining(),
        };
        let immediate = self.shared.shutdown.is_immediate();
        if immediate {
            self.peers.close_all();
        }
        let over = immediate || until <= self.now;
        let done = self.udp.iter().filter(|(_, udp)| over || !udp.owes());
        for key in done.map(|(key, _)| key).collect::<Vec<_>>() {
            let udp = self.udp.remove(key);
            if let Some(batch) = &mut self.batch {
                udp.close(&UdpTurn {
                    batch,
                    now: self.now,
                    events: &self.shared.events,
                    counters: &self.counters,
                    spent: 0,
                });
            }
        }
        self.peers.is_empty() && self.udp.is_empty() && self.shared.inboxes[self.index].close()
    }

    fn start_draining(&mut self) -> Instant {
        let drain = Duration::from(self.shared.config.drain);
        let until = self.now + drain;
        self.drain_until = Some(until);
        if let Some(acceptor) = &mut self.acceptor
            && !self.shared.shutdown.is_immediate()
        {
            // Whoever waits has come in time, whatever held him up; those who go on coming must not
            // hold up the end.
            acceptor.pause(None, false);
            (0..LAST_TURNS).for_each(|_| self.accept());
        }
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
        for (key, udp) in &mut self.udp {
            udp.drain();
            self.udp_again.push(key);
        }
        self.peers.drain(until);
        until
    }
}

/// However it ends, nobody waits for it.
impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.inboxes[self.index].abandon();
    }
}
