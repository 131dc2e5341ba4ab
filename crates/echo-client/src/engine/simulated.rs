//! The other side of a run as a test plays it: a clock, and sockets whose far end answers late,
//! twice, torn, wrongly or never, and restarts.

mod messages;
mod reflector;

pub use reflector::{Course, Reflector, Session};

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::mpsc::Sender;
use std::time::Duration;

use echo_core::splitmix::{GAMMA, mix};
use socket2::{Domain, Type};

use super::dial::Dialed;
use super::nanos;
use super::plan::Plan;
use super::wait::Ready;
use crate::connection::{Address, Connection, Watched, unconnected};
use crate::interrupt::{Interrupt, Why};
use crate::narrator::Narrator;
use crate::report::Counts;
use crate::wire::message::Message;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
/// What becomes of a message that no step is about: it is answered soon.
const SOON: Step = Step::Echo(300 * US);
/// Rounds, and calls that come to nothing, in a millisecond: more than any number of requests under
/// way needs here.
const BUSY: usize = 1_000;

/// A fault that this client once had, brought back in a thread to see that it would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A reply that nobody has looked for is in time, however late it comes.
    LateForgiven,
    /// What falls silent is never opened anew.
    GivenUpForEver,
    /// What was due and never left is forgotten.
    Omission,
    /// A connection that waits to be opened anew for a request has no rest.
    Restless,
    /// Requests that were due before the end go on being given to new connections after it.
    Overtime,
}

thread_local! {
    static FAR: RefCell<Option<FarEnd>> = const { RefCell::new(None) };
    static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Brings a fault back in this thread, or none.
pub fn bring_back(mutant: Option<Mutant>) {
    MUTANT.set(mutant);
}

/// Whether this thread has the fault.
pub fn has(mutant: Mutant) -> bool {
    MUTANT.get() == Some(mutant)
}

/// The time, where it is simulated.
pub fn now() -> Option<u64> {
    with(|far| {
        far.now += far.look_ns;
        far.now
    })
}

/// Has this thread's runs played against `far` from now on, or against the system. Returns the
/// one before.
pub fn play(far: Option<FarEnd>) -> Option<FarEnd> {
    FAR.replace(far)
}

fn with<T>(f: impl FnOnce(&mut FarEnd) -> T) -> Option<T> {
    FAR.with_borrow_mut(|far| far.as_mut().map(f))
}

/// Sleeps for `limit` at most, in simulated time. `lone` says of the only flow, whose readiness is
/// a state and no edge, whether it has more to write.
pub fn sleep(limit: Duration, lone: Option<bool>, ready: &mut Vec<Ready>) {
    let left = lone.map(|_| std::mem::take(ready));
    let limit = limit.as_nanos() as u64;
    with(|far| far.sleep(limit, lone, ready));
    if let Some(left) = left.filter(|_| ready.is_empty()) {
        *ready = left;
    }
}

/// Opens a connection for flow `index`, if that is simulated.
pub fn dial(index: usize, sender: &Sender<Dialed>) -> bool {
    with(|far| far.dial(index, sender.clone())).is_some()
}

/// A connection that is made at once.
pub fn connection(remote: &Address) -> Connection {
    Connection {
        // Nothing passes through it.
        socket: Watched::new(&Narrator::default(), Domain::UNIX, Type::STREAM, None).unwrap(),
        remote: remote.clone(),
        elapsed: Duration::from_nanos(US),
    }
}

/// What the far end does with the next message that reaches it. Times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Answers it, so long after.
    Echo(u64),
    /// Answers in two parts. A datagram stays whole.
    Torn(u64, u64),
    /// Answers twice.
    Twice(u64, u64),
    /// Answers neither it nor, on a stream, anything behind it.
    Never,
    /// Answers with a wrong byte.
    Corrupt(u64),
    /// Answers with a part of it, and ends a stream behind that.
    Cut(u64),
    /// Answers, and sends what nobody has asked for.
    Foreign(u64),
    /// Says that nobody is there, or that a datagram may not pass, or resets a stream.
    Refuse,
    /// Ends a stream with what is owed.
    End,
    /// Takes nothing for so long, and goes on then.
    Stall(u64),
    /// Breaks every connection, and refuses new ones for so long.
    Restart(u64),
    /// The worker is woken for nothing, and late.
    Spurious(u64),
    /// Answers soon, and the client's own firewall takes so many of its datagrams off from then on.
    Bar(u32),
}

/// What a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    Corrupt,
    Cut,
    Foreign,
}

#[derive(Debug)]
enum Parcel {
    /// The reply to the message of this number, and when it came.
    Bytes(Vec<u8>, Kind, usize, u64),
    End,
}

