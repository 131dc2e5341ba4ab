//! A stream of bytes that are sent to an echo server and compared as they come back.

use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::PollFlags;
use socket2::Socket;

use super::dial::{Call, dial};
use super::path::{Path, ready};
use crate::connection::{TICK, is_for_now};
use crate::interrupt::Interrupt;
use crate::wire::echo;
use crate::wire::message::Message;

/// Bytes of a message: any packet takes it.
pub const MESSAGE: usize = 64;
/// The most that is sent at once, and the least that is waited for where the pace says so, in bytes.
const PIECE: usize = 16 << 10;
const LEAST: usize = 4 << 10;
/// How long making a connection may take, and how long nothing may come over one. A few losses cost
/// less, as TCP waits 0.2, 0.4 and 0.8 s before it sends again.
const CONNECT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(3);

/// A connection, and where its two streams are.
#[derive(Debug)]
pub struct Talk {
    /// The connection, and how long it took to make.
    pub socket: Socket,
    pub handshake: Duration,
    message: Message,
    sent: u64,
    back: u64,
    /// Bits a second that are sent, at most.
    pub rate: u64,
    /// How long nothing may come.
    patience: Duration,
    interrupt: Interrupt,
}

/// What came of sending some bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// How many were sent.
    pub sent: u64,
    /// How many came back.
    pub back: u64,
    /// The offset of the first wrong byte of the stream, and how many of all were right.
    pub wrong: Option<(u64, u64)>,
    /// How the connection ended, if it has: `None` within is an end in order.
    pub ended: Option<Option<ErrorKind>>,
    /// Whether nothing came for too long.
    pub hung: bool,
    /// When the last of them came, from the beginning on.
    pub elapsed: Duration,
}

impl Talk {
    /// The quickest of a few new connections, if any was made. Segments on it have `segment` bytes at
    /// most.
    ///
    /// # Errors
    /// Nothing answers; this machine lacks what it takes to connect.
    pub fn open(path: &mut Path<'_>, segment: Option<u32>) -> Result<Self> {
        let call = Call {
            segment,
            ..Call::to(path.remote()?)
        };
        // Several, since some ports may never get through.
        let made = dial(path, &[call; 4], 2, path.patience(CONNECT))?.into_iter();
        let made = made.filter_map(|(answer, socket)| Some((answer.time()?, socket?)));
        let quickest = made.min_by_key(|(time, _)| *time);
        let (handshake, socket) = quickest.context("no connection was made")?;
        Ok(Talk {
            socket,
            handshake,
            message: Message::new(echo::token(), MESSAGE, path.framing),
            sent: 0,
            back: 0,
            rate: path.settings.max_rate.0,
            patience: path.patience(PATIENCE),
            interrupt: path.interrupt.clone(),
        })
    }

    /// Sends `messages` whole ones and reads them back meanwhile, until all are there, nothing
    /// comes for too long, or somebody asks to stop.
    pub fn echo(&mut self, path: &mut Path<'_>, messages: u64) -> Heard {
        let bytes = messages * self.message.wire_len() as u64;
        let heard = self.carry(bytes, path.time_left().max(self.patience));
        heard.count(path);
        heard
    }

    /// The same of so many bytes, within `limit`, and uncounted.
    pub fn carry(&mut self, bytes: u64, limit: Duration) -> Heard {
        let start = Instant::now();
        let (before, first, end) = (self.back, self.sent, self.sent + bytes);
        let (mut heard, mut right, mut moved) = (Heard::default(), 0, start);
        let (mut buffer, mut expected) = (vec![0; PIECE], vec![0; PIECE]);
        let bytes_per_s = self.rate as f64 / 8.0;
        // What comes before a byte is sent is read too.
        while heard.ended.is_none()
            && self.back < end
            && moved.elapsed() < self.patience
            && start.elapsed() < limit
            && self.interrupt.why().is_none()
        {
            // So many bytes may have left by now.
            let due = first + (start.elapsed().as_secs_f64() * bytes_per_s) as u64 + LEAST as u64;
            let room = (end.min(due).saturating_sub(self.sent) as usize).min(PIECE);
            let (kind, limit) = match room {
                0 => (PollFlags::IN, LEAST as f64 / bytes_per_s),
                _ => (PollFlags::IN | PollFlags::OUT, f64::MAX),
            };
            let limit = TICK.min(self.patience).as_secs_f64().min(limit);
            ready([&self.socket], kind, Duration::from_secs_f64(limit));
            let piece = &mut buffer[..room];
            self.fill(self.sent, piece);
            // Nothing, where none is due.
            let written = (&self.socket).write(piece);
            self.sent += *written.as_ref().unwrap_or(&0) as u64;
            match ((&self.socket).read(&mut buffer), written) {
                (Ok(0), _) => heard.ended = Some(None),
                (Ok(len), _) => {
                    moved = Instant::now();
                    self.fill(self.back, &mut expected[..len]);
                    let pairs = || buffer[..len].iter().zip(&expected);
                    right += pairs().filter(|(a, b)| a == b).count() as u64;
                    let differs = pairs().position(|(a, b)| a != b);
                    let at = differs.map(|at| (self.back + at as u64, 0));
                    heard.wrong = heard.wrong.or(at);
                    self.back += len as u64;
                }
                (Err(error), _) | (_, Err(error)) if !is_for_now(&error) => {
                    heard.ended = Some(Some(error.kind()));
                }
                _ => {}
            }
        }
        (heard.sent, heard.back) = (self.sent - first, self.back - before);
        heard.wrong = heard.wrong.map(|(at, _)| (at, right));
        heard.hung = moved.elapsed() >= self.patience;
        heard.elapsed = moved - start;
        heard
    }

    /// Whether the other end, or somebody in its name, has ended the connection meanwhile.
    pub fn is_ended(&self) -> bool {
        let mut next = [MaybeUninit::uninit()];
        !matches!(self.socket.peek(&mut next), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// The bytes of the stream from `offset` on.
    fn fill(&self, offset: u64, out: &mut [u8]) {
        let wire = self.message.wire_len() as u64;
        self.message
            .fill_stream(offset / wire, (offset % wire) as usize, out);
    }
}

impl Heard {
    /// Whether a whole message came back, and each byte was right.
    pub fn is_good(&self) -> bool {
        self.back >= MESSAGE as u64 && self.wrong.is_none() && self.ended.is_none()
    }

    /// Counts what it took.
    pub fn count(&self, path: &mut Path<'_>) {
        path.sent_bytes += on_the_wire(self.sent);
        path.received_bytes += on_the_wire(self.back);
    }

    /// What came back, in words.
    pub fn told(&self) -> String {
        let came = match self.wrong {
            Some((at, _)) => format!("{} bytes came back, and byte {at} was wrong", self.back),
            None => format!("{} bytes came back", self.back),
        };
        match self.ended {
            Some(None) => format!("{came}, then the connection was closed"),
            Some(Some(kind)) => format!("{came}, then: {kind}"),
            None => came,
        }
    }
}

/// What a stream's bytes take in packets, headers included, if they fill them.
const fn on_the_wire(bytes: u64) -> u64 {
    bytes + bytes.div_ceil(1448) * 52
}
