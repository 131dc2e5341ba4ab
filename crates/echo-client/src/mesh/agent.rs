//! The one loop that probes all peers: each at its own moment of the interval, and whatever happens to
//! the others. A probe that a path cannot carry is lost, as one that gets no reply.

use std::collections::{HashMap, HashSet, VecDeque};
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
use crate::connection::{Address, Ask, Attempt, Connection, ErrorKind};
use crate::engine::flow::{Clock, Context, Flow, State, broken};
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

/// Lost probes of a path that are remembered, to tell a late reply: more than are lost before its
/// socket is changed.
const REMEMBERED: usize = 8;

/// How peers are probed.
#[derive(Clone, Debug)]
pub struct Pace {
    /// What over.
    pub transports: Vec<Transport>,
    /// From one probe of a path to the next, in nanoseconds.
    pub interval: u64,
    /// When a probe is lost, in nanoseconds.
    pub timeout: u64,
    /// When a socket is changed, in nanoseconds.
    pub reconnect: u64,
}

/// All paths, and when each has its next turn.
pub struct Agent<'a> {
    pace: Pace,
    /// By their numbers in the books.
    paths: Vec<Option<Path<'a>>>,
    /// When each is probed next, in the order of time: the interval is the same for all.
    due: VecDeque<(u64, usize)>,
    /// When each probe under way is lost, in the order of time.
    expiring: VecDeque<(u64, usize)>,
    /// What is ready: told by the system, or not read to the end the last time.
    ready: Vec<Ready>,
    /// When it asked to be woken.
    until: u64,
    wait: Wait,
    context: Context<'a>,
    books: &'a Books,
}

/// The way to a peer over one transport.
struct Path<'a> {
    peer: Peer,
    flow: Flow,
    /// A connection that is being made for the probe under way.
    attempt: Option<Attempt<'a>>,
    /// When its socket was opened.
    opened: u64,
}

impl<'a> Agent<'a> {
    /// An agent that watches nobody yet.
    pub fn new(pace: Pace, wait: Wait, plan: &'a Plan, books: &'a Books) -> Self {
        let context = Context::new(Clock::start(), Recorder::none(), books, plan);
        Agent {
            pace,
            paths: Vec::new(),
            due: VecDeque::new(),
            expiring: VecDeque::new(),
            ready: Vec::new(),
            until: context.clock.now(),
            wait,
            context,
            books,
        }
    }

    /// Probes until somebody asks to stop, or nobody reads what is told any more.
    ///
    /// # Errors
    /// The system's poll fails; nothing that a peer does.
    pub fn run(mut self, lists: &Receiver<List>, interrupt: &Interrupt) -> io::Result<()> {
        while interrupt.why().is_none() && !self.context.sink.is_closed() {
            if let Some(list) = lists.try_iter().last() {
                self.watch(&list, self.context.clock.now());
            }
            let now = self.context.clock.now();
            let until = self.turn(now);
            let limit = match self.ready.is_empty() {
                true => until.saturating_sub(self.context.clock.now()),
                false => 0,
            };
            self.wait
                .sleep(Duration::from_nanos(limit), false, &mut self.ready)?;
        }
        Ok(())
    }

    /// Watches the peers of `list`, and nobody else.
    pub fn watch(&mut self, list: &List, now: u64) {
        let mut wanted: HashMap<(&str, &str), &Peer> = HashMap::new();
        wanted.extend(list.peers.iter().map(|peer| (peer.key(), peer)));
        let mut watched = HashSet::new();
        for index in 0..self.paths.len() {
            let Some(path) = &mut self.paths[index] else {
                continue;
            };
            match wanted.get(&path.peer.key()).copied() {
                Some(peer) => {
                    watched.insert(peer.key());
                    if peer.address != path.peer.address {
                        let over = path.flow.remote.transport();
                        *path = self.pace.path(peer, over, self.context.plan);
                    }
                }
                None => {
                    self.paths[index] = None;
                    self.books.remove(index);
                }
            }
        }
        self.due.retain(|(_, index)| self.paths[*index].is_some());
        for peer in list
            .peers
            .iter()
            .filter(|peer| !watched.contains(&peer.key()))
        {
            for over in self.pace.transports.clone() {
                let index = self.books.add(peer, over);
                if index == self.paths.len() {
                    self.paths.push(None);
                }
                self.paths[index] = Some(self.pace.path(peer, over, self.context.plan));
                // Agents that start together must not all ask the same peer first.
                let phase = hash(&[&list.own, &peer.name, &over.to_string()]);
                self.plan_next(now + phase % self.pace.interval, index);
            }
        }
    }

