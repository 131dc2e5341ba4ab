//! The deadlines of one worker, at most one for each key; and how long peers are waited for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Deadlines in order. Setting and clearing cost O(log n); nothing is paid per echo, because a
/// deadline that fires early is looked at again and set anew.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, usize)>,
    /// The deadline of each key.
    armed: Vec<Option<Instant>>,
}

/// How long peers are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For one that is owed nothing; 0: for ever.
    pub(crate) idle: Duration,
    /// For one that takes nothing of what it is owed, also while the server is stopping; 0: for ever.
    pub(crate) write: Duration,
    /// For one that is owed nothing, once the server is stopping.
    pub(crate) silent: Duration,
    /// When every connection is closed; set once the server is stopping.
    pub(crate) drain_until: Option<Instant>,
}

impl Timers {
    /// Makes sure `key` fires at `at` or before.
    pub(crate) fn arm(&mut self, key: usize, at: Instant) {
        if self.armed.len() <= key {
            self.armed.resize(key + 1, None);
        }
        if self.armed[key].is_none_or(|earlier| at < earlier) {
            self.disarm(key);
            self.queue.insert((at, key));
            self.armed[key] = Some(at);
        }
    }

    /// Takes back `key`'s deadline, if it has one.
    pub(crate) fn disarm(&mut self, key: usize) {
        if let Some(at) = self.armed.get_mut(key).and_then(Option::take) {
            self.queue.remove(&(at, key));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// A key whose deadline has passed: it has none any more.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<usize> {
        let (_, key) = *self.queue.first().filter(|(at, _)| *at <= now)?;
        self.disarm(key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deadline_of_each_key_fires_once_and_in_order() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.arm(0, at(30));
        timers.arm(1, at(20));
        timers.arm(0, at(10));
        timers.arm(1, at(25));
        timers.arm(2, at(5));
        timers.disarm(2);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.expired(at(9)), None);
        assert_eq!(timers.expired(at(40)), Some(0));
        assert_eq!(timers.expired(at(40)), Some(1));
        assert_eq!(timers.expired(at(40)), None);
    }
}
