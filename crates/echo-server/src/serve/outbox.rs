//! What one peer is still owed: the only place that sends to it, and that knows what is unsent.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::event::{ConnectionId, Events, Kind};
use crate::fault::{Due, Ending, Plan, StreamFaults};
use crate::serve::turn::Turn;
use crate::socket::pipe::Pipe;
use crate::socket::stream::Stream;

/// What is to be sent to one peer. Whoever wants to know whether that peer waits, may be read from
/// or is over asks here.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Queue,
    outlet: Outlet,
}

#[derive(Debug)]
enum Queue {
    Bytes { bytes: Vec<u8>, sent: usize },
    Pipe(Pipe),
    Faults(Box<StreamFaults>),
}

/// What a peer that is owed something waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// It is owed nothing.
    Nothing,
    /// Room: its socket took less than it was offered.
    Room,
    /// A moment that comes by itself: the next turn, or when a fault lets the answer go.
    Time,
    /// More answers, which a fault joins with those there are. They may never come.
    Others,
}

/// What sending came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The peer may be read from: nothing is owed, or a fault holds it and has room for more.
    Clear,
    /// Nothing is to be done before the next event.
    Waits,
    /// There is more to do than this turn allows.
    Spent,
    /// A fault ends the connection so.
    End(Ending),
}

impl Queue {
    const EMPTY: Queue = Queue::Bytes {
        bytes: Vec::new(),
        sent: 0,
    };
}

impl Outbox {
    pub(crate) fn new(id: ConnectionId) -> Self {
        Outbox {
            queue: Queue::EMPTY,
            outlet: Outlet {
                id,
                sent: 0,
                blocked: false,
            },
        }
    }

    /// Has the faults of `plan` apply from now on: those that `new` makes, where there were none. What
    /// is owed already goes first. Returns whether that changes anything.
    pub(crate) fn revise(
        &mut self,
        plan: Option<&Arc<Plan>>,
        new: impl FnOnce() -> Option<Box<StreamFaults>>,
        now: Instant,
        events: &Events,
    ) -> io::Result<bool> {
        if let Queue::Faults(faults) = &mut self.queue {
            faults.revise(plan, now, events);
            return Ok(true);
        }
        let Some(mut faults) = new() else {
            return Ok(false);
        };
        match std::mem::replace(&mut self.queue, Queue::EMPTY) {
            Queue::Bytes { mut bytes, sent } => {
                bytes.drain(..sent);
                faults.owe(bytes, now);
            }
            Queue::Pipe(mut pipe) => faults.owe(pipe.read()?, now),
            Queue::Faults(_) => {}
        }
        self.queue = Queue::Faults(faults);
        Ok(true)
    }

    /// Owes what is said first, on a connection that has just come.
    pub(crate) fn greet(&mut self, now: Instant, events: &Events) {
        if let Queue::Faults(faults) = &mut self.queue {
            faults.greet(now, events);
        }
    }

