//! The one loop that probes all peers: each at its own moment of the interval, and whatever happens to
//! the others. A probe that a path cannot carry is lost, as one that gets no reply.

use std::cmp::Reverse;
use std::collections::binary_heap::{BinaryHeap, PeekMut};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use echo_core::Transport;

use super::books::Books;
use super::discovery::List;
use super::ring::hash;
use super::settings::Mesh;
use super::targets::Peer;
use crate::connection::{Address, Ask, Attempt, ErrorKind};
use crate::engine::Sink;
use crate::engine::clock::Clock;
use crate::engine::flow::{Context, Flow, State, broken};
use crate::engine::ledger::Request;
use crate::engine::recorder::Recorder;
use crate::engine::wait::{Ready, Wait};
use crate::engine::{Plan, nanos, transport};
use crate::interrupt::Interrupt;
use crate::report::Fault;

/// Whoever wakes so much later than it asked to has stood still: stopped, suspended, or without a CPU
/// for longer than a scheduler takes. What was under way then says nothing of its path.
const STOOD_STILL_NS: u64 = 100_000_000;

/// The longest sleep: by its turns others see that the agent lives.
const TICK_NS: u64 = 1_000_000_000;

/// Moments of an interval at which probes leave. To wake costs more than to send, so those that are
/// close share a moment: of a thousand peers, two.
const MOMENTS: u64 = 500;

/// Lost probes of a path that are remembered, to tell a late reply: more than are lost before its
/// socket is changed.
const REMEMBERED: usize = 8;

/// All paths, and when each has its next turn.
pub struct Agent<'a> {
    /// By their numbers in the books.
    paths: Vec<Option<Path<'a>>>,
    /// When each is to be looked at next. That may be sooner than there is something to do: a probe that
    /// got its reply is over no more at the end of its time.
    agenda: BinaryHeap<Reverse<(u64, usize)>>,
    /// When it asked to be woken.
    until: u64,
    shared: Shared<'a>,
}

/// What all paths work with.
struct Shared<'a> {
    mesh: &'a Mesh,
    /// What is ready: told by the system, or not read to the end the last time.
    ready: Vec<Ready>,
    wait: Wait,
    context: Context<'a>,
    books: &'a Books,
}

/// The way to a peer over one transport.
struct Path<'a> {
    /// Its number in the books.
    index: usize,
    peer: Peer,
    flow: Flow,
    /// A connection that is being made for the probe under way.
    attempt: Option<Attempt<'a>>,
    /// When its socket was opened.
    opened: u64,
    /// When the next probe leaves.
    due: u64,
}

impl<'a> Agent<'a> {
    /// An agent that watches nobody yet.
    pub fn new(mesh: &'a Mesh, wait: Wait, plan: &'a Plan, books: &'a Books) -> Self {
        let context = Context::new(Clock::start(), Recorder::none(), books, plan);
        Agent {
            paths: Vec::new(),
            agenda: BinaryHeap::new(),
            until: context.clock.now(),
            shared: Shared {
                mesh,
                ready: Vec::new(),
                wait,
                context,
                books,
            },
        }
    }

    /// Probes until somebody asks to stop, or nobody reads what is told any more.
    ///
    /// # Errors
    /// The system's poll fails; nothing that a peer does.
    pub fn run(mut self, lists: &Receiver<List>, interrupt: &Interrupt) -> io::Result<()> {
        let clock = self.shared.context.clock;
        while interrupt.why().is_none() && !self.shared.books.is_closed() {
            if let Some(list) = lists.try_iter().last() {
                self.watch(&list, clock.now());
            }
            let until = self.turn(|| clock.now());
            let Shared { wait, ready, .. } = &mut self.shared;
            let limit = match ready.is_empty() {
                true => until.saturating_sub(clock.now()),
                false => 0,
            };
            wait.sleep(Duration::from_nanos(limit), false, ready)?;
        }
        Ok(())
    }

