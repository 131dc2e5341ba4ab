//! The serving loop on a clock and sockets of a test's own: schedules drawn from a seed, with every
//! promise looked at after each step. See `cargo xtask simulate`.

#[path = "../../../fuzz/src/simulation.rs"]
mod harness;
mod promises;
mod schedule;

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use echo_core::Framing;
use echo_core::splitmix::Random;
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
use schedule::{CHANGING, FAULTS, MERGE, SLOW, Setup, Step, schedule};

use crate::config::Config;
use crate::event::stats::{Counters, Totals};
use crate::event::{EventReader, Events, Level, PeerAddress};
use crate::fault::{Faults, dice};
use crate::shutdown::Shutdown;
use crate::socket::simulated::{Socket, Wire};
use crate::socket::stream::Stream;

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
    dice: Random,
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
            dice: dice(setup.seed, 2, 0, 0),
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
}

/// Plays the schedule of a seed. The error is what fails of it, as short as it gets.
fn play(seed: u64) -> Result<(), Broken> {
    harness::play(seed, schedule(seed), run)
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
