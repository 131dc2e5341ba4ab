//! SIGINT and SIGTERM: the first asks the program to stop and sum up, the second ends it at once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use echo_core::{Exit, Failure};

/// Whether the user has asked the program to stop. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Interrupt {
    /// Starts to listen for signals. A process can do this once.
    pub fn install() -> Result<Self, Failure> {
        let interrupt = Interrupt::default();
        let handler = interrupt.clone();
        ctrlc::set_handler(move || {
            if handler.raise() {
                std::process::exit(Exit::Interrupted.code().into());
            }
        })
        .context("cannot listen for signals")
        .map_err(Failure::bad)?;
        Ok(interrupt)
    }

    /// Asks the program to stop. Returns whether it had been asked before.
    pub fn raise(&self) -> bool {
        let mut raised = self.0.raised.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.changed.notify_all();
        std::mem::replace(&mut *raised, true)
    }

    /// Whether the program should stop.
    pub fn is_raised(&self) -> bool {
        *self.0.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `time`, or until the program should stop. Returns whether it should.
    pub fn wait(&self, time: Duration) -> bool {
        let raised = self.0.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let (raised, _) = self
            .0
            .changed
            .wait_timeout_while(raised, time, |raised| !*raised)
            .unwrap_or_else(PoisonError::into_inner);
        *raised
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
        let thread = std::thread::spawn(move || raiser.raise());
        assert!(interrupt.wait(Duration::from_secs(60)));
        assert!(!thread.join().unwrap(), "the first is not the second");
        assert!(interrupt.raise() && interrupt.is_raised());
    }
}
