//! One stream's requests: written in order, answered in order, compared byte by byte.

use std::io;

use super::flow::{Context, Transport, Wire, broken};
use super::ledger::{Class, Entry, Ledger};
use crate::connection::{CLOSED, ErrorKind, Fault};
use crate::wire::common_prefix;
use crate::wire::message::Message;

/// Full buffers read before others have their turn.
const TURN: usize = 16;

/// Requests and replies over a TCP or Unix stream.
#[derive(Debug)]
pub struct Stream {
    message: Message,
    wire_len: usize,
    /// Bytes that have come of the oldest echo that is owed.
    received: usize,
    /// What is wrong with one of these.
    wrong: Option<String>,
    /// The newest requests, which are not written to the end.
    unwritten: usize,
    /// Bytes of the first of those that are.
    written: usize,
}

impl Stream {
    /// A stream that has carried nothing yet.
    pub fn new(message: Message) -> Self {
        Stream {
            wire_len: message.wire_len(),
            message,
            received: 0,
            wrong: None,
            unwritten: 0,
            written: 0,
        }
    }

    /// Takes the first `n` bytes of the context's buffer, which have just come.
    fn take(&mut self, n: usize, wire: &mut Wire<'_, '_>) -> Result<(), Fault> {
        let Wire {
            ledger, context, ..
        } = wire;
        let now = context.clock.now();
        let owed = (ledger.unanswered() * self.wire_len).saturating_sub(self.received);
        let due = n.min(owed);
        let mut at = 0;
        while at < due {
            let Some(detail) = self.wrong.take() else {
                let right = self.right(at, due - at, ledger, context);
                (at, self.received) = (at + right, self.received + right);
                self.complete(self.received / self.wire_len, now, ledger, context);
                self.received %= self.wire_len;
                if at < due {
                    let (expected, got) = (context.scratch[right], context.buffer[at]);
                    self.differs(expected, got, ledger, context);
                }
                continue;
            };
            // The rest of a message that is known to be wrong tells nothing more.
            let rest = (self.wire_len - self.received).min(due - at);
            (at, self.received) = (at + rest, self.received + rest);
            if self.received < self.wire_len {
                self.wrong = Some(detail);
            } else {
                self.received = 0;
                self.fail(detail, now, ledger, context);
            }
        }
        if n > due {
            let text = format!("{} bytes came back that nobody sent", n - due);
            ledger.misses += 1;
            context.mismatch(&text);
            let foreign = Entry::stray(Class::Foreign);
            context.enter(foreign, 1, now, n - due, Some(text));
            let text = "the stream is out of step";
            return Err(Fault::new(ErrorKind::Mismatch, text));
        }
        Ok(())
    }

    /// How many of the `len` bytes from `at` on in the buffer are what is awaited next. What that
    /// is stands in the scratch then.
    fn right(&self, at: usize, len: usize, ledger: &Ledger, context: &mut Context<'_>) -> usize {
        if !context.plan.verify {
            return len;
        }
        let (expected, got) = (&mut context.scratch[..len], &context.buffer[at..at + len]);
        self.message
            .fill_stream(ledger.oldest(), self.received, expected);
        common_prefix(expected, got)
    }

    /// Says which byte of the oldest echo is the first wrong one.
    fn differs(&mut self, expected: u8, got: u8, ledger: &Ledger, context: &mut Context<'_>) {
        // People count echoes from 1, and offsets from 0.
        let (number, offset) = (ledger.oldest(), self.received);
        context.mismatch(format_args!(
            "byte {offset} of echo {number} of a connection is 0x{got:02x}, and \
             0x{expected:02x} was sent"
        ));
        let detail = format!("offset {offset}: expected 0x{expected:02x}, got 0x{got:02x}");
        self.wrong = Some(detail);
    }

    /// The oldest requests have been answered, `count` of them.
    fn complete(&mut self, count: usize, at: u64, ledger: &mut Ledger, context: &mut Context<'_>) {
        let mut left = count as u64;
        while left > 0
            && let Some((entry, part)) = ledger.reply_next(left, at)
        {
            context.enter(entry, part, at, self.wire_len, None);
            left -= part;
        }
    }

    /// The oldest request has been answered wrongly.
    fn fail(&mut self, detail: String, at: u64, ledger: &mut Ledger, context: &mut Context<'_>) {
        if let Some(entry) = ledger.wrong_next() {
            context.enter(entry, 1, at, self.wire_len, Some(detail));
        }
    }
}

impl Transport for Stream {
    fn is_blocked(&self) -> bool {
        self.unwritten > 0
    }

    fn push(&mut self) -> usize {
        self.unwritten += 1;
        self.wire_len
    }

    fn flush(&mut self, wire: &mut Wire<'_, '_>) -> Result<(), Fault> {
        while self.unwritten > 0 {
            let first = wire.ledger.next() - self.unwritten as u64;
            let rest = self.unwritten * self.wire_len - self.written;
            let out = &mut wire.context.scratch[..];
            let len = rest.min(out.len());
            let bytes = &mut out[..len];
            self.message.fill_stream(first, self.written, bytes);
            match wire.socket.write(bytes) {
                Ok(n) => {
                    let written = self.written + n;
                    self.unwritten -= written / self.wire_len;
                    self.written = written % self.wire_len;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(broken(&error, false)),
            }
        }
        Ok(())
    }

    /// A short read has emptied the socket, and what comes next is a new event; but an end that
    /// has been told of is not told again.
    fn read(&mut self, ended: bool, wire: &mut Wire<'_, '_>) -> Result<bool, Fault> {
        for _ in 0..TURN {
            let n = match wire.socket.read(&mut wire.context.buffer) {
                Ok(0) => return Err(Fault::new(ErrorKind::Closed, CLOSED)),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(broken(&error, false)),
            };
            self.take(n, wire)?;
            if n < wire.context.buffer.len() && !ended {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A reply that had begun is cut short, which makes wrong bytes of it no better.
    fn end(&mut self, ledger: &mut Ledger, context: &mut Context<'_>) {
        (self.unwritten, self.written) = (0, 0);
        let (bytes, whole) = (std::mem::take(&mut self.received), self.wire_len);
        let short = || format!("{bytes} of {whole} bytes came back");
        let (class, detail) = match self.wrong.take() {
            Some(detail) => (Class::Corrupt, detail),
            None if bytes > 0 => (Class::Truncated, short()),
            None => return,
        };
        ledger.misses += 1;
        let at = context.clock.now();
        context.enter(Entry::stray(class), 1, at, bytes, Some(detail));
    }
}
