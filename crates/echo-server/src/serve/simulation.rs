//! The serving loop on a clock and sockets of a test's own: schedules drawn from a seed, with every
//! promise looked at after each step. See `cargo xtask simulate`.

#[path = "../../../fuzz/src/simulation.rs"]
mod harness;
mod schedule;

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use echo_core::Framing;
use echo_core::units::{Size, Timespan};

use super::acceptor::Acceptor;
use super::defect::{Mutant, bring_back};
use super::inbox::Newcomer;
use super::limits::Limits;
use super::peers::Peers;
use super::shared::Shared;
use super::turn::Readiness;
use super::worker::poll_and_inbox;
use harness::Broken;
use schedule::{CHANGING, FAULTS, MERGE, SHORT, SLOW, Setup, Step, schedule};

use crate::config::Config;
use crate::event::stats::{Counter, Counters, Totals};
use crate::event::{EventReader, Events, Kind, Level, PeerAddress, Reason, Stop};
use crate::fault::{Dice, Faults};
use crate::shutdown::Shutdown;
use crate::socket::simulated::{Socket, Wire, whole_lines};
use crate::socket::stream::Stream;

/// Longer than anything takes that depends on no timeout.
const SOON: Duration = Duration::from_secs(30);

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Where all runs of this thread tell what happens: a new queue takes longer than a run.
    static TOLD: (Events, EventReader) = Events::channel(Level::Connections);
}

fn clock() -> Instant {
    NOW.get().expect("a simulation sets the time")
}

/// A connection from its other end.
struct Other {
    wire: Arc<Mutex<Wire>>,
    /// The key it is announced under and its number, if it was let in.
    place: Option<(usize, u64)>,
}

impl Other {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap()
    }
}

struct Simulation<'a> {
    setup: &'a Setup,
    dice: Dice,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    acceptor: Option<Acceptor>,
    peers: Peers,
    others: Vec<Other>,
    now: Instant,
    drain_until: Option<Instant>,
    /// What the ends that were told say in sum.
    received: u64,
}

/// Plays a schedule to its end. The error is the promise that was broken.
fn run(setup: &Setup, steps: &[Step]) -> Result<(), String> {
    let mut simulation = Simulation::new(setup);
    for &step in steps {
        simulation.step(step);
        simulation.check()?;
    }
    simulation.everything_owed_is_sent()?;
    simulation.nothing_is_held_at_the_end()
}

impl<'a> Simulation<'a> {
    fn new(setup: &'a Setup) -> Self {
        let now = Instant::now();
        NOW.set(Some(now));
        let ms = |ms| Timespan(Duration::from_millis(ms));
        let config = Config {
            framing: vec![setup.framing.into()],
            max_frame: vec![Size(setup.max_frame).into()],
            buffer: Size(setup.buffer),
            idle_timeout: ms(setup.idle_ms),
            write_timeout: ms(setup.write_ms),
            max_connections: setup.max_connections,
            max_total: setup.total,
            max_memory: Size(setup.max_memory),
            ..Config::default()
        };
        let events = TOLD.with(|(events, reader)| {
            while reader.try_next().is_some() {}
            events.clone()
        });
        let fault = FAULTS[setup.fault];
        let fault = (!fault.is_empty()).then(|| fault.parse().unwrap());
        let counters = Arc::new(Counters::default());
        let (poll, inbox) = poll_and_inbox(counters.clone()).unwrap();
        let shutdown = Shutdown::new();
        let plan = Faults::new(setup.seed, fault.into_iter().collect());
        let shared = Arc::new(Shared {
            limits: Limits::new(&config, u64::MAX, shutdown.clone()).unwrap(),
            config,
            totals: Totals::new(1, &events),
            events: Arc::new(events),
            shutdown,
            inboxes: vec![inbox],
            faults: plan.into(),
        });
        let mut peers = Peers::new(0, shared.clone(), clock);
        let mut acceptor = Acceptor::new(Vec::new(), poll.registry(), 0, &shared.config).unwrap();
        let plan = shared.faults().plan();
        peers.set_faults(plan.clone());
        acceptor.set_faults(&shared, poll.registry(), plan);
        Simulation {
            setup,
            dice: Dice::new(setup.seed, 2, 0, 0),
            acceptor: Some(acceptor),
            peers,
            shared,
            counters,
            others: Vec::new(),
            now,
            drain_until: None,
            received: 0,
        }
    }

    fn step(&mut self, step: Step) {
        let count = self.others.len();
        let open = |peer: usize| &self.others[peer % count];
        match step {
            Step::Connect => self.connect(),
            Step::Poll => self.poll(false),
            Step::Wait(ms) => self.wait(Duration::from_millis(ms)),
            Step::Drain => self.drain(),
            Step::Revise => self.revise(),
            _ if count == 0 => {}
            Step::Send(peer, bytes) => {
                let mut wire = open(peer).wire();
                if !wire.ended {
                    wire.sent += bytes;
                    if wire.dice.below(2) == 0 {
                        wire.arrive();
                    }
                }
            }
            Step::Take(peer, bytes) => open(peer).wire().take(bytes),
            Step::End(peer) => {
                let mut wire = open(peer).wire();
                wire.ended = true;
                wire.readable = true;
            }
            Step::Fail(peer, reset) => {
                let mut wire = open(peer).wire();
                wire.failure = Some(match reset {
                    true => std::io::ErrorKind::ConnectionReset,
                    false => std::io::ErrorKind::TimedOut,
                });
                wire.readable = true;
            }
            Step::Spurious(peer) => {
                let mut wire = open(peer).wire();
                wire.readable |= wire.dice.below(2) == 0;
                wire.writable = true;
            }
        }
    }

