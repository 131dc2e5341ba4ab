//! What has become of all probes: counts for each peer, and round trips by zone, never by peer: the
//! buckets of each would be the most of what a monitor stores.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use echo_core::{Failure, Transport};
use serde::Serialize;

use super::targets::Peer;
use crate::connection::ErrorKind;
use crate::engine::{self, Class, Sink, SoFar, What};
use crate::measure::Lines;

/// So many losses in a row say that a peer is down: one lost datagram does not.
const IN_A_ROW: u32 = 3;

/// The bounds of the buckets, the lowest of which doubles to 1.6 s; the last bucket has none.
const LOWEST_NS: u64 = 50_000;
const BOUNDS: usize = 16;

/// An agent that has not taken a turn for so long hangs: it takes one each second.
const PATIENCE: Duration = Duration::from_secs(5);

/// The books, which whoever asks can read at any time.
#[derive(Debug)]
pub struct Books(Mutex<State>);

#[derive(Debug)]
struct State {
    figures: Figures,
    /// The path that the next events are about.
    path: usize,
    /// Who is told of each event, too.
    lines: Option<Lines>,
    /// Whether the agent has stood still until now.
    stood_still: bool,
    /// When it took its last turn.
    turned: Instant,
    /// Whether somebody has asked to stop.
    is_stopping: bool,
}

/// All figures.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Each path's, or a place that is free.
    pub paths: Vec<Option<Path>>,
    /// Round trips to a zone.
    pub rtt: BTreeMap<(Arc<str>, Transport), Buckets>,
    /// What came back, over a transport.
    pub replies: BTreeMap<(Transport, Class), u64>,
    /// What went wrong, over a transport.
    pub errors: BTreeMap<(Transport, ErrorKind), u64>,
    /// Probes that say nothing of their path, since this side stood still.
    pub delayed: u64,
    /// Peers that are listed.
    pub known: usize,
    /// Times that a list could not be had.
    pub failures: u64,
    /// When all lists could be had last.
    pub success: Option<SystemTime>,
}

/// The way to one peer, over one transport.
#[derive(Clone, Debug)]
pub struct Path {
    /// Its name and its zone.
    pub peer: Arc<str>,
    /// Where it is.
    pub zone: Arc<str>,
    /// What carries bytes there.
    pub transport: Transport,
    /// Probes that were sent, or could not be.
    pub requests: u64,
    /// Those that got no right reply in time.
    pub lost: u64,
    /// The number of the one that is under way.
    awaited: Option<u64>,
    /// Losses since the last reply.
    losses: u32,
}

impl Path {
    /// Whether it has answered, and not been silent since.
    pub fn is_up(&self) -> bool {
        self.losses < IN_A_ROW
    }

    /// Whether what is told of this probe is the first that is told of the one under way.
    fn settles(&mut self, number: Option<u64>) -> bool {
        let is_awaited = number.is_some() && number == self.awaited;
        self.awaited = self.awaited.filter(|_| !is_awaited);
        is_awaited
    }

    fn lose(&mut self) {
        self.lost += 1;
        self.losses = self.losses.saturating_add(1);
    }
}

/// Round trips, counted by their length.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    counts: [u64; BOUNDS + 1],
    /// All of them together.
    pub sum_ns: u128,
}

impl Buckets {
    fn record(&mut self, rtt_ns: u64) {
        let bucket = (0..BOUNDS).find(|index| rtt_ns <= LOWEST_NS << index);
        self.counts[bucket.unwrap_or(BOUNDS)] += 1;
        self.sum_ns += u128::from(rtt_ns);
    }

    /// How many are no longer than each bound, in seconds; the last has all of them.
    pub fn cumulated(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = (0..BOUNDS).map(|index| (LOWEST_NS << index) as f64 / 1e9);
        let counts = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        bounds.chain([f64::INFINITY]).zip(counts)
    }
}

/// How it is going, with those who are watched now.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    /// Peers that are listed.
    pub known: usize,
    /// Ways to peers.
    pub paths: usize,
    /// Those by which the peer answers.
    pub up: usize,
    /// Probes.
    pub requests: u64,
    /// Probes that got no right reply in time.
    pub lost: u64,
    /// Probes that say nothing of their path.
    pub delayed: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (known, paths, up) = (self.known, self.paths, self.up);
        write!(f, "{known} peers known; {up} of {paths} paths up; ")?;
        let (requests, lost, delayed) = (self.requests, self.lost, self.delayed);
        write!(f, "{requests} probes, {lost} lost, {delayed} delayed")
    }
}

