//! The signals that the program hears.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use echo_core::{Exit, Failure, Signals, Wish, Wishes};
use echo_server::event::Stop;
use echo_server::{Shutdown, thread};
use nix::sys::signal::Signal::{SIGHUP, SIGUSR1};

/// How long an end that was asked for twice may take.
const AT_ONCE: Duration = Duration::from_secs(1);

/// From now on the first of the [`Signals`] asks the server to stop, and the second one ends it at once.
/// But SIGUSR1 has `tell_stats` called, once there is one, and a terminal that hangs up does nothing.
///
/// # Errors
/// A [`Failure`] when the system grants no thread.
pub fn hear(
    signals: Signals,
    shutdown: &Shutdown,
    tell_stats: Arc<OnceLock<impl Fn() + Send + Sync + 'static>>,
) -> Result<Interrupted, Failure> {
    let (shutdown, interrupted) = (shutdown.clone(), Interrupted::default());
    let second = interrupted.clone();
    thread::start("signals", move || {
        let mut wishes = Wishes::default();
        loop {
            match signals.next() {
                SIGHUP => {}
                SIGUSR1 => tell_stats.get().into_iter().for_each(|tell| tell()),
                signal => match wishes.hear(signal, Instant::now()) {
                    Wish::First => shutdown.request_for(Stop::Signal),
                    Wish::Same => {}
                    Wish::Second => second.end(&shutdown),
                },
            }
        }
    })?;
    Ok(interrupted)
}

/// Whether a second signal ended the server.
#[derive(Clone, Default)]
pub struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    /// Has everything closed and removed; what does not let go within a second is left to the system.
    fn end(&self, shutdown: &Shutdown) {
        let exit = || std::process::exit(Exit::Interrupted.code().into());
        if self.0.swap(true, Ordering::Relaxed) {
            exit();
        }
        shutdown.request_immediate();
        let late = thread::start("interrupted", move || {
            std::thread::sleep(AT_ONCE);
            exit();
        });
        if late.is_err() {
            exit();
        }
    }

    /// The end's verdict.
    ///
    /// # Errors
    /// A [`Failure`] that says so, when it was.
    pub fn verdict(&self) -> Result<(), Failure> {
        match self.0.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(Failure::new(
                Exit::Interrupted,
                anyhow!("a second signal ended it at once; what was still open is cut off"),
            )),
        }
    }
}