/// The server, the path and the clock.
#[derive(Default)]
pub struct FarEnd {
    pub now: u64,
    /// How long a look at the clock takes.
    pub look_ns: u64,
    pub udp: bool,
    pub wire_len: usize,
    pub timeout: u64,
    /// Bytes that the system takes of a client before the server does.
    pub capacity: usize,
    pub dial_ns: u64,
    pub steps: VecDeque<Step>,
    /// When somebody asks to stop.
    pub interrupt: Option<(u64, Interrupt)>,
    /// When a run has to be over.
    pub horizon: u64,
    pub seed: u64,
    /// What came back, as the far end knows it: what the client is to have counted of replies.
    pub seen: Counts,
    /// Each message that left: when, and when its right reply came.
    pub messages: Vec<(u64, Option<u64>)>,
    /// Dialling, and sending, was in vain so often.
    pub refused: u64,
    /// Of these, datagrams that the client's own firewall took off.
    pub barred: u64,
    /// A message left later than it was due to, as there was no room, or nobody at first.
    pub blocked: bool,
    /// The last moment of which a step says what happens.
    pub calm: u64,
    /// Parts of replies that were there when a connection ended at this moment.
    pub cut_at_end: (u64, Counts),
    /// Who answers packets of STAMP, in the place of any step.
    pub reflector: Option<Reflector>,
    /// The line that a firewall loses sight of once the steps are played.
    pub lost_line: Option<usize>,
    /// When the client's socket had no room for a datagram.
    pub drops: Vec<u64>,
    /// When the system does not tell of them.
    pub hides_drops: Range<u64>,
    lines: Vec<Wire>,
    dials: Vec<(u64, usize, Sender<Dialed>)>,
    down_until: u64,
    /// Dialling is refused before this moment, while those who are connected are served.
    pub full_until: u64,
    /// Or it is not answered at all.
    pub drops_dials: bool,
    /// The most connections that were being made at a time.
    pub most_dials: usize,
    spurious: Option<u64>,
    parcels: usize,
    /// Rounds, and calls that came to nothing, in this millisecond.
    busy: usize,
}

/// One connection.
#[derive(Debug, Default)]
struct Wire {
    flow: usize,
    open: bool,
    mute: bool,
    ended: bool,
    failure: Option<ErrorKind>,
    bars: u32,
    /// Whole messages that the server has not taken, the beginning of another, and the bytes that
    /// came since it stalled.
    pending: VecDeque<Vec<u8>>,
    partial: Vec<u8>,
    held: usize,
    taken: usize,
    stalled_until: u64,
    coming: BTreeMap<(u64, usize), Parcel>,
    last: u64,
    here: VecDeque<Parcel>,
    waits_for_room: bool,
    readable: bool,
    writable: bool,
    /// The numbers, among all, of the messages on it; whether each has had a right reply; the
    /// highest that has.
    numbers: Vec<usize>,
    answered: Vec<bool>,
    highest: usize,
    /// All that was written to a stream, how much of it has come back, and whether that is wrong.
    sent: Vec<u8>,
    read: usize,
    wrong: bool,
}

/// The client's end of a connection.
#[derive(Debug)]
pub struct Line(usize);

impl Line {
    /// A new one, where sockets are simulated.
    pub fn open() -> Option<Line> {
        with(|far| {
            far.lines.push(Wire {
                open: true,
                writable: true,
                ..Wire::default()
            });
            Line(far.lines.len() - 1)
        })
    }

    /// Says which flow's it is.
    pub fn register(&self, flow: usize) {
        with(|far| far.lines[self.0].flow = flow);
    }

    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.call(|far| far.read(self.0, buffer)).map(|(n, _)| n)
    }

    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Duration)> {
        self.call(|far| match far.chance(64) {
            true => Err(ErrorKind::Interrupted.into()),
            false => far.read(self.0, buffer),
        })
    }

    /// How many datagrams the socket had no room for, while the system tells.
    pub fn overflowed(&self) -> Option<u32> {
        let dropped = |far: &mut FarEnd| {
            let so_far = far.drops.iter().filter(|&&at| at <= far.now);
            (!far.hides_drops.contains(&far.now)).then_some(so_far.count() as u32)
        };
        with(dropped).flatten()
    }

    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.call(|far| far.write(self.0, bytes))
    }

    fn call<T>(&self, f: impl FnOnce(&mut FarEnd) -> io::Result<T>) -> io::Result<T> {
        with(|far| {
            let result = f(far);
            if result.is_err() {
                far.work();
            }
            result
        })
        .expect("a line is of a simulation")
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        with(|far| far.hung_up(self.0));
    }
}

