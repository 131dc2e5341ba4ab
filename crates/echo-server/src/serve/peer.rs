//! One stream peer: read, echo, half-close. Unix streams too. What it is owed is its outbox's.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use echo_core::Framing;
use echo_core::framing::{Decoded, Decoder};

use crate::Listen;
use crate::event::{ConnectionId, Events, Kind, Origin, PeerAddress, Reason};
use crate::fault::{Ending, Plan, StreamFaults, Subject};
#[cfg(test)]
use crate::serve::defect::{self, Mutant};
use crate::serve::inbox::Accepted;
use crate::serve::limits::Permit;
use crate::serve::outbox::{Flow, Outbox, Owed};
use crate::serve::timers::Patience;
use crate::serve::turn::{Readiness, Turn};
use crate::socket::stream::Stream;

/// Reads in a row that fill the buffer before a transfer counts as bulk, and is spliced.
const BULK: u8 = 8;

/// A bulk transfer may be this many small pieces long in between, such as the ends of messages.
const MAX_BULK: u8 = 2 * BULK;

/// Splicing less than this at a time costs more than copying it.
const SPLICE_MIN: usize = 16 << 10;

/// Reads that a pipe collects before it is emptied: a write of 64 KiB at a time would cost more than
/// copying, too. Half of what a turn may read.
const FILLS: u32 = 8;

/// How long input is discarded after we ended a connection on our own account. Closing with input
/// unread would send a reset, which may destroy at the peer what was echoed before.
const LINGER: Duration = Duration::from_secs(1);

/// A connection that has been silent for this long is not waited for when the server stops.
pub(crate) const SILENT: Duration = Duration::from_secs(1);

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
    /// The listener that it came to.
    pub(crate) listen: Arc<Listen>,
    pub(crate) received: u64,
    /// When it came.
    pub(crate) since: Instant,
    /// When a byte last moved.
    active: Instant,
    /// Whether it already waits for another turn.
    pub(crate) queued: bool,
    pub(crate) outbox: Outbox,
    /// `None` for raw framing, which has nothing to find.
    decoder: Option<Box<Decoder>>,
    /// The frame that is not complete yet.
    held: Vec<u8>,
    phase: Phase,
    /// How much this looks like a bulk transfer: up with each read that fills the buffer.
    bulk: u8,
    /// The next read must not be left out, however short the last one was: the peer has finished
    /// sending, or sent urgent data, and an edge for what is left may never come.
    read_to_end: bool,
    /// Reads stop where urgent data starts, and splicing cannot tell that from the end.
    urgent: bool,
    /// Its place among the connections that may be open.
    pub(crate) permit: Permit,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Reading and sending back.
    Echoing,
    /// No more is read; once nothing is owed, the connection ends.
    Finishing(Reason),
    /// All is sent and our side is closed. Input is discarded until the peer closes too.
    Lingering(Reason, Instant),
}

impl Peer {
    pub(crate) fn new(accepted: Accepted, decoder: Option<Box<Decoder>>, now: Instant) -> Self {
        let newcomer = accepted.newcomer;
        Peer {
            stream: newcomer.stream,
            id: accepted.id,
            address: newcomer.address,
            listen: newcomer.listen,
            received: 0,
            since: now,
            active: now,
            queued: false,
            outbox: Outbox::new(accepted.id),
            decoder,
            held: Vec::new(),
            phase: Phase::Echoing,
            bulk: 0,
            read_to_end: false,
            urgent: false,
            permit: accepted.permit,
        }
    }

    /// Has the faults of `plan` apply from `now` on. Returns whether that changes anything.
    ///
    /// # Errors
    /// The reason why the connection is over.
    pub(crate) fn revise(
        &mut self,
        plan: Option<&Arc<Plan>>,
        framing: Framing,
        now: Instant,
        events: &Events,
    ) -> Result<bool, Reason> {
        let subject = || {
            let (transport, listener) = (self.stream.transport(), self.listen.name.as_ref());
            Subject::new(transport, listener, self.id, Some(self.address))
        };
        let echoes = matches!(self.phase, Phase::Echoing);
        let new = || StreamFaults::new(plan.filter(|_| echoes)?, &subject(), framing, now);
        Ok(self.outbox.revise(plan, new, now, events)?)
    }

