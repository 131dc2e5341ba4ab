//! How many replies a source gets in a second, from all sockets of a server together.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crate::event::DropReason;
use crate::serve::limits::network;

/// Sources that are followed. Two that share a slot share its allowance, so that a flood of forged
/// sources costs no memory. 4,096 slots of 88 bytes are 352 KiB.
const SLOTS: usize = 4096;

/// The parts of a second in which replies are counted, and as many as any one second can touch.
const PARTS: u64 = 16;
const TOUCHED: usize = PARTS as usize + 1;

/// Bounds the replies to each source.
pub(crate) struct Rate {
    most: u64,
    /// None before the first is counted. A lock for each, so that workers with different sources never
    /// wait for each other.
    recent: OnceLock<Box<[Mutex<Recent>]>>,
    hasher: RandomState,
    start: Instant,
}

/// The replies to one source of late.
#[derive(Default)]
struct Recent {
    /// The part of a second, from the first on, of the last count.
    part: u64,
    counts: [u32; TOUCHED],
}

impl Recent {
    /// How many more replies of `count` there may be: all of a second's at once, and in no second
    /// more. For that, one that is always at its limit stays a seventeenth below it.
    fn admit(&mut self, part: u64, count: u64, rate: u64) -> u64 {
        // A worker may have looked at the clock before another that was here first.
        let part = part.max(self.part);
        let gone = (self.part + 1..=part).take(TOUCHED);
        for part in gone {
            self.counts[part as usize % TOUCHED] = 0;
        }
        self.part = part;
        let sum: u64 = self.counts.iter().map(|&count| u64::from(count)).sum();
        let allowed = count.min(rate.saturating_sub(sum));
        self.counts[part as usize % TOUCHED] += allowed as u32;
        allowed
    }
}

impl Rate {
    /// At most `most` in any second, loopback excepted; 0: no limit.
    pub(crate) fn new(most: u32) -> Self {
        Rate {
            most: most.into(),
            recent: OnceLock::new(),
            hasher: RandomState::new(),
            start: Instant::now(),
        }
    }

    /// How many of `count` replies to `ip` there may be `now`: 1 to `count`.
    pub(crate) fn admit(&self, ip: IpAddr, count: u64, now: Instant) -> Result<u64, DropReason> {
        if self.most == 0 || ip.is_loopback() {
            return Ok(count);
        }
        // Seeded, so that nobody can choose addresses that share a victim's slot.
        let slots = || (0..SLOTS).map(|_| Mutex::default()).collect();
        let slot =
            &self.recent.get_or_init(slots)[self.hasher.hash_one(network(ip)) as usize % SLOTS];
        let part = (now - self.start).as_nanos() as u64 / (1_000_000_000 / PARTS);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.admit(part, count, self.most) {
            0 => Err(DropReason::Rate),
            allowed => Ok(allowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn limited() -> impl Fn(&str, u64, u64) -> Result<u64, DropReason> {
        let rate = Rate::new(32);
        let start = Instant::now();
        move |source, count, ms| {
            let now = start + Duration::from_millis(ms);
            rate.admit(source.parse().unwrap(), count, now)
        }
    }

    #[test]
    fn the_rate_holds_for_each_source_in_any_second() {
        let admit = limited();
        let replies: Vec<u64> = (0..50_000)
            .map(|ms| admit("192.0.2.1", 3, ms).unwrap_or(0))
            .collect();
        for second in replies.windows(1000) {
            assert!(second.iter().sum::<u64>() <= 32);
        }
        let total: u64 = replies.iter().sum();
        assert!((1490..=1600).contains(&total), "{total}");
        // Nor by a clock that was read before.
        assert_eq!(admit("192.0.2.1", 1, 49_900), Err(DropReason::Rate));
        assert_eq!(admit("192.0.2.1", 1, 49_999), Err(DropReason::Rate));
        assert_eq!(admit("127.0.0.1", 1000, 49_999), Ok(1000));
    }

    #[test]
    fn an_ipv6_network_has_one_rate_for_all_its_addresses() {
        let admit = limited();
        assert_eq!(admit("2001:db8::1", 40, 0), Ok(32));
        assert_eq!(admit("2001:db8::2:2", 1, 0), Err(DropReason::Rate));
        let others = (1..=100).filter(|network| {
            let source = format!("2001:db8:0:{network:x}::2");
            admit(&source, 1, 0) == Ok(1)
        });
        assert!(others.count() >= 98, "two may share a slot now and then");
    }
}
