//! One connection: sends requests, and tells what each thing that comes back is.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::connection::{Socket, TICK};
use crate::interrupt::Interrupt;
use crate::wire::echo::{self, Reply};
use crate::wire::message::Message;

/// Larger than any datagram, so that an excess shows.
const BUFFER: usize = 64 << 10;

/// A connection and what is known of the requests on it.
pub struct Link {
    socket: Socket,
    wire: Wire,
    busy: bool,
    /// The socket's time limit for a read, as it was last set; zero: none.
    limit: Duration,
    buffer: Vec<u8>,
    request: Vec<u8>,
}

/// How replies are told apart.
enum Wire {
    Datagrams {
        token: u64,
        size: usize,
        /// Requests too small for a number, newest first: only their bytes tell them apart.
        recent: VecDeque<u64>,
    },
    Stream(Stream),
}

/// The order of a stream says which request the next byte answers.
struct Stream {
    message: Message,
    /// The request whose echo comes next, and how much of that has come.
    next: u64,
    received: usize,
    /// One past the last request that was sent.
    end: u64,
    /// Read, but not looked at.
    unread: std::ops::Range<usize>,
    read_at: Instant,
    /// The stream has ended; this is why.
    ended: Option<io::Error>,
}

/// Something that came back, or did not.
#[derive(Debug)]
pub enum Received {
    /// Bytes that answer, or should answer, a request.
    Reply {
        /// What they are.
        reply: Reply,
        /// When they came.
        at: Instant,
        /// How many.
        bytes: usize,
        /// What is wrong with them, where more can be said than the class does.
        detail: Option<String>,
    },
    /// Nothing, until the time was up.
    Quiet,
    /// An error; a stream is at its end with it.
    Failed(io::Error),
}

/// How requests look, whatever the connection.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The session.
    pub token: u64,
    /// Bytes of payload.
    pub size: usize,
    /// A request on a stream.
    pub message: Message,
    /// Poll instead of sleeping.
    pub busy: bool,
}

/// So many requests that were given up are still recognised without a number.
const RECENT: usize = 8;

impl Link {
    /// A connection whose first request will be number `first`.
    pub fn new(socket: Socket, shape: Shape, first: u64) -> io::Result<Self> {
        let wire = match &socket {
            Socket::Udp(_) => Wire::Datagrams {
                token: shape.token,
                size: shape.size,
                recent: VecDeque::new(),
            },
            _ => Wire::Stream(Stream {
                message: shape.message,
                next: first,
                received: 0,
                end: first,
                unread: 0..0,
                read_at: Instant::now(),
                ended: None,
            }),
        };
        socket.set_nonblocking(shape.busy)?;
        socket.set_write_timeout(Some(TICK))?;
        Ok(Link {
            socket,
            wire,
            busy: shape.busy,
            limit: Duration::ZERO,
            buffer: vec![0; BUFFER],
            request: Vec::new(),
        })
    }

    /// Makes request `number` ready to be written. Returns its length on the wire.
    pub fn prepare(&mut self, number: u64) -> usize {
        match &mut self.wire {
            Wire::Datagrams {
                token,
                size,
                recent,
            } => {
                self.request.resize(*size, 0);
                echo::encode(*token, number, &mut self.request);
                recent.push_front(number);
                recent.truncate(RECENT);
            }
            Wire::Stream(stream) => {
                self.request.resize(stream.message.wire_len(), 0);
                stream.message.fill(number, 0, &mut self.request);
                stream.end = number + 1;
            }
        }
        self.request.len()
    }

    /// Writes the request that is ready, within `limit`.
    pub fn write(&self, limit: Duration, interrupt: &Interrupt) -> io::Result<()> {
        let start = Instant::now();
        let mut rest = &self.request[..];
        loop {
            match (&self.socket).write(rest) {
                Ok(written) if written >= rest.len() => return Ok(()),
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if !is_pause(&error) => return Err(error),
                Err(_) if interrupt.is_raised() => return Err(io::ErrorKind::Interrupted.into()),
                Err(_) if start.elapsed() >= limit => return Err(io::ErrorKind::TimedOut.into()),
                Err(_) => {}
            }
        }
    }

    /// Waits until `until` at most for the next thing to come back; a tick at most.
    pub fn receive(&mut self, until: Instant) -> Received {
        if let Wire::Stream(stream) = &mut self.wire
            && let Some(received) = stream.take(&self.buffer)
        {
            return received;
        }
        let len = match self.read(until) {
            Ok(Some(len)) => len,
            Ok(None) => return Received::Quiet,
            Err(error) => match &mut self.wire {
                Wire::Datagrams { .. } => return Received::Failed(error),
                Wire::Stream(stream) => return stream.end_with(error),
            },
        };
        let at = Instant::now();
        match &mut self.wire {
            Wire::Datagrams {
                token,
                size,
                recent,
            } => Received::Reply {
                reply: recognise(*token, *size, recent, &self.buffer[..len]),
                at,
                bytes: len,
                detail: None,
            },
            Wire::Stream(stream) if len == 0 => {
                stream.end_with(io::ErrorKind::UnexpectedEof.into())
            }
            Wire::Stream(stream) => {
                (stream.unread, stream.read_at) = (0..len, at);
                stream.take(&self.buffer).unwrap_or(Received::Quiet)
            }
        }
    }