    /// Watches the peers of `list`, and nobody else.
    pub fn watch(&mut self, list: &List, now: u64) {
        let Shared { mesh, books, .. } = self.shared;
        let plan = self.shared.context.plan;
        let wanted: HashMap<_, _> = list.peers.iter().map(|peer| (peer.key(), peer)).collect();
        let mut watched = HashSet::new();
        for place in &mut self.paths {
            let Some(path) = place else {
                continue;
            };
            let Some(peer) = wanted.get(&path.peer.key()) else {
                books.remove(path.index);
                *place = None;
                continue;
            };
            watched.insert(peer.key());
            if peer.address != path.peer.address {
                let over = path.flow.remote.transport();
                *path = Path::new(path.index, peer, over, path.due, plan);
            }
        }
        let paths = &self.paths;
        self.agenda
            .retain(|Reverse((_, index))| paths[*index].is_some());
        let interval = nanos(mesh.interval.0);
        let start = now - now % interval;
        let is_new = |peer: &&Peer| !watched.contains(&peer.key());
        for peer in list.peers.iter().filter(is_new) {
            // Agents that start together must not all ask the same peer first.
            let moment = hash(&[&list.own, &peer.name]) % MOMENTS;
            let due = start + interval * moment / MOMENTS;
            let due = if due < now { due + interval } else { due };
            for over in &mesh.transport {
                let index = books.add(peer, *over);
                let path = Path::new(index, peer, *over, due, plan);
                let count = self.paths.len().max(index + 1);
                self.paths.resize_with(count, || None);
                self.paths[index] = Some(path);
                self.agenda.push(Reverse((due, index)));
            }
        }
    }

    /// Does what can be done now, by this `clock`. Returns when there is more.
    pub fn turn(&mut self, clock: impl Fn() -> u64) -> u64 {
        let now = clock();
        let late = now.saturating_sub(self.until);
        self.shared.books.turn(late > STOOD_STILL_NS, 0);
        let mut ready = std::mem::take(&mut self.shared.ready);
        for ready in ready.drain(..) {
            // It may have gone since.
            if let Some((path, shared)) = self.at(ready.index) {
                path.handle(ready, now, shared);
            }
        }
        if self.shared.ready.is_empty() {
            // Its memory is used again.
            self.shared.ready = ready;
        }
        if late > nanos(self.shared.mesh.timeout.0) {
            // Connections may be gone by now, which no path is to blame for.
            for index in 0..self.paths.len() {
                if let Some((path, shared)) = self.at(index) {
                    path.expire(now, shared);
                    path.hang_up(shared);
                }
            }
        }
        let mut never_sent = 0;
        while let Some(mut first) = self.agenda.peek_mut() {
            let Reverse((at, index)) = *first;
            let Some(path) = &mut self.paths[index] else {
                PeekMut::pop(first);
                continue;
            };
            self.shared.books.about(index);
            if path.next() <= now {
                never_sent += path.go_by(now, &clock, &mut self.shared);
            } else if path.next() == at {
                break;
            }
            *first = Reverse((path.next(), index));
        }
        self.shared.books.turn(false, never_sent);
        let next = self.agenda.peek().map_or(u64::MAX, |next| next.0.0);
        self.until = next.min(now + TICK_NS);
        self.until
    }

    /// A path, of which the next events are told.
    fn at(&mut self, index: usize) -> Option<(&mut Path<'a>, &mut Shared<'a>)> {
        let path = self.paths.get_mut(index)?.as_mut()?;
        self.shared.books.about(index);
        Some((path, &mut self.shared))
    }
}

impl<'a> Path<'a> {
    /// The way to `peer`, over one transport; it has no socket yet.
    fn new(index: usize, peer: &Peer, over: Transport, due: u64, plan: &Plan) -> Self {
        // It is never asked where there is none.
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let address = peer.address.unwrap_or(nowhere);
        let remote = match over {
            Transport::Udp => Address::Udp(address),
            _ => Address::Tcp(address),
        };
        let timeout = nanos(plan.connect.timeout.0);
        let mut flow = Flow::new(remote.clone(), transport(plan, &remote), timeout);
        flow.ledger.remembered = REMEMBERED;
        flow.state = State::Closed(0);
        Path {
            index,
            peer: peer.clone(),
            flow,
            attempt: None,
            opened: 0,
            due,
        }
    }

    /// When there is something to do.
    fn next(&self) -> u64 {
        let expiry = self.flow.ledger.next_expiry();
        expiry.map_or(self.due, |expiry| expiry.min(self.due))
    }

    /// Does what is due by `now`. Returns how many probes were missed meanwhile.
    fn go_by(&mut self, now: u64, clock: impl Fn() -> u64, shared: &mut Shared<'a>) -> u64 {
        self.expire(now, shared);
        let Some(late) = now.checked_sub(self.due) else {
            return 0;
        };
        let interval = nanos(shared.mesh.interval.0);
        let missed = match late > STOOD_STILL_NS {
            true => late / interval + 1,
            false => {
                self.probe(clock(), shared);
                0
            }
        };
        self.due += interval * missed.max(1);
        missed
    }