    fn plan_next(&mut self, due: u64, index: usize) {
        let place = self.due.partition_point(|(at, _)| *at <= due);
        self.due.insert(place, (due, index));
    }

    /// Does what can be done at `now`. Returns when there is more.
    pub fn turn(&mut self, now: u64) -> u64 {
        let late = now.saturating_sub(self.until);
        let stood_still = late > STOOD_STILL_NS;
        self.books.turn(stood_still, 0);
        let mut ready = std::mem::take(&mut self.ready);
        for ready in ready.drain(..) {
            self.handle(ready, now);
        }
        if self.ready.is_empty() {
            // Its memory is used again.
            self.ready = ready;
        }
        while let Some((at, index)) = self.expiring.front().copied()
            && (at <= now || self.expires(index) != Some(at))
        {
            self.expiring.pop_front();
            if at <= now {
                self.expire(index, now);
            }
        }
        if late > self.pace.timeout {
            // Connections may be gone by now, which no path is to blame for.
            for index in 0..self.paths.len() {
                self.hang_up(index);
            }
        }
        let mut never_sent = 0;
        while let Some((due, index)) = self.due.front().copied()
            && due <= now
        {
            self.due.pop_front();
            let mut next = due + self.pace.interval;
            match now - due > STOOD_STILL_NS {
                true => {
                    let missed = (now - due) / self.pace.interval + 1;
                    never_sent += missed;
                    next = due + missed * self.pace.interval;
                }
                false => self.probe(index, now),
            }
            self.plan_next(next, index);
        }
        self.books.turn(false, never_sent);
        let next = [self.due.front(), self.expiring.front()];
        let next = next.into_iter().flatten().map(|(at, _)| *at).min();
        self.until = next.unwrap_or(u64::MAX).min(now + TICK_NS);
        self.until
    }

    fn expires(&self, index: usize) -> Option<u64> {
        self.paths[index].as_ref()?.flow.ledger.next_expiry()
    }

    /// Sends a probe, or begins to open a socket for it.
    fn probe(&mut self, index: usize, now: u64) {
        // One that is awaited until this very moment is so no longer.
        self.expire(index, u64::MAX);
        let Some(path) = &mut self.paths[index] else {
            return;
        };
        if matches!(path.flow.state, State::Open(_)) && now - path.opened >= self.pace.reconnect {
            self.hang_up(index);
        }
        let Some(path) = &mut self.paths[index] else {
            return;
        };
        self.books.about(index);
        let number = path.flow.ledger.push(Request::new(now, now));
        self.books.request(number);
        self.expiring.push_back((now + self.pace.timeout, index));
        match path.flow.state {
            State::Open(_) => self.send(index),
            _ => self.open(index, now),
        }
    }

    fn send(&mut self, index: usize) {
        let Some(path) = &mut self.paths[index] else {
            return;
        };
        let Some((transport, mut wire)) = path.flow.split(&mut self.context) else {
            return;
        };
        transport.push();
        if let Err(fault) = transport.flush(&mut wire) {
            self.failed(index, &fault);
        }
    }

    /// Begins to open a socket.
    fn open(&mut self, index: usize, now: u64) {
        let Some(path) = &mut self.paths[index] else {
            return;
        };
        if path.peer.address.is_none() {
            return self.fail(
                index,
                &Fault::new(ErrorKind::Dns, "its name has no address"),
            );
        }
        path.flow.state = State::Opening;
        let address = path.flow.remote.clone();
        let plan = self.context.plan;
        match Attempt::begin(&plan.connect, &address, Ask::Nothing) {
            Ok(attempt) => self.go_on(index, attempt, false, now),
            Err(error) => self.failed(index, &broken(&error, is_datagram(&address))),
        }
    }

