//! What became of each request: recorded by a worker slice by slice, collected for the report.
//!
//! A worker owns its slice, so that recording takes no lock; a finished slice is handed over
//! whole. Slices are merged, never averaged.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::connection::ErrorKind;
use crate::report::{Counts, Latency, Second, hdr};

/// A request left on time within this: the step of the system's coarsest timer.
const ON_TIME_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// A request on its way. Times are in nanoseconds since the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it should have left: latency counts from here.
    pub due: u64,
    /// When it left.
    pub sent: u64,
}

/// How a worker records.
#[derive(Clone, Copy, Debug)]
pub struct Recording {
    /// Requests due before this moment warm up; they are not recorded.
    pub measure_from: u64,
    /// The length of a slice; it divides a second.
    pub slice_ns: u64,
    /// Whether there is a rate, so that service time differs from latency.
    pub paced: bool,
}

/// What one worker saw in one slice of time.
#[derive(Debug, Default)]
pub struct Slice {
    /// The slice's start, in whole seconds since measuring began.
    pub second: u64,
    /// Requests by when they left, replies by when they came.
    pub counts: Counts,
    /// Latency from when a request was due.
    pub rtt: Latency,
    /// Latency from when it left, where that may differ.
    pub service: Option<Latency>,
    /// Connections that failed.
    pub errors: BTreeMap<ErrorKind, u64>,
}

impl Slice {
    fn new(second: u64, paced: bool) -> Self {
        Slice {
            second,
            service: paced.then(Latency::new),
            ..Slice::default()
        }
    }

    fn merge(&mut self, other: &Slice) {
        self.counts.add(&other.counts);
        self.rtt.merge(&other.rtt);
        if let (Some(service), Some(other)) = (&mut self.service, &other.service) {
            service.merge(other);
        }
        for (&kind, count) in &other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
    }
}

/// One worker's books.
#[derive(Debug)]
pub struct Recorder {
    recording: Recording,
    slice: Slice,
    slice_end: u64,
    last_reply: u64,
    collector: Sender<Slice>,
}

impl Recorder {
    /// Books whose finished slices go to `collector`.
    pub fn new(recording: Recording, collector: Sender<Slice>) -> Self {
        Recorder {
            recording,
            slice: Slice::new(0, recording.paced),
            slice_end: recording.measure_from.saturating_add(recording.slice_ns),
            last_reply: recording.measure_from,
            collector,
        }
    }

    /// Hands over the slices that have ended by `now`.
    pub fn advance(&mut self, now: u64) {
        while now >= self.slice_end {
            let start = self.slice_end - self.recording.measure_from;
            self.slice_end += self.recording.slice_ns;
            let next = Slice::new(start / SECOND_NS, self.recording.paced);
            // Nobody collects any more when the run has failed elsewhere.
            let _ = self
                .collector
                .send(std::mem::replace(&mut self.slice, next));
        }
    }

    /// When the current slice ends.
    pub fn slice_end(&self) -> u64 {
        self.slice_end
    }

    /// When the last right reply came, or measuring began.
    pub fn last_reply(&self) -> u64 {
        self.last_reply
    }

    /// A connection was opened.
    pub fn connected(&mut self) {
        self.slice.counts.connections += 1;
    }

    /// A request of `bytes` left.
    #[inline]
    pub fn sent(&mut self, request: Request, bytes: usize) {
        if !self.measures(request) {
            return;
        }
        let counts = &mut self.slice.counts;
        counts.sent += 1;
        counts.sent_bytes += bytes as u64;
        counts.delayed += u64::from(request.sent - request.due > ON_TIME_NS);
    }

    /// The right reply to `request` came.
    pub fn echoed(&mut self, request: Request, now: u64, bytes: usize) {
        self.echoed_together(request, 1, now, bytes);
    }

    /// The right replies to `count` requests came, which were due and left together; `bytes` each.
    #[inline]
    pub fn echoed_together(&mut self, request: Request, count: u64, now: u64, bytes: usize) {
        if !self.measures(request) {
            return;
        }
        self.slice.counts.received += count;
        self.slice.counts.unique += count;
        self.slice.counts.received_bytes += count * bytes as u64;
        self.slice.rtt.record_many(now - request.due, count);
        if let Some(service) = &mut self.slice.service {
            service.record_many(now - request.sent, count);
        }
        self.last_reply = now;
    }

    /// The reply that was just recorded came after the reply to a later request.
    pub fn reordered(&mut self, request: Request) {
        self.slice.counts.reordered += u64::from(self.measures(request));
    }

    /// The reply that was just recorded came when its time was up.
    pub fn late(&mut self, request: Request) {
        self.slice.counts.late += u64::from(self.measures(request));
    }

