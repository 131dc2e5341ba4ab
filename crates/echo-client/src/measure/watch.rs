//! How a run goes, for the person who waits for it: a line that overwrites itself, and an answer to
//! whoever asks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::Sink;
use crate::output;
use crate::progress::Progress;
use crate::report::Report;

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
    fn so_far(&self, measured: Option<Duration>, books: &Report, is_asked: bool) {
        let State { what, progress } = &mut *self.state();
        let so_far = told(measured, books);
        if is_asked {
            progress.clear();
            let counts = books.counts;
            output::note(format_args!(
                "{what}{} sent, {} received, {} lost; {so_far}",
                counts.sent, counts.received, counts.lost
            ));
        } else {
            progress.show(format_args!("{what}{so_far}"));
        }
    }
}

/// The time measured, the rate, the latency and the errors so far.
fn told(measured: Option<Duration>, books: &Report) -> String {
    let Some(seconds) = measured.map(|measured| measured.as_secs_f64()) else {
        return "warming up".to_owned();
    };
    let rate = books.counts.unique as f64 / seconds.max(1e-3);
    let mut told = format!("{seconds:.1} s  {rate:.0} echoes/s");
    if let Some(p99) = books.rtt.percentile(0.99) {
        told += &format!("  p99 {:.3} ms", p99.as_secs_f64() * 1e3);
    }
    match books.errors_in_all() {
        0 => told,
        errors => told + &format!("  {errors} errors"),
    }
}