impl FarEnd {
    /// A far end that follows `steps`, message by message, and takes all that a plan has for it.
    pub fn new(plan: &Plan, steps: Vec<Step>, seed: u64) -> Self {
        FarEnd {
            udp: plan.connect.is_udp(),
            wire_len: Message::new(0, plan.size, plan.connect.framing).wire_len(),
            timeout: nanos(plan.connect.timeout.0),
            capacity: 1 << 30,
            dial_ns: MS / 10,
            steps: steps.into(),
            horizon: 100_000 * MS,
            seed,
            ..FarEnd::default()
        }
    }

    /// The only address there is.
    pub fn remote(&self) -> Address {
        let remote = "127.0.0.1:7".parse().expect("an address");
        match self.udp {
            true => Address::Udp(remote),
            false => Address::Tcp(remote),
        }
    }

    fn chance(&mut self, of: u64) -> bool {
        self.seed = self.seed.wrapping_add(GAMMA);
        mix(self.seed).is_multiple_of(of)
    }

    /// No moment is without an end.
    fn work(&mut self) {
        self.busy += 1;
        assert!(self.busy < BUSY, "a millisecond's work is bounded");
    }

    fn sleep(&mut self, limit: u64, lone: Option<bool>, ready: &mut Vec<Ready>) {
        self.work();
        assert!(self.now < self.horizon, "a run ends");
        let until = self.now.saturating_add(limit);
        loop {
            let woken = self.happen();
            let late = self.spurious.take();
            if let Some(late) = late {
                self.pass(self.now + late);
                self.happen();
            }
            for index in 0..self.lines.len() {
                ready.extend(self.tell(index, lone, late.is_some()));
            }
            if woken || late.is_some() || !ready.is_empty() || self.now >= until {
                return;
            }
            let next = self.next().unwrap_or(u64::MAX);
            self.pass(until.min(next.max(self.now + 1)));
        }
    }

    /// What the system tells of a connection.
    fn tell(&mut self, index: usize, lone: Option<bool>, woken: bool) -> Option<Ready> {
        let room = self.room(index) > 0;
        let wire = &mut self.lines[index];
        let readable = !wire.here.is_empty() || wire.failure.is_some();
        let is_ready = match lone {
            Some(is_blocked) => readable || (is_blocked && room),
            None => wire.readable || wire.writable,
        };
        (wire.readable, wire.writable) = (false, false);
        (wire.open && (is_ready || woken)).then(|| Ready {
            index: wire.flow,
            readable: readable || woken,
            ended: wire.here.iter().any(|parcel| matches!(parcel, Parcel::End))
                || (wire.failure.is_some() && !self.udp),
        })
    }

    fn pass(&mut self, at: u64) {
        if at / MS > self.now / MS {
            self.busy = 0;
        }
        self.now = self.now.max(at);
        if let Some((moment, interrupt)) = &self.interrupt
            && *moment <= self.now
        {
            interrupt.raise(Why::Signal);
        }
    }

    /// When something happens next.
    fn next(&self) -> Option<u64> {
        let lines = self.lines.iter().filter(|wire| wire.open);
        let moments = lines.flat_map(|wire| {
            let stalled = (wire.stalled_until > self.now).then_some(wire.stalled_until);
            let coming = wire.coming.first_key_value().map(|((at, _), _)| *at);
            [stalled, coming]
        });
        let dials = self.dials.iter().map(|dial| Some(dial.0));
        let arrival = self.reflector.as_ref().and_then(Reflector::next);
        moments.chain(dials).chain([arrival]).flatten().min()
    }

    /// What is due happens. Returns whether a connection has been made, or has not.
    fn happen(&mut self) -> bool {
        self.reflect();
        for index in 0..self.lines.len() {
            let wire = &mut self.lines[index];
            while let Some(entry) = wire.coming.first_entry()
                && entry.key().0 <= self.now
            {
                wire.here.push_back(entry.remove());
                wire.readable = true;
            }
            self.take(index);
        }
        let now = self.now;
        let due = |dial: &mut (u64, usize, Sender<Dialed>)| dial.0 <= now;
        let dialed: Vec<_> = self.dials.extract_if(.., due).collect();
        for (_, flow, sender) in &dialed {
            let result = match self.udp || self.down_until.max(self.full_until) <= now {
                true => Ok(connection(&self.remote())),
                false => {
                    self.refused += 1;
                    let error = match self.drops_dials {
                        true => ErrorKind::TimedOut,
                        false => ErrorKind::ConnectionRefused,
                    };
                    Err(unconnected(&self.remote(), &error.into()))
                }
            };
            // A worker that has ended needs neither.
            let _ = sender.send((*flow, result));
        }
        !dialed.is_empty()
    }

    fn dial(&mut self, flow: usize, sender: Sender<Dialed>) {
        self.work();
        self.dials.push((self.now + self.dial_ns, flow, sender));
        self.most_dials = self.most_dials.max(self.dials.len());
    }
}
