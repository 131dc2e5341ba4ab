//! The one loop that probes all peers: each at its own moment of the interval, and whatever happens to
//! the others. A probe that a path cannot carry is lost, as one that gets no reply.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use echo_core::Transport;
use slab::Slab;

use super::books::Books;
use super::discovery::List;
use super::ring::hash;
use super::settings::Mesh;
use super::targets::Peer;
use crate::connection::{Address, Ask, Attempt, ErrorKind};
use crate::engine::clock::Clock;
use crate::engine::flow::{Context, Flow, State, broken};
use crate::engine::ledger::Request;
use crate::engine::wait::{Ready, Wait};
use crate::engine::{self, Plan, Sink, What, nanos, transport};
use crate::interrupt::Interrupt;
use crate::measure::Lines;
use crate::output::note;
use crate::report::Fault;
use crate::thread::start;

/// Whoever wakes so much later than it asked to, or by as much as a probe has, has stood still: stopped,
/// suspended, or without a CPU for longer than a scheduler takes. What was under way then says nothing
/// of its path.
const STOOD_STILL_NS: u64 = 100_000_000;

/// The longest sleep: by its turns others see that the agent lives. Whoever misses as much may have
/// been suspended, and its connections be gone.
const TICK_NS: u64 = 1_000_000_000;

/// Peers whose probes leave at one moment. To wake costs five times as much as to send, so a moment is
/// shared; but what comes over TCP meanwhile waits until the last of them has left, 15 us each.
const CROWD: usize = 8;

/// Moments of an interval, at least: agents that start together must not all ask the same peer first.
const MOMENTS: usize = 16;

/// Lost probes of a path whose replies may still come, and are late: more than are lost in a row before
/// its socket is changed. Of datagrams the older ones are forgotten after two time-outs; a stream that
/// owes more is given up.
const REMEMBERED: usize = 8;

/// All paths, and when each has its next turn.
pub struct Agent<'a> {
    /// By their numbers in the books.
    paths: Slab<Path<'a>>,
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
    books: &'a Books,
    /// What is ready: told by the system, or not read to the end the last time.
    ready: Vec<Ready>,
    wait: Wait,
    context: Context<'a>,
    /// What is told of the path at hand.
    told: Receiver<What>,
    /// Who is told of each event, too.
    lines: Option<&'a Lines>,
    /// Whether it has stood still until now.
    stood_still: bool,
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

/// What a path tells is entered by the agent, which knows of whom it is.
impl Sink for Sender<What> {
    fn tell(&self, what: What) {
        // An agent that has ended needs none of it.
        let _ = self.send(what);
    }

    fn wants_each(&self) -> bool {
        true
    }
}

