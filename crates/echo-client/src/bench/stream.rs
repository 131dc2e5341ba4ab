//! One stream's requests: written in order, answered in order, compared byte by byte.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::time::Duration;

use echo_core::units::Timespan;

use super::flow::{Desk, Flow};
use super::recorder::Request;
use super::socket::Socket;
use crate::connection::ErrorKind;
use crate::message::Message;
use crate::report::Fault;

const CLOSED: &str = "the server closed the connection while it was under load";

/// A TCP or Unix stream under load.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    message: Message,
    /// Requests whose echoes are awaited, oldest first.
    in_flight: VecDeque<Request>,
    /// The number of the oldest of them.
    oldest: u64,
    /// Bytes of its echo that have come.
    received: usize,
    /// The offset of the first wrong byte among them.
    wrong: Option<usize>,
    /// The newest of them that are not written to the end.
    unwritten: usize,
    /// Bytes of the first of those that are.
    written: usize,
}

impl Stream {
    /// A stream that has carried nothing yet.
    pub fn new(socket: Socket, message: Message) -> Self {
        Stream {
            socket,
            message,
            in_flight: VecDeque::new(),
            oldest: 0,
            received: 0,
            wrong: None,
            unwritten: 0,
            written: 0,
        }
    }

    /// Fills `buffer` with what is to be written next.
    fn fill(&self, buffer: &mut [u8]) -> usize {
        let wire_len = self.message.wire_len();
        let end = self.oldest + self.in_flight.len() as u64;
        let (mut number, mut offset) = (end - self.unwritten as u64, self.written);
        let mut len = 0;
        while len < buffer.len() && number < end {
            let part = (wire_len - offset).min(buffer.len() - len);
            self.message
                .fill(number, offset, &mut buffer[len..len + part]);
            len += part;
            (number, offset) = (number + 1, 0);
        }
        len
    }

    /// Takes `n` bytes of echoes, which are in the desk's buffer.
    fn take(&mut self, n: usize, now: u64, desk: &mut Desk) -> Result<(), Fault> {
        let wire_len = self.message.wire_len();
        let mut at = 0;
        while at < n {
            let Some(&request) = self.in_flight.front() else {
                let text = format!("{} bytes came back that nobody sent", n - at);
                return Err(desk.fault(ErrorKind::Mismatch, text));
            };
            let part = (wire_len - self.received).min(n - at);
            if desk.verify && self.wrong.is_none() {
                self.wrong = self.first_difference(at..at + part, desk);
            }
            at += part;
            self.received += part;
            if self.received == wire_len {
                self.received = 0;
                match self.wrong.take() {
                    None => desk.recorder.echoed(request, now, wire_len),
                    Some(_) => {
                        desk.recorder.corrupt(request, wire_len);
                        desk.recorder.lost(request);
                    }
                }
                self.in_flight.pop_front();
                self.oldest += 1;
            }
        }
        Ok(())
    }

    /// Where a part of the oldest request's echo differs from what was sent.
    fn first_difference(&self, range: Range<usize>, desk: &mut Desk) -> Option<usize> {
        let expected = &mut desk.scratch[..range.len()];
        let got = &desk.buffer[range];
        self.message.fill(self.oldest, self.received, expected);
        if expected == got {
            return None;
        }
        let at = expected.iter().zip(got).position(|(a, b)| a != b)?;
        let (number, offset) = (self.oldest, self.received + at);
        let text = format!(
            "byte {offset} of echo {number} of a connection is 0x{:02x}, and 0x{:02x} was sent",
            got[at], expected[at]
        );
        desk.mismatch(text);
        Some(offset)
    }
}

impl Flow for Stream {
    fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn is_blocked(&self) -> bool {
        self.unwritten > 0
    }

    fn push(&mut self, request: Request, desk: &mut Desk) {
        desk.recorder.sent(request, self.message.wire_len());
        self.in_flight.push_back(request);
        self.unwritten += 1;
    }

    fn flush(&mut self, desk: &mut Desk) -> Result<(), Fault> {
        let wire_len = self.message.wire_len();
        while self.unwritten > 0 {
            let len = self.fill(&mut desk.scratch);
            match self.socket.write(&desk.scratch[..len]) {
                Ok(n) => {
                    let written = self.written + n;
                    self.unwritten -= written / wire_len;
                    self.written = written % wire_len;
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
                Ok(0) => return Err(desk.fault(ErrorKind::Reset, CLOSED)),
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
        match self.in_flight.front() {
            Some(oldest) if now.saturating_sub(oldest.sent) >= timeout.as_nanos() as u64 => {
                let text = format!("no echo within {}", Timespan(timeout));
                Err(desk.fault(ErrorKind::Timeout, text))
            }
            _ => Ok(()),
        }
    }

    fn close(&mut self, desk: &mut Desk) {
        // A stream that has failed says so again, and what it says has been told.
        let _ = self.read(false, desk);
        for request in self.in_flight.drain(..) {
            desk.recorder.lost(request);
        }
    }
}
