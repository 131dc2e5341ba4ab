//! A stream of bytes that are sent to an echo server and compared as they come back.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use socket2::Socket;

use super::dial::{Call, dial};
use super::path::Path;
use crate::connection::{TICK, wait};
use crate::wire::echo;
use crate::wire::message::Message;

/// Bytes of a message: one packet takes it.
pub const MESSAGE: usize = 512;
/// The most that is sent at once, and the least that is waited for where the pace says so, in bytes.
const PIECE: usize = 16 << 10;
const LEAST: usize = 4 << 10;
/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(2);

/// A connection, and where its two streams are.
#[derive(Debug)]
pub struct Talk {
    /// The connection.
    pub socket: Socket,
    message: Message,
    sent: u64,
    back: u64,
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
    /// When the last of them came, from the beginning on.
    pub elapsed: Duration,
}

/// How bytes are sent.
pub struct Pace<'a> {
    /// Bits a second, at most.
    pub rate: u64,
    /// How long nothing may come.
    pub patience: Duration,
    /// Whether it is time to stop.
    pub is_over: &'a dyn Fn() -> bool,
}

impl Talk {
    /// The quickest of a few new connections, and how long it took to make. Messages on it have
    /// `len` bytes of payload, and segments `segment` bytes at most.
    ///
    /// # Errors
    /// None was made.
    pub fn open(path: &mut Path<'_>, len: usize, segment: Option<u32>) -> Result<(Duration, Self)> {
        let call = Call {
            segment,
            ..Call::to(path.remote()?)
        };
        // Several, since some ports may never get through.
        let made = dial(path, &[call; 4], 2, path.patience(CONNECT)).into_iter();
        let made = made.filter_map(|(answer, socket)| Some((answer.time()?, socket?)));
        let quickest = made.min_by_key(|(time, _)| *time);
        let (time, socket) = quickest.context("no connection was made")?;
        let talk = Talk {
            socket,
            message: Message::new(echo::token(), len, path.framing),
            sent: 0,
            back: 0,
        };
        Ok((time, talk))
    }

    /// Sends `messages` whole ones and reads them back meanwhile, until all are there, nothing
    /// comes for `patience`, or somebody asks to stop.
    pub fn echo(&mut self, path: &mut Path<'_>, messages: u64, patience: Duration) -> Heard {
        let interrupt = path.interrupt;
        let pace = Pace {
            rate: path.settings.max_rate.0,
            patience,
            is_over: &|| interrupt.why().is_some(),
        };
        let heard = self.carry(messages * self.message.wire_len() as u64, &pace);
        heard.count(path);
        heard
    }

    /// The same of so many bytes, at some pace.
    pub fn carry(&mut self, bytes: u64, pace: &Pace<'_>) -> Heard {
        let start = Instant::now();
        let (before, first, end) = (self.back, self.sent, self.sent + bytes);
        let (mut heard, mut right, mut moved) = (Heard::default(), 0, start);
        let (mut buffer, mut expected) = (vec![0; PIECE], vec![0; PIECE]);
        let bytes_per_s = pace.rate as f64 / 8.0;
        // What comes before a byte is sent is read too.
        while heard.ended.is_none()
            && self.back < end
            && !(pace.is_over)()
            && moved.elapsed() < pace.patience
        {
            // So many bytes may have left by now.
            let due = first + (start.elapsed().as_secs_f64() * bytes_per_s) as u64 + LEAST as u64;
            let room = (end.min(due).saturating_sub(self.sent) as usize).min(PIECE);
            let (flags, limit) = match room {
                0 => (
                    PollFlags::IN,
                    Duration::from_secs_f64(LEAST as f64 / bytes_per_s),
                ),
                _ => (PollFlags::IN | PollFlags::OUT, TICK),
            };
            let limit = limit.min(TICK).min(pace.patience);
            wait(&mut [PollFd::new(&self.socket, flags)], limit);
            let piece = &mut buffer[..room];
            self.fill(self.sent, piece);
            let written = match piece.is_empty() {
                true => Ok(0),
                false => (&self.socket).write(piece),
            };
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
                (Err(error), _) | (_, Err(error)) if is_fatal(&error) => {
                    heard.ended = Some(Some(error.kind()));
                }
                _ => {}
            }
        }
        (heard.sent, heard.back) = (self.sent - first, self.back - before);
        heard.wrong = heard.wrong.map(|(at, _)| (at, right));
        heard.elapsed = moved - start;
        heard
    }

    /// The bytes of the stream from `offset` on.
    fn fill(&self, offset: u64, out: &mut [u8]) {
        let wire = self.message.wire_len() as u64;
        self.message
            .fill_stream(offset / wire, (offset % wire) as usize, out);
    }
}

impl Heard {
    /// Whether so many bytes came back, and each was right.
    pub fn is_good(&self, len: usize) -> bool {
        self.back >= len as u64 && self.wrong.is_none() && self.ended.is_none()
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

fn is_fatal(error: &io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// What a stream's bytes take in packets, headers included, if they fill them.
const fn on_the_wire(bytes: u64) -> u64 {
    bytes + bytes.div_ceil(1448) * 52
}
