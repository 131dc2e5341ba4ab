//! The wish to stop, as a value passed to whoever must hear of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mio::Waker;

reasons! {
    /// Why a server stopped.
    Stop:
    /// The program that holds it asked; see [`Shutdown`] and [`Handle`](crate::Handle).
    Asked => "asked", "asked to";
    /// Whoever controls it asked, which may not be the one who talks to it. To who reads the code it is
    /// the same end; connections are given the time to go on that a signal gives.
    Command => "asked", "a command asked for it";
    /// SIGINT, SIGTERM or SIGQUIT.
    Signal => "signal", "a signal asked for it";
    /// Standard input ended, under `--exit-on-stdin-eof`.
    StdinClosed => "stdin-closed", "standard input ended (--exit-on-stdin-eof)";
    /// The time of `--exit-after` is up.
    TimeUp => "time-up", "the time of --exit-after is up";
    /// The connections of `--max-total`, or the one of `--once`, have been served.
    Served => "served", "served all the connections asked for (--once, --max-total)";
    /// The file of `--record` takes no more.
    RecordFailed => "record-failed", "the record cannot be written (--record)";
    /// Starting failed, or an event loop.
    Failed => "failed", "starting or serving failed";
}

/// A worker that is not woken may sleep for ever, and a call may fail once: so often it is tried.
const TRIES: usize = 3;

/// Wakes the worker that sleeps on `waker`, unless it has ended.
pub(crate) fn wake(waker: &Waker) {
    let _: bool = (0..TRIES).any(|_| waker.wake().is_ok());
}

/// A request to stop that can be made from any thread, and is heard by every worker at once.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requested: AtomicBool,
    immediate: AtomicBool,
    why: OnceLock<Stop>,
    wakers: Mutex<Vec<Arc<Waker>>>,
    asked: Condvar,
}

impl Shutdown {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Shutdown::default()
    }

    /// Asks every worker to stop accepting, to drain and to return. Asking again changes nothing.
    pub fn request(&self) {
        self.request_for(Stop::Asked);
    }

    /// As [`Shutdown::request`], and says why. The first reason stands.
    pub fn request_for(&self, why: Stop) {
        self.0.why.get_or_init(|| why);
        if !self.0.requested.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Asks every worker to close its connections at once and to return.
    pub fn request_immediate(&self) {
        self.request();
        if !self.0.immediate.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Has every worker take a turn.
    pub(crate) fn wake(&self) {
        self.wakers().iter().for_each(|waker| wake(waker));
        self.0.asked.notify_all();
    }

    /// Waits until someone asks.
    pub fn wait(&self) {
        let asked = &self.0.asked;
        drop(asked.wait_while(self.wakers(), |_| !self.is_requested()));
    }

    /// Waits until someone asks, for `limit` at most. Returns whether someone has.
    pub(crate) fn wait_for(&self, limit: Duration) -> bool {
        let asked = &self.0.asked;
        drop(asked.wait_timeout_while(self.wakers(), limit, |_| !self.is_requested()));
        self.is_requested()
    }

    /// Whether someone has asked.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::Acquire)
    }

    /// Why the server stops, once someone has asked.
    pub fn why(&self) -> Option<Stop> {
        self.0.why.get().copied()
    }

    /// Whether connections are not to be waited for.
    pub(crate) fn is_immediate(&self) -> bool {
        self.0.immediate.load(Ordering::Acquire)
    }

    /// Has `waker` woken by a request.
    pub(crate) fn register(&self, waker: Arc<Waker>) {
        self.wakers().push(waker);
    }

    fn wakers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Waker>>> {
        self.0.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
