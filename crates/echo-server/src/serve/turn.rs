//! One turn of one peer: what it is about, what the worker lends it, and how much it may do before others
//! are due.

use std::time::Instant;

use crate::event::Events;
use crate::event::stats::Counters;
#[cfg(test)]
use crate::serve::defect::{self, Mutant};
use crate::socket::pipe::Pipes;

/// Calls to the system in one turn: 16 reads, and a write for each.
const CALLS: usize = 32;

/// Bytes that move in one turn, read and written ones alike. With the default buffer these are 16
/// reads, too: about half a millisecond of the machine's time, copied or spliced.
pub(crate) const BYTES: usize = 2 << 20;

/// Messages about which faults decide in one turn: a buffer of empty ones has sixty times as many.
const MESSAGES: usize = 1024;

/// What a worker lends to a peer for one turn.
pub(crate) struct Turn<'a> {
    /// When the events that this turn is about were received.
    pub(crate) now: Instant,
    /// The time itself, for what must not happen too early.
    pub(crate) clock: fn() -> Instant,
    pub(crate) events: &'a Events,
    pub(crate) counters: &'a Counters,
    pub(crate) pipes: &'a mut Pipes,
    pub(crate) budget: Budget,
}

/// What the system says of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    /// The peer has finished sending.
    pub(crate) read_closed: bool,
    /// Urgent data has come.
    pub(crate) urgent: bool,
    pub(crate) error: bool,
}

impl From<&mio::event::Event> for Readiness {
    fn from(event: &mio::event::Event) -> Self {
        Readiness {
            readable: event.is_readable(),
            read_closed: event.is_read_closed(),
            urgent: event.is_priority(),
            error: event.is_error(),
        }
    }
}

/// What is left of a turn. Every loop that a peer's bytes can keep going draws on it.
#[derive(Debug)]
pub(crate) struct Budget {
    calls: usize,
    bytes: usize,
    /// See [`StreamFaults::due`](crate::fault::StreamFaults::due).
    pub(crate) messages: usize,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Budget {
            calls: CALLS,
            bytes: BYTES,
            messages: MESSAGES,
        }
    }

    /// How many of `len` bytes may be read so that they can still be sent back in this turn; `None`
    /// when it is over.
    pub(crate) fn to_read(&self, len: usize) -> Option<usize> {
        (self.calls >= 2 && self.bytes >= 2).then(|| len.min(self.bytes / 2))
    }

    /// How many of `len` bytes the next call may send; 0 when the turn is over.
    pub(crate) fn to_send(&self, len: usize) -> usize {
        match self.calls {
            0 => 0,
            _ => len.min(self.bytes),
        }
    }

    /// Takes note of a call that moved `bytes` bytes.
    pub(crate) fn spend(&mut self, bytes: usize) {
        #[cfg(test)]
        if defect::has(Mutant::Endless) {
            return;
        }
        self.calls = self.calls.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
