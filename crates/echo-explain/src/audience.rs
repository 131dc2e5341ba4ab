//! Whom calls are told to, each where it is made.

use std::io;
use std::io::ErrorKind::{Interrupted, WouldBlock};
use std::os::fd::AsRawFd;
use std::time::SystemTime;

use crate::{Call, Trouble};

/// When a call began; nothing where nobody listens, or of a call that waits for the other side: it
/// counts from its end, for what it waited for came before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begun(Option<SystemTime>);

/// Whom calls are told to. With nobody listening each costs a comparison.
pub trait Audience {
    /// Whether anybody listens.
    fn listens(&self) -> bool;

    /// What time it is.
    fn now(&self) -> SystemTime;

    /// Hears of a call that began at `time`, was made on `socket`, and may have failed.
    fn hear(&self, time: SystemTime, socket: i32, call: Call, error: Option<Trouble>);

    /// A call begins now.
    fn begin(&self) -> Begun {
        Begun(self.listens().then(|| self.now()))
    }

    /// It was made on `socket`, and `call` gets what it returned. One that only had nothing to do is
    /// not told.
    fn ended<T: Copy + Default>(
        &self,
        begun: Begun,
        socket: i32,
        outcome: &io::Result<T>,
        call: impl FnOnce(T) -> Call,
    ) {
        if !self.listens() {
            return;
        }
        let (value, error) = match outcome {
            Ok(value) => (*value, None),
            Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => return,
            Err(error) => (T::default(), Some(Trouble::of(error))),
        };
        let time = begun.0.unwrap_or_else(|| self.now());
        self.hear(time, socket, call(value), error);
    }

    /// Closes a socket.
    fn close(&self, socket: impl AsRawFd) {
        let (begun, number) = (self.begin(), socket.as_raw_fd());
        drop(socket);
        self.ended(begun, number, &Ok(()), |()| Call::Close);
    }
}
