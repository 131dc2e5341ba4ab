//! When requests are due. The worker asks; whether there is a rate is known only here.

use std::mem::take;

use super::nanos;
use super::plan::{self, Plan};

/// Says when one worker's requests are due, in nanoseconds since the run began.
#[derive(Clone, Debug)]
pub struct Pacer {
    pace: Pace,
    /// Requests before this moment warm up, and no budget is spent on them.
    measure_from: u64,
    /// No request is due from this moment on.
    end: u64,
    /// From here on nothing leaves, when the run is to be stopped.
    cut: u64,
    /// Measured requests to be made in all.
    count: u64,
    /// Those that are still to be made.
    budget: u64,
    /// Those of them that were due and wait for a connection to be made.
    held: u64,
    /// And those of warm-up that do, of which no budget is spent.
    warming: u64,
}

#[derive(Clone, Debug)]
enum Pace {
    /// As soon as a connection has room.
    Closed,
    /// The `next` request is due at `first + next * step`, whatever became of those before it.
    Rate { first: f64, step: f64, next: u64 },
    /// The next request is due at `next`, and those after it in steps of `step`, unless it leaves
    /// far too late.
    Interval { step: u64, next: u64 },
}

/// A request that is due is sent late, but after a pause longer than this the missed ones of an
/// interval are not made up for: a burst would measure itself.
const CATCH_UP_NS: u64 = 100_000_000;
/// Waits that differ by less than this share are counted together: as fine as a histogram is.
const ALIKE: f64 = 0.001;

/// Requests that were due and never left.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unsent {
    /// How many.
    pub count: u64,
    /// How long the first of them had waited in the end, in nanoseconds.
    longest: f64,
    /// How much less each one had waited than the one before.
    step: f64,
}

impl Unsent {
    /// How long they had waited, and how many of them that long; to within [`ALIKE`]. Without a rate
    /// none had a time of its own.
    pub fn waits(self) -> impl Iterator<Item = (u64, u64)> {
        let mut done = if self.step > 0.0 { 0 } else { self.count };
        std::iter::from_fn(move || {
            let left = self.count.checked_sub(done).filter(|&left| left > 0)?;
            let waited = (self.longest - self.step * done as f64).max(0.0);
            let alike = ((waited * ALIKE / self.step) as u64).clamp(1, left);
            done += alike;
            Some((waited as u64, alike))
        })
    }
}

impl Pacer {
    /// Worker `index`'s share of the requests of a plan that `workers` make in turn.
    pub fn new(plan: &Plan, index: usize, workers: usize) -> Self {
        let measure_from = nanos(plan.warmup);
        let pace = match plan.pace {
            plan::Pace::Closed => Pace::Closed,
            plan::Pace::Interval(step) => Pace::Interval {
                step: nanos(step),
                next: 0,
            },
            plan::Pace::Rate(per_s) => {
                let interval = 1e9 / per_s;
                Pace::Rate {
                    first: interval * index as f64,
                    step: interval * workers as f64,
                    next: 0,
                }
            }
        };
        let (index, workers) = (index as u64, workers as u64);
        // The first workers take what does not divide.
        let share = |count| count / workers + u64::from(index < count % workers);
        let end = |span| measure_from.saturating_add(nanos(span));
        let count = plan.count.map_or(u64::MAX, share);
        Pacer {
            pace,
            measure_from,
            end: plan.duration.map_or(u64::MAX, end),
            cut: u64::MAX,
            count,
            budget: count,
            held: 0,
            warming: 0,
        }
    }

    /// Has nothing leave from `moment` on, when the run is to be stopped: what was due later is neither
    /// sent nor done with.
    pub fn cut_at(&mut self, moment: u64) {
        self.cut = moment;
    }

