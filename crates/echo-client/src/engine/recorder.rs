//! One worker's books, slice by slice: what left, what came back, and how long it took.
//!
//! A worker owns its slice, so that recording takes no lock; a finished slice is handed over
//! whole. Slices are merged, never averaged.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::ledger::{Class, Entry, Request};
use super::nanos;
use super::pacer::Unsent;
use super::plan::{Pace, Plan};
#[cfg(test)]
use super::simulated::{Mutant, has};
use crate::connection::ErrorKind;
use crate::report::{Jitter, Report, Span, Whose};

/// A request left on time within this: the step of the system's coarsest timer.
const ON_TIME_NS: u64 = 1_000_000;
pub(super) const SECOND_NS: u64 = 1_000_000_000;
/// A slice of the books: five a second look live to those who watch the progress.
const SLICE_NS: u64 = SECOND_NS / 5;

/// What one worker saw in one slice of time: requests by when they left, replies by when they came.
#[derive(Debug)]
pub struct Slice {
    /// The slice's start, in whole seconds since measuring began.
    pub second: u64,
    /// What a report says of these, and nothing else.
    pub books: Report,
    /// How many more are known to be lost of the requests that left in each second, or fewer: of one that
    /// was given up, the reply may come after all.
    pub lost: BTreeMap<u64, i64>,
    /// Requests that never left: the second in which they were due, how long they had waited in
    /// nanoseconds, and how many those are.
    pub unsent: Vec<(u64, u64, u64)>,
}

/// One worker's books.
#[derive(Debug)]
pub struct Recorder {
    /// Requests due before this moment warm up; they are not recorded.
    measure_from: u64,
    /// Whether there is a rate, so that service time differs from latency.
    is_paced: bool,
    times_connecting: bool,
    /// Whether the kernel's time stamps are wanted.
    has_stamps: bool,
    /// Those of the current slice.
    pub books: Report,
    /// When that ends.
    pub slice_end: u64,
    /// When sending ends. What comes after that belongs to the last moment of it: a second of its own
    /// would look like a collapse.
    pub end: u64,
    /// What has become known of losses in this slice.
    lost: BTreeMap<u64, i64>,
    /// What never left.
    unsent: Vec<(u64, u64, u64)>,
    /// When the last right reply came, or measuring began.
    pub last_reply: u64,
    /// The longest time from a request to its reply.
    pub slowest: u64,
    /// Whether the kernel has said when a request left.
    pub has_departures: bool,
    /// How much round trips differ from one to the next.
    pub jitter: Jitter,
    collector: Sender<Slice>,
}

impl Recorder {
    /// Books of what `plan` wants to know, whose finished slices go to `collector`.
    pub fn new(plan: &Plan, collector: Sender<Slice>) -> Self {
        let measure_from = nanos(plan.warmup);
        Recorder {
            measure_from,
            is_paced: matches!(plan.pace, Pace::Rate(_)),
            times_connecting: plan.new_connection,
            has_stamps: plan.stamps() != Whose::User,
            books: Report::default(),
            slice_end: measure_from.saturating_add(SLICE_NS),
            end: u64::MAX,
            lost: BTreeMap::new(),
            unsent: Vec::new(),
            last_reply: measure_from,
            slowest: 0,
            has_departures: false,
            jitter: Jitter::default(),
            collector,
        }
    }

    /// Hands over the slice that has ended by `now`. In those that have ended since there is nothing:
    /// a machine may have slept for a night.
    #[inline]
    pub fn advance(&mut self, now: u64) {
        let now = now.min(self.end.saturating_sub(1));
        if let Some(since) = now.checked_sub(self.slice_end) {
            self.hand_over();
            self.slice_end += (since / SLICE_NS + 1) * SLICE_NS;
        }
    }

    fn hand_over(&mut self) {
        let slice = Slice {
            second: self.second(self.slice_end),
            books: std::mem::take(&mut self.books),
            lost: std::mem::take(&mut self.lost),
            unsent: std::mem::take(&mut self.unsent),
        };
        // Nobody collects any more when the run has failed elsewhere.
        let _ = self.collector.send(slice);
    }

    /// The whole seconds from the start to `moment`, which is in none after this slice.
    fn second(&self, moment: u64) -> u64 {
        let start = self.slice_end.saturating_sub(SLICE_NS);
        moment.min(start).saturating_sub(self.measure_from) / SECOND_NS
    }

    /// A connection was opened, which took so long.
    pub fn connected(&mut self, elapsed: Duration) {
        self.books.counts.connections += 1;
        if self.times_connecting {
            self.books.others.of(Span::Connect).record(elapsed);
        }
    }

