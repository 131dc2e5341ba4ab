//! One stream peer: read, echo, backlog, half-close. Unix streams too.

use std::io;
use std::time::{Duration, Instant};

use echo_core::framing::{Decoded, Decoder};

use crate::event::stats::Counters;
use crate::event::{ConnectionId, Events, Kind, Origin, PeerAddress, Reason};
use crate::fault::{Due, Ending, StreamFaults};
use crate::serve::timers::Armed;
use crate::socket::pipe::{Pipe, Pipes};
use crate::socket::stream::Stream;

/// Reads of one peer in one turn, so that a peer that never pauses cannot starve the others.
const READS_PER_TURN: usize = 16;

/// Reads in a row that fill the buffer before a transfer counts as bulk, and is spliced.
const BULK: u8 = 8;

/// A bulk transfer may be this many small pieces long in between, such as the ends of messages.
const MAX_BULK: u8 = 2 * BULK;

/// Splicing less than this at a time costs more than copying it.
const SPLICE_MIN: usize = 16 << 10;

/// How long input is discarded after we ended a connection on our own account. Closing with input
/// unread would send a reset, which may destroy at the peer what was echoed before.
const LINGER: Duration = Duration::from_secs(1);

/// What a worker lends to a peer for one turn.
pub(crate) struct Turn<'a> {
    /// Shared by all the worker's peers: bytes stay in it only while they are passed on.
    pub(crate) buffer: &'a mut [u8],
    pub(crate) now: Instant,
    pub(crate) events: &'a Events,
    pub(crate) counters: &'a Counters,
    pub(crate) pipes: &'a mut Pipes,
}

/// What a peer needs next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next readiness event.
    Event,
    /// Another turn: it had more to do than one turn allows.
    Turn,
}

/// A connection from accept to close.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) stream: Stream,
    pub(crate) id: ConnectionId,
    pub(crate) address: PeerAddress,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// When a byte last moved.
    pub(crate) active: Instant,
    /// This peer's deadline among the worker's timers.
    pub(crate) armed: Armed,
    /// Whether it already waits for another turn.
    pub(crate) queued: bool,
    /// What goes wrong on purpose. What is to be sent goes through it, and is its backlog.
    pub(crate) faults: Option<Box<StreamFaults>>,
    /// `None` for raw framing, which has nothing to find.
    decoder: Option<Box<Decoder>>,
    /// The frame that is not complete yet.
    held: Vec<u8>,
    /// What the socket did not take yet. Nothing is read while there is any.
    backlog: Backlog,
    phase: Phase,
    /// How much this looks like a bulk transfer: up with each read that fills the buffer.
    bulk: u8,
    /// The next read must not be left out, however short the last one was: the peer has finished
    /// sending, or sent urgent data, and an edge for what is left may never come.
    read_to_end: bool,
    /// Reads stop where urgent data starts, and splicing cannot tell that from the end.
    urgent: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Reading and sending back.
    Echoing,
    /// No more is read; once the backlog is sent, the connection ends.
    Finishing(Reason),
    /// All is sent and our side is closed. Input is discarded until the peer closes too.
    Lingering(Reason, Instant),
}

/// What is to be sent before anything more is read.
#[derive(Debug)]
enum Backlog {
    Bytes { bytes: Vec<u8>, sent: usize },
    Pipe(Pipe),
}

impl Backlog {
    const EMPTY: Backlog = Backlog::Bytes {
        bytes: Vec::new(),
        sent: 0,
    };

    fn is_empty(&self) -> bool {
        match self {
            Backlog::Bytes { bytes, .. } => bytes.is_empty(),
            Backlog::Pipe(_) => false,
        }
    }
}

impl Peer {
    pub(crate) fn new(
        stream: Stream,
        id: ConnectionId,
        address: PeerAddress,
        decoder: Option<Box<Decoder>>,
        now: Instant,
    ) -> Self {
        Peer {
            stream,
            id,
            address,
            received: 0,
            sent: 0,
            active: now,
            armed: None,
            queued: false,
            faults: None,
            decoder,
            held: Vec::new(),
            backlog: Backlog::EMPTY,
            phase: Phase::Echoing,
            bulk: 0,
            read_to_end: false,
            urgent: false,
        }
    }

