//! A stream of bytes that are sent to an echo server and compared as they come back.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use socket2::Socket;

use super::path::Path;
use crate::connection::{TICK, wait};
use crate::wire::echo;
use crate::wire::message::Message;

/// Bytes of a message: one packet takes it.
pub const MESSAGE: usize = 512;
/// The most that is sent at once, in bytes.
const PIECE: usize = 16 << 10;

/// A connection, and where its two streams are.
#[derive(Debug)]
pub struct Talk {
    socket: Socket,
    message: Message,
    sent: u64,
    back: u64,
}

/// What came of sending some bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// How many came back.
    pub back: u64,
    /// The offset of the first wrong byte of the stream, and how many of all were right.
    pub wrong: Option<(u64, u64)>,
    /// How the connection ended, if it has: `None` within is an end in order.
    pub ended: Option<Option<ErrorKind>>,
    /// How long all took.
    pub elapsed: Duration,
}

impl Talk {
    /// Begins on a connection that was made.
    pub fn begin(path: &Path<'_>, socket: Socket, len: usize) -> Self {
        Talk {
            socket,
            message: Message::new(echo::token(), len, path.connect.framing),
            sent: 0,
            back: 0,
        }
    }

    /// The connection.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Sends `messages` whole ones and reads them back meanwhile, until all are there, nothing
    /// comes for `patience`, or somebody asks to stop.
    pub fn echo(&mut self, path: &mut Path<'_>, messages: u64, patience: Duration) -> Heard {
        let start = Instant::now();
        let (before, wire) = (self.back, self.message.wire_len() as u64);
        let (first, end) = (self.sent, self.sent + messages * wire);
        let mut heard = Heard::default();
        let mut right = 0;
        let mut moved = start;
        let mut buffer = vec![0; PIECE];
        let mut expected = vec![0; PIECE];
        // What comes before a byte is sent is read too.
        while self.back < end && path.interrupt.why().is_none() && moved.elapsed() < patience {
            // So many bytes may have left by now.
            let rate = path.settings.max_rate.0 as f64 / 8.0;
            let due = first + (start.elapsed().as_secs_f64() * rate) as u64 + PIECE as u64;
            let room = (end.min(due) - self.sent.min(end.min(due))) as usize;
            let flags = match room {
                0 => PollFlags::IN,
                _ => PollFlags::IN | PollFlags::OUT,
            };
            wait(&mut [PollFd::new(&self.socket, flags)], TICK.min(patience));
            let piece = &mut buffer[..room.min(PIECE)];
            self.fill(self.sent, piece);
            let written = match piece.is_empty() {
                true => Ok(0),
                false => (&self.socket).write(piece),
            };
            if let Ok(len) = written {
                self.sent += len as u64;
            }
            let read = (&self.socket).read(&mut buffer);
            match (read, written) {
                (Ok(0), _) => heard.ended = Some(None),
                (Ok(len), _) => {
                    moved = Instant::now();
                    self.fill(self.back, &mut expected[..len]);
                    let differs = buffer[..len]
                        .iter()
                        .zip(&expected)
                        .position(|(a, b)| a != b);
                    let same = buffer[..len]
                        .iter()
                        .zip(&expected)
                        .filter(|(a, b)| a == b)
                        .count();
                    right += same as u64;
                    if let (None, Some(at)) = (heard.wrong, differs) {
                        heard.wrong = Some((self.back + at as u64, 0));
                    }
                    self.back += len as u64;
                }
                (Err(error), _) | (_, Err(error)) if is_fatal(&error) => {
                    heard.ended = Some(Some(error.kind()));
                }
                _ => {}
            }
            if heard.ended.is_some() {
                break;
            }
        }
        heard.back = self.back - before;
        heard.wrong = heard.wrong.map(|(at, _)| (at, right));
        heard.elapsed = start.elapsed();
        path.spent.sent_bytes += on_the_wire(self.sent - first);
        path.spent.received_bytes += on_the_wire(heard.back);
        heard
    }

    /// The bytes of the stream from `offset` on.
    fn fill(&self, offset: u64, out: &mut [u8]) {
        let wire = self.message.wire_len() as u64;
        self.message
            .fill_stream(offset / wire, (offset % wire) as usize, out);
    }
}

fn is_fatal(error: &io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// What a stream's bytes take in packets, headers included, if they fill them.
const fn on_the_wire(bytes: u64) -> u64 {
    bytes + bytes.div_ceil(1448) * 52
}