    fn connect(&mut self) {
        let Some(acceptor) = &mut self.acceptor else {
            return;
        };
        if self.shared.limits.is_last_admitted() {
            return;
        }
        let setup = self.setup;
        let strict = setup.framing == Framing::Raw && FAULTS[setup.fault].is_empty();
        let seed = setup.seed ^ self.others.len() as u64;
        let socket = Socket::new(setup.transport, seed, setup.capacity, strict);
        // What found no room may be due only later then, or never.
        let faithful = setup.fault < SLOW || (MERGE..CHANGING).contains(&setup.fault);
        socket.wire().faithful = faithful;
        let wire = socket.0.clone();
        let stream = Stream::Simulated(socket);
        let listen = Arc::new(self.shared.config.listen[0].clone());
        let newcomer = Newcomer {
            stream,
            address: PeerAddress::Unix,
            listen,
            local: None,
            place: None,
        };
        let accepted = acceptor.admit(&self.shared, newcomer);
        let place = accepted.map(|accepted| {
            self.counters.accepted.add(1);
            self.shared.inboxes[0].load.fetch_add(1, Ordering::Relaxed);
            let (mut place, id) = (0, accepted.id);
            self.peers.add(accepted, |_, key| {
                place = key;
                Ok(())
            });
            (place, id)
        });
        self.others.push(Other { wire, place });
    }

    fn revise(&mut self) {
        let mut faults = self.shared.faults();
        let gone = faults.list().is_empty();
        let new = gone.then(|| FAULTS[self.setup.fault].parse().unwrap());
        faults.change(|_| true, new.into_iter().collect());
        let plan = faults.plan();
        drop(faults);
        self.peers.set_faults(plan);
    }

    fn drain(&mut self) {
        if self.drain_until.is_none() {
            let until = self.now + Duration::from_millis(self.setup.drain_ms);
            self.drain_until = Some(until);
            self.acceptor = None;
            if self.setup.asked {
                self.shared.shutdown.request();
            }
            self.peers.drain(until);
        }
    }

    /// One round of the worker's loop. Unless `all` are told, some events wait for the next.
    fn poll(&mut self, all: bool) {
        self.peers.polled(self.now);
        for other in &self.others {
            let mut wire = other.wire();
            (wire.calls, wire.bytes) = (0, 0);
            if wire.arrived < wire.sent && (all || wire.dice.below(2) == 0) {
                wire.arrive();
            }
        }
        let first = self.dice.below(self.others.len() as u64 + 1) as usize;
        for at in (first..self.others.len()).chain(0..first) {
            let other = &self.others[at];
            let Some((key, _)) = other.place else {
                continue;
            };
            let mut wire = other.wire();
            let told = (wire.readable || wire.writable) && (all || wire.dice.below(8) > 0);
            if wire.closed || !told {
                continue;
            }
            let gone = wire.failure.is_some();
            let ready = Readiness {
                readable: wire.readable || gone,
                read_closed: gone || (wire.ended && wire.arrived == wire.sent),
                urgent: false,
                error: gone,
            };
            (wire.readable, wire.writable) = (false, false);
            drop(wire);
            self.peers.notice(key, ready);
        }
        self.peers.expire();
        self.peers.take_turns();
    }

    /// Lets time pass, with a round whenever the worker wants one.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.peers.next().filter(|at| *at <= until) {
            self.set(at);
            self.poll(false);
        }
        self.set(until);
        self.poll(false);
    }

    fn set(&mut self, at: Instant) {
        self.now = self.now.max(at);
        NOW.set(Some(self.now));
    }

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

    fn check(&mut self) -> Result<(), String> {
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
    fn everything_owed_is_sent(&mut self) -> Result<(), String> {
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

    fn nothing_is_held_at_the_end(&mut self) -> Result<(), String> {
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

/// Leaves out what a failing schedule does not need, for as long as it still fails.
fn shrink(setup: &Setup, mut steps: Vec<Step>) -> Vec<Step> {
    let mut len = steps.len() / 2;
    while len > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + len).min(steps.len()));
            match run(setup, &fewer) {
                Err(_) => steps = fewer,
                Ok(()) => at += len,
            }
        }
        len /= 2;
    }
    steps
}

/// Plays the schedule of a seed. The error is what fails of it, as short as it gets.
fn play(seed: u64) -> Result<(), Broken> {
    let (setup, all) = schedule(seed);
    let Err(first) = run(&setup, &all) else {
        return Ok(());
    };
    let steps = shrink(&setup, all.clone());
    let promise = run(&setup, &steps).err().unwrap_or(first);
    let fault = FAULTS[setup.fault];
    Err(Broken {
        told: format!("seed {seed}: {promise}\n{setup:?}, {fault:?}\n{steps:?}"),
        steps: [steps.len(), all.len()],
    })
}

#[test]
fn ten_thousand_schedules_keep_every_promise() {
    harness::keep(play, 10_000);
}

#[test]
fn what_longer_runs_have_found_stays_mended() {
    // A peer that was ended for its memory in its own turn left a turn behind; and one whose joined
    // answers found no room at once, when no more of them came, had no time to take them.
    harness::hold(play, &[20_277_575, 20_449_359]);
}

#[test]
fn each_fault_that_was_mended_would_be_found_and_shown_in_few_steps() {
    let mutants = [
        Mutant::EdgeLost,
        Mutant::Untried,
        Mutant::PlaceLost,
        Mutant::Endless,
        Mutant::IdleWhileOwed,
    ];
    harness::find(&mutants, bring_back, play, 10_000);
}

#[test]
#[ignore = "as long as it is told to take; `cargo xtask simulate` runs it"]
fn simulate() {
    harness::simulate("server", play);
}
