//! When to poll without sleeping: after a lone event, for as long as that pays.
//!
//! A wake-up for one event suggests a peer that waits for each answer before it sends again. Its
//! next request may then be nearer than the time it takes to sleep and be woken. Where it never
//! is, as on a path longer than the spin, spinning stops, and is tried again now and then.

use std::time::{Duration, Instant};

/// Lone events in a row to be spun after before spinning counts as useless. Many, because a first
/// hit makes the next one likelier: a core that slept for a shorter time wakes faster.
const TRIES: u32 = 32;

/// While it is useless, as many tries again in each so many lone events.
const CYCLE: u32 = 512;

/// One worker's spinning.
#[derive(Debug)]
pub(crate) struct Spin {
    limit: Duration,
    until: Option<Instant>,
    /// Lone events in a row whose spin found nothing, or was left out.
    misses: u32,
}

impl Spin {
    /// Spins for at most `limit`; never, when that is zero.
    pub(crate) fn new(limit: Duration) -> Self {
        Spin {
            limit,
            until: None,
            misses: 0,
        }
    }

    /// Whether the next poll must not sleep.
    pub(crate) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Takes note of what a poll returned with.
    pub(crate) fn polled(&mut self, events: usize, now: Instant) {
        match (events, self.until) {
            (0, Some(until)) if now >= until => {
                self.until = None;
                self.misses = self.misses.wrapping_add(1);
            }
            (0, _) => {}
            (_, was) => {
                if was.is_some() {
                    self.misses = 0;
                }
                self.until = (events == 1 && self.pays()).then(|| now + self.limit);
            }
        }
    }

    /// Ends the spin at hand, which has nothing to do with whether spinning pays.
    pub(crate) fn stop(&mut self) {
        self.until = None;
    }

    fn pays(&mut self) -> bool {
        if self.limit.is_zero() {
            return false;
        }
        let pays = self.misses % CYCLE < TRIES;
        if !pays {
            self.misses = self.misses.wrapping_add(1);
        }
        pays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(50);

    /// A lone event, and then nothing for as long as a spin may take. Returns whether it spun.
    fn miss(spin: &mut Spin, now: &mut Instant) -> bool {
        spin.polled(1, *now);
        let spun = spin.is_on();
        *now += LIMIT;
        spin.polled(0, *now);
        assert!(!spin.is_on());
        spun
    }

    #[test]
    fn a_lone_event_is_spun_after_and_a_crowd_is_not() {
        let now = Instant::now();
        let mut spin = Spin::new(LIMIT);
        assert!(!spin.is_on());
        spin.polled(1, now);
        assert!(spin.is_on());
        spin.polled(0, now + LIMIT / 2);
        assert!(spin.is_on());
        spin.polled(2, now + LIMIT / 2);
        assert!(!spin.is_on());
        let mut never = Spin::new(Duration::ZERO);
        never.polled(1, now);
        assert!(!never.is_on());
    }

    #[test]
    fn spinning_that_finds_nothing_is_left_out_but_for_a_try_now_and_then() {
        let mut now = Instant::now();
        let mut spin = Spin::new(LIMIT);
        for _ in 0..TRIES {
            assert!(miss(&mut spin, &mut now));
        }
        let tries = (0..10 * CYCLE)
            .filter(|_| miss(&mut spin, &mut now))
            .count();
        assert_eq!(tries, 10 * TRIES as usize);
    }

    #[test]
    fn one_find_makes_spinning_worth_it_again() {
        let mut now = Instant::now();
        let mut spin = Spin::new(LIMIT);
        while miss(&mut spin, &mut now) {}
        while !spin.is_on() {
            spin.polled(1, now);
        }
        spin.polled(1, now);
        assert!(spin.is_on());
        assert!((0..TRIES).all(|_| miss(&mut spin, &mut now)));
    }
}
