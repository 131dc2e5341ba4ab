//! The deadlines of one worker, at most one for each key; and how long peers are waited for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Deadlines in order. Setting and clearing cost O(log n); nothing is paid per echo, because a
/// deadline that fires early is looked at again and set anew.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, usize)>,
}

/// The deadline a key has in [`Timers`], kept by the key's owner.
pub(crate) type Armed = Option<Instant>;

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
    pub(crate) fn arm(&mut self, key: usize, armed: &mut Armed, at: Instant) {
        if armed.is_some_and(|earlier| earlier <= at) {
            return;
        }
        self.disarm(key, armed);
        self.queue.insert((at, key));
        *armed = Some(at);
    }

    /// Takes back `key`'s deadline, if it has one.
    pub(crate) fn disarm(&mut self, key: usize, armed: &mut Armed) {
        if let Some(at) = armed.take() {
            self.queue.remove(&(at, key));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// A key whose deadline has passed; its owner must set its `Armed` to `None`.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<usize> {
        let (at, _) = self.queue.first()?;
        (*at <= now).then(|| self.queue.pop_first().expect("just seen").1)
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
        let mut armed = [None; 3];
        timers.arm(0, &mut armed[0], at(30));
        timers.arm(1, &mut armed[1], at(20));
        timers.arm(0, &mut armed[0], at(10));
        timers.arm(1, &mut armed[1], at(25));
        timers.arm(2, &mut armed[2], at(5));
        timers.disarm(2, &mut armed[2]);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.expired(at(9)), None);
        assert_eq!(timers.expired(at(40)), Some(0));
        assert_eq!(timers.expired(at(40)), Some(1));
        assert_eq!(timers.expired(at(40)), None);
    }
}