    /// Takes the next request that is due by `now`, one that was held first, and says when it was due.
    #[inline]
    pub fn take(&mut self, now: u64) -> Option<u64> {
        if now >= self.cut {
            return None;
        }
        if now >= self.measure_from {
            // What warm-up has left undone is not made up for: that would delay what is measured.
            self.warming = 0;
        }
        let due = match (self.held + self.warming, &self.pace) {
            (0, _) => self.advance(now)?,
            (held, Pace::Rate { first, step, next }) => due(*first, *step, next - held),
            _ => now,
        };
        match due < self.measure_from {
            true => self.warming = self.warming.saturating_sub(1),
            false => {
                self.held = self.held.saturating_sub(1);
                self.budget -= 1;
            }
        }
        Some(due)
    }

    /// Holds the next request that is due by `now`, if there is one, for a connection that is yet to be
    /// made. Without a pace one is due whenever there is room, and none is held; nor is any from the end
    /// on: a backlog would keep the run going.
    pub fn hold(&mut self, now: u64) -> bool {
        let may_wait = now < self.end;
        #[cfg(test)]
        let may_wait = may_wait || super::simulated::has(super::simulated::Mutant::Overtime);
        let Some(due) = may_wait.then(|| self.advance(now)).flatten() else {
            return false;
        };
        let held = u64::from(!matches!(self.pace, Pace::Closed));
        match due < self.measure_from {
            true => self.warming += held,
            false => self.held += held,
        }
        true
    }

    /// Goes on to the request behind the next that is due by `now`.
    fn advance(&mut self, now: u64) -> Option<u64> {
        if !self.is_due(now) {
            return None;
        }
        let mut due = self.next_due().unwrap_or(now);
        if due < self.measure_from && self.measure_from <= now {
            self.skip_warm_up();
            due = self.next_due().unwrap_or(now);
            if !self.is_due(now) {
                return None;
            }
        }
        match &mut self.pace {
            Pace::Closed => {}
            Pace::Rate { next, .. } => *next += 1,
            Pace::Interval { step, next } => {
                *next += *step;
                if now.saturating_sub(*next) > CATCH_UP_NS {
                    *next = now + *step;
                }
                // A person who waits for the next one counts from when it leaves.
                due = now;
            }
        }
        Some(due)
    }

    /// Whether a request is due by `now`. One that was due before the end may still leave.
    #[inline]
    pub fn is_due(&self, now: u64) -> bool {
        let due = self.next_due().unwrap_or(now);
        due <= now && due < self.end && now < self.cut && self.budget > self.held
    }

    fn skip_warm_up(&mut self) {
        let first_measured = self.count_before(self.measure_from);
        if let Pace::Rate { next, .. } = &mut self.pace {
            *next = first_measured.max(*next + 1);
            self.warming = 0;
        }
    }

    /// When to wake up for the next request. `None` in a closed loop, which replies wake, and once
    /// there is no further one.
    pub fn next_due(&self) -> Option<u64> {
        match self.pace {
            _ if self.budget <= self.held => None,
            Pace::Closed => None,
            Pace::Rate { first, step, next } => Some(due(first, step, next)),
            Pace::Interval { next, .. } => Some(next),
        }
    }

    /// Whether no further request will be due, at `now` or later.
    pub fn is_finished(&self, now: u64) -> bool {
        let next = self.next_due().unwrap_or(now);
        self.held == 0 && (self.budget == 0 || next.max(now) >= self.end)
    }

    /// The moment from which nothing leaves, if time ends it; otherwise one that never comes.
    pub fn end(&self) -> u64 {
        self.end.min(self.cut)
    }

    /// Where sending was to end: at `now` when all has been sent, or nobody has said where.
    pub fn planned_end(&self, now: u64) -> u64 {
        if self.budget == 0 {
            return now;
        }
        let by_count = match self.pace {
            Pace::Rate { first, step, .. } => due(first, step, self.last()),
            _ => u64::MAX,
        };
        match by_count.min(self.end) {
            u64::MAX => now,
            end => end,
        }
    }

    /// Until when sending without a rate is meant, though all has been sent: to the end of the last
    /// interval, or until the last reply, which came at `last_reply`.
    pub fn meant(&self, last_reply: u64) -> u64 {
        match self.pace {
            Pace::Interval { next, .. } => next,
            _ => last_reply,
        }
    }