    /// Takes note of a readiness event. Returns whether there is anything to do: room to write is
    /// of no interest while nothing waits to be written.
    pub(crate) fn note(&mut self, event: &mio::event::Event) -> bool {
        self.urgent |= event.is_priority();
        self.read_to_end |= event.is_read_closed() || event.is_priority();
        event.is_readable() || self.read_to_end || event.is_error() || !self.backlog.is_empty()
    }

    /// Does what can be done now: sends what is pending, then reads and echoes.
    ///
    /// # Errors
    /// The reason why the connection is over.
    pub(crate) fn advance(&mut self, turn: &mut Turn<'_>) -> Result<Next, Reason> {
        if !self.flush(turn)? {
            return Ok(Next::Event);
        }
        match self.phase {
            Phase::Echoing => self.echo(turn),
            Phase::Finishing(reason) => self.finish(turn, reason),
            Phase::Lingering(reason, _) => self.discard(turn, reason),
        }
    }

    /// When this peer must be looked at again even if nothing happens, and why it is then over.
    pub(crate) fn deadline(&self, idle: Duration, write: Duration) -> Option<(Instant, Reason)> {
        if let Phase::Lingering(reason, until) = self.phase {
            return Some((until, reason));
        }
        let blocked = self
            .faults
            .as_ref()
            .is_some_and(|faults| faults.is_blocked());
        let (timeout, reason) = match self.backlog.is_empty() && !blocked {
            true => (idle, Reason::Idle),
            false => (write, Reason::Unread),
        };
        (!timeout.is_zero()).then(|| (self.active + timeout, reason))
    }

