//! Pauses between tries at what fails again and again.

use std::time::{Duration, Instant};

/// The first and the longest pause when the system has no descriptor or memory to spare. What comes
/// waits in the listen backlog meanwhile, or in a socket's buffer.
const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(500);

/// A pause that doubles with each failure.
pub(super) struct Backoff {
    next: Duration,
    until: Option<Instant>,
}

impl Backoff {
    /// Nothing has failed.
    pub(super) fn new() -> Self {
        Backoff {
            next: FIRST,
            until: None,
        }
    }

    /// Takes note of a failure. Returns after which pause to try again, and whether that is to be told:
    /// when the trouble starts and when it lasts, not at each of the short first pauses.
    pub(super) fn fail(&mut self, now: Instant) -> (Duration, bool) {
        let pause = self.next;
        self.until = Some(now + pause);
        self.next = (pause * 2).min(LONGEST);
        (pause, pause == FIRST || pause == LONGEST)
    }

    /// When to try again, after a failure.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether it is time to try. The pause is over then.
    pub(super) fn tries(&mut self, now: Instant) -> bool {
        self.until.take_if(|at| *at <= now);
        self.until.is_none()
    }
}