    /// Bytes sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.outlet.sent
    }

    /// Bytes of memory that what is owed takes. What is in a pipe takes the system's.
    pub(crate) fn held(&self) -> usize {
        match &self.queue {
            Queue::Bytes { bytes, .. } => bytes.capacity(),
            Queue::Pipe(_) => 0,
            Queue::Faults(faults) => faults.held(),
        }
    }

    /// What this peer waits for.
    pub(crate) fn owed(&self) -> Owed {
        match &self.queue {
            _ if self.outlet.blocked => Owed::Room,
            Queue::Bytes { bytes, .. } if bytes.is_empty() => Owed::Nothing,
            Queue::Bytes { .. } | Queue::Pipe(_) => Owed::Time,
            Queue::Faults(faults) if faults.is_empty() => Owed::Nothing,
            Queue::Faults(faults) if faults.only_joins() => Owed::Others,
            Queue::Faults(_) => Owed::Time,
        }
    }

    /// When a fault has something to do, even if nothing happens.
    pub(crate) fn wake(&self) -> Option<Instant> {
        match &self.queue {
            Queue::Faults(faults) => faults.wake(self.outlet.blocked),
            _ => None,
        }
    }

    /// Whether [`Outbox::send_pipe`] may be used: a fault must see the bytes.
    pub(crate) fn takes_pipes(&self) -> bool {
        !matches!(self.queue, Queue::Faults(_))
    }

    /// Owes `bytes`, and sends what can be sent. Only what the socket does not take is copied.
    pub(crate) fn send(
        &mut self,
        bytes: &[u8],
        stream: &mut Stream,
        turn: &mut Turn<'_>,
    ) -> io::Result<Flow> {
        match &mut self.queue {
            Queue::Bytes { bytes: owed, .. } if owed.is_empty() => {
                let taken = self.outlet.offer(bytes, stream, turn)?;
                *owed = copy(&bytes[taken..])?;
                Ok(self.flow())
            }
            _ => {
                self.owe(copy(bytes)?, turn)?;
                self.flush(stream, turn)
            }
        }
    }

    /// Owes `bytes`, which the next [`Outbox::flush`] sends.
    pub(crate) fn owe(&mut self, mut bytes: Vec<u8>, turn: &mut Turn<'_>) -> io::Result<()> {
        match &mut self.queue {
            _ if bytes.is_empty() => {}
            Queue::Bytes { bytes: owed, .. } if owed.is_empty() => *owed = bytes,
            Queue::Bytes { bytes: owed, .. } => {
                owed.try_reserve(bytes.len())?;
                owed.append(&mut bytes);
            }
            Queue::Pipe(_) => unreachable!("nothing is read before a pipe is empty"),
            Queue::Faults(faults) => {
                let messages = &mut turn.budget.messages;
                faults.push(&bytes, (turn.clock)(), turn.events, messages)?;
            }
        }
        Ok(())
    }

    /// Owes what is in `pipe`, and sends what can be sent.
    pub(crate) fn send_pipe(
        &mut self,
        pipe: Pipe,
        stream: &mut Stream,
        turn: &mut Turn<'_>,
    ) -> io::Result<Flow> {
        debug_assert_eq!(self.owed(), Owed::Nothing);
        self.queue = Queue::Pipe(pipe);
        self.flush(stream, turn)
    }

    /// Sends what can be sent now. What is sent costs no memory any more.
    pub(crate) fn flush(&mut self, stream: &mut Stream, turn: &mut Turn<'_>) -> io::Result<Flow> {
        match &mut self.queue {
            Queue::Bytes { bytes, .. } if bytes.is_empty() => return Ok(Flow::Clear),
            Queue::Bytes { bytes, sent } => {
                *sent += self.outlet.offer(&bytes[*sent..], stream, turn)?;
                if *sent == bytes.len() {
                    self.queue = Queue::EMPTY;
                }
            }
            Queue::Pipe(pipe) => {
                let len = pipe.len();
                let drain = |part: Range<usize>| pipe.drain(stream, part.len());
                self.outlet.pass(len, turn, drain)?;
                if pipe.is_empty()
                    && let Queue::Pipe(pipe) = std::mem::replace(&mut self.queue, Queue::EMPTY)
                {
                    turn.pipes.put(pipe);
                }
            }
            Queue::Faults(faults) => {
                let flow = self.outlet.release(faults, stream, turn)?;
                if faults.is_spent() {
                    self.queue = Queue::EMPTY;
                }
                return Ok(flow);
            }
        }
        Ok(self.flow())
    }

    /// What becomes of a turn after sending, where no fault has a say.
    fn flow(&self) -> Flow {
        match self.owed() {
            Owed::Nothing => Flow::Clear,
            Owed::Room => Flow::Waits,
            Owed::Time | Owed::Others => Flow::Spent,
        }
    }

    /// Takes note that nothing more will be owed, for which an answer could wait.
    pub(crate) fn finish(&mut self) {
        if let Queue::Faults(faults) = &mut self.queue {
            faults.finish();
        }
    }

    /// Sends no later what only waits for others.
    pub(crate) fn wait_for_no_others(&mut self, events: &Events) {
        if let Queue::Faults(faults) = &mut self.queue {
            faults.join(events);
        }
    }
}

/// A copy, where there is memory for one.
fn copy(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// The way to the socket, where what it takes is counted.
#[derive(Debug)]
struct Outlet {
    id: ConnectionId,
    sent: u64,
    /// The socket took less than it was offered when it was last tried: only now is room of
    /// interest, and nothing is read meanwhile.
    blocked: bool,
}

impl Outlet {
    /// Gives the socket what it takes of `bytes`. Returns how much that was.
    fn offer(
        &mut self,
        bytes: &[u8],
        stream: &mut Stream,
        turn: &mut Turn<'_>,
    ) -> io::Result<usize> {
        let events = turn.events;
        self.pass(bytes.len(), turn, |part| stream.write(&bytes[part], events))
    }

    /// Has `call` send parts of `len` bytes until they are sent, the socket is full, or the turn is
    /// over. Returns how much was sent.
    fn pass(
        &mut self,
        len: usize,
        turn: &mut Turn<'_>,
        mut call: impl FnMut(Range<usize>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut taken = 0;
        self.blocked = false;
        while taken < len {
            let most = turn.budget.to_send(len - taken);
            if most == 0 {
                break;
            }
            let outcome = call(taken..taken + most);
            turn.budget.spend(*outcome.as_ref().unwrap_or(&0));
            match outcome {
                Ok(n) => {
                    taken += n;
                    self.sent += n as u64;
                    turn.counters.sent_bytes.add(n as u64);
                    let id = self.id;
                    turn.events.trace(|| Kind::Sent { id, bytes: n });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Does what the faults have due.
    fn release(
        &mut self,
        faults: &mut StreamFaults,
        stream: &mut Stream,
        turn: &mut Turn<'_>,
    ) -> io::Result<Flow> {
        // What arrived during this turn came after its start, and must not leave too early.
        let now = (turn.clock)();
        loop {
            match faults.due(now, turn.events, &mut turn.budget.messages)? {
                Due::Bytes(bytes) => {
                    let len = bytes.len();
                    let taken = self.offer(bytes, stream, turn)?;
                    faults.wrote(taken, now);
                    match taken < len {
                        true if self.blocked => return Ok(Flow::Waits),
                        true => return Ok(Flow::Spent),
                        false => {}
                    }
                }
                Due::End(end) => {
                    self.blocked = false;
                    return Ok(Flow::End(end));
                }
                Due::Nothing => {
                    self.blocked = false;
                    return Ok(match faults.has_room() {
                        true => Flow::Clear,
                        false if faults.is_interrupted() => Flow::Spent,
                        false => Flow::Waits,
                    });
                }
            }
        }
    }
}
