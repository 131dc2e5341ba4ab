//! The run's own clock, and the system's beside it: the kernel's time stamps are of a clock that may
//! be set at any time, and the run's own is not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use echo_core::since_boot;
use echo_core::units::unix_ns;

/// The two clocks are read within this of each other, or read again: in between, this thread may have
/// lost its core.
const TOGETHER_NS: u64 = 20_000;
/// Attempts to do so.
const ATTEMPTS: u32 = 4;
/// What the two may differ by from one look to the next without the system's clock having been set:
/// so much,
const STEP_NS: u64 = 100_000;
/// and one part in so many of the time between the looks, at which clocks are slewed at most.
const SLEW: u64 = 1_000;

/// The time since the run began, also while the machine sleeps.
#[derive(Clone, Copy, Debug)]
pub struct Clock(u64);

impl Clock {
    /// One that begins now.
    pub fn start() -> Self {
        Clock(Clock(0).system())
    }

    /// In nanoseconds.
    #[inline]
    pub fn now(self) -> u64 {
        #[cfg(test)]
        if let Some(now) = super::simulated::now() {
            return now;
        }
        self.system()
    }

    fn system(self) -> u64 {
        super::nanos(since_boot()) - self.0
    }
}

/// What the system's clock showed when the run began, since 1970, as it is set now.
pub fn began(clock: Clock) -> Duration {
    let looks = (0..ATTEMPTS).map(|_| look(clock));
    let (before, system, _) = looks
        .min_by_key(|(b, _, a)| a - b)
        .unwrap_or_else(|| look(clock));
    let since = system.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.saturating_sub(Duration::from_nanos(before))
}

/// Both clocks: the run's before and after the system's.
fn look(clock: Clock) -> (u64, SystemTime, u64) {
    (clock.now(), SystemTime::now(), clock.now())
}

/// Says when, in a run, the system's clock showed what a stamp says.
#[derive(Debug, Default)]
pub struct Wall {
    /// The run's time at the last look, and by how much the system's clock was ahead of it.
    last: Option<(u64, i64)>,
    /// Stamps may still come that were made before the clock was set.
    is_doubtful: bool,
}

impl Wall {
    /// The run's time when the system's clock showed `stamp`: it is past, and no later than the time
    /// that is returned with it. `None` where that cannot be known.
    pub fn moment(&mut self, stamp: SystemTime, clock: Clock) -> (Option<u64>, u64) {
        for _ in 0..ATTEMPTS {
            let (before, system, after) = look(clock);
            if after - before <= TOGETHER_NS {
                return (self.place(nanos(stamp), nanos(system), before), after);
            }
        }
        (None, clock.now())
    }

    /// Enters that the run's time was `now` when the system's clock showed `system`.
    fn place(&mut self, stamp: i64, system: i64, now: u64) -> Option<u64> {
        let ahead = system.wrapping_sub_unsigned(now);
        if let Some((then, was)) = self.last.replace((now, ahead)) {
            let most = STEP_NS + now.saturating_sub(then) / SLEW;
            self.is_doubtful |= ahead.abs_diff(was) > most;
        }
        let moment = u64::try_from(stamp.wrapping_sub(ahead)).ok()?;
        // What came before the run began has no place in it, nor has what is yet to come.
        (!self.is_doubtful && moment <= now + TOGETHER_NS).then(|| moment.min(now))
    }

    /// Every stamp that was made has been seen: those that follow are of the clock as it is now.
    pub fn settle(&mut self) {
        self.is_doubtful = false;
    }
}

/// Since 1970.
fn nanos(time: SystemTime) -> i64 {
    i64::try_from(unix_ns(time)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const DAY: i64 = 86_400_000_000_000;

    /// The system's clock, which is ahead of the run's by a day and what it has been set by.
    fn system(run: u64, set_by: i64) -> i64 {
        DAY + run as i64 + set_by
    }

    #[test]
    fn a_stamp_is_placed_where_it_was_made() {
        let mut wall = Wall::default();
        for now in (1..100).map(|n| n * MS) {
            // Slewed by half of a thousandth, as ntpd does at most.
            let slew = (now / 2_000) as i64;
            let stamp = system(now - 300_000, slew);
            assert_eq!(
                wall.place(stamp, system(now, slew), now),
                Some(now - 300_000)
            );
        }
    }

    #[test]
    fn a_clock_that_is_set_gives_no_moment_until_its_old_stamps_are_gone() {
        for by in [-3_600_000_000_000, -5_000_000, 250_000, 5_000_000, DAY] {
            let mut wall = Wall::default();
            let before = [1, 2].map(|ms| system(ms * MS, 0));
            assert_eq!(wall.place(before[0], before[1], 2 * MS), Some(MS));
            // Both came before the clock was set, and are read afterwards.
            for (read, came) in [(4, 2), (5, 3)] {
                let stamp = system(came * MS, 0);
                let placed = wall.place(stamp, system(read * MS, by), read * MS);
                assert_eq!(placed, None, "set by {by}");
            }
            wall.settle();
            let stamp = system(6 * MS, by);
            assert_eq!(wall.place(stamp, system(7 * MS, by), 7 * MS), Some(6 * MS));
        }
    }

    #[test]
    fn nothing_comes_in_the_future_or_before_the_run() {
        let mut wall = Wall::default();
        assert_eq!(wall.place(system(9 * MS, 0), system(MS, 0), MS), None);
        assert_eq!(wall.place(DAY - 1, system(MS, 0), MS), None);
        // A clock of less than nothing, or of more than is counted.
        for bad in [i64::MIN, i64::MAX] {
            wall.settle();
            let _ = wall.place(bad, bad, u64::MAX / 2);
        }
    }
}