    /// A request of `bytes` left.
    #[inline]
    pub fn sent(&mut self, request: Request, bytes: usize) {
        if !self.measures(request) {
            return;
        }
        // The second of a loss is told by the same time.
        self.advance(request.sent);
        let counts = &mut self.books.counts;
        counts.sent += 1;
        counts.sent_bytes += bytes as u64;
        counts.delayed += u64::from(request.sent - request.due > ON_TIME_NS);
    }

    /// A reply of `bytes` came at `at`, or `count` of them to requests that left together.
    #[inline]
    pub fn reply(&mut self, entry: &Entry, count: u64, at: u64, bytes: usize) {
        // Whose request is known is measured with that; anything else, when it comes.
        let measured = match (entry.class, entry.answers) {
            (Class::Duplicate, _) | (_, None) => at >= self.measure_from,
            (_, Some((_, request))) => self.measures(request),
        };
        if !measured {
            return;
        }
        let counts = &mut self.books.counts;
        counts.received += count;
        counts.received_bytes += count * bytes as u64;
        counts.reordered += u64::from(entry.reordered);
        match entry.class {
            Class::Ok | Class::Late | Class::Reordered => {
                counts.unique += count;
                if entry.class == Class::Late {
                    counts.late += count;
                }
                if let Some((_, request)) = entry.answers {
                    self.right(request, count, at);
                    if entry.given_up {
                        *self.losses(request) -= count as i64;
                    }
                }
            }
            Class::Duplicate => counts.duplicate += 1,
            Class::Corrupt => {
                counts.corrupt += 1;
                if let (Some((_, request)), false) = (entry.answers, entry.given_up) {
                    self.lost(request);
                }
            }
            Class::Truncated => counts.truncated += 1,
            Class::Foreign => counts.foreign += 1,
        }
    }

    #[inline]
    fn right(&mut self, request: Request, count: u64, at: u64) {
        let since_sent = at.saturating_sub(request.departed());
        match self.is_paced {
            true => {
                let since_due = at.saturating_sub(request.due);
                self.books.rtt.record_many(since_due, count);
                let service = self.books.others.of(Span::Service);
                service.record_many(since_sent, count);
            }
            false => {
                // Nothing was due before it could leave.
                self.books.rtt.record_many(since_sent, count);
                self.jitter.record(since_sent);
            }
        }
        self.slowest = self.slowest.max(since_sent);
        self.last_reply = at;
    }

    /// The right reply to `request` was read `late` nanoseconds after the kernel had it.
    pub fn read_late(&mut self, request: Request, late: u64) {
        if self.has_stamps && self.measures(request) {
            let host = self.books.others.of(Span::Host);
            host.record(Duration::from_nanos(u64::from(request.held) + late));
        }
    }

    /// No right reply to `request` came, and none will be waited for.
    pub fn lost(&mut self, request: Request) {
        if self.measures(request) {
            *self.losses(request) += 1;
        }
    }

    /// What has become known of losses in the second in which `request` left.
    fn losses(&mut self, request: Request) -> &mut i64 {
        self.lost.entry(self.second(request.sent)).or_default()
    }

    /// Nobody waits for the reply to `request` any longer, whose time is not up.
    pub fn under_way(&mut self, request: Request) {
        self.books.counts.under_way += u64::from(self.measures(request));
    }

    /// So many datagrams came that the socket had no room for.
    pub fn overflowed(&mut self, count: u64) {
        self.books.counts.overflowed += count;
    }

    /// Requests were due and never left, `until` sending ended. Their latency is the time they have
    /// waited at least: what a server that stands still at the end would hide otherwise.
    pub fn unsent(&mut self, unsent: Unsent, until: u64) {
        #[cfg(test)]
        if has(Mutant::Omission) {
            return;
        }
        self.books.counts.unsent += unsent.count;
        for (waited, count) in unsent.waits() {
            let due = self.second(until.saturating_sub(waited));
            self.unsent.push((due, waited, count));
            // The second says how many.
            self.books.counts.unsent -= count;
        }
    }

    /// This machine has not let `request` of `bytes` go, which has been entered as sent.
    pub fn withheld(&mut self, request: Request, bytes: usize) {
        // Of what is handed over already nothing is taken back.
        if request.sent < self.slice_end.saturating_sub(SLICE_NS) {
            return self.lost(request);
        }
        if self.measures(request) {
            let counts = &mut self.books.counts;
            counts.sent -= 1;
            counts.sent_bytes -= bytes as u64;
            counts.delayed -= u64::from(request.sent - request.due > ON_TIME_NS);
            counts.unsent += 1;
        }
    }

    /// Something went wrong.
    pub fn failed(&mut self, kind: ErrorKind) {
        *self.books.errors.entry(kind).or_default() += 1;
    }

    /// Hands over what is left.
    pub fn finish(mut self) {
        self.hand_over();
    }

    /// Whether a request is measured.
    pub fn measures(&self, request: Request) -> bool {
        request.due >= self.measure_from
    }
}
