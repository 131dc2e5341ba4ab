//! How a run goes, for the person who waits for it: a line that overwrites itself, and an answer to
//! whoever asks.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::{Sink, SoFar};
use crate::output;
use crate::progress::Progress;

/// Shows how a run goes.
#[derive(Debug)]
pub struct Watch(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Which of several runs it is.
    what: String,
    progress: Progress,
}

impl Watch {
    /// Nothing goes on yet. Without progress it is told only to whoever asks.
    pub fn new(progress: bool) -> Self {
        Watch(Mutex::new(State {
            what: String::new(),
            progress: Progress::new(progress),
        }))
    }

    /// What the next run is.
    pub fn say(&self, what: String) {
        self.state().what = what;
    }

    /// Wipes the line.
    pub fn clear(&self) {
        self.state().progress.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Watch {
    fn so_far(&self, so_far: SoFar<'_>, is_asked: bool) {
        let State { what, progress } = &mut *self.state();
        if is_asked {
            progress.clear();
            let counts = so_far.total.counts;
            output::note(format_args!(
                "{what}{} sent, {} received, {} lost; {so_far}",
                counts.sent, counts.received, counts.lost
            ));
        } else {
            progress.show(format_args!("{what}{so_far}"));
        }
    }
}

/// What the line says: the time measured, the rate, the latency and the errors so far.
impl fmt::Display for SoFar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(measured) = self.measured else {
            return f.write_str("warming up");
        };
        let echoes = self.total.counts.unique;
        let rate = echoes as f64 / measured.as_secs_f64().max(1e-3);
        write!(f, "{:.1} s  {rate:.0} echoes/s", measured.as_secs_f64())?;
        if let Some(p99) = self.total.rtt.percentile(0.99) {
            write!(f, "  p99 {:.3} ms", p99.as_secs_f64() * 1e3)?;
        }
        match self.total.errors_in_all() {
            0 => Ok(()),
            errors => write!(f, "  {errors} errors"),
        }
    }
}
