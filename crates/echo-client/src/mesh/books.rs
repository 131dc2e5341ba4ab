//! What has become of all probes: counts for each path, and round trips by zone, never by peer: the
//! buckets of each would be the most of what a monitor stores.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use echo_core::Transport;
use serde::Serialize;

use super::targets::Peer;
use crate::connection::ErrorKind;
use crate::engine::{Class, What};
use crate::report::counted;

/// So many losses in a row say that a peer is down: one lost datagram does not.
const IN_A_ROW: u32 = 3;

/// The bounds of the buckets, the lowest of which doubles to 1.6 s; the last bucket has none.
const LOWEST_NS: u64 = 50_000;
const BOUNDS: usize = 16;

/// All figures, which whoever asks can read at any time. Clones are the same books.
#[derive(Clone, Debug)]
pub struct Books(Arc<Mutex<Figures>>);

impl Books {
    /// Books in which nothing is. Whatever can be counted over these transports has a line from the
    /// start, so that `rate()` sees the first one.
    pub fn new(transports: &[Transport]) -> Self {
        let replies = |over: &Transport| CLASSES.map(|class| ((*over, class), 0));
        let errors = |over: &Transport| KINDS.map(|kind| ((*over, kind), 0));
        Books(Arc::new(Mutex::new(Figures {
            replies: transports.iter().flat_map(replies).collect(),
            errors: transports.iter().flat_map(errors).collect(),
            turned: Some(Instant::now()),
            ..Figures::default()
        })))
    }

    /// The figures as they are now: not for long, for others wait.
    pub fn open(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is in the books.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Each path's, by its number.
    pub paths: BTreeMap<usize, Account>,
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
    /// When the agent took its last turn: never `None` in its books.
    pub turned: Option<Instant>,
    /// Whether nobody is to ask any more.
    pub is_closed: bool,
}

/// The way to one peer, over one transport.
#[derive(Clone, Debug)]
pub struct Account {
    /// Where it leads.
    pub peer: Peer,
    /// What carries bytes there.
    pub transport: Transport,
    /// Probes that were sent, or could not be.
    pub requests: u64,
    /// Those that got no right reply in time.
    pub lost: u64,
    /// The number of the last one of which it is known which it is.
    settled: u64,
    /// Losses since the last reply.
    losses: u32,
}

impl Account {
    /// Whether the peer has answered, and not been silent since.
    pub fn is_up(&self) -> bool {
        self.losses < IN_A_ROW
    }

    /// Whether what is told of this probe is the first that is told of it: one leaves after the other.
    fn settles(&mut self, number: Option<u64>) -> bool {
        let settles = number.is_some_and(|number| number > self.settled);
        self.settled = self.settled.max(number.unwrap_or(0));
        settles
    }

    fn lose(&mut self) {
        self.lost += 1;
        self.losses = self.losses.saturating_add(1);
    }
}

impl Figures {
    /// Opens the account of path `index`, to `peer`.
    pub fn add(&mut self, index: usize, peer: &Peer, transport: Transport) {
        let account = Account {
            peer: peer.clone(),
            transport,
            requests: 0,
            lost: 0,
            settled: 0,
            // It is down until it answers.
            losses: IN_A_ROW,
        };
        self.paths.insert(index, account);
        self.rtt.entry((peer.zone.clone(), transport)).or_default();
    }

    /// Closes an account, and with the last of its zone those round trips.
    pub fn remove(&mut self, index: usize) {
        self.paths.remove(&index);
        self.rtt.retain(|(zone, transport), _| {
            let mut paths = self.paths.values();
            paths.any(|path| path.peer.zone == *zone && path.transport == *transport)
        });
    }

    /// The lists were looked at: they have so many peers, and so many of them could not be had.
    pub fn looked(&mut self, known: usize, failures: usize) {
        self.known = known;
        self.failures += failures as u64;
        if failures == 0 {
            self.success = Some(SystemTime::now());
        }
    }

    /// A probe leaves over path `index`, or should have.
    pub fn request(&mut self, index: usize) {
        if let Some(path) = self.paths.get_mut(&index) {
            path.requests += 1;
        }
    }

    /// Enters what is told of path `index`, by an agent that `stood_still` until now or not. Returns
    /// whether it says something of the path.
    pub fn enter(&mut self, index: usize, what: &What, stood_still: bool) -> bool {
        let Some(path) = self.paths.get_mut(&index) else {
            return false;
        };
        let transport = path.transport;
        match what {
            What::Reply {
                seq, class, rtt_ns, ..
            } => {
                *self.replies.entry((transport, *class)).or_default() += 1;
                if !path.settles(*seq) {
                    return true;
                }
                // The system notes when a datagram comes, but of a stream only who reads it does: and
                // whoever reads at the end of its time, or before, calls no reply late.
                let is_read_late = stood_still || *class == Class::Late;
                if is_read_late && transport == Transport::Tcp {
                    self.delayed += 1;
                    return false;
                }
                if matches!(class, Class::Ok | Class::Reordered) {
                    path.losses = 0;
                    if let Some(buckets) = self.rtt.get_mut(&(path.peer.zone.clone(), transport)) {
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
                        return false;
                    }
                    path.lose();
                }
                *self.errors.entry((transport, *kind)).or_default() += 1;
            }
            What::Start { .. } | What::Connected(_) => {}
        }
        true
    }

    /// How it is going, with those who are watched now.
    pub fn summary(&self) -> Summary {
        let paths = self.paths.values();
        Summary {
            known: self.known,
            paths: paths.len(),
            up: paths.clone().filter(|path| path.is_up()).count(),
            requests: paths.clone().map(|path| path.requests).sum(),
            lost: paths.map(|path| path.lost).sum(),
            delayed: self.delayed,
        }
    }
}

/// How it is going, all paths together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    /// Peers that the lists name.
    pub known: usize,
    /// Paths to those that are watched.
    pub paths: usize,
    /// Those of them that answer.
    pub up: usize,
    /// Probes that were sent.
    pub requests: u64,
    /// Probes that had no reply in time.
    pub lost: u64,
    /// Probes that were due while this machine stood still.
    pub delayed: u64,
}

/// As a person reads it.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            up, lost, delayed, ..
        } = self;
        let known = counted(self.known as u64, "peer", "peers");
        let paths = counted(self.paths as u64, "path", "paths");
        let probes = counted(self.requests, "probe", "probes");
        write!(
            f,
            "{known} known; {up} of {paths} up; {probes}, {lost} lost, {delayed} delayed"
        )
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

    /// How many are no longer than each bound, in seconds as monitors write it; the last has all of them.
    pub fn cumulated(&self) -> impl Iterator<Item = (String, u64)> {
        let bounds = (0..BOUNDS).map(|index| ((LOWEST_NS << index) as f64 / 1e9).to_string());
        let counts = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        bounds.chain(["+Inf".to_owned()]).zip(counts)
    }
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
