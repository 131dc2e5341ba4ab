//! When requests are due. The worker asks; whether there is a rate is known only here.

/// Says when one worker's requests are due, in nanoseconds since the run began.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    /// Requests before this moment warm up, and no budget is spent on them.
    measure_from: u64,
    /// No request is due from this moment on.
    end: u64,
    /// Measured requests still to be made.
    budget: u64,
}

#[derive(Debug)]
enum Pace {
    /// As soon as a connection has room.
    Closed,
    /// The `next` request is due at `first + next * step`, whatever became of those before it.
    Rate { first: f64, step: f64, next: u64 },
}

/// The bounds of one worker's requests.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// When warm-up ends.
    pub measure_from: u64,
    /// When sending ends, if time ends it.
    pub end: Option<u64>,
    /// How many requests are measured, if a number ends it.
    pub count: Option<u64>,
}

impl Pacer {
    /// Requests as soon as there is room for one.
    pub fn closed(bounds: Bounds) -> Self {
        Pacer::new(Pace::Closed, bounds)
    }

    /// Worker `index`'s share of `per_s` requests a second that `workers` make in turn.
    pub fn rate(per_s: f64, index: usize, workers: usize, bounds: Bounds) -> Self {
        let interval = 1e9 / per_s;
        let pace = Pace::Rate {
            first: interval * index as f64,
            step: interval * workers as f64,
            next: 0,
        };
        Pacer::new(pace, bounds)
    }

    fn new(pace: Pace, bounds: Bounds) -> Self {
        Pacer {
            pace,
            measure_from: bounds.measure_from,
            end: bounds.end.unwrap_or(u64::MAX),
            budget: bounds.count.unwrap_or(u64::MAX),
        }
    }

    /// Takes the next request that is due by `now`, and says when it was due.
    #[inline]
    pub fn take(&mut self, now: u64) -> Option<u64> {
        if !self.is_due(now) {
            return None;
        }
        let mut due = self.next_due().unwrap_or(now);
        if due < self.measure_from && self.measure_from <= now {
            // What warm-up has left undone is not made up for: that would delay what is measured.
            self.skip_warm_up();
            due = self.next_due().unwrap_or(now);
            if !self.is_due(now) {
                return None;
            }
        }
        if let Pace::Rate { next, .. } = &mut self.pace {
            *next += 1;
        }
        if due >= self.measure_from {
            self.budget -= 1;
        }
        Some(due)
    }

    /// Whether a request is due by `now`.
    #[inline]
    pub fn is_due(&self, now: u64) -> bool {
        let due = self.next_due().unwrap_or(now);
        due <= now && now < self.end && self.budget > 0
    }

    fn skip_warm_up(&mut self) {
        let first_measured = self.count_before(self.measure_from);
        if let Pace::Rate { next, .. } = &mut self.pace {
            *next = first_measured.max(*next + 1);
        }
    }

    /// When to wake up for the next request. `None` in a closed loop, which replies wake.
    pub fn next_due(&self) -> Option<u64> {
        match self.pace {
            Pace::Closed => None,
            // 2^53 ns are 104 days: until then a sum of products stays exact to the nanosecond,
            // where a sum of steps would drift.
            Pace::Rate { first, step, next } => Some((first + step * next as f64) as u64),
        }
    }

    /// Whether no further request will be due, at `now` or later.
    pub fn is_finished(&self, now: u64) -> bool {
        let next = self.next_due().unwrap_or(now);
        self.budget == 0 || next.max(now) >= self.end
    }

    /// The moment from which nothing is due, if time ends it; otherwise one that never comes.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Ends sending at `now`. Returns how many measured requests were due by then and not taken.
    pub fn stop(&mut self, now: u64) -> u64 {
        self.end = self.end.min(now);
        let budget = std::mem::take(&mut self.budget);
        let Pace::Rate { next, .. } = self.pace else {
            return 0;
        };
        let from = self.count_before(self.measure_from).max(next);
        let unsent = self.count_before(self.end).saturating_sub(from);
        unsent.min(budget)
    }

