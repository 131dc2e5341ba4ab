//! When requests are due. The worker asks; whether there is a rate is known only here.

use std::mem::take;

use super::nanos;
use super::plan::{Pace, Plan};

/// Says when one worker's requests are due, in nanoseconds since the run began.
#[derive(Clone, Debug)]
pub struct Pacer {
    pace: Pace,
    /// When the first request of a rate is due, and how long after it the others, one after the other.
    first: f64,
    step: f64,
    /// The next request: of a rate its number, of an interval when it is due.
    next: u64,
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
        let (first, step) = match plan.pace {
            Pace::Closed => (0.0, 0.0),
            Pace::Rate(per_s) => (1e9 / per_s * index as f64, 1e9 / per_s * workers as f64),
            Pace::Interval(step) => (0.0, nanos(step) as f64),
        };
        let (index, workers) = (index as u64, workers as u64);
        // The first workers take what does not divide.
        let share = |count| count / workers + u64::from(index < count % workers);
        let end = |span| measure_from.saturating_add(nanos(span));
        let count = plan.count.map_or(u64::MAX, share);
        Pacer {
            pace: plan.pace,
            first,
            step,
            next: 0,
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
        let due = match (self.held + self.warming, self.pace) {
            (0, _) => self.advance(now)?,
            (held, Pace::Rate(_)) => self.due(self.next - held),
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
            let first_measured = self.count_before(self.measure_from);
            if let Pace::Rate(_) = self.pace {
                self.next = first_measured.max(self.next + 1);
            }
            due = self.next_due().unwrap_or(now);
            if !self.is_due(now) {
                return None;
            }
        }
        match self.pace {
            Pace::Closed => {}
            Pace::Rate(_) => self.next += 1,
            Pace::Interval(_) => {
                let step = self.step as u64;
                self.next += step;
                if now.saturating_sub(self.next) > CATCH_UP_NS {
                    self.next = now + step;
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

    /// When to wake up for the next request. `None` in a closed loop, which replies wake, and once
    /// there is no further one.
    pub fn next_due(&self) -> Option<u64> {
        match self.pace {
            _ if self.budget <= self.held => None,
            Pace::Closed => None,
            Pace::Rate(_) => Some(self.due(self.next)),
            Pace::Interval(_) => Some(self.next),
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
            Pace::Rate(_) => {
                let warm_up = self.count_before(self.measure_from);
                self.due(warm_up.saturating_add(self.count))
            }
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
            Pace::Interval(_) => self.next,
            _ => last_reply,
        }
    }

    /// Ends sending at `now`. Returns the measured requests that were due by then and not taken; where
    /// nobody `is_left` to send them, of a number without a rate all the rest.
    pub fn stop(&mut self, now: u64, is_left: bool) -> Unsent {
        self.end = self.end.min(now);
        let (budget, held) = (take(&mut self.budget), take(&mut self.held));
        let Pace::Rate(_) = self.pace else {
            let is_known = !is_left && self.count < u64::MAX;
            return Unsent {
                count: if is_known { budget } else { 0 },
                ..Unsent::default()
            };
        };
        let from = self.count_before(self.measure_from).max(self.next - held);
        let unsent = self.count_before(self.end).saturating_sub(from);
        Unsent {
            count: unsent.min(budget),
            longest: self.end as f64 - (self.first + self.step * from as f64),
            step: self.step,
        }
    }

    /// How many requests are due before `moment`, from the first on.
    fn count_before(&self, moment: u64) -> u64 {
        match self.pace {
            // What is due half a nanosecond before it is due at the moment.
            Pace::Rate(_) => {
                let after = moment as f64 - self.first - self.step.min(1.0) / 2.0;
                (after / self.step).ceil() as u64
            }
            _ => 0,
        }
    }

    /// When request `number` of a rate is due. 2^53 ns are 104 days: until then a sum of products stays
    /// exact to the nanosecond, where a sum of steps would drift; and what is due as a second ends is due
    /// then, and not just before.
    fn due(&self, number: u64) -> u64 {
        (self.first + self.step * number as f64).round() as u64
    }
}

#[cfg(test)]
mod tests;