impl<'a> Agent<'a> {
    /// An agent that watches nobody yet. What its paths tell to `sink` comes back from `told`.
    pub fn new(
        (mesh, plan, books): (&'a Mesh, &'a Plan, &'a Books),
        (sink, told): (&'a Sender<What>, Receiver<What>),
        wait: Wait,
        lines: Option<&'a Lines>,
    ) -> Self {
        let context = Context::new(Clock::start(), mpsc::channel().0, sink, plan);
        Agent {
            paths: Slab::new(),
            agenda: BinaryHeap::new(),
            until: context.clock.now(),
            shared: Shared {
                mesh,
                books,
                ready: Vec::new(),
                wait,
                context,
                told,
                lines,
                stood_still: false,
            },
        }
    }

    /// Probes until somebody asks to stop, or nobody reads what is told any more.
    ///
    /// # Errors
    /// The system's poll fails; nothing that a peer does.
    pub fn run(mut self, lists: &Receiver<List>, interrupt: &Interrupt) -> io::Result<()> {
        let (clock, lines) = (self.shared.context.clock, self.shared.lines);
        while interrupt.why().is_none() && !lines.is_some_and(Lines::is_closed) {
            for list in lists.try_iter() {
                self.watch(&list, clock.now());
                if list.is_asked {
                    let summary = self.shared.books.open().summary();
                    // Whoever does not read it holds up no probe.
                    let answer = move || note(format_args!("echo-client: {summary}"));
                    let _: Result<_, _> = start("answer", answer);
                }
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
        let (paths, agenda, shared) = (&mut self.paths, &mut self.agenda, &mut self.shared);
        let mut wanted = BTreeMap::new();
        for peer in &list.peers {
            for over in &shared.mesh.transport {
                wanted.insert((peer.key(), *over), peer);
            }
        }
        paths.retain(|index, path| {
            let over = path.flow.remote.transport();
            let peer = wanted.remove(&(path.peer.key(), over));
            match peer {
                None => shared.books.open().remove(index),
                Some(peer) if peer.address != path.peer.address => {
                    path.hang_up(shared);
                    shared.enter(path);
                    (path.peer, path.flow.remote) = (peer.clone(), remote(peer, over));
                }
                Some(_) => {}
            }
            peer.is_some()
        });
        agenda.retain(|Reverse((_, index))| paths.contains(*index));
        let interval = nanos(shared.mesh.interval.0);
        // A power of two: when there are more, those that there were are among them.
        let moments = (list.peers.len() / CROWD).max(MOMENTS).next_power_of_two() as u64;
        for ((_, over), peer) in wanted {
            let moment = hash(&[&list.own, &peer.name]) % moments;
            let mut due = now - now % interval + interval / moments * moment;
            if due < now {
                due = due.saturating_add(interval);
            }
            let place = paths.vacant_entry();
            let index = place.key();
            shared.books.open().add(index, peer, over);
            agenda.push(Reverse((due, index)));
            place.insert(Path::new(index, peer, over, due, shared.context.plan));
        }
    }

    /// Does what can be done now, by this `clock`. Returns when there is more.
    pub fn turn(&mut self, clock: impl Fn() -> u64) -> u64 {
        let (paths, agenda, shared) = (&mut self.paths, &mut self.agenda, &mut self.shared);
        let now = clock();
        let late = now.saturating_sub(self.until);
        shared.stood_still = late > STOOD_STILL_NS.min(nanos(shared.mesh.timeout.0));
        shared.books.open().turned = Some(Instant::now());
        for ready in std::mem::take(&mut shared.ready) {
            // It may have gone since.
            if let Some(path) = paths.get_mut(ready.index) {
                path.handle(ready, now, shared);
                shared.enter(path);
            }
        }
        if late > TICK_NS {
            for (_, path) in paths.iter_mut() {
                path.hang_up(shared);
                shared.enter(path);
            }
        }
        while let Some(mut first) = agenda.peek_mut() {
            let Reverse((at, index)) = *first;
            let path = &mut paths[index];
            if path.next(now) <= now {
                path.go_by(now, &clock, shared);
                shared.enter(path);
            } else if path.next(now) == at {
                break;
            }
            *first = Reverse((path.next(now), index));
        }
        let next = agenda.peek().map_or(u64::MAX, |next| next.0.0);
        self.until = next.min(now + TICK_NS);
        self.until
    }
}

impl Shared<'_> {
    /// Enters what `path` has told.
    fn enter(&self, path: &Path<'_>) {
        for what in self.told.try_iter() {
            let mut figures = self.books.open();
            let is_of_path = figures.enter(path.index, &what, self.stood_still);
            drop(figures);
            if let Some(lines) = self.lines.filter(|_| is_of_path) {
                let peer = engine::Peer {
                    peer: path.peer.name.to_string(),
                    transport: path.flow.remote.transport(),
                };
                lines.tell_of(Some(peer), what);
            }
        }
    }
}

/// Where a peer is reached over one transport; it is never asked where it has no address.
fn remote(peer: &Peer, over: Transport) -> Address {
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let address = peer.address.unwrap_or(nowhere);
    match over {
        Transport::Udp => Address::Udp(address),
        _ => Address::Tcp(address),
    }
}

impl<'a> Path<'a> {
    /// The way to `peer`, over one transport; it has no socket yet.
    fn new(index: usize, peer: &Peer, over: Transport, due: u64, plan: &Plan) -> Self {
        let remote = remote(peer, over);
        let timeout = nanos(plan.connect.timeout.0);
        let mut flow = Flow::new(remote.clone(), transport(plan, &remote), timeout);
        if over == Transport::Udp {
            flow.ledger.remembered = REMEMBERED;
        }
        Path {
            index,
            peer: peer.clone(),
            flow,
            attempt: None,
            opened: 0,
            due,
        }
    }

    /// When there is something to do: no probe leaves before the last one has had its time.
    fn next(&self, now: u64) -> u64 {
        match self.flow.ledger.next_expiry() {
            Some(expiry) if self.due <= now => expiry,
            Some(expiry) => expiry.min(self.due),
            None => self.due,
        }
    }

    /// Does what is due by `now`.
    fn go_by(&mut self, now: u64, clock: impl Fn() -> u64, shared: &mut Shared<'a>) {
        self.expire(now, shared);
        let late = now.checked_sub(self.due);
        let Some(late) = late.filter(|_| self.flow.ledger.awaited() == 0) else {
            return;
        };
        let interval = nanos(shared.mesh.interval.0);
        if late < STOOD_STILL_NS.min(interval) {
            self.probe(clock(), shared);
            self.due = self.due.saturating_add(interval);
            return;
        }
        let missed = late / interval + 1;
        shared.books.open().delayed += missed;
        self.due += interval * missed;
    }

    /// Sends a probe, or begins to open a socket for it.
    fn probe(&mut self, now: u64, shared: &mut Shared<'a>) {
        if now - self.opened >= nanos(shared.mesh.reconnect.0) {
            self.hang_up(shared);
        }
        self.flow.ledger.push(Request::new(now, now));
        shared.books.open().request(self.index);
        match self.flow.state {
            State::Open(_) => self.send(shared),
            _ => self.open(now, shared),
        }
    }

    fn send(&mut self, shared: &mut Shared<'a>) {
        if let Some((transport, mut wire)) = self.flow.split(&mut shared.context) {
            transport.push();
            if let Err(fault) = transport.flush(&mut wire) {
                self.fail(&fault, shared);
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
            Err(error) => self.fail(&broken(&error, self.is_udp()), shared),
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
            Err(error) => self.fail(&broken(&error, self.is_udp()), shared),
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
            Err(fault) => self.fail(&fault, shared),
        }
    }

    /// Gives up the probe under way, if its time is up by `now`.
    fn expire(&mut self, now: u64, shared: &mut Shared<'a>) {
        let expiry = self.flow.ledger.next_expiry();
        if expiry.is_none_or(|expiry| expiry > now) {
            return;
        }
        // More may be ready than was told of in one turn.
        self.flow.read_out(1, &mut shared.context);
        if let Some(fault) = self.flow.expire(now, &mut shared.context)
            && (self.attempt.is_some()
                || self.flow.has_failed()
                || self.flow.ledger.unanswered() > REMEMBERED)
        {
            self.close(shared);
            self.fail(&fault, shared);
        }
    }

    /// There is no socket any more, or still none; the next probe opens one.
    fn fail(&mut self, fault: &Fault, shared: &mut Shared<'a>) {
        self.attempt = None;
        self.flow.fail(fault, &mut shared.context);
    }

    /// Closes a socket that has done what it was for. A probe whose time is not up says nothing.
    fn hang_up(&mut self, shared: &mut Shared<'a>) {
        self.close(shared);
        shared.books.open().delayed += self.flow.ledger.awaited() as u64;
        self.flow.hang_up(&mut shared.context);
    }

    /// Reads what has come, and waits for nothing more: if that is a part of an echo, its peer has not
    /// cut it short.
    fn close(&mut self, shared: &mut Shared<'a>) {
        self.attempt = None;
        self.flow.read_out(1, &mut shared.context);
        self.flow.state = State::Closed(0);
        self.flow.transport = transport(shared.context.plan, &self.flow.remote);
    }

    fn is_udp(&self) -> bool {
        matches!(self.flow.remote, Address::Udp(_))
    }
}

#[cfg(test)]
mod tests;
