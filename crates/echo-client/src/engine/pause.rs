//! The times at which this side stood still itself: stopped, swapped out, or without a core.

use std::time::Duration;

/// A wake-up or a turn of the loop that is later than this is a pause. The scheduler's own slices
/// are shorter, and so is what a turn has to do.
const PAUSE_NS: u64 = 10_000_000;

/// The pauses of one worker while it measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pauses {
    /// All of them together.
    pub total: Duration,
    /// The longest.
    pub longest: Duration,
    /// The time in which they were looked for.
    pub span: Duration,
    /// When it last woke.
    woke: u64,
}

impl Pauses {
    /// Enters a turn: it was asked at `now` to sleep until `until`, and woke at `woke`. Nothing
    /// counts that ended before `from`.
    pub fn slept(&mut self, now: u64, until: u64, woke: u64, from: u64) {
        let span = woke.saturating_sub(self.woke.max(from));
        self.span += Duration::from_nanos(span);
        self.gap(self.woke.max(from), now);
        self.gap(until.max(now).max(from), woke);
        self.woke = woke;
    }

    /// The share of the time that they took, 0 to 1.
    pub fn share(&self) -> f64 {
        match self.span.is_zero() {
            true => 0.0,
            false => self.total.as_secs_f64() / self.span.as_secs_f64(),
        }
    }

    fn gap(&mut self, from: u64, to: u64) {
        let gap = to.saturating_sub(from);
        if gap > PAUSE_NS {
            let gap = Duration::from_nanos(gap);
            self.total += gap;
            self.longest = self.longest.max(gap);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_longer_than_it_should_is_a_pause() {
        const MS: u64 = 1_000_000;
        let mut pauses = Pauses::default();
        // Warm-up does not count; then two sleeps of which one is too long, and a turn that is.
        pauses.slept(MS, 2 * MS, 500 * MS, 600 * MS);
        pauses.slept(600 * MS, 700 * MS, 701 * MS, 600 * MS);
        pauses.slept(702 * MS, 720 * MS, 2720 * MS, 600 * MS);
        pauses.slept(2820 * MS, 2920 * MS, 2830 * MS, 600 * MS);
        assert_eq!(pauses.total, Duration::from_millis(2100));
        assert_eq!(pauses.longest, Duration::from_millis(2000));
        assert_eq!(pauses.span, Duration::from_millis(2230));
        assert!((pauses.share() - 2100.0 / 2230.0).abs() < 1e-9);
    }
}
