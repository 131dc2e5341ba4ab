//! The time of day in what a program tells: the system's clock, which here never goes back.
//!
//! One rule holds in both programs. Within a run time only goes forward: where the system's clock is
//! set back, this one goes on from where it was. Where that is set forward (by whoever corrects it, or
//! because the machine slept), this one follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::libc::{STA_UNSYNC, TIME_ERROR};
use rtime_clock::adjtime::{Timex, adjtimex};
use rustix::time::{ClockId, clock_gettime};

use crate::units::{ns, unix_ns};

/// The time since the machine was started, also while it slept.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::try_from(now).unwrap_or_default()
}

/// A clock; its clones, in whichever thread, show the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    /// What time it was at the start, in nanoseconds since 1970: by the furthest that the system's
    /// clock has been ahead.
    origin: Arc<AtomicU64>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

impl Clock {
    /// A clock that shows the system's time.
    pub fn new() -> Self {
        Clock {
            start: Instant::now(),
            origin: Arc::default(),
        }
    }

    /// The time: never before one that has been asked for, in whichever thread.
    pub fn now(&self) -> SystemTime {
        // In this order, for a thread that has to wait in between must not set the clock forward.
        let system = SystemTime::now();
        self.follow(system, Instant::now())
    }

    fn follow(&self, system: SystemTime, now: Instant) -> SystemTime {
        let origin = unix_ns(system).saturating_sub(ns(now - self.start));
        let furthest = self.origin.fetch_max(origin, Ordering::Relaxed).max(origin);
        let ns = furthest.saturating_add(ns(now - self.start));
        UNIX_EPOCH + Duration::from_nanos(ns)
    }
}

/// What the kernel was told of the system's clock, by whatever sets it.
#[derive(Debug, Default)]
pub struct Discipline {
    /// The second of the last time that it was asked, by the clock that costs least.
    asked: Option<i64>,
    error: Option<Duration>,
}

impl Discipline {
    /// By how much the system's clock is off at most (adjtimex(2)). `None`: nothing sets it, or who
    /// confines this program lets nobody ask. The kernel counts by the second, and is asked no more
    /// often.
    pub fn error(&mut self) -> Option<Duration> {
        let second = clock_gettime(ClockId::MonotonicCoarse).tv_sec;
        if self.asked.replace(second) != Some(second) {
            let mut told = Timex::new();
            let state = adjtimex(&mut told);
            let is_set =
                state.is_ok_and(|state| state != TIME_ERROR) && told.0.status & STA_UNSYNC == 0;
            let micros = u64::try_from(told.0.maxerror).ok();
            self.error = micros.filter(|_| is_set).map(Duration::from_micros);
        }
        self.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_a_clock_that_is_set_forward_and_ignores_one_that_is_set_back() {
        let clock = Clock::new();
        let second = |n| Duration::from_secs(n);
        let day = UNIX_EPOCH + second(86_400);
        let shown = |system, passed| clock.follow(system, clock.start + second(passed));
        assert_eq!(shown(day, 0), day);
        assert_eq!(shown(day + second(1), 1), day + second(1));
        assert_eq!(shown(day + second(3602), 2), day + second(3602), "forward");
        assert_eq!(shown(day + second(3), 3), day + second(3603), "back again");
        assert_eq!(shown(UNIX_EPOCH, 4), day + second(3604));
    }

    #[test]
    fn no_thread_sees_it_go_back() {
        let clock = Clock::new();
        let before = SystemTime::now();
        let last = std::sync::Mutex::new(before);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mut last = last.lock().unwrap();
                        let now = clock.now();
                        assert!(*last <= now);
                        *last = now;
                    }
                });
            }
        });
        assert!(last.into_inner().unwrap() - Duration::from_secs(60) < before);
    }
}
