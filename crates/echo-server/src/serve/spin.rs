//! When to poll without sleeping: after a lone request, for as long as that pays.
//!
//! A peer that waits for each answer before it asks again may ask sooner than it takes to sleep and
//! be woken. But a core that has slept wakes slowly, and longer sleep makes slower waking: where
//! both ends sleep, each finds the other late, and a short spin never sees the next request. So the
//! worker first tries with long spins. Once the peer is answered at once it asks again soon, and
//! short spins are enough. Where nothing comes soon even so, as on a long path, spinning stops, and
//! is tried again now and then.

use std::time::{Duration, Instant};

/// How many times as long a try is as a spin that is known to pay.
const TRY: u32 = 5;

/// Lone requests in a row to be tried after before spinning counts as useless.
const TRIES: u32 = 32;

/// While it is useless, as many tries again in each so many lone requests.
const CYCLE: u32 = 512;

/// After moving more than this at once nothing is gained by spinning: the wake-up it saves is a
/// small part of what the bytes cost.
const MAX_BYTES: u64 = 16 << 10;

/// What an event was about.
pub(crate) enum Asked {
    Nothing,
    /// A peer that is new or leaves, or another worker.
    Once,
    /// A peer that has asked before, and may soon ask again; over UDP, which knows no peers,
    /// whoever asks.
    Again,
}

/// What one poll found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Events that asked for anything.
    events: usize,
    /// Whether one came from a peer that may soon ask again.
    talks: bool,
    /// The bytes that came with them.
    pub(crate) received_bytes: u64,
}

impl Found {
    pub(crate) fn note(&mut self, asked: Asked) {
        self.events += usize::from(!matches!(asked, Asked::Nothing));
        self.talks |= matches!(asked, Asked::Again);
    }

    fn is_lone_request(&self) -> bool {
        self.events == 1 && self.talks && self.received_bytes <= MAX_BYTES
    }
}

/// One worker's spinning.
#[derive(Debug)]
pub(crate) struct Spin {
    limit: Duration,
    /// Since when it spins, and until when.
    spell: Option<(Instant, Instant)>,
    /// Lone requests in a row that nothing followed within the limit, as far as is known.
    misses: u32,
}

impl Spin {
    /// Spins for at most `limit` where that pays, and now and then for five times as long to find
    /// out; never, when it is zero.
    pub(crate) fn new(limit: Duration) -> Self {
        Spin {
            limit,
            spell: None,
            misses: 0,
        }
    }

    /// Whether the next poll must not sleep.
    pub(crate) fn is_on(&self) -> bool {
        self.spell.is_some()
    }

    /// Takes note of a poll that returned at `now`.
    pub(crate) fn polled(&mut self, found: &Found, now: Instant) {
        if let Some((since, until)) = self.spell {
            if found.events == 0 && now < until {
                return;
            }
            self.misses = match found.events > 0 && now - since <= self.limit {
                true => 0,
                false => self.misses.wrapping_add(1),
            };
            self.spell = None;
        }
        if found.is_lone_request() && !self.limit.is_zero() {
            self.start(now);
        }
    }

    fn start(&mut self, now: Instant) {
        let long = match self.misses {
            0 => Some(self.limit),
            misses if misses % CYCLE < TRIES => Some(self.limit * TRY),
            _ => None,
        };
        match long {
            Some(long) => self.spell = Some((now, now + long)),
            None => self.misses = self.misses.wrapping_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(100);

    fn found<const N: usize>(asked: [Asked; N]) -> Found {
        let mut found = Found::default();
        asked.into_iter().for_each(|asked| found.note(asked));
        found
    }

    #[test]
    fn only_a_small_request_alone_and_not_the_first_is_a_lone_request() {
        use Asked::{Again, Nothing, Once};
        assert!(found([Again]).is_lone_request());
        assert!(found([Nothing, Again, Nothing]).is_lone_request());
        assert!(!found([]).is_lone_request());
        assert!(!found([Nothing]).is_lone_request());
        assert!(!found([Once]).is_lone_request());
        assert!(!found([Again, Once]).is_lone_request());
        assert!(!found([Again, Again]).is_lone_request());
        let mut bulk = found([Again]);
        bulk.received_bytes = MAX_BYTES + 1;
        assert!(!bulk.is_lone_request());
    }

    /// A lone request, and the next thing that long after it. Returns for how long it spun.
    fn request(spin: &mut Spin, now: &mut Instant, gap: Duration) -> Duration {
        let start = *now;
        spin.polled(&found([Asked::Again]), start);
        while spin.is_on() && *now - start < gap {
            *now += LIMIT / 10;
            spin.polled(&found([]), *now);
        }
        let spun = *now - start;
        *now = start + gap;
        spun
    }

    #[test]
    fn a_lone_request_is_spun_after_and_nothing_else_is() {
        let now = Instant::now();
        let mut spin = Spin::new(LIMIT);
        assert!(!spin.is_on());
        spin.polled(&found([Asked::Again]), now);
        assert!(spin.is_on());
        spin.polled(&found([]), now + LIMIT / 2);
        assert!(spin.is_on());
        spin.polled(&found([Asked::Once]), now + LIMIT / 2);
        assert!(!spin.is_on());
        let mut never = Spin::new(Duration::ZERO);
        never.polled(&found([Asked::Again]), now);
        assert!(!never.is_on());
    }

    #[test]
    fn a_peer_that_answers_soon_costs_no_more_than_its_gap() {
        let mut now = Instant::now();
        let mut spin = Spin::new(LIMIT);
        for _ in 0..1000 {
            assert_eq!(request(&mut spin, &mut now, LIMIT / 2), LIMIT / 2);
        }
        assert_eq!(spin.misses, 0);
    }

    #[test]
    fn a_miss_is_followed_by_a_long_try_and_a_find_by_a_short_spin() {
        let mut now = Instant::now();
        let mut spin = Spin::new(LIMIT);
        assert_eq!(request(&mut spin, &mut now, LIMIT * 2), LIMIT);
        assert_eq!(request(&mut spin, &mut now, LIMIT * 2), LIMIT * 2);
        assert_eq!(request(&mut spin, &mut now, LIMIT / 2), LIMIT / 2);
        assert_eq!(request(&mut spin, &mut now, LIMIT * 2), LIMIT);
    }

    #[test]
    fn spinning_that_finds_nothing_soon_is_left_out_but_for_a_try_now_and_then() {
        for gap in [LIMIT * 4, LIMIT * 100] {
            let mut now = Instant::now();
            let mut spin = Spin::new(LIMIT);
            let tries = |spin: &mut Spin, now: &mut Instant, requests: u32| {
                (0..requests)
                    .filter(|_| !request(spin, now, gap).is_zero())
                    .count()
            };
            assert_eq!(tries(&mut spin, &mut now, TRIES), TRIES as usize);
            let later = tries(&mut spin, &mut now, 10 * CYCLE);
            assert!(later <= 10 * TRIES as usize, "{later} tries");
            assert!(later >= 9 * TRIES as usize, "{later} tries");
        }
    }
}
