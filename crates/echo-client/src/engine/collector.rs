//! All workers' books, as they come in: merged into the whole, and into seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::recorder::{SECOND_NS, Slice};
use crate::report::{Latency, Report, Second, Span, hdr};

/// All workers' books, as they come in.
#[derive(Debug, Default)]
pub struct Collector {
    /// Everything so far.
    pub total: Report,
    /// The seconds that every worker has passed.
    seconds: Vec<Second>,
    /// Seconds that some worker may still be in.
    open: BTreeMap<u64, Report>,
    /// How many are lost of the requests of each second, so far as is known: a time-out may be long.
    lost: BTreeMap<u64, i64>,
    /// How many that were due in each second never left: that is known in the end.
    unsent: BTreeMap<u64, u64>,
    /// How long those had waited, for the log.
    waited: Latency,
    /// Whether anybody wants the seconds: a run may go on for months.
    has_seconds: bool,
    /// Whether they keep their lines of the log.
    has_log: bool,
}

impl Collector {
    /// One that keeps what is wanted of these.
    pub fn new(has_seconds: bool, has_log: bool) -> Self {
        Collector {
            has_seconds,
            has_log,
            ..Collector::default()
        }
    }

    /// Takes a worker's slice.
    pub fn take(&mut self, slice: Slice) {
        let Slice {
            second,
            books,
            lost,
            unsent,
        } = slice;
        self.total.add(&books);
        let known = &mut self.total.counts.lost;
        *known = known.saturating_add_signed(lost.values().sum());
        for (due, waited, count) in unsent {
            self.total.counts.unsent += count;
            self.total.rtt.record_many(waited, count);
            self.waited.record_many(waited, count);
            *self.unsent.entry(due).or_default() += count;
        }
        if !self.has_seconds {
            return;
        }
        for (second, count) in lost {
            *self.lost.entry(second).or_default() += count;
        }
        // A worker hands a slice over within its longest sleep, far below a second.
        while let Some(entry) = self.open.first_entry() {
            if *entry.key() + 2 > second {
                break;
            }
            let (passed, whole) = entry.remove_entry();
            self.close(passed, &whole, SECOND_NS);
        }
        let second = second.max(self.next());
        self.open.entry(second).or_default().add(&books);
    }

    /// Closes the books of a run that measured for `elapsed`.
    pub fn finish(mut self, elapsed: Duration) -> (Report, Vec<Second>) {
        while let Some((second, books)) = self.open.pop_first() {
            let begun = second * SECOND_NS;
            let left = (elapsed.as_nanos() as u64).saturating_sub(begun);
            // A log's interval has a length of a millisecond at least.
            self.close(second, &books, left.clamp(1_000_000, SECOND_NS));
        }
        for second in &mut self.seconds {
            let lost = self.lost.get(&second.start_s).copied();
            second.lost = lost.unwrap_or(0).try_into().unwrap_or(0);
            second.unsent += self.unsent.remove(&second.start_s).unwrap_or(0);
        }
        (self.total, self.seconds)
    }

    /// The first second that is not closed.
    fn next(&self) -> u64 {
        self.seconds.last().map_or(0, |last| last.start_s + 1)
    }

    /// Closes a second, and before it those of which no worker had anything to tell.
    fn close(&mut self, start_s: u64, books: &Report, length: u64) {
        let empty = Report::default();
        for passed in self.next()..start_s {
            self.enter(passed, &empty, SECOND_NS);
        }
        self.enter(start_s, books, length);
    }

