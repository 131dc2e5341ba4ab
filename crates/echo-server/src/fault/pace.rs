//! How fast answers leave: in pieces, with pauses between them.

use std::time::{Duration, Instant};

/// Pieces of a split answer are this far apart, or the peer's system would join them again before
/// it reads. The finest step of the loop's timers.
const SPLIT_GAP: Duration = Duration::from_millis(1);

/// At a given rate, pieces are what this long brings.
const RATE_STEP: Duration = Duration::from_millis(10);

/// The pace of one stream.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Bytes in a piece, and the pause after it.
    pub(super) trickle: Option<(usize, Duration)>,
    /// Bytes a second.
    pub(super) rate: Option<u64>,
    /// When the next piece may leave.
    next: Option<Instant>,
    /// When what has left would have arrived, at the given rate.
    arrived: Option<Instant>,
}

impl Pace {
    /// When the next piece may leave; `None` is at once.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// The length of the next piece of `len` bytes that are ready.
    pub(super) fn piece(&self, len: usize, split: Option<usize>) -> usize {
        let trickle = self.trickle.map(|(bytes, _)| bytes);
        let step = self.rate.map(|rate| {
            let bytes = u128::from(rate) * RATE_STEP.as_micros() / 1_000_000;
            usize::try_from(bytes).unwrap_or(usize::MAX).max(1)
        });
        let bounds = [Some(len), split, trickle, step];
        bounds.into_iter().flatten().min().unwrap_or(len)
    }

    /// Takes note that a piece has left.
    pub(super) fn left(&mut self, now: Instant, bytes: usize, split: Option<usize>) {
        let gap = split.map(|_| now + SPLIT_GAP);
        let trickle = self.trickle.map(|(_, pause)| now + pause);
        if let Some(rate) = self.rate {
            // A piece that left late is made up for, an idle time is not.
            let since = self.arrived.map_or(now, |at| at.max(now - RATE_STEP));
            self.arrived = Some(since + time_for(bytes, rate));
        }
        self.next = [gap, trickle, self.arrived].into_iter().flatten().max();
    }
}

/// How long `bytes` take at `rate` bytes a second.
pub(super) fn time_for(bytes: usize, rate: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moments at which pieces leave when the loop wakes as late as `lag`, until all are gone.
    fn run(
        pace: &mut Pace,
        mut len: usize,
        split: Option<usize>,
        lag: Duration,
    ) -> Vec<(u128, usize)> {
        let start = Instant::now();
        let mut now = start;
        let mut left = Vec::new();
        while len > 0 {
            if let Some(next) = pace.next().filter(|next| *next > now) {
                now = next + lag;
            }
            let piece = pace.piece(len, split);
            pace.left(now, piece, split);
            left.push((now.duration_since(start).as_millis(), piece));
            len -= piece;
        }
        left
    }

    #[test]
    fn a_trickle_leaves_in_equal_pieces_at_equal_times() {
        let mut pace = Pace {
            trickle: Some((2, Duration::from_millis(100))),
            ..Pace::default()
        };
        let left = run(&mut pace, 5, None, Duration::ZERO);
        assert_eq!(left, [(0, 2), (100, 2), (200, 1)]);
    }

    #[test]
    fn a_split_answer_leaves_in_pieces_a_millisecond_apart() {
        let left = run(&mut Pace::default(), 7, Some(3), Duration::ZERO);
        assert_eq!(left, [(0, 3), (1, 3), (2, 1)]);
    }

    #[test]
    fn a_rate_holds_even_if_every_wake_up_is_late() {
        for rate in [1_000, 50_000, 10_000_000] {
            let mut pace = Pace {
                rate: Some(rate),
                ..Pace::default()
            };
            let len = rate as usize;
            let left = run(&mut pace, len, None, Duration::from_millis(2));
            let (end, _) = *left.last().unwrap();
            assert!(
                (980..=1_020).contains(&end),
                "{rate} B/s: {end} ms for a second's worth"
            );
        }
    }

    #[test]
    fn nothing_is_held_up_without_a_pace() {
        assert_eq!(run(&mut Pace::default(), 9, None, Duration::ZERO), [(0, 9)]);
    }
}
