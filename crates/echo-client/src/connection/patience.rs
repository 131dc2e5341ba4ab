//! Waits that end: for a server to come up, and for work that knows no limit of time.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use echo_core::units::Timespan;

use super::{ConnectError, ErrorKind};
use crate::interrupt::Interrupt;
use crate::thread;

/// Whether and when to try again, for those who wait for a server to come up.
#[derive(Debug)]
pub struct Patience {
    deadline: Instant,
    pauses: u32,
}

impl Patience {
    /// Patience for `wait` from now on.
    pub fn new(wait: Timespan) -> Self {
        let now = Instant::now();
        Patience {
            deadline: now.checked_add(wait.0).unwrap_or(now + FOREVER),
            pauses: 0,
        }
    }

    /// Pauses, and says whether to try again.
    pub fn again(&mut self, interrupt: &Interrupt) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || interrupt.wait(pause(self.pauses).min(left)) {
            return false;
        }
        self.pauses += 1;
        true
    }
}

/// The pause that follows so many pauses between attempts. A server on this machine is seen 10 ms
/// after it is up; an absent one costs two attempts a second.
pub fn pause(number: u32) -> Duration {
    const LONGEST: Duration = Duration::from_millis(500);
    LONGEST.min(Duration::from_millis(10 << number.min(6)))
}

/// A century: `Instant` cannot hold every span that a person can type.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Does work that may block for longer than it should, in a thread that is left behind then:
/// `getaddrinfo` knows no limit of time.
///
/// # Errors
/// There is no thread for it, or somebody has asked to stop.
pub(super) fn within<T: Send + 'static>(
    subject: &str,
    limit: Timespan,
    interrupt: &Interrupt,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<io::Result<T>, ConnectError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::start("resolve", move || sender.send(work()))
        .map_err(|refused| ConnectError::no_thread(subject, &refused))?;
    let start = Instant::now();
    loop {
        let left = limit.0.saturating_sub(start.elapsed());
        match receiver.recv_timeout(left.min(TICK)) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) if let Some(why) = interrupt.why() => {
                return Err(ConnectError::new(ErrorKind::Interrupted, subject, why));
            }
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(_) => {
                let text = format!("no answer within {limit}");
                return Ok(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
            }
        }
    }
}

/// How often a wait looks up, to see whether the user has asked to stop.
pub const TICK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_at_its_deadline() {
        let interrupt = Interrupt::default();
        assert!(!Patience::new(Timespan::default()).again(&interrupt));
        let mut patience = Patience::new(Timespan(Duration::from_millis(30)));
        let attempts = (0..1000).take_while(|_| patience.again(&interrupt)).count();
        assert!((1..=4).contains(&attempts), "{attempts}");
    }

    #[test]
    fn work_that_never_ends_is_left_behind() {
        let limit = Timespan(Duration::from_millis(20));
        let (hold, held) = mpsc::channel::<()>();
        let work = move || {
            let _ = held.recv();
            Ok(())
        };
        let result = within("it", limit, &Interrupt::default(), work).unwrap();
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(hold);
    }
}
