//! Calls to the system, told where they are made, for `--explain`. With nobody listening each costs
//! a comparison.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::PoisonError;
use std::time::SystemTime;

use echo_explain::{Audience, Call, Trouble};

use super::channel::{Events, Level};
use super::{Event, Kind};

/// When a call began. Only where someone wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(Option<SystemTime>);

impl Events {
    /// Now, for a call that is about to be made. One that waits for the other side counts from its
    /// end, and needs none: what it waited for came before.
    pub(crate) fn mark(&self) -> Mark {
        let wanted = self.wants(Level::Calls);
        Mark(wanted.then(|| self.now()))
    }

    /// Tells of a call that has been made on `socket`.
    pub(crate) fn call(&self, mark: Mark, socket: RawFd, call: impl FnOnce() -> Call) {
        self.step(mark, socket, None, call);
    }

    /// Tells of a call and its outcome, unless it only had nothing to do. `call` gets what the call
    /// returned.
    pub(crate) fn outcome<T: Copy + Default>(
        &self,
        mark: Mark,
        socket: &impl AsRawFd,
        outcome: &io::Result<T>,
        call: impl FnOnce(T) -> Call,
    ) {
        use io::ErrorKind::{Interrupted, WouldBlock};
        if !self.wants(Level::Calls) {
            return;
        }
        let socket = socket.as_raw_fd();
        match outcome {
            Ok(value) => self.step(mark, socket, None, || call(*value)),
            Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => {}
            Err(error) => self.step(mark, socket, Some(error), || call(T::default())),
        }
    }

    /// Closes a socket.
    pub(crate) fn close(&self, socket: impl AsRawFd) {
        let (mark, number) = (self.mark(), socket.as_raw_fd());
        drop(socket);
        self.call(mark, number, || Call::Close);
    }

    fn step(
        &self,
        mark: Mark,
        socket: RawFd,
        error: Option<&io::Error>,
        call: impl FnOnce() -> Call,
    ) {
        let Some(witness) = &self.witness else { return };
        let time = mark.0.unwrap_or_else(|| self.now());
        let error = error.map(Trouble::of);
        let mut witness = witness.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = Kind::Call(Box::new(witness.step(time, socket, call(), error)));
        self.put(Event { time, kind });
    }
}

impl Audience for Events {
    type Begun = Mark;

    fn begin(&self) -> Mark {
        self.mark()
    }

    fn ended<T: Copy + Default>(
        &self,
        begun: Mark,
        socket: i32,
        outcome: &io::Result<T>,
        call: impl FnOnce(T) -> Call,
    ) {
        self.outcome(begun, &socket, outcome, call);
    }
}