    /// Ends sending at `now`. Returns the measured requests that were due by then and not taken; where
    /// nobody `is_left` to send them, of a number without a rate all the rest.
    pub fn stop(&mut self, now: u64, is_left: bool) -> Unsent {
        self.end = self.end.min(now);
        let (budget, held) = (take(&mut self.budget), take(&mut self.held));
        let Pace::Rate { first, step, next } = self.pace else {
            let is_known = !is_left && self.count < u64::MAX;
            return Unsent {
                count: if is_known { budget } else { 0 },
                ..Unsent::default()
            };
        };
        let from = self.count_before(self.measure_from).max(next - held);
        let unsent = self.count_before(self.end).saturating_sub(from);
        Unsent {
            count: unsent.min(budget),
            longest: self.end as f64 - (first + step * from as f64),
            step,
        }
    }

    /// The number of a rate's requests, warm-up included, if a number ends it.
    fn last(&self) -> u64 {
        let warm_up = self.count_before(self.measure_from);
        warm_up.saturating_add(self.count)
    }

    /// How many requests are due before `moment`, from the first on.
    fn count_before(&self, moment: u64) -> u64 {
        match self.pace {
            // What is due half a nanosecond before it is due at the moment.
            Pace::Rate { first, step, .. } => {
                ((moment as f64 - first - step.min(1.0) / 2.0) / step).ceil() as u64
            }
            _ => 0,
        }
    }
}