    /// When a fault has something to do, even if nothing happens.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.faults.as_ref()?.wake()
    }

    fn echo(&mut self, turn: &mut Turn<'_>) -> Result<Next, Reason> {
        for _ in 0..READS_PER_TURN {
            if self.bulk >= BULK
                && let Some(next) = self.splice(turn)?
            {
                return Ok(next);
            }
            let n = match self.stream.read(turn.buffer, turn.events) {
                Ok(0) => return self.end_of_stream(turn),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Event),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(reason(&error)),
            };
            self.count_received(turn, n);
            let origin = Origin::Stream(self.id, self.address);
            turn.events.received(origin, &turn.buffer[..n], n);
            #[cfg(test)]
            crate::serve::defect::strike(&turn.buffer[..n]);
            let all_sent = self.reply(turn, n)?;
            if let Phase::Finishing(reason) = self.phase {
                return if all_sent {
                    self.finish(turn, reason)
                } else {
                    Ok(Next::Event)
                };
            }
            if !all_sent {
                return Ok(Next::Event);
            }
            if n == turn.buffer.len() {
                self.bulk = (self.bulk + 1).min(MAX_BULK);
                continue;
            }
            self.bulk = 0;
            if self.stream.short_read_means_empty() && !self.read_to_end {
                return Ok(Next::Event);
            }
        }
        Ok(Next::Turn)
    }

    /// Moves a bulk transfer's bytes within the system, without a copy. `None` gives the transfer
    /// back to reading: it may have ended, became small, or this cannot be done here.
    fn splice(&mut self, turn: &mut Turn<'_>) -> Result<Option<Next>, Reason> {
        let able = self.decoder.is_none()
            && !self.urgent
            && self.faults.is_none()
            && !turn.events.see_bytes();
        let Some(mut pipe) = able.then(|| turn.pipes.take()).flatten() else {
            self.bulk = 0;
            return Ok(None);
        };
        for _ in 0..READS_PER_TURN {
            let n = match pipe.fill(&self.stream) {
                Ok(n) if n > 0 => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    turn.pipes.put(pipe);
                    return Ok(Some(Next::Event));
                }
                // Only a read can tell the end from a stop at urgent data.
                _ => {
                    turn.pipes.put(pipe);
                    self.bulk = 0;
                    return Ok(None);
                }
            };
            self.bulk = if n < SPLICE_MIN {
                self.bulk - 1
            } else {
                MAX_BULK
            };
            self.count_received(turn, n);
            let id = self.id;
            turn.events.trace(|| Kind::Received { id, bytes: n });
            let taken = pipe.drain(&self.stream);
            let taken = taken
                .inspect_err(|_| turn.pipes.lose())
                .map_err(|error| reason(&error))?;
            self.count_sent(turn, taken);
            if pipe.len() > 0 {
                self.backlog = Backlog::Pipe(pipe);
                return Ok(Some(Next::Event));
            }
            if self.bulk < BULK {
                break;
            }
        }
        turn.pipes.put(pipe);
        Ok(Some(Next::Turn))
    }

    /// Sends back what is complete of the `n` bytes in the buffer. Returns whether all of that
    /// was sent.
    fn reply(&mut self, turn: &mut Turn<'_>, n: usize) -> Result<bool, Reason> {
        let Some(decoder) = &mut self.decoder else {
            return self.send(turn, 0..n);
        };
        let Decoded { complete, error } = decoder.push(&turn.buffer[..n]);
        if let Some(error) = error {
            self.phase = Phase::Finishing(Reason::Frame(error));
        }
        let all_sent = if complete == 0 {
            self.flush(turn)?
        } else if self.held.is_empty() {
            self.send(turn, 0..complete)?
        } else {
            self.held.extend_from_slice(&turn.buffer[..complete]);
            self.send_held(turn)?
        };
        if error.is_none() {
            self.held.extend_from_slice(&turn.buffer[complete..n]);
        }
        Ok(all_sent)
    }

    fn end_of_stream(&mut self, turn: &mut Turn<'_>) -> Result<Next, Reason> {
        turn.events.trace(|| Kind::PeerFinished { id: self.id });
        let reason = match self.decoder.as_ref().map(|decoder| decoder.finish()) {
            Some(Err(error)) => {
                self.held.clear();
                Reason::Frame(error)
            }
            _ => Reason::Finished,
        };
        self.phase = Phase::Finishing(reason);
        if self.send_held(turn)? {
            Err(reason)
        } else {
            Ok(Next::Event)
        }
    }

    /// Everything is sent. A peer that has finished too is done; another may still be sending.
    fn finish(&mut self, turn: &mut Turn<'_>, reason: Reason) -> Result<Next, Reason> {
        if reason == Reason::Finished || self.stream.finish_sending(turn.events).is_err() {
            return Err(reason);
        }
        self.held = Vec::new();
        self.phase = Phase::Lingering(reason, turn.now + LINGER);
        self.discard(turn, reason)
    }

    fn discard(&mut self, turn: &mut Turn<'_>, reason: Reason) -> Result<Next, Reason> {
        for _ in 0..READS_PER_TURN {
            match self.stream.read(turn.buffer, turn.events) {
                Ok(0) => return Err(reason),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Event),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(reason),
            }
        }
        Ok(Next::Turn)
    }

    /// Sends a part of the buffer; what the socket does not take becomes the backlog.
    fn send(&mut self, turn: &mut Turn<'_>, part: std::ops::Range<usize>) -> Result<bool, Reason> {
        let bytes = &turn.buffer[part];
        if let Some(faults) = &mut self.faults {
            faults.push(bytes, Instant::now(), turn.events);
            return self.release(turn);
        }
        let taken = self
            .stream
            .write_some(bytes, turn.events)
            .map_err(|error| reason(&error))?;
        let rest = &bytes[taken..];
        if !rest.is_empty() {
            self.backlog = Backlog::Bytes {
                bytes: rest.to_vec(),
                sent: 0,
            };
        }
        self.count_sent(turn, taken);
        Ok(self.backlog.is_empty())
    }

    /// Sends the held bytes, which have become complete.
    fn send_held(&mut self, turn: &mut Turn<'_>) -> Result<bool, Reason> {
        let bytes = std::mem::take(&mut self.held);
        if let Some(faults) = &mut self.faults {
            faults.push(&bytes, Instant::now(), turn.events);
            return self.release(turn);
        }
        self.backlog = Backlog::Bytes { bytes, sent: 0 };
        self.flush(turn)
    }

    /// Sends the backlog. Returns whether all of it was sent; its memory is then free.
    fn flush(&mut self, turn: &mut Turn<'_>) -> Result<bool, Reason> {
        if self.faults.is_some() {
            return self.release(turn);
        }
        if self.backlog.is_empty() {
            return Ok(true);
        }
        let (taken, done) = match &mut self.backlog {
            Backlog::Bytes { bytes, sent } => {
                let taken = self
                    .stream
                    .write_some(&bytes[*sent..], turn.events)
                    .map_err(|error| reason(&error))?;
                *sent += taken;
                (taken, *sent == bytes.len())
            }
            Backlog::Pipe(pipe) => {
                let taken = pipe.drain(&self.stream).map_err(|error| reason(&error))?;
                (taken, pipe.len() == 0)
            }
        };
        self.count_sent(turn, taken);
        if done && let Backlog::Pipe(pipe) = std::mem::replace(&mut self.backlog, Backlog::EMPTY) {
            turn.pipes.put(pipe);
        }
        Ok(done)
    }

    /// Does what the faults have due. Returns whether this peer may go on: to read, while they
    /// have room, or to end, once they have nothing left.
    fn release(&mut self, turn: &mut Turn<'_>) -> Result<bool, Reason> {
        let Some(mut faults) = self.faults.take() else {
            return Ok(true);
        };
        // What arrived during this turn came after its start, and must not leave too early.
        let now = Instant::now();
        if matches!(self.phase, Phase::Finishing(_)) {
            faults.finish(now, turn.events);
        }
        loop {
            match faults.due(now, turn.events) {
                Due::Bytes(bytes) => {
                    let len = bytes.len();
                    let taken = self
                        .stream
                        .write_some(bytes, turn.events)
                        .map_err(|error| reason(&error))?;
                    faults.wrote(taken, taken == len, now);
                    self.count_sent(turn, taken);
                    if taken < len {
                        break;
                    }
                }
                Due::End(end) => self.end(end, turn.events)?,
                Due::Nothing => break,
            }
        }
        let on = match self.phase {
            Phase::Echoing => faults.has_room(),
            Phase::Finishing(_) | Phase::Lingering(..) => faults.is_empty(),
        };
        self.faults = Some(faults);
        Ok(on)
    }

    /// Ends this connection as a fault has it.
    fn end(&mut self, end: Ending, events: &Events) -> Result<(), Reason> {
        let over = Reason::Fault(end.name());
        match end {
            Ending::HalfClose => self.stream.finish_sending(events).map_err(|_| over),
            Ending::Close => {
                self.phase = Phase::Finishing(over);
                Ok(())
            }
            Ending::Reset => {
                // Without it the peer sees the end all the same.
                let _: io::Result<()> = self.stream.reset_on_close();
                Err(over)
            }
        }
    }

    /// Whether it holds one of the worker's pipes, which goes with it.
    pub(crate) fn holds_pipe(&self) -> bool {
        matches!(self.backlog, Backlog::Pipe(_))
    }

    fn count_received(&mut self, turn: &Turn<'_>, bytes: usize) {
        self.active = turn.now;
        self.received += bytes as u64;
        turn.counters.received_bytes.add(bytes as u64);
    }

    fn count_sent(&mut self, turn: &Turn<'_>, bytes: usize) {
        if bytes > 0 {
            self.active = turn.now;
            self.sent += bytes as u64;
            turn.counters.sent_bytes.add(bytes as u64);
            turn.events.trace(|| Kind::Sent { id: self.id, bytes });
        }
    }
}

fn reason(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Reason::Reset,
        kind => Reason::Failed(kind),
    }
}
