//! Whether all workers still work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::stats::Totals;
use crate::shutdown::Shutdown;

/// How long a worker may take to wake and to end its turn. Turns are bounded, so that it is far more
/// than any takes, but on a machine that has no time for this process.
const PATIENCE: Duration = Duration::from_secs(1);

/// Feels whether each worker takes a turn when it is woken: only its own loop can say so.
pub(crate) struct Pulse {
    totals: Arc<Totals>,
    shutdown: Shutdown,
    /// When they were woken last, and what turn each was in.
    woken: Option<(Instant, Vec<u64>)>,
    beats: bool,
}

impl Pulse {
    pub(crate) fn new(totals: Arc<Totals>, shutdown: Shutdown) -> Self {
        Pulse {
            totals,
            shutdown,
            woken: None,
            beats: true,
        }
    }

    /// Whether each worker has taken a turn since it was last woken, and wakes all of them again. One
    /// that was woken less than a second ago gets more time.
    pub(crate) fn beats(&mut self, now: Instant) -> bool {
        if let Some((at, _)) = &self.woken
            && now.saturating_duration_since(*at) < PATIENCE
        {
            return self.beats;
        }
        let turns = self.totals.turns();
        let before = self.woken.as_ref().map(|(_, turns)| turns);
        let mut pairs = before.into_iter().flatten().zip(&turns);
        // Those that have nothing left to do end one after the other.
        self.beats = self.shutdown.is_requested() || pairs.all(|(before, now)| before != now);
        self.woken = Some((now, turns));
        self.shutdown.wake();
        self.beats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Events;

    #[test]
    fn a_worker_that_takes_no_turn_when_it_is_woken_has_no_pulse() {
        let (totals, shutdown) = (Totals::new(2, &Events::off()), Shutdown::new());
        let mut pulse = Pulse::new(totals.clone(), shutdown.clone());
        let mut now = Instant::now();
        let mut beats = |later| {
            now += later;
            pulse.beats(now)
        };
        assert!(beats(PATIENCE), "nobody was woken before");
        totals.counters[0].turns.add(1);
        assert!(beats(PATIENCE / 2), "it has time");
        assert!(!beats(PATIENCE), "the second one does not wake");
        assert!(!beats(PATIENCE / 2));
        totals.counters.iter().for_each(|all| all.turns.add(1));
        assert!(beats(PATIENCE));
        shutdown.request();
        assert!(beats(PATIENCE), "they end");
    }
}
