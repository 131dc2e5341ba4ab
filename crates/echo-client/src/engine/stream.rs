//! One stream's requests: written in order, answered in order, compared byte by byte.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use echo_core::units::Timespan;

use super::flow::{Desk, Flow};
use super::recorder::Request;
use super::socket::Socket;
use crate::connection::ErrorKind;
use crate::report::Fault;
use crate::wire::message::Message;

const CLOSED: &str = "the server closed the connection while it was under load";

/// A TCP or Unix stream under load.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    message: Message,
    wire_len: usize,
    /// Requests whose echoes are awaited, oldest first.
    batches: VecDeque<Batch>,
    /// How many they are.
    awaited: usize,
    /// The number of the oldest of them.
    oldest: u64,
    /// Bytes of its echo that have come.
    received: usize,
    /// Whether one of these is wrong.
    is_wrong: bool,
    /// The newest of them that are not written to the end.
    unwritten: usize,
    /// Bytes of the first of those that are.
    written: usize,
}

/// Requests that were due and left together: with many in flight, most do.
#[derive(Debug)]
struct Batch {
    request: Request,
    count: u64,
}

impl Stream {
    /// A stream that has carried nothing yet.
    pub fn new(socket: Socket, message: Message) -> Self {
        Stream {
            socket,
            wire_len: message.wire_len(),
            message,
            batches: VecDeque::new(),
            awaited: 0,
            oldest: 0,
            received: 0,
            is_wrong: false,
            unwritten: 0,
            written: 0,
        }
    }

    /// Takes the first `n` bytes of the desk's buffer, which have just come.
    fn take(&mut self, n: usize, now: u64, desk: &mut Desk) -> Result<(), Fault> {
        let owed = self.awaited * self.wire_len - self.received;
        let due = n.min(owed);
        if self.is_wrong || (desk.verify && !self.is_right(0, due, desk)) {
            self.take_each(due, now, desk);
        } else {
            let total = self.received + due;
            self.complete(total / self.wire_len, now, desk);
            self.received = total % self.wire_len;
        }
        if n > due {
            let text = format!("{} bytes came back that nobody sent", n - due);
            return Err(desk.fault(ErrorKind::Mismatch, text));
        }
        Ok(())
    }

    /// Takes `n` bytes of which some are wrong, message by message.
    fn take_each(&mut self, n: usize, now: u64, desk: &mut Desk) {
        let mut at = 0;
        while at < n {
            let part = (self.wire_len - self.received).min(n - at);
            if desk.verify && !self.is_right(at, part, desk) {
                self.tell_difference(at, part, desk);
                self.is_wrong = true;
            }
            at += part;
            self.received += part;
            if self.received < self.wire_len {
                return;
            }
            self.received = 0;
            match std::mem::take(&mut self.is_wrong) {
                false => self.complete(1, now, desk),
                true => self.fail(desk),
            }
        }
    }

    /// Whether `len` bytes from `at` on in the desk's buffer are what is awaited next. What that
    /// is stands in the scratch then.
    fn is_right(&self, at: usize, len: usize, desk: &mut Desk) -> bool {
        let expected = &mut desk.scratch[..len];
        self.message
            .fill_stream(self.oldest, self.received, expected);
        *expected == desk.buffer[at..at + len]
    }

    /// Says which byte is the first wrong one.
    fn tell_difference(&self, at: usize, len: usize, desk: &mut Desk) {
        let expected = &desk.scratch[..len];
        let got = &desk.buffer[at..at + len];
        let mut pairs = expected.iter().zip(got).enumerate();
        if let Some((index, (expected, got))) = pairs.find(|(_, (a, b))| a != b) {
            // People count echoes from 1, and offsets from 0, as ping does.
            let (number, offset) = (self.oldest + 1, self.received + index);
            desk.mismatch(format!(
                "byte {offset} of echo {number} of a connection is 0x{got:02x}, and \
                 0x{expected:02x} was sent"
            ));
        }
    }

    /// The oldest requests have been answered, `count` of them.
    fn complete(&mut self, count: usize, now: u64, desk: &mut Desk) {
        self.awaited -= count;
        self.oldest += count as u64;
        let mut left = count as u64;
        while left > 0
            && let Some(batch) = self.batches.front_mut()
        {
            let part = left.min(batch.count);
            desk.recorder
                .echoed_together(batch.request, part, now, self.wire_len);
            batch.count -= part;
            left -= part;
            if batch.count == 0 {
                self.batches.pop_front();
            }
        }
    }

    /// The oldest request has been answered wrongly.
    fn fail(&mut self, desk: &mut Desk) {
        self.awaited -= 1;
        self.oldest += 1;
        if let Some(batch) = self.batches.front_mut() {
            desk.recorder.corrupt(batch.request, self.wire_len);
            desk.recorder.lost(batch.request);
            batch.count -= 1;
            if batch.count == 0 {
                self.batches.pop_front();
            }
        }
    }
}

impl Flow for Stream {
    fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    fn in_flight(&self) -> usize {
        self.awaited
    }

    fn is_blocked(&self) -> bool {
        self.unwritten > 0
    }

    fn push(&mut self, request: Request, desk: &mut Desk) {
        desk.recorder.sent(request, self.wire_len);
        self.awaited += 1;
        self.unwritten += 1;
        match self.batches.back_mut() {
            Some(batch) if batch.request == request => batch.count += 1,
            _ => self.batches.push_back(Batch { request, count: 1 }),
        }
    }

    /// Nothing is kept for later: the pattern says it again.
    fn flush(&mut self, desk: &mut Desk) -> Result<(), Fault> {
        while self.unwritten > 0 {
            let left = self.unwritten * self.wire_len - self.written;
            let number = self.oldest + (self.awaited - self.unwritten) as u64;
            let next = left.min(desk.scratch.len());
            let bytes = &mut desk.scratch[..next];
            self.message.fill_stream(number, self.written, bytes);
            match self.socket.write(bytes) {
                Ok(n) => {
                    let written = self.written + n;
                    self.unwritten -= written / self.wire_len;
                    self.written = written % self.wire_len;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(desk.broken(&error)),
            }
        }
        Ok(())
    }

    /// A short read has emptied the socket, and what comes next is a new event; but an end that
    /// has been told of is not told again.
    fn read(&mut self, ended: bool, desk: &mut Desk) -> Result<(), Fault> {
        loop {
            let n = match self.socket.read(&mut desk.buffer) {
                Ok(0) => return Err(desk.fault(ErrorKind::Closed, CLOSED)),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(desk.broken(&error)),
            };
            let now = desk.clock.now();
            self.take(n, now, desk)?;
            if n < desk.buffer.len() && !ended {
                return Ok(());
            }
        }
    }

    fn expire(&mut self, timeout: Duration, now: u64, desk: &mut Desk) -> Result<(), Fault> {
        let timeout_ns = timeout.as_nanos() as u64;
        match self.batches.front() {
            Some(oldest) if now.saturating_sub(oldest.request.sent) >= timeout_ns => {
                let text = format!("no echo within {}", Timespan(timeout));
                Err(desk.fault(ErrorKind::Timeout, text))
            }
            _ => Ok(()),
        }
    }

    fn close(&mut self, desk: &mut Desk) {
        // A stream that has failed says so again, and what it says has been told.
        let _ = self.read(false, desk);
        self.awaited = 0;
        for batch in self.batches.drain(..) {
            for _ in 0..batch.count {
                desk.recorder.lost(batch.request);
            }
        }
    }
}