/// When request `number` of a rate is due. 2^53 ns are 104 days: until then a sum of products stays exact
/// to the nanosecond, where a sum of steps would drift; and what is due as a second ends is due then, and
/// not just before.
fn due(first: f64, step: f64, number: u64) -> u64 {
    (first + step * number as f64).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Connect;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    /// When warm-up ends, when sending does, and after how many requests.
    type Bounds = (u64, Option<u64>, Option<u64>);

    fn pacer(pace: plan::Pace, index: usize, workers: usize, bounds: Bounds) -> Pacer {
        let (measure_from, end, count) = bounds;
        let plan = Plan {
            pace,
            warmup: Duration::from_nanos(measure_from),
            duration: end.map(|end| Duration::from_nanos(end - measure_from)),
            count,
            ..Plan::new(Connect::default())
        };
        Pacer::new(&plan, index, workers)
    }

    fn closed(bounds: Bounds) -> Pacer {
        pacer(plan::Pace::Closed, 0, 1, bounds)
    }

    fn rate(per_s: f64, index: usize, workers: usize, bounds: Bounds) -> Pacer {
        pacer(plan::Pace::Rate(per_s), index, workers, bounds)
    }

    fn interval(step: u64, bounds: Bounds) -> Pacer {
        pacer(
            plan::Pace::Interval(Duration::from_nanos(step)),
            0,
            1,
            bounds,
        )
    }

    /// Every request a pacer gives to one who asks all the time, in steps of `step`.
    fn all(pacer: &mut Pacer, step: u64, until: u64) -> Vec<u64> {
        (0..=until / step)
            .flat_map(|i| std::iter::from_fn(|| pacer.take(i * step)).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn a_closed_loop_is_due_whenever_there_is_room() {
        let mut pacer = closed((0, Some(10), None));
        assert_eq!(
            [pacer.take(3), pacer.take(3), pacer.take(9)],
            [Some(3), Some(3), Some(9)]
        );
        assert_eq!(pacer.next_due(), None);
        assert!(!pacer.is_finished(9));
        assert_eq!(pacer.take(10), None);
        assert!(pacer.is_finished(10));
    }

    #[test]
    fn a_rate_is_due_at_equal_steps_however_late_one_asks() {
        let mut pacer = rate(4.0, 0, 1, (0, Some(SECOND + 1), None));
        let quarters = [0, SECOND / 4, SECOND / 2, SECOND / 4 * 3];
        assert_eq!(pacer.take(0), Some(0));
        assert_eq!(pacer.take(0), None);
        assert_eq!(pacer.next_due(), Some(quarters[1]));
        // A second of silence: the three that were due meanwhile keep their times.
        let late: Vec<_> = (0..3).filter_map(|_| pacer.take(SECOND)).collect();
        assert_eq!(late, quarters[1..]);
        // What was due before the end may leave after it; what is due then may not.
        assert!(pacer.is_due(SECOND) && !pacer.is_finished(SECOND));
        assert!(pacer.is_due(SECOND + 1) && pacer.is_finished(SECOND + 1));
        assert_eq!(pacer.take(2 * SECOND), Some(SECOND));
        assert_eq!(pacer.take(2 * SECOND), None);
    }

    #[test]
    fn a_rate_makes_so_many_requests_a_second_and_no_more() {
        for per_s in [7, 9, 11, 13, 29, 101, 997, 7919] {
            for (from, end) in [(0, SECOND), (SECOND, 3 * SECOND), (7 * SECOND, 8 * SECOND)] {
                let mut pacer = rate(per_s as f64, 0, 1, (from, Some(end), None));
                let taken = all(&mut pacer, SECOND / 100, end).into_iter();
                let measured = taken.filter(|due| *due >= from).count() as u64;
                assert_eq!(measured, per_s * (end - from) / SECOND, "{per_s}/s");
                let mut idle = rate(per_s as f64, 0, 1, (from, Some(end), None));
                assert_eq!(idle.stop(end, true).count, measured, "{per_s}/s");
            }
        }
    }

    #[test]
    fn workers_share_a_rate_evenly() {
        let end = Some(SECOND);
        let mut together: Vec<u64> = (0..3)
            .flat_map(|i| all(&mut rate(300.0, i, 3, (0, end, None)), 1_000_000, SECOND))
            .collect();
        together.sort_unstable();
        let alone = all(&mut rate(300.0, 0, 1, (0, end, None)), 1_000_000, SECOND);
        assert_eq!(together.len(), 300);
        assert!(
            together
                .iter()
                .zip(&alone)
                .all(|(a, b)| a.abs_diff(*b) <= 1)
        );
    }

    #[test]
    fn a_rate_does_not_drift_in_a_day() {
        let day = 86_400 * SECOND;
        let mut pacer = rate(3.0, 0, 1, (0, None, None));
        if let Pace::Rate { next, .. } = &mut pacer.pace {
            *next = 3 * 86_400;
        }
        assert!(pacer.next_due().unwrap().abs_diff(day) <= 32);
    }

    #[test]
    fn warm_up_costs_no_budget() {
        let mut pacer = rate(10.0, 0, 1, (SECOND, None, Some(5)));
        let due = all(&mut pacer, SECOND / 100, 10 * SECOND);
        assert_eq!(due.len(), 10 + 5);
        assert!(pacer.is_finished(0));
    }

    #[test]
    fn what_warm_up_left_undone_does_not_delay_what_is_measured() {
        let mut pacer = rate(1000.0, 0, 1, (SECOND, Some(2 * SECOND), None));
        assert_eq!(pacer.take(SECOND / 2), Some(0));
        assert_eq!(pacer.take(SECOND), Some(SECOND));
        assert_eq!(pacer.stop(2 * SECOND, true).count, 999);
    }

    #[test]
    fn what_was_due_and_never_left_is_counted() {
        let mut pacer = rate(10.0, 0, 1, (SECOND, Some(3 * SECOND), None));
        all(&mut pacer, SECOND / 100, 2 * SECOND);
        assert_eq!(pacer.stop(5 * SECOND, true).count, 9);
        let mut interrupted = rate(10.0, 0, 1, (0, None, None));
        assert_eq!(interrupted.stop(SECOND, true).count, 10);
        assert!(interrupted.is_finished(SECOND));
        assert_eq!(interrupted.next_due(), None, "nothing is to be woken for");
        assert_eq!(interrupted.take(SECOND), None);
        // However many they are, they are not counted one by one.
        let mut absurd = rate(1e15, 0, 1, (0, None, None));
        assert_eq!(absurd.stop(SECOND, true).count, 1_000_000_000_000_000);
        let mut closed = closed((0, None, None));
        assert_eq!(closed.stop(SECOND, true), Unsent::default());
        assert_eq!(closed.take(SECOND), None);
    }

    #[test]
    fn what_waits_for_a_connection_is_due_when_it_was_and_sent_once() {
        let mut pacer = rate(10.0, 0, 1, (0, Some(SECOND), Some(5)));
        let tenth = SECOND / 10;
        // As many as are due wait, and no more; whoever has a connection first sends the first of them.
        assert_eq!(
            [(); 4].map(|()| pacer.hold(2 * tenth)),
            [true, true, true, false]
        );
        assert_eq!(
            [(); 2].map(|()| pacer.take(3 * tenth)),
            [Some(0), Some(tenth)]
        );
        assert!(pacer.hold(4 * tenth) && pacer.hold(4 * tenth));
        assert!(!pacer.is_finished(5 * tenth), "three of five have not left");
        assert_eq!((pacer.next_due(), pacer.hold(9 * tenth)), (None, false));
        assert_eq!(pacer.take(9 * tenth), Some(2 * tenth));
        assert_eq!(pacer.stop(SECOND, true).count, 2);
        assert!(pacer.is_finished(SECOND) && pacer.take(SECOND).is_none());
        // From the end on none begins to wait, and of those that do, none leaves once all is cut.
        let mut late = rate(10.0, 0, 1, (0, Some(SECOND), None));
        assert!(late.hold(SECOND - 1) && late.hold(SECOND - 1) && !late.hold(SECOND));
        assert!(!late.is_finished(SECOND), "two are yet to leave");
        assert_eq!(late.take(SECOND), Some(0));
        late.cut_at(SECOND + 5);
        assert_eq!(late.take(SECOND + 5), None);
        assert_eq!(late.stop(SECOND, true).count, 9);
        let mut steady = interval(tenth, (0, None, Some(2)));
        assert!(steady.hold(0) && !steady.hold(0) && steady.hold(tenth));
        assert_eq!([(); 2].map(|()| steady.take(SECOND)), [Some(SECOND); 2]);
        assert!(steady.is_finished(SECOND));
    }

    #[test]
    fn what_never_left_has_waited_since_it_was_due() {
        let mut pacer = rate(10.0, 0, 1, (0, Some(SECOND), None));
        assert_eq!(pacer.take(0), Some(0));
        let waits: Vec<_> = pacer.stop(SECOND, true).waits().collect();
        let expected: Vec<_> = (1..10)
            .rev()
            .map(|tenths| (tenths * SECOND / 10, 1))
            .collect();
        assert_eq!(waits, expected);
        // Very many are counted together, and none is left out.
        let mut absurd = rate(1e9, 0, 1, (0, Some(SECOND), None));
        let waits: Vec<_> = absurd.stop(SECOND, true).waits().collect();
        assert!(waits.len() < 30_000, "{}", waits.len());
        assert_eq!(waits.iter().map(|wait| wait.1).sum::<u64>(), SECOND);
        assert_eq!(waits[0].0, SECOND);
    }

    #[test]
    fn after_a_pause_an_interval_goes_on_without_a_burst() {
        let mut pacer = interval(SECOND / 5, (0, None, Some(9)));
        assert_eq!([pacer.take(0), pacer.take(0)], [Some(0), None]);
        // A little late, and then in step again; far too late, and then anew from there.
        let late = SECOND / 5 + 5;
        assert_eq!([pacer.take(late), pacer.take(late)], [Some(late), None]);
        assert_eq!(pacer.next_due(), Some(SECOND / 5 * 2));
        assert_eq!(all(&mut pacer, SECOND, SECOND), [SECOND]);
        assert_eq!(pacer.next_due(), Some(SECOND / 5 * 6));
        assert_eq!(pacer.meant(0), SECOND / 5 * 6);
    }
}