    /// Sends what is owed, and ends the connection then.
    pub(crate) fn finish_when_sent(&mut self, why: Reason) {
        if let Phase::Echoing = self.phase {
            self.phase = Phase::Finishing(why);
            self.outbox.finish();
        }
    }

    /// Takes note of a readiness event. Returns whether there is anything to do. Room to write is
    /// of no interest but to a peer that was refused it: what is held back for a time has its own.
    pub(crate) fn note(&mut self, ready: Readiness) -> bool {
        self.urgent |= ready.urgent;
        self.read_to_end |= ready.read_closed || ready.urgent;
        #[cfg(test)]
        if defect::has(Mutant::EdgeLost) && !self.outbox.takes_pipes() {
            return ready.readable || self.read_to_end || ready.error;
        }
        ready.readable || self.read_to_end || ready.error || self.outbox.owed() == Owed::Room
    }

    /// Sends no later what only waits for others. The peer has had no time to take it until `now`.
    pub(crate) fn wait_for_no_others(&mut self, now: Instant, events: &Events) {
        if self.outbox.owed() == Owed::Others {
            self.active = now;
            self.outbox.wait_for_no_others(events);
        }
    }

    /// Does what can be done now: sends what is owed, then reads and echoes.
    ///
    /// # Errors
    /// The reason why the connection is over.
    pub(crate) fn advance(
        &mut self,
        buffer: &mut [u8],
        turn: &mut Turn<'_>,
    ) -> Result<Next, Reason> {
        let before = self.moved();
        let next = self.go_on(buffer, turn);
        if self.moved() != before {
            self.active = turn.now;
        }
        next
    }

    /// Bytes of memory that it holds, beyond what every peer costs.
    pub(crate) fn held(&self) -> usize {
        self.held.capacity() + self.outbox.held()
    }

    /// Bytes that came and went.
    pub(crate) fn moved(&self) -> u64 {
        self.received + self.outbox.sent()
    }

    /// When this peer is over, whatever it does, and why.
    pub(crate) fn end(&self, patience: &Patience) -> Option<(Instant, Reason)> {
        let lingers = match self.phase {
            Phase::Lingering(reason, until) => Some((until, reason)),
            _ => None,
        };
        let drain = patience.drain_until.map(|until| (until, Reason::Shutdown));
        lingers.into_iter().chain(drain).min_by_key(|(at, _)| *at)
    }

    /// When this peer is over unless it moves a byte by then, and why. Whoever is owed something
    /// that leaves by itself is waited for. So is whoever reads slowly, also while the server stops: a
    /// receiver that was full asks for more only once a sixteenth of its buffer is free, which is 375 KiB
    /// of the 6 MiB that Linux gives at most, and until then nobody can tell it from one that never reads.
    pub(crate) fn deadline(&self, patience: &Patience) -> Option<(Instant, Reason)> {
        let (timeout, drain, reason) = match self.outbox.owed() {
            _ if matches!(self.phase, Phase::Lingering(..)) => return None,
            Owed::Nothing | Owed::Others => (patience.idle, Some(patience.silent), Reason::Idle),
            Owed::Room => (patience.write, None, Reason::Unread),
            #[cfg(test)]
            Owed::Time if defect::has(Mutant::IdleWhileOwed) => {
                (patience.idle, Some(patience.silent), Reason::Idle)
            }
            Owed::Time => return None,
        };
        let drain = patience.drain_until.and(drain);
        let drain = drain.map(|drain| (drain, Reason::Shutdown));
        let timeout = (!timeout.is_zero()).then_some((timeout, reason));
        let first = timeout
            .into_iter()
            .chain(drain)
            .min_by_key(|(for_, _)| *for_);
        first.map(|(timeout, reason)| (self.active + timeout, reason))
    }

