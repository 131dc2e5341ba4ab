//! The wish to stop: SIGINT, SIGTERM or a deadline asks the program to sum up, and what comes after
//! that ends it at once.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use echo_core::units::Timespan;
use echo_core::{Exit, Failure};

use crate::output;

/// How long the program may take to sum up once it has been asked to stop.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Whether the program should stop. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    raised: Mutex<Option<Why>>,
    changed: Condvar,
}

/// Why the program should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The user asked, with a signal.
    Signal,
    /// `--deadline`, which is this long.
    Deadline(Timespan),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Signal => f.write_str("interrupted"),
            Why::Deadline(limit) => write!(f, "stopped by --deadline {limit}"),
        }
    }
}

impl Interrupt {
    /// Starts to listen for signals, of which the second ends the program, and asks it to stop
    /// `limit` from now unless that is zero. Once asked it may take three seconds, whatever it
    /// waits for. A process can do this once.
    pub fn install(limit: Timespan) -> Result<Self, Failure> {
        let interrupt = Interrupt::default();
        let handler = interrupt.clone();
        ctrlc::set_handler(move || {
            if handler.raise(Why::Signal) {
                std::process::exit(Exit::Interrupted.code().into());
            }
        })
        .context("cannot listen for signals")
        .map_err(Failure::bad)?;
        let watched = interrupt.clone();
        let watch = thread::Builder::new().name("watch".into());
        watch.spawn(move || watched.watch(limit)).map_err(|error| {
            Failure::bad(anyhow!(
                "cannot start a thread: {error}; raise the limit of processes (ulimit -u)"
            ))
        })?;
        Ok(interrupt)
    }

    /// Ends the program when it has not ended by itself.
    fn watch(&self, limit: Timespan) {
        let limited = (!limit.0.is_zero()).then_some(limit.0);
        if !self.wait(limited.unwrap_or(Duration::MAX)) {
            self.raise(Why::Deadline(limit));
        }
        thread::sleep(LAST_WORDS);
        let why = self.why().unwrap_or(Why::Signal);
        // Where standard error takes nothing either, the exit code alone tells.
        thread::spawn(move || {
            output::note(format_args!(
                "echo-client: {why}, and ended in the midst of a read or a write that does not return"
            ));
        });
        thread::sleep(LAST_WORDS / 10);
        std::process::exit(Exit::Bad.code().into());
    }

    /// Asks the program to stop. Returns whether it had been asked before; the first reason stands.
    pub fn raise(&self, why: Why) -> bool {
        let mut raised = self.0.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let again = raised.is_some();
        raised.get_or_insert(why);
        self.0.changed.notify_all();
        again
    }

    /// Why the program should stop, if it should.
    pub fn why(&self) -> Option<Why> {
        *self.0.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the program should stop.
    pub fn is_raised(&self) -> bool {
        self.why().is_some()
    }

    /// Waits for `time`, or until the program should stop. Returns whether it should.
    pub fn wait(&self, time: Duration) -> bool {
        let raised = self.0.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let (raised, _) = self
            .0
            .changed
            .wait_timeout_while(raised, time, |raised| raised.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        raised.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_the_program_should_stop() {
        let interrupt = Interrupt::default();
        assert!(!interrupt.wait(Duration::ZERO));
        let raiser = interrupt.clone();
        let thread = std::thread::spawn(move || raiser.raise(Why::Signal));
        assert!(interrupt.wait(Duration::from_secs(60)));
        assert!(!thread.join().unwrap(), "the first is not the second");
        let late = Why::Deadline(Timespan::from_secs(1));
        assert!(interrupt.raise(late) && interrupt.is_raised());
        assert_eq!(interrupt.why(), Some(Why::Signal));
    }
}
