//! The wish to stop: a signal or a deadline asks the program to sum up, and what comes after that
//! ends it at once. SIGQUIT and SIGUSR1 only ask how it is going.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use echo_core::units::Timespan;
use echo_core::{Exit, Failure, Signals, Wish, Wishes, since_boot};
use nix::sys::signal::Signal::{SIGHUP, SIGQUIT, SIGUSR1};

use crate::output;
use crate::thread::start;

/// How long the program may take to sum up once it has been asked to stop: with its last words, it ends
/// within three seconds.
const SUMMING_UP: Duration = Duration::from_millis(2_400);
/// How often it is looked whether the deadline has passed while the machine slept.
const LOOK: Duration = Duration::from_secs(1);

/// Whether the program should stop. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    raised: Mutex<Option<Why>>,
    changed: Condvar,
    /// `--deadline`, and when that is, by the clock of a run.
    deadline: OnceLock<(Timespan, Duration)>,
    /// Somebody wants to know how it is going.
    asked: AtomicBool,
    /// What the program ends with has been decided.
    ended: AtomicBool,
}

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// Nobody is there any more: the program should stop.
    Stops,
    /// As to all that serve: look at what may have changed.
    Asks,
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
    /// waits for. A process can do this once, and before it starts other threads.
    ///
    /// # Errors
    /// The system refuses a thread, or the descriptors to listen with.
    pub fn install(limit: Timespan, hangup: Hangup) -> Result<Self, Failure> {
        let interrupt = Interrupt::default();
        interrupt.end_after(limit);
        let signals = Signals::hold()?;
        let (hearer, watched) = (interrupt.clone(), interrupt.clone());
        start("signals", move || hearer.hear(&signals, hangup))?;
        start("watch", move || watched.watch())?;
        Ok(interrupt)
    }

    /// Asks the program to stop `limit` from now, unless that is zero or beyond all time.
    fn end_after(&self, limit: Timespan) {
        let end = since_boot().checked_add(limit.0);
        if let Some(end) = end.filter(|_| !limit.0.is_zero()) {
            self.0.deadline.get_or_init(|| (limit, end));
        }
    }

    /// How long there is until `--deadline`, if there is one.
    pub fn left(&self) -> Option<Duration> {
        let (_, end) = self.0.deadline.get()?;
        Some(end.saturating_sub(since_boot()))
    }

    fn hear(&self, signals: &Signals, hangup: Hangup) {
        let mut wishes = Wishes::default();
        loop {
            let signal = signals.next();
            if matches!(signal, SIGQUIT | SIGUSR1) || (signal == SIGHUP && hangup == Hangup::Asks) {
                let raised = self.0.raised.lock();
                self.0.asked.store(true, Ordering::Relaxed);
                drop(raised);
                self.0.changed.notify_all();
                continue;
            }
            match wishes.hear(signal, Instant::now()) {
                Wish::First if !self.raise(Why::Signal) => {}
                Wish::Same => {}
                _ => std::process::exit(Exit::Interrupted.code().into()),
            }
        }
    }

    /// Whether somebody wants to know how it is going, who is then to be told.
    pub fn take_question(&self) -> bool {
        // Nearly always nobody does, and a run looks often.
        self.0.asked.load(Ordering::Relaxed) && self.0.asked.swap(false, Ordering::Relaxed)
    }

    /// Ends the program when it has not ended by itself.
    fn watch(&self) {
        // A wait stands still while the machine sleeps, and a deadline does not.
        let look = || self.left().map_or(Duration::MAX, |left| left.min(LOOK));
        while !self.wait(look()) {
            if let Some(why) = self.why() {
                self.raise(why);
            }
        }
        std::thread::sleep(SUMMING_UP);
        self.end();
        let why = self.why().unwrap_or(Why::Signal);
        output::last_words(format_args!(
            "echo-client: {why}, and ended in the midst of a read or a write that does not return"
        ));
        std::process::exit(Exit::Bad.code().into());
    }

    /// Claims the end of the program for the thread that calls: only one of them says what it ends
    /// with, and the other waits for that.
    pub fn end(&self) {
        while self.0.ended.swap(true, Ordering::Relaxed) {
            std::thread::park();
        }
    }

    /// Asks the program to stop. Returns whether it had been asked before; the first reason stands.
    pub fn raise(&self, why: Why) -> bool {
        let mut raised = self.0.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let again = raised.is_some();
        raised.get_or_insert(why);
        self.0.changed.notify_all();
        again
    }

    /// Why the program should stop, if it should. A deadline is one at once, and not only when the
    /// thread that waits for it has woken.
    pub fn why(&self) -> Option<Why> {
        let raised = *self.0.raised.lock().unwrap_or_else(PoisonError::into_inner);
        raised.or_else(|| {
            let &(limit, _) = self.0.deadline.get()?;
            (self.left() == Some(Duration::ZERO)).then_some(Why::Deadline(limit))
        })
    }

    /// Waits for `time`, or until the program should stop. Returns whether it should.
    pub fn wait(&self, time: Duration) -> bool {
        self.wait_while(time, || true)
    }

    /// The same, or until somebody wants to know how it is going.
    pub fn wait_or_asked(&self, time: Duration) -> bool {
        self.wait_while(time, || !self.0.asked.load(Ordering::Relaxed))
    }

    fn wait_while(&self, time: Duration, is_idle: impl Fn() -> bool) -> bool {
        let raised = self.0.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let (raised, _) = self
            .0
            .changed
            .wait_timeout_while(raised, time, |raised| raised.is_none() && is_idle())
            .unwrap_or_else(PoisonError::into_inner);
        raised.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_known_before_and_stops_at_once() {
        let interrupt = Interrupt::default();
        interrupt.end_after(Timespan::default());
        assert_eq!((interrupt.left(), interrupt.why()), (None, None));
        interrupt.end_after(Timespan(Duration::from_nanos(1)));
        while interrupt.left() != Some(Duration::ZERO) {}
        let limit = Timespan(Duration::from_nanos(1));
        assert_eq!(interrupt.why(), Some(Why::Deadline(limit)));
    }

    #[test]
    fn a_wait_ends_when_the_program_should_stop() {
        let interrupt = Interrupt::default();
        assert!(!interrupt.wait(Duration::ZERO));
        let raiser = interrupt.clone();
        let thread = std::thread::spawn(move || raiser.raise(Why::Signal));
        assert!(interrupt.wait(Duration::from_secs(60)));
        assert!(!thread.join().unwrap(), "the first is not the second");
        let late = Why::Deadline(Timespan::from_secs(1));
        assert!(interrupt.raise(late));
        assert_eq!(interrupt.why(), Some(Why::Signal));
    }
}