    fn go_on(&mut self, buffer: &mut [u8], turn: &mut Turn<'_>) -> Result<Next, Reason> {
        let mut flow = self.outbox.flush(&mut self.stream, turn)?;
        loop {
            flow = match (flow, self.phase) {
                (Flow::Waits, _) => return Ok(Next::Event),
                (Flow::Spent, _) => return Ok(Next::Turn),
                (Flow::End(end), _) => self.end_by_fault(end, turn)?,
                (Flow::Clear, Phase::Echoing) => self.echo(buffer, turn)?,
                (Flow::Clear, Phase::Finishing(reason)) => self.finish(turn, reason)?,
                (Flow::Clear, Phase::Lingering(reason, _)) => self.discard(buffer, turn, reason)?,
            }
        }
    }

    /// Reads once, and sends back what is complete.
    fn echo(&mut self, buffer: &mut [u8], turn: &mut Turn<'_>) -> Result<Flow, Reason> {
        let Some(room) = turn.budget.to_read(buffer.len()) else {
            return Ok(Flow::Spent);
        };
        if self.bulk >= BULK
            && room >= SPLICE_MIN
            && let Some(flow) = self.splice(room, turn)?
        {
            return Ok(flow);
        }
        let n = match self.read(&mut buffer[..room], turn) {
            Ok(0) => return self.end_of_stream(turn),
            Ok(n) => n,
            Err(error) => return unread(&error).ok_or(error.into()),
        };
        self.count_received(turn, n);
        let origin = Origin::Stream(self.id, self.stream.transport(), self.address);
        turn.events.received(origin, &buffer[..n], n);
        #[cfg(test)]
        defect::strike(&buffer[..n]);
        let flow = self.reply(&buffer[..n], turn)?;
        if n == room {
            self.bulk = (self.bulk + 1).min(MAX_BULK);
            return Ok(flow);
        }
        self.bulk = 0;
        let emptied = self.stream.short_read_means_empty() && !self.read_to_end;
        match (flow, self.phase) {
            (Flow::Clear, Phase::Echoing) if emptied => Ok(Flow::Waits),
            _ => Ok(flow),
        }
    }

    fn read(&mut self, buffer: &mut [u8], turn: &mut Turn<'_>) -> io::Result<usize> {
        let outcome = self.stream.read(buffer, turn.events);
        turn.budget.spend(*outcome.as_ref().unwrap_or(&0));
        outcome
    }

    /// Moves a bulk transfer's bytes within the system, without a copy. `None` gives the transfer
    /// back to reading: it may have ended, or this cannot be done here.
    fn splice(&mut self, room: usize, turn: &mut Turn<'_>) -> Result<Option<Flow>, Reason> {
        let able = self.decoder.is_none()
            && !self.urgent
            && self.outbox.takes_pipes()
            && !turn.events.see_bytes();
        let Some(mut pipe) = able.then(|| turn.pipes.take()).flatten() else {
            self.bulk = 0;
            return Ok(None);
        };
        for _ in 0..FILLS {
            let outcome = pipe.fill(&self.stream, room);
            turn.budget.spend(*outcome.as_ref().unwrap_or(&0));
            let n = match outcome {
                Ok(n) if n > 0 => n,
                // What stopped it will stop it again, once the pipe is empty.
                _ if !pipe.is_empty() => break,
                outcome => {
                    turn.pipes.put(pipe);
                    let flow = outcome.err().and_then(|error| unread(&error));
                    // Only a read can tell the end from a stop at urgent data.
                    if flow.is_none() {
                        self.bulk = 0;
                    }
                    return Ok(flow);
                }
            };
            self.bulk = match n < SPLICE_MIN {
                true => self.bulk - 1,
                false => MAX_BULK,
            };
            self.count_received(turn, n);
            let id = self.id;
            turn.events.trace(|| Kind::Received {
                id,
                bytes: n,
                data: String::new(),
            });
            if n < room || turn.budget.to_read(room) != Some(room) {
                break;
            }
        }
        let flow = self.outbox.send_pipe(pipe, &mut self.stream, turn)?;
        Ok(Some(flow))
    }

