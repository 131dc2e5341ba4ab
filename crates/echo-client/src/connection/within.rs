//! A limit of time for work that knows none.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use echo_core::units::Timespan;

use super::{ErrorKind, Fault};
use crate::interrupt::Why;
use crate::thread;

/// Does work that may block for longer than it should, in a thread that is left behind then:
/// `getaddrinfo` knows no limit of time, nor does a read of a pipe that nobody writes to.
///
/// # Errors
/// There is no thread for it, or somebody has asked to stop.
pub(crate) fn within<T: Send + 'static>(
    subject: &str,
    limit: Timespan,
    stopped: &dyn Fn() -> Option<Why>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<io::Result<T>, Fault> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::start("within", move || sender.send(work()))
        .map_err(|refused| Fault::new(ErrorKind::Exhausted, refused.to_string()).of(subject))?;
    let start = Instant::now();
    loop {
        let left = limit.0.saturating_sub(start.elapsed());
        match receiver.recv_timeout(left.min(TICK)) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) if let Some(why) = stopped() => {
                return Err(Fault::new(ErrorKind::Interrupted, why.to_string()).of(subject));
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
    fn work_that_never_ends_is_left_behind() {
        let limit = Timespan(Duration::from_millis(20));
        let (hold, held) = mpsc::channel::<()>();
        let work = move || {
            let _ = held.recv();
            Ok(())
        };
        let result = within("it", limit, &|| None, work).unwrap();
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(hold);
    }
}