    /// Whether there is more to receive without a read.
    pub fn has_more(&self) -> bool {
        match &self.wire {
            Wire::Datagrams { .. } => false,
            Wire::Stream(stream) => !stream.unread.is_empty() || stream.ended.is_some(),
        }
    }

    /// Reads once, or not at all when nothing comes in time.
    fn read(&mut self, until: Instant) -> io::Result<Option<usize>> {
        let now = Instant::now();
        let limit = until.saturating_duration_since(now).min(TICK);
        // A time limit of zero would be none.
        let only_looks = !self.busy && limit.is_zero();
        if only_looks {
            self.socket.set_nonblocking(true)?;
        } else if !self.busy && self.limit != limit {
            // Most waits are a tick long: a system call saved between request and reply.
            self.socket.set_read_timeout(Some(limit))?;
            self.limit = limit;
        }
        let result = loop {
            match (&self.socket).read(&mut self.buffer) {
                Err(error) if is_pause(&error) => {
                    if !self.busy || now.elapsed() >= limit {
                        break Ok(None);
                    }
                    std::hint::spin_loop();
                }
                result => break result.map(Some),
            }
        };
        if only_looks {
            self.socket.set_nonblocking(false)?;
        }
        result
    }
}

fn is_pause(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    // `TimedOut` is the connection's own end: TCP has given up.
    matches!(error.kind(), WouldBlock | Interrupted)
}

fn recognise(token: u64, size: usize, recent: &VecDeque<u64>, datagram: &[u8]) -> Reply {
    if echo::is_numbered(size) {
        return echo::decode(token, size, datagram);
    }
    let mut request = vec![0; size];
    let mut newest = None;
    for &number in recent {
        echo::encode(token, number, &mut request);
        let reply = echo::compare(number, &request, datagram);
        if matches!(reply, Reply::Whole(_)) {
            return reply;
        }
        newest.get_or_insert(reply);
    }
    newest.unwrap_or(Reply::Foreign)
}

impl Stream {
    /// The next thing that the bytes read so far amount to.
    fn take(&mut self, buffer: &[u8]) -> Option<Received> {
        if let Some(error) = self.ended.take() {
            return Some(Received::Failed(error));
        }
        if self.unread.is_empty() {
            return None;
        }
        let bytes = &buffer[self.unread.clone()];
        if self.next == self.end {
            let text = format!("{} bytes came back that nobody sent", bytes.len());
            return Some(self.wrong(Reply::Foreign, bytes.len(), text));
        }
        let len = bytes.len().min(self.message.wire_len() - self.received);
        let mut expected = vec![0; len];
        self.message.fill(self.next, self.received, &mut expected);
        if let Some(at) = (0..len).find(|&at| bytes[at] != expected[at]) {
            let text = format!(
                "offset {}: expected 0x{:02x}, got 0x{:02x}",
                self.received + at,
                expected[at],
                bytes[at]
            );
            return Some(self.wrong(Reply::Corrupt, self.received + bytes.len(), text));
        }
        self.unread.start += len;
        self.received += len;
        if self.received < self.message.wire_len() {
            return None;
        }
        self.received = 0;
        self.next += 1;
        Some(Received::Reply {
            reply: Reply::Whole(self.next - 1),
            at: self.read_at,
            bytes: self.message.wire_len(),
            detail: None,
        })
    }

    /// Behind a wrong byte nobody knows which request the next one answers: the stream ends here.
    fn wrong(&mut self, reply: Reply, bytes: usize, text: String) -> Received {
        self.unread = 0..0;
        self.ended = Some(io::ErrorKind::InvalidData.into());
        Received::Reply {
            reply,
            at: self.read_at,
            bytes,
            detail: Some(text),
        }
    }

    /// The stream is over; a reply that had begun is cut short.
    fn end_with(&mut self, error: io::Error) -> Received {
        if self.received == 0 {
            return Received::Failed(error);
        }
        let (bytes, whole) = (self.received, self.message.wire_len());
        self.received = 0;
        self.ended = Some(error);
        Received::Reply {
            reply: Reply::Truncated,
            at: Instant::now(),
            bytes,
            detail: Some(format!("{bytes} of {whole} bytes came back")),
        }
    }
}