    /// Sends back what is complete of what was read.
    fn reply(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Result<Flow, Reason> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(self.outbox.send(bytes, &mut self.stream, turn)?);
        };
        let Decoded { complete, error } = decoder.push(bytes);
        let (complete, rest) = bytes.split_at(complete);
        let flow = if complete.is_empty() {
            Flow::Clear
        } else if self.held.is_empty() {
            self.outbox.send(complete, &mut self.stream, turn)?
        } else {
            self.hold(complete)?;
            self.owe_held(turn)?;
            self.outbox.flush(&mut self.stream, turn)?
        };
        match error {
            None => self.hold(rest)?,
            Some(error) => return self.finish_for(error.into(), turn),
        }
        Ok(flow)
    }

    fn end_of_stream(&mut self, turn: &mut Turn<'_>) -> Result<Flow, Reason> {
        turn.events.trace(|| Kind::PeerFinished { id: self.id });
        match self.decoder.as_ref().map(|decoder| decoder.finish()) {
            Some(Err(error)) => self.finish_for(error.into(), turn),
            _ => {
                self.owe_held(turn)?;
                self.finish_for(Reason::Finished, turn)
            }
        }
    }

    /// Reads no more, and ends the connection once nothing is owed.
    fn finish_for(&mut self, reason: Reason, turn: &mut Turn<'_>) -> Result<Flow, Reason> {
        self.phase = Phase::Finishing(reason);
        self.outbox.finish();
        Ok(self.outbox.flush(&mut self.stream, turn)?)
    }

    /// Once everything is sent, a peer that has finished too is done; another may still be sending.
    fn finish(&mut self, turn: &mut Turn<'_>, reason: Reason) -> Result<Flow, Reason> {
        if self.outbox.owed() != Owed::Nothing {
            return Ok(Flow::Waits);
        }
        if reason == Reason::Finished || self.stream.finish_sending(turn.events).is_err() {
            return Err(reason);
        }
        self.held = Vec::new();
        self.phase = Phase::Lingering(reason, turn.now + LINGER);
        Ok(Flow::Clear)
    }

    fn discard(
        &mut self,
        buffer: &mut [u8],
        turn: &mut Turn<'_>,
        reason: Reason,
    ) -> Result<Flow, Reason> {
        let Some(room) = turn.budget.to_read(buffer.len()) else {
            return Ok(Flow::Spent);
        };
        match self.read(&mut buffer[..room], turn) {
            Ok(0) => Err(reason),
            Ok(_) => Ok(Flow::Clear),
            Err(error) => unread(&error).ok_or(reason),
        }
    }

    /// Keeps a part of a frame until the rest of it comes.
    fn hold(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.held.try_reserve(bytes.len())?;
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    fn owe_held(&mut self, turn: &mut Turn<'_>) -> io::Result<()> {
        self.outbox.owe(std::mem::take(&mut self.held), turn)
    }

    /// Ends this connection as a fault has it.
    fn end_by_fault(&mut self, end: Ending, turn: &mut Turn<'_>) -> Result<Flow, Reason> {
        let over = Reason::Fault(end.name());
        match end {
            Ending::HalfClose => {
                let ended = self.stream.finish_sending(turn.events);
                ended.map_err(|_| over)?;
                Ok(self.outbox.flush(&mut self.stream, turn)?)
            }
            Ending::Close => self.finish_for(over, turn),
            Ending::Reset => {
                // Without it the peer sees the end all the same.
                let _: io::Result<()> = self.stream.reset_on_close();
                Err(over)
            }
        }
    }

    fn count_received(&mut self, turn: &Turn<'_>, bytes: usize) {
        self.received += bytes as u64;
        turn.counters.received_bytes.add(bytes as u64);
    }
}

/// How to go on after a read that brought nothing; `None` where there is no going on.
fn unread(error: &io::Error) -> Option<Flow> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Some(Flow::Waits),
        io::ErrorKind::Interrupted => Some(Flow::Clear),
        _ => None,
    }
}
