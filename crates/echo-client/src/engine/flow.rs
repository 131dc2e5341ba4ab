//! What the worker asks of a connection under load, and what it gives it to work with.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::recorder::{Recorder, Request};
use super::socket::Socket;
use crate::connection::{Address, ErrorKind, cause};
use crate::report::Fault;

/// One connection under load.
pub trait Flow: fmt::Debug + Send {
    /// Its socket, to be registered.
    fn socket(&mut self) -> &mut Socket;

    /// Requests whose replies are awaited.
    fn in_flight(&self) -> usize;

    /// Whether the system takes no more for now.
    fn is_blocked(&self) -> bool;

    /// Adds a request, which leaves with the next [`Flow::flush`].
    fn push(&mut self, request: Request, desk: &mut Desk);

    /// Writes what the system takes.
    fn flush(&mut self, desk: &mut Desk) -> Result<(), Fault>;

    /// Reads what has come. `ended`: the other side sends no more.
    fn read(&mut self, ended: bool, desk: &mut Desk) -> Result<(), Fault>;

    /// Gives up what has been awaited for `timeout` at `now`.
    fn expire(&mut self, timeout: Duration, now: u64, desk: &mut Desk) -> Result<(), Fault>;

    /// Reads what is left, and counts what was not answered as lost.
    fn close(&mut self, desk: &mut Desk);
}

/// What all connections of a worker share.
#[derive(Debug)]
pub struct Desk {
    /// The time.
    pub clock: Clock,
    /// The books.
    pub recorder: Recorder,
    /// What has just been read.
    pub buffer: Box<[u8]>,
    /// What is about to be written, or is expected.
    pub scratch: Box<[u8]>,
    /// Whether replies are compared with what was sent.
    pub verify: bool,
    /// Whom it talks to.
    pub address: Address,
    /// The first reply that was wrong.
    pub mismatch: Option<Fault>,
}

/// The time since the run began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(pub Instant);

impl Clock {
    /// In nanoseconds.
    #[inline]
    pub fn now(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

impl Desk {
    /// What ended a connection.
    pub fn fault(&self, kind: ErrorKind, text: impl fmt::Display) -> Fault {
        Fault::new(kind, format!("{}: {text}", self.address))
    }

    /// What a system error on a connection means.
    pub fn broken(&self, error: &io::Error) -> Fault {
        self.fault(ErrorKind::of(error), cause(error))
    }

    /// Remembers the first wrong reply.
    pub fn mismatch(&mut self, text: impl fmt::Display) {
        if self.mismatch.is_none() {
            self.mismatch = Some(self.fault(ErrorKind::Mismatch, text));
        }
    }
}
