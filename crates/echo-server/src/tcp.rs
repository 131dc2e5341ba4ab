//! One stream peer: read, echo, backlog, half-close. TCP and Unix streams alike.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::path::Path;
use std::time::{Duration, Instant};

use echo_core::framing::{Decoded, Decoder};
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};

use crate::event::{Address, ConnectionId, Events, Kind, Origin, PeerAddress, Reason};
use crate::stats::Counters;
use crate::timers::Armed;

/// Reads of one peer in one turn, so that a peer that never pauses cannot starve the others.
const READS_PER_TURN: usize = 16;

/// How long input is discarded after we ended a connection on our own account. Closing with input
/// unread would send a reset, which may destroy at the peer what was echoed before.
const LINGER: Duration = Duration::from_secs(1);

/// A connected stream socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Unix(stream) => stream,
        }
    }

    /// This end's address. The system does not refuse to tell it of a socket that is open.
    pub(crate) fn local(&self) -> Address {
        match self {
            Stream::Tcp(stream) => {
                let unknown = (Ipv4Addr::UNSPECIFIED, 0).into();
                Address::Tcp(stream.local_addr().unwrap_or(unknown))
            }
            Stream::Unix(stream) => {
                let name = stream.local_addr().ok();
                let path = name.as_ref().and_then(|name| name.as_pathname());
                Address::Unix(path.unwrap_or(Path::new("")).to_owned())
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn finish_sending(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Whether a read that did not fill its buffer emptied the socket. On a Unix socket it may
    /// have stopped between two messages of different credentials.
    fn short_read_means_empty(&self) -> bool {
        matches!(self, Stream::Tcp(_))
    }
}

/// What a worker lends to a peer for one turn.
pub(crate) struct Turn<'a> {
    /// Shared by all the worker's peers: bytes stay in it only while they are passed on.
    pub(crate) buffer: &'a mut [u8],
    pub(crate) now: Instant,
    pub(crate) events: &'a Events,
    pub(crate) counters: &'a Counters,
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
    /// `None` for raw framing, which has nothing to find.
    decoder: Option<Box<Decoder>>,
    /// The frame that is not complete yet.
    held: Vec<u8>,
    /// What the socket did not take yet. Nothing is read while there is any.
    backlog: Backlog,
    phase: Phase,
    /// The next read must not be left out, however short the last one was: the peer has finished
    /// sending or sent urgent data, and an edge for what is left may never come.
    read_to_end: bool,
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

#[derive(Debug, Default)]
struct Backlog {
    bytes: Vec<u8>,
    sent: usize,
}

impl Backlog {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
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
            decoder,
            held: Vec::new(),
            backlog: Backlog::default(),
            phase: Phase::Echoing,
            read_to_end: false,
        }
    }

    /// Takes note of a readiness event.
    pub(crate) fn note(&mut self, event: &mio::event::Event) {
        self.read_to_end |= event.is_read_closed() || event.is_priority();
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
        let (timeout, reason) = match self.backlog.is_empty() {
            true => (idle, Reason::Idle),
            false => (write, Reason::Unread),
        };
        (!timeout.is_zero()).then(|| (self.active + timeout, reason))
    }

    fn echo(&mut self, turn: &mut Turn<'_>) -> Result<Next, Reason> {
        for _ in 0..READS_PER_TURN {
            let n = match self.stream.read(turn.buffer) {
                Ok(0) => return self.end_of_stream(turn),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Event),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(reason(&error)),
            };
            self.active = turn.now;
            self.received += n as u64;
            turn.counters.received_bytes.add(n as u64);
            let origin = Origin::Stream(self.id, self.address);
            turn.events.received(origin, &turn.buffer[..n], n);
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
            let emptied = n < turn.buffer.len() && self.stream.short_read_means_empty();
            if emptied && !self.read_to_end {
                return Ok(Next::Event);
            }
        }
        Ok(Next::Turn)
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
        let mut all_sent = true;
        if complete > 0 {
            all_sent = if self.held.is_empty() {
                self.send(turn, 0..complete)?
            } else {
                self.held.extend_from_slice(&turn.buffer[..complete]);
                self.send_held(turn)?
            };
        }
        if error.is_none() {
            self.held.extend_from_slice(&turn.buffer[complete..n]);
        }
        Ok(all_sent)
    }

    fn end_of_stream(&mut self, turn: &mut Turn<'_>) -> Result<Next, Reason> {
        turn.events.trace(|| Kind::PeerFinished { id: self.id });
        if let Some(Err(error)) = self.decoder.as_ref().map(|decoder| decoder.finish()) {
            return Err(Reason::Frame(error));
        }
        self.phase = Phase::Finishing(Reason::Finished);
        if self.send_held(turn)? {
            Err(Reason::Finished)
        } else {
            Ok(Next::Event)
        }
    }

    /// Everything is sent. A peer that has finished too is done; another may still be sending.
    fn finish(&mut self, turn: &mut Turn<'_>, reason: Reason) -> Result<Next, Reason> {
        if reason == Reason::Finished || self.stream.finish_sending().is_err() {
            return Err(reason);
        }
        self.held = Vec::new();
        self.phase = Phase::Lingering(reason, turn.now + LINGER);
        self.discard(turn, reason)
    }

    fn discard(&mut self, turn: &mut Turn<'_>, reason: Reason) -> Result<Next, Reason> {
        for _ in 0..READS_PER_TURN {
            match self.stream.read(turn.buffer) {
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
        let taken = write(&mut self.stream, bytes).map_err(|error| reason(&error))?;
        self.count_sent(turn, taken);
        if taken < bytes.len() {
            self.backlog = Backlog {
                bytes: bytes[taken..].to_vec(),
                sent: 0,
            };
        }
        Ok(self.backlog.is_empty())
    }

    /// Sends the held bytes, which have become complete.
    fn send_held(&mut self, turn: &mut Turn<'_>) -> Result<bool, Reason> {
        self.backlog = Backlog {
            bytes: std::mem::take(&mut self.held),
            sent: 0,
        };
        self.flush(turn)
    }

    /// Sends the backlog. Returns whether all of it was sent; its memory is then free.
    fn flush(&mut self, turn: &mut Turn<'_>) -> Result<bool, Reason> {
        if self.backlog.is_empty() {
            return Ok(true);
        }
        let rest = &self.backlog.bytes[self.backlog.sent..];
        let len = rest.len();
        let taken = write(&mut self.stream, rest).map_err(|error| reason(&error))?;
        self.backlog.sent += taken;
        self.count_sent(turn, taken);
        if taken < len {
            return Ok(false);
        }
        self.backlog = Backlog::default();
        Ok(true)
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

/// Writes until the socket takes no more. Returns how much it took.
fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match stream.write(&bytes[taken..]) {
            Ok(n) => taken += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

fn reason(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Reason::Reset,
        kind => Reason::Failed(kind),
    }
}