    fn enter(&mut self, start_s: u64, books: &Report, length: u64) {
        let ns = |value: Option<Duration>| value.map(|value| value.as_nanos() as u64);
        let start = Duration::from_secs(start_s);
        let length = Duration::from_nanos(length);
        let waited = &mut self.waited;
        let mut log = || {
            // No echo took so long, and the log is to hide no server that stood still in the end.
            waited.merge(&books.rtt);
            let lines = hdr::lines(start, length, waited, books.of(Span::Service));
            waited.clear();
            lines
        };
        self.seconds.push(Second {
            start_s,
            sent: books.counts.sent,
            echoes: books.counts.unique,
            // That is not known yet.
            lost: 0,
            unsent: books.counts.unsent,
            rtt_p50_ns: ns(books.rtt.percentile(0.5)),
            rtt_p99_ns: ns(books.rtt.percentile(0.99)),
            rtt_max_ns: ns(books.rtt.max()),
            errors: books.errors_in_all(),
            log: if self.has_log { log() } else { Vec::new() },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::{Class, Entry, Request};
    use super::super::pacer::Pacer;
    use super::super::plan::{Pace, Plan};
    use super::super::recorder::Recorder;
    use super::*;
    use crate::connection::Connect;
    use std::sync::mpsc::{Receiver, channel};

    const WARMUP: u64 = SECOND_NS / 2;

    fn recorder(is_paced: bool) -> (Recorder, Receiver<Slice>) {
        let (sender, receiver) = channel();
        let plan = Plan {
            warmup: Duration::from_nanos(WARMUP),
            pace: match is_paced {
                true => Pace::Rate(1000.0),
                false => Pace::Closed,
            },
            ..Plan::new(Connect::default())
        };
        (Recorder::new(&plan, sender), receiver)
    }

    fn request(due: u64) -> Request {
        Request::new(due, due)
    }

    fn answer(request: Request, class: Class) -> Entry {
        Entry {
            answers: Some((1, request)),
            ..Entry::stray(class)
        }
    }

    /// All that a recorder hands over, collected.
    fn collected(recorder: Recorder, slices: &Receiver<Slice>) -> (Report, Vec<Second>) {
        let mut collector = Collector::new(true, false);
        recorder.finish();
        for slice in slices {
            collector.take(slice);
        }
        collector.finish(Duration::from_secs(9))
    }

    #[test]
    fn whatever_comes_back_the_books_balance() {
        let (mut recorder, slices) = recorder(false);
        for due in (0..1000).map(|i| WARMUP + i) {
            let request = request(due);
            recorder.sent(request, 64);
            let (right, stray) = match due % 7 {
                0 => (None, None),
                1 => (None, Some(answer(request, Class::Corrupt))),
                2 => (Some(Class::Late), None),
                3 => (Some(Class::Ok), Some(Entry::stray(Class::Duplicate))),
                4 => (Some(Class::Ok), Some(Entry::stray(Class::Foreign))),
                5 => (None, Some(Entry::stray(Class::Truncated))),
                _ => (Some(Class::Reordered), None),
            };
            for entry in stray.into_iter().chain(right.map(|c| answer(request, c))) {
                recorder.reply(&entry, 1, due + 9, 64);
            }
            // Of a wrong reply that tells its request that is known.
            if right.is_none() && due % 7 != 1 {
                recorder.lost(request);
            }
        }
        let (total, _) = collected(recorder, &slices);
        assert!(total.counts.balance(), "{:?}", total.counts);
        assert_eq!(total.counts.sent, 1000);
        assert_eq!(total.rtt.count(), total.counts.unique);
    }

    #[test]
    fn a_loss_is_of_the_second_in_which_its_request_left_and_of_none_once_the_reply_comes() {
        let (mut recorder, slices) = recorder(false);
        let sent = [0, 1, 2].map(|second| request(WARMUP + second * SECOND_NS + 5));
        for request in sent {
            recorder.sent(request, 64);
        }
        recorder.advance(WARMUP + 4 * SECOND_NS);
        sent.iter().for_each(|request| recorder.lost(*request));
        recorder.advance(WARMUP + 6 * SECOND_NS);
        let late = Entry {
            given_up: true,
            ..answer(sent[1], Class::Late)
        };
        recorder.reply(&late, 1, WARMUP + 6 * SECOND_NS, 64);
        let (total, seconds) = collected(recorder, &slices);
        assert!(total.counts.balance(), "{:?}", total.counts);
        let told: Vec<_> = seconds.iter().map(|s| (s.sent, s.lost, s.echoes)).collect();
        assert_eq!(told[..3], [(1, 1, 0), (1, 0, 0), (1, 1, 0)]);
        assert_eq!(told[3..], [(0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 1)]);
    }

    #[test]
    fn latency_counts_from_when_it_was_due_and_service_from_when_it_left() {
        let (mut recorder, slices) = recorder(true);
        let late = Request::new(WARMUP, WARMUP + 5_000_000);
        recorder.sent(late, 64);
        recorder.reply(&answer(late, Class::Ok), 1, WARMUP + 6_000_000, 64);
        let (total, _) = collected(recorder, &slices);
        assert_eq!(total.rtt.max(), Some(Duration::from_millis(6)));
        let service = total.of(Span::Service).unwrap();
        assert_eq!(service.max(), Some(Duration::from_millis(1)));
        assert_eq!(total.counts.delayed, 1);
    }

    #[test]
    fn what_never_left_is_of_the_second_in_which_it_was_due_and_no_echo_of_the_last() {
        let (sender, slices) = channel();
        let plan = Plan {
            pace: Pace::Rate(2.0),
            duration: Some(Duration::from_secs(3)),
            ..Plan::new(Connect::default())
        };
        let mut recorder = Recorder::new(&plan, sender);
        let first = request(1);
        recorder.sent(first, 64);
        recorder.reply(&answer(first, Class::Ok), 1, 1_000_001, 64);
        let mut pacer = Pacer::new(&plan, 0, 1);
        pacer.take(1);
        recorder.advance(3 * SECOND_NS);
        recorder.unsent(pacer.stop(3 * SECOND_NS, true), 3 * SECOND_NS);
        let (total, seconds) = collected(recorder, &slices);
        assert_eq!((total.rtt.count(), total.counts.unsent), (6, 5));
        assert_eq!(total.rtt.max(), Some(Duration::from_millis(2500)));
        let told = |s: &Second| (s.start_s, s.echoes, s.unsent, s.rtt_max_ns);
        let told: Vec<_> = seconds.iter().map(told).collect();
        let expected = [(0, 1, 1, Some(1_000_000)), (1, 0, 2, None), (2, 0, 2, None)];
        assert_eq!(told[..3], expected, "{told:?}");
    }

    #[test]
    fn the_seconds_of_several_workers_are_merged_not_averaged() {
        let workers = [1, 2].map(|ms| (ms * 1_000_000, recorder(false)));
        let (mut recorders, slices): (Vec<_>, Vec<_>) = workers
            .into_iter()
            .map(|(rtt, (recorder, slices))| ((rtt, recorder), slices))
            .unzip();
        let mut collector = Collector::new(true, false);
        for now in (0..40).map(|tick| WARMUP + tick * SECOND_NS / 10) {
            for (rtt, recorder) in &mut recorders {
                recorder.advance(now);
                recorder.sent(request(now), 64);
                recorder.reply(&answer(request(now), Class::Ok), 1, now + *rtt, 64);
            }
            for slice in slices.iter().flat_map(Receiver::try_iter) {
                collector.take(slice);
            }
        }
        for (_, recorder) in recorders {
            recorder.finish();
        }
        for slice in slices.iter().flat_map(Receiver::try_iter) {
            collector.take(slice);
        }
        let (total, seconds) = collector.finish(Duration::from_secs(4));
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
        recorder.reply(&answer(request(WARMUP), Class::Ok), 1, WARMUP + 1, 64);
        recorder.advance(WARMUP + 3 * SECOND_NS);
        let (_, seconds) = collected(recorder, &slices);
        let echoes: Vec<_> = seconds.iter().map(|s| (s.start_s, s.echoes)).collect();
        assert_eq!(echoes, [(0, 1), (1, 0), (2, 0), (3, 0)]);
        assert_eq!(seconds[1].rtt_max_ns, None);
    }

    #[test]
    fn a_long_sleep_is_handed_over_once() {
        let (mut recorder, slices) = recorder(false);
        let morning = WARMUP + 600 * SECOND_NS + 1;
        recorder.advance(morning);
        assert_eq!(slices.try_iter().count(), 1);
        assert!(recorder.slice_end > morning && recorder.slice_end < morning + SECOND_NS);
    }

    #[test]
    fn a_run_whose_seconds_nobody_wants_keeps_none() {
        let (mut recorder, slices) = recorder(false);
        let mut collector = Collector::default();
        for second in 0..10 {
            recorder.advance(WARMUP + second * SECOND_NS);
            recorder.sent(request(WARMUP + second * SECOND_NS), 64);
        }
        slices.try_iter().for_each(|slice| collector.take(slice));
        assert_eq!(collector.total.counts.sent, 9);
        assert!(collector.open.is_empty() && collector.seconds.is_empty());
    }
}
