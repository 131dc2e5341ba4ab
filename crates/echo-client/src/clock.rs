//! The one clock by which this program counts time that must also pass while the machine sleeps.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time since the machine was started, also while it slept.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    now.try_into().unwrap_or_default()
}