    /// How many requests are due before `moment`, from the first on.
    fn count_before(&self, moment: u64) -> u64 {
        match self.pace {
            Pace::Closed => 0,
            Pace::Rate { first, step, .. } => ((moment as f64 - first) / step).ceil() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn bounds(measure_from: u64, end: Option<u64>, count: Option<u64>) -> Bounds {
        Bounds {
            measure_from,
            end,
            count,
        }
    }

    /// Every request a pacer gives to one who asks all the time, in steps of `step`.
    fn all(pacer: &mut Pacer, step: u64, until: u64) -> Vec<u64> {
        (0..=until / step)
            .flat_map(|i| std::iter::from_fn(|| pacer.take(i * step)).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn a_closed_loop_is_due_whenever_there_is_room() {
        let mut pacer = Pacer::closed(bounds(0, Some(10), None));
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
        let mut pacer = Pacer::rate(4.0, 0, 1, bounds(0, Some(SECOND + 1), None));
        let quarters = [0, SECOND / 4, SECOND / 2, SECOND / 4 * 3];
        assert_eq!(pacer.take(0), Some(0));
        assert_eq!(pacer.take(0), None);
        assert_eq!(pacer.next_due(), Some(quarters[1]));
        // A second of silence: the three that were due meanwhile keep their times.
        let late: Vec<_> = (0..3).filter_map(|_| pacer.take(SECOND)).collect();
        assert_eq!(late, quarters[1..]);
        // The end is the end, even for what was due before it.
        assert!(pacer.is_due(SECOND) && !pacer.is_finished(SECOND));
        assert!(!pacer.is_due(SECOND + 1) && pacer.is_finished(SECOND + 1));
        assert_eq!((pacer.take(SECOND + 1), pacer.stop(SECOND + 1)), (None, 1));
    }

    #[test]
    fn workers_share_a_rate_evenly() {
        let end = Some(SECOND);
        let mut together: Vec<u64> = (0..3)
            .flat_map(|i| {
                all(
                    &mut Pacer::rate(300.0, i, 3, bounds(0, end, None)),
                    1_000_000,
                    SECOND,
                )
            })
            .collect();
        together.sort_unstable();
        let alone = all(
            &mut Pacer::rate(300.0, 0, 1, bounds(0, end, None)),
            1_000_000,
            SECOND,
        );
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
        let mut pacer = Pacer::rate(3.0, 0, 1, bounds(0, None, None));
        if let Pace::Rate { next, .. } = &mut pacer.pace {
            *next = 3 * 86_400;
        }
        assert!(pacer.next_due().unwrap().abs_diff(day) <= 32);
    }

    #[test]
    fn warm_up_costs_no_budget() {
        let mut pacer = Pacer::rate(10.0, 0, 1, bounds(SECOND, None, Some(5)));
        let due = all(&mut pacer, SECOND / 100, 10 * SECOND);
        assert_eq!(due.len(), 10 + 5);
        assert!(pacer.is_finished(0));
    }

    #[test]
    fn what_warm_up_left_undone_does_not_delay_what_is_measured() {
        let mut pacer = Pacer::rate(1000.0, 0, 1, bounds(SECOND, Some(2 * SECOND), None));
        assert_eq!(pacer.take(SECOND / 2), Some(0));
        assert_eq!(pacer.take(SECOND), Some(SECOND));
        assert_eq!(pacer.stop(2 * SECOND), 999);
    }

    #[test]
    fn what_was_due_and_never_left_is_counted() {
        let mut pacer = Pacer::rate(10.0, 0, 1, bounds(SECOND, Some(3 * SECOND), None));
        all(&mut pacer, SECOND / 100, 2 * SECOND);
        assert_eq!(pacer.stop(5 * SECOND), 9);
        let mut interrupted = Pacer::rate(10.0, 0, 1, bounds(0, None, None));
        assert_eq!(interrupted.stop(SECOND), 10);
        assert!(interrupted.is_finished(SECOND));
        assert_eq!(interrupted.take(SECOND), None);
        // However many they are, they are not counted one by one.
        let mut absurd = Pacer::rate(1e15, 0, 1, bounds(0, None, None));
        assert_eq!(absurd.stop(SECOND), 1_000_000_000_000_000);
        let mut closed = Pacer::closed(bounds(0, None, None));
        assert_eq!(closed.stop(SECOND), 0);
        assert_eq!(closed.take(SECOND), None);
    }
}