    /// A reply with wrong bytes came for `request`, which has none of its own by that.
    pub fn corrupt(&mut self, request: Request, bytes: usize) {
        if self.measures(request) {
            self.other(bytes).corrupt += 1;
        }
    }

    /// A reply came at `now` that is not the right one to any request of ours.
    pub fn stray(&mut self, stray: Stray, now: u64, bytes: usize) {
        if now < self.recording.measure_from {
            return;
        }
        let counts = self.other(bytes);
        match stray {
            Stray::Duplicate => counts.duplicate += 1,
            Stray::Corrupt => counts.corrupt += 1,
            Stray::Truncated => counts.truncated += 1,
            Stray::Foreign => counts.foreign += 1,
        }
    }

    fn other(&mut self, bytes: usize) -> &mut Counts {
        let counts = &mut self.slice.counts;
        counts.received += 1;
        counts.received_bytes += bytes as u64;
        counts
    }

    /// No right reply to `request` came, and none will be waited for.
    pub fn lost(&mut self, request: Request) {
        self.slice.counts.lost += u64::from(self.measures(request));
    }

    /// So many requests were due and never left.
    pub fn unsent(&mut self, count: u64) {
        self.slice.counts.unsent += count;
    }

    /// A connection failed.
    pub fn failed(&mut self, kind: ErrorKind) {
        *self.slice.errors.entry(kind).or_default() += 1;
    }

    /// Hands over what is left.
    pub fn finish(self) {
        let _ = self.collector.send(self.slice);
    }

    fn measures(&self, request: Request) -> bool {
        request.due >= self.recording.measure_from
    }
}

/// A reply that answers no request rightly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// Its request had been answered.
    Duplicate,
    /// Its bytes are wrong.
    Corrupt,
    /// Its length is wrong.
    Truncated,
    /// It answers nothing that we asked.
    Foreign,
}

/// All workers' books, as they come in.
#[derive(Debug)]
pub struct Collector {
    /// Everything so far.
    pub total: Slice,
    /// The seconds that every worker has passed.
    pub seconds: Vec<Second>,
    /// Seconds that some worker may still be in.
    open: BTreeMap<u64, Slice>,
    /// Whether the seconds keep their lines of the log.
    has_log: bool,
}

impl Collector {
    /// No books yet, of which a log is wanted or not.
    pub fn new(paced: bool, has_log: bool) -> Self {
        Collector {
            total: Slice::new(0, paced),
            seconds: Vec::new(),
            open: BTreeMap::new(),
            has_log,
        }
    }

    /// Takes a worker's slice.
    pub fn take(&mut self, slice: &Slice) {
        self.total.merge(slice);
        // A worker hands a slice over within its longest sleep, far below a second.
        while let Some(entry) = self.open.first_entry() {
            if *entry.key() + 2 > slice.second {
                break;
            }
            let whole = entry.remove();
            self.close(&whole);
        }
        let earliest = self.seconds.last().map_or(0, |last| last.start_s + 1);
        let second = slice.second.max(earliest);
        let paced = slice.service.is_some();
        self.open
            .entry(second)
            .or_insert_with(|| Slice::new(second, paced))
            .merge(slice);
    }

    /// Closes the books.
    pub fn finish(mut self) -> (Slice, Vec<Second>) {
        while let Some((_, slice)) = self.open.pop_first() {
            self.close(&slice);
        }
        (self.total, self.seconds)
    }