impl Books {
    /// Books in which nothing is. Whatever can be counted over these transports has a line from the
    /// start, so that `rate()` sees the first one. `lines` is told of each event, too.
    pub fn new(transports: &[Transport], lines: Option<Lines>) -> Self {
        let mut figures = Figures::default();
        for transport in transports {
            let replies = CLASSES.map(|class| ((*transport, class), 0));
            figures.replies.extend(replies);
            let errors = KINDS.map(|kind| ((*transport, kind), 0));
            figures.errors.extend(errors);
        }
        Books(Mutex::new(State {
            figures,
            path: 0,
            lines,
            stood_still: false,
            turned: Instant::now(),
            is_stopping: false,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All figures as they are now: whoever makes a text of them must not hold up who fills them.
    pub fn figures(&self) -> Figures {
        self.state().figures.clone()
    }

    /// Whether the agent takes its turns.
    pub fn is_live(&self) -> bool {
        self.state().turned.elapsed() < PATIENCE
    }

    /// Whether there is a list to go by, and nobody has asked to stop.
    pub fn is_ready(&self) -> bool {
        let state = self.state();
        !state.is_stopping && (state.figures.known > 0 || state.figures.success.is_some())
    }

    /// How it is going.
    pub fn summary(&self) -> Summary {
        let figures = &self.state().figures;
        let paths: Vec<_> = figures.paths.iter().flatten().collect();
        Summary {
            known: figures.known,
            paths: paths.len(),
            up: paths.iter().filter(|path| path.is_up()).count(),
            requests: paths.iter().map(|path| path.requests).sum(),
            lost: paths.iter().map(|path| path.lost).sum(),
            delayed: figures.delayed,
        }
    }

    /// Opens an account. Returns the number of its path: the lowest that is free.
    pub fn add(&self, peer: &Peer, transport: Transport) -> usize {
        let Figures { paths, rtt, .. } = &mut self.state().figures;
        let path = Path {
            peer: peer.name.clone(),
            zone: peer.zone.clone(),
            transport,
            requests: 0,
            lost: 0,
            awaited: None,
            // It is down until it answers.
            losses: IN_A_ROW,
        };
        rtt.entry((peer.zone.clone(), transport)).or_default();
        let free = paths.iter().position(Option::is_none);
        let index = free.unwrap_or(paths.len());
        paths.resize(paths.len().max(index + 1), None);
        paths[index] = Some(path);
        index
    }

    /// Closes an account, and with the last of its zone those round trips.
    pub fn remove(&self, index: usize) {
        let Figures { paths, rtt, .. } = &mut self.state().figures;
        paths[index] = None;
        rtt.retain(|(zone, transport), _| {
            let mut paths = paths.iter().flatten();
            paths.any(|path| path.zone == *zone && path.transport == *transport)
        });
    }

    /// The lists were looked at: they have so many peers, and so many of them could not be had.
    pub fn looked(&self, known: usize, failures: usize) {
        let figures = &mut self.state().figures;
        figures.known = known;
        figures.failures += failures as u64;
        if failures == 0 {
            figures.success = Some(SystemTime::now());
        }
    }

    /// Nobody is to come any more. Waits until what was told is written.
    ///
    /// # Errors
    /// Standard output takes no more.
    pub fn finish(&self) -> Result<(), Failure> {
        let mut state = self.state();
        state.is_stopping = true;
        let lines = state.lines.take();
        drop(state);
        lines.map_or(Ok(()), Lines::finish)
    }

    /// Has each path begin with this count.
    #[cfg(test)]
    pub fn preset(&self, count: u64) {
        for path in self.state().figures.paths.iter_mut().flatten() {
            (path.requests, path.lost) = (count, count);
        }
    }

    /// The agent takes a turn, after it `stood_still` or not; `delayed` probes were never sent by that.
    pub fn turn(&self, stood_still: bool, delayed: u64) {
        let mut state = self.state();
        state.turned = Instant::now();
        state.stood_still = stood_still;
        state.figures.delayed += delayed;
    }

    /// What is told from now on is about this path.
    pub fn about(&self, index: usize) {
        self.state().path = index;
    }

    /// A probe leaves, or should have.
    pub fn request(&self, number: u64) {
        let State { figures, path, .. } = &mut *self.state();
        if let Some(path) = &mut figures.paths[*path] {
            path.requests += 1;
            path.awaited = Some(number);
        }
    }
}

impl Figures {
    fn enter(&mut self, index: usize, what: &What, stood_still: bool) {
        let Some(path) = &mut self.paths[index] else {
            return;
        };
        let transport = path.transport;
        match what {
            What::Reply {
                seq, class, rtt_ns, ..
            } => {
                *self.replies.entry((transport, *class)).or_default() += 1;
                if !path.settles(*seq) {
                    return;
                }
                // The system notes when a datagram comes, but of a stream only who reads it does.
                if stood_still && transport == Transport::Tcp {
                    self.delayed += 1;
                } else if matches!(class, Class::Ok | Class::Reordered) {
                    path.losses = 0;
                    if let Some(buckets) = self.rtt.get_mut(&(path.zone.clone(), transport)) {
                        buckets.record(rtt_ns.unwrap_or_default());
                    }
                } else {
                    path.lose();
                }
            }
            What::Error { seq, kind, .. } => {
                if path.settles(*seq) {
                    if stood_still {
                        self.delayed += 1;
                        return;
                    }
                    path.lose();
                }
                *self.errors.entry((transport, *kind)).or_default() += 1;
            }
            What::Start { .. } | What::Connected(_) => {}
        }
    }
}

impl Sink for Books {
    fn tell(&self, what: What) {
        let mut state = self.state();
        let (index, stood_still) = (state.path, state.stood_still);
        state.figures.enter(index, &what, stood_still);
        if let (Some(lines), Some(path)) = (&state.lines, &state.figures.paths[index]) {
            let peer = engine::Peer {
                peer: path.peer.to_string(),
                transport: path.transport,
            };
            lines.tell_of(Some(peer), what);
        }
    }

    fn wants_each(&self) -> bool {
        true
    }

    fn is_closed(&self) -> bool {
        self.state().lines.as_ref().is_some_and(Lines::is_closed)
    }

    fn so_far(&self, _: SoFar<'_>, _: bool) {}
}

/// What can come back.
const CLASSES: [Class; 7] = [
    Class::Ok,
    Class::Late,
    Class::Reordered,
    Class::Duplicate,
    Class::Corrupt,
    Class::Truncated,
    Class::Foreign,
];

/// What goes wrong on a path.
const KINDS: [ErrorKind; 11] = [
    ErrorKind::Dns,
    ErrorKind::Refused,
    ErrorKind::Timeout,
    ErrorKind::Unreachable,
    ErrorKind::Reset,
    ErrorKind::Closed,
    ErrorKind::Mismatch,
    ErrorKind::Exhausted,
    ErrorKind::Local,
    ErrorKind::Permission,
    ErrorKind::Other,
];