    /// Sends a probe, or begins to open a socket for it.
    fn probe(&mut self, now: u64, shared: &mut Shared<'a>) {
        // One that is awaited until this very moment is so no longer.
        self.expire(u64::MAX, shared);
        if now - self.opened >= nanos(shared.mesh.reconnect.0) {
            self.hang_up(shared);
        }
        let number = self.flow.ledger.push(Request::new(now, now));
        shared.books.request(number);
        match self.flow.state {
            State::Open(_) => self.send(shared),
            _ => self.open(now, shared),
        }
    }

    fn send(&mut self, shared: &mut Shared<'a>) {
        if let Some((transport, mut wire)) = self.flow.split(&mut shared.context) {
            transport.push();
            if let Err(fault) = transport.flush(&mut wire) {
                self.failed(&fault, shared);
            }
        }
    }

    /// Begins to open a socket.
    fn open(&mut self, now: u64, shared: &mut Shared<'a>) {
        if self.peer.address.is_none() {
            let fault = Fault::new(ErrorKind::Dns, "its name has no address");
            return self.fail(&fault, shared);
        }
        self.flow.state = State::Opening;
        let plan = shared.context.plan;
        match Attempt::begin(&plan.connect, &self.flow.remote, Ask::Nothing) {
            Ok(attempt) => self.go_on(attempt, false, now, shared),
            Err(error) => self.failed(&broken(&error, self.is_udp()), shared),
        }
    }

    /// Goes on opening a socket, which may be ready.
    fn go_on(
        &mut self,
        mut attempt: Attempt<'a>,
        is_ready: bool,
        now: u64,
        shared: &mut Shared<'a>,
    ) {
        let (wait, index) = (&shared.wait, self.index);
        let went = attempt.go_on(is_ready).and_then(|connection| {
            match (&connection, attempt.connecting()) {
                (Some(connection), _) => wait.include(&connection.socket, index)?,
                (None, Some(socket)) => wait.include(&socket, index)?,
                (None, None) => {}
            }
            Ok(connection)
        });
        match went {
            Ok(None) => self.attempt = Some(attempt),
            Ok(Some(connection)) => {
                self.opened = now;
                self.flow.open(connection, &mut shared.context);
                self.send(shared);
            }
            Err(error) => self.failed(&broken(&error, self.is_udp()), shared),
        }
    }

    /// Reads what has come, or goes on opening a socket.
    fn handle(&mut self, ready: Ready, now: u64, shared: &mut Shared<'a>) {
        if let Some(attempt) = self.attempt.take() {
            return self.go_on(attempt, true, now, shared);
        }
        let Some((transport, mut wire)) = self.flow.split(&mut shared.context) else {
            return;
        };
        let read = match ready.readable {
            true => transport.read(ready.ended, &mut wire),
            false => Ok(false),
        };
        let done = read.and_then(|more| match transport.is_blocked() {
            true => transport.flush(&mut wire).map(|()| more),
            false => Ok(more),
        });
        match done {
            Ok(true) => shared.ready.push(ready),
            Ok(false) => {}
            Err(fault) => self.failed(&fault, shared),
        }
    }

    /// Gives up the probe under way, if its time is up by `now`.
    fn expire(&mut self, now: u64, shared: &mut Shared<'a>) {
        if let Some(fault) = self.flow.expire(now, &mut shared.context)
            && (self.attempt.is_some() || self.flow.has_failed())
        {
            self.fail(&fault, shared);
        }
    }

    /// An error on a socket. Of a datagram it is the answer; anything else ends the connection.
    fn failed(&mut self, fault: &Fault, shared: &mut Shared<'a>) {
        let is_answer = self.is_udp() && fault.kind == ErrorKind::Refused;
        match is_answer && self.flow.refuse(fault, &mut shared.context) {
            // There may be more to read, of which no event will tell.
            true => shared.ready.push(Ready {
                index: self.index,
                readable: true,
                ended: false,
            }),
            false => self.fail(fault, shared),
        }
    }

    /// There is no socket any more, or still none; the next probe opens one.
    fn fail(&mut self, fault: &Fault, shared: &mut Shared<'a>) {
        self.attempt = None;
        self.flow.fail(fault, &mut shared.context);
    }

    /// Closes a socket that has done what it was for.
    fn hang_up(&mut self, shared: &mut Shared<'a>) {
        self.attempt = None;
        self.flow.hang_up(&mut shared.context);
    }

    fn is_udp(&self) -> bool {
        matches!(self.flow.remote, Address::Udp(_))
    }
}

#[cfg(test)]
mod tests;