    /// Goes on opening a socket, which may be ready.
    fn go_on(&mut self, index: usize, mut attempt: Attempt<'a>, is_ready: bool, now: u64) {
        let Some(path) = &mut self.paths[index] else {
            return;
        };
        let went = attempt
            .go_on(is_ready)
            .and_then(|connection| match connection {
                Some(connection) => self
                    .wait
                    .include(&connection.socket, index)
                    .map(|()| Some(connection)),
                None => match attempt.connecting() {
                    Some(socket) => self.wait.include(&socket, index).map(|()| None),
                    None => Ok(None),
                },
            });
        match went {
            Ok(None) => path.attempt = Some(attempt),
            Ok(Some(connection)) => self.opened(index, connection, now),
            Err(error) => {
                let fault = broken(&error, is_datagram(&path.flow.remote));
                self.failed(index, &fault);
            }
        }
    }

    fn opened(&mut self, index: usize, connection: Connection, now: u64) {
        if let Some(path) = &mut self.paths[index] {
            path.opened = now;
            path.flow.open(connection, &mut self.context);
            self.send(index);
        }
    }

    /// Reads what a path has, or goes on opening it.
    fn handle(&mut self, ready: Ready, now: u64) {
        let index = ready.index;
        // It may have gone since.
        let Some(path) = self.paths.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        self.books.about(index);
        if let Some(attempt) = path.attempt.take() {
            return self.go_on(index, attempt, true, now);
        }
        let Some((transport, mut wire)) = path.flow.split(&mut self.context) else {
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
            Ok(true) => self.ready.push(ready),
            Ok(false) => {}
            Err(fault) => self.failed(index, &fault),
        }
    }

    /// Gives up the probe under way, if its time is up by `now`.
    fn expire(&mut self, index: usize, now: u64) {
        let Some(path) = &mut self.paths[index] else {
            return;
        };
        self.books.about(index);
        if let Some(fault) = path.flow.expire(now, &mut self.context)
            && (path.attempt.is_some() || path.flow.is_silent())
        {
            self.fail(index, &fault);
        }
    }

    /// An error on a socket. Of a datagram it is the answer; anything else ends the connection.
    fn failed(&mut self, index: usize, fault: &Fault) {
        let Some(path) = &mut self.paths[index] else {
            return;
        };
        let is_answer = is_datagram(&path.flow.remote) && fault.kind == ErrorKind::Refused;
        match is_answer && path.flow.refuse(fault, &mut self.context) {
            // There may be more to read, of which no event will tell.
            true => self.ready.push(Ready {
                index,
                readable: true,
                ended: false,
            }),
            false => self.fail(index, fault),
        }
    }

    /// A path has no socket any more, or still none; the next probe opens one.
    fn fail(&mut self, index: usize, fault: &Fault) {
        if let Some(path) = &mut self.paths[index] {
            path.attempt = None;
            path.flow.fail(fault, &mut self.context);
        }
    }

    /// Closes a socket that has done what it was for.
    fn hang_up(&mut self, index: usize) {
        if let Some(path) = &mut self.paths[index] {
            self.books.about(index);
            path.attempt = None;
            path.flow.hang_up(&mut self.context);
        }
    }
}

impl Pace {
    /// What was asked for.
    pub fn of(mesh: &Mesh) -> Self {
        let mut transports = mesh.transport.clone();
        transports.sort_unstable();
        transports.dedup();
        Pace {
            transports,
            interval: nanos(mesh.interval.0),
            timeout: nanos(mesh.timeout.0),
            reconnect: nanos(mesh.reconnect.0),
        }
    }

    /// The way to `peer` over one transport.
    fn path<'a>(&self, peer: &Peer, over: Transport, plan: &Plan) -> Path<'a> {
        // It is never asked where there is none.
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let address = peer.address.unwrap_or(nowhere);
        let remote = match over {
            Transport::Udp => Address::Udp(address),
            _ => Address::Tcp(address),
        };
        let mut flow = Flow::new(remote.clone(), transport(plan, &remote), self.timeout);
        flow.ledger.remembered = REMEMBERED;
        flow.state = State::Closed(0);
        Path {
            peer: peer.clone(),
            flow,
            attempt: None,
            opened: 0,
        }
    }
}

fn is_datagram(address: &Address) -> bool {
    matches!(address, Address::Udp(_))
}

#[cfg(test)]
mod tests;