    fn close(&mut self, slice: &Slice) {
        let ns = |value: Option<Duration>| value.map(|value| value.as_nanos() as u64);
        let (start, length) = (Duration::from_secs(slice.second), Duration::from_secs(1));
        let log = || hdr::lines(start, length, &slice.rtt, slice.service.as_ref());
        self.seconds.push(Second {
            start_s: slice.second,
            sent: slice.counts.sent,
            echoes: slice.counts.unique,
            lost: slice.counts.lost,
            rtt_p50_ns: ns(slice.rtt.percentile(0.5)),
            rtt_p99_ns: ns(slice.rtt.percentile(0.99)),
            rtt_max_ns: ns(slice.rtt.max()),
            errors: slice.errors.values().sum(),
            log: if self.has_log { log() } else { Vec::new() },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    const WARMUP: u64 = SECOND_NS / 2;

    fn recorder(paced: bool) -> (Recorder, Receiver<Slice>) {
        let (sender, receiver) = channel();
        let recording = Recording {
            measure_from: WARMUP,
            slice_ns: SECOND_NS / 5,
            paced,
        };
        (Recorder::new(recording, sender), receiver)
    }

    fn request(due: u64) -> Request {
        Request { due, sent: due }
    }

    /// All that a recorder hands over, collected.
    fn collected(paced: bool, slices: &Receiver<Slice>) -> (Slice, Vec<Second>) {
        let mut collector = Collector::new(paced, false);
        for slice in slices {
            collector.take(&slice);
        }
        collector.finish()
    }

    #[test]
    fn whatever_comes_back_the_books_balance() {
        let (mut recorder, slices) = recorder(false);
        for due in (0..1000).map(|i| WARMUP + i) {
            let request = request(due);
            recorder.sent(request, 64);
            match due % 7 {
                0 => recorder.lost(request),
                1 => {
                    recorder.corrupt(request, 64);
                    recorder.lost(request);
                }
                2 => {
                    recorder.late(request);
                    recorder.echoed(request, due + 9, 64);
                }
                3 => {
                    recorder.echoed(request, due + 9, 64);
                    recorder.stray(Stray::Duplicate, due + 9, 64);
                }
                4 => {
                    recorder.stray(Stray::Foreign, due + 9, 5);
                    recorder.echoed(request, due + 9, 64);
                }
                5 => {
                    recorder.stray(Stray::Truncated, due + 9, 5);
                    recorder.lost(request);
                }
                _ => recorder.echoed(request, due + 9, 64),
            }
        }
        recorder.finish();
        let (total, _) = collected(false, &slices);
        assert!(total.counts.balance(), "{:?}", total.counts);
        assert_eq!(total.counts.sent, 1000);
        assert_eq!(total.rtt.count(), total.counts.unique);
    }

    #[test]
    fn what_was_due_during_warm_up_is_not_recorded() {
        let (mut recorder, slices) = recorder(false);
        for due in [0, WARMUP - 1, WARMUP] {
            recorder.sent(request(due), 64);
            // The reply comes when measuring has begun; it is the request that counts.
            recorder.echoed(request(due), WARMUP + 10, 64);
        }
        recorder.lost(request(WARMUP - 1));
        recorder.stray(Stray::Foreign, WARMUP - 1, 64);
        recorder.finish();
        let counts = collected(false, &slices).0.counts;
        assert_eq!((counts.sent, counts.received, counts.lost), (1, 1, 0));
    }

    #[test]
    fn latency_counts_from_when_it_was_due_and_service_from_when_it_left() {
        let (mut recorder, slices) = recorder(true);
        let late = Request {
            due: WARMUP,
            sent: WARMUP + 5_000_000,
        };
        recorder.sent(late, 64);
        recorder.echoed(late, WARMUP + 6_000_000, 64);
        recorder.finish();
        let (total, _) = collected(true, &slices);
        assert_eq!(total.rtt.max(), Some(Duration::from_millis(6)));
        let service = total.service.unwrap();
        assert_eq!(service.max(), Some(Duration::from_millis(1)));
        assert_eq!(total.counts.delayed, 1);
    }

    #[test]
    fn the_seconds_of_several_workers_are_merged_not_averaged() {
        let workers = [1, 2].map(|ms| (ms * 1_000_000, recorder(false)));
        let (mut recorders, slices): (Vec<_>, Vec<_>) = workers
            .into_iter()
            .map(|(rtt, (recorder, slices))| ((rtt, recorder), slices))
            .unzip();
        let mut collector = Collector::new(false, false);
        for now in (0..40).map(|tick| WARMUP + tick * SECOND_NS / 10) {
            for (rtt, recorder) in &mut recorders {
                recorder.advance(now);
                recorder.sent(request(now), 64);
                recorder.echoed(request(now), now + *rtt, 64);
            }
            for slice in slices.iter().flat_map(Receiver::try_iter) {
                collector.take(&slice);
            }
        }
        for (_, recorder) in recorders {
            recorder.finish();
        }
        for slice in slices.iter().flat_map(Receiver::try_iter) {
            collector.take(&slice);
        }
        let (total, seconds) = collector.finish();
        assert_eq!(total.counts.unique, 80);
        for (start_s, second) in (0..4).zip(&seconds) {
            assert_eq!((second.start_s, second.echoes), (start_s, 20));
            // Half of them took 1 ms, and half 2 ms: no mean is either.
            let p50 = second.rtt_p50_ns.unwrap();
            assert!(p50.abs_diff(1_000_000) <= 1_000, "{p50}");
            assert_eq!(second.rtt_max_ns, Some(2_000_000));
        }
        assert_eq!(seconds.len(), 4);
    }

    #[test]
    fn a_second_without_an_echo_is_shown_as_one() {
        let (mut recorder, slices) = recorder(false);
        recorder.sent(request(WARMUP), 64);
        recorder.echoed(request(WARMUP), WARMUP + 1, 64);
        recorder.advance(WARMUP + 3 * SECOND_NS);
        recorder.finish();
        let (_, seconds) = collected(false, &slices);
        let echoes: Vec<_> = seconds.iter().map(|s| (s.start_s, s.echoes)).collect();
        assert_eq!(echoes, [(0, 1), (1, 0), (2, 0), (3, 0)]);
        assert_eq!(seconds[1].rtt_max_ns, None);
    }
}
