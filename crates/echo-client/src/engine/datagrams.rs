//! One socket's datagrams: answered in any order, or not at all.

use std::io;

use super::flow::{Context, Transport, Wire, broken};
use super::ledger::{Class, Entry, Ledger};
use super::socket::Received;
use crate::report::Fault;
use crate::wire::echo::{self, Reply};

/// Datagrams received before others have their turn, and what is due is looked at: whoever floods
/// this socket must not stop it from sending.
const TURN: usize = 64;
/// So many of the newest requests are recognised without a number.
const RECENT: u64 = 8;

/// Requests and replies over UDP.
#[derive(Debug)]
pub struct Datagrams {
    token: u64,
    size: usize,
    /// The newest requests, which have not been sent.
    unsent: u64,
    /// The number of the first request on this socket.
    first: u64,
}

impl Datagrams {
    /// Datagrams of `size` bytes that carry `token`.
    pub fn new(token: u64, size: usize) -> Self {
        Datagrams {
            token,
            size,
            unsent: 0,
            first: 1,
        }
    }

    fn hear_departures(&self, wire: &mut Wire<'_, '_>) {
        while let Some((number, at, now)) = wire.socket.departed(wire.context.clock) {
            if wire.ledger.departed(self.first + number, at, now) {
                wire.context.recorder.departed();
            }
        }
    }

    fn recognise(&self, n: usize, ledger: &Ledger, context: &mut Context<'_>) -> Reply {
        let datagram = &context.buffer[..n];
        if echo::is_numbered(self.size) {
            return echo::decode(self.token, self.size, datagram);
        }
        let request = &mut context.scratch[..self.size];
        let mut newest = None;
        for number in (ledger.oldest()..ledger.next()).rev().take(RECENT as usize) {
            echo::encode(self.token, number, request);
            let reply = echo::compare(number, request, datagram);
            if matches!(reply, Reply::Whole(_)) {
                return reply;
            }
            newest.get_or_insert(reply);
        }
        newest.unwrap_or(Reply::Foreign)
    }

    /// Takes a datagram that is in the context's buffer.
    fn take(&mut self, received: Received, ledger: &mut Ledger, context: &mut Context<'_>) {
        let Received { len: n, at, read } = received;
        let came = at.unwrap_or(read);
        match self.recognise(n, ledger, context) {
            Reply::Whole(number) => {
                // Nothing is answered before it has left, whatever a stamp says. A wake-up that is
                // late is no part of a round trip.
                let left = ledger.departure(number);
                let stamped = at.filter(|&at| left.is_none_or(|left| left <= at));
                let at = stamped.unwrap_or(read);
                let entry = ledger.reply(number, at);
                if let (Some(_), true, Some((_, request))) =
                    (stamped, entry.class.is_right(), entry.answers)
                {
                    context.recorder.read_late(request, read - at);
                }
                context.enter(entry, 1, at, n, None);
                while let Some(lost) = ledger.forget() {
                    context.recorder.lost(lost);
                }
            }
            Reply::Corrupt => {
                ledger.misses += 1;
                context.wrong(Class::Corrupt, came, n, "a reply has wrong bytes");
            }
            Reply::Truncated => {
                ledger.misses += 1;
                let told = format!("a reply has {n} bytes, and {} were sent", self.size);
                context.wrong(Class::Truncated, came, n, told);
            }
            Reply::Foreign => context.enter(Entry::stray(Class::Foreign), 1, came, n, None),
        }
    }
}

impl Transport for Datagrams {
    fn is_blocked(&self) -> bool {
        self.unsent > 0
    }

    fn push(&mut self) -> usize {
        self.unsent += 1;
        self.size
    }

    fn flush(&mut self, wire: &mut Wire<'_, '_>) -> Result<(), Fault> {
        let end = wire.ledger.next();
        if wire.socket.sent() == 0 {
            self.first = end - self.unsent;
        }
        while self.unsent > 0 {
            let datagram = &mut wire.context.scratch[..self.size];
            echo::encode(self.token, end - self.unsent, datagram);
            match wire.socket.write(datagram) {
                Ok(_) => self.unsent -= 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(broken(&error, true)),
            }
        }
        // Mostly the system has passed it on by now, and would wake this thread to say so.
        self.hear_departures(wire);
        Ok(())
    }

    fn read(&mut self, _ended: bool, wire: &mut Wire<'_, '_>) -> Result<bool, Fault> {
        self.hear_departures(wire);
        for _ in 0..TURN {
            let clock = wire.context.clock;
            match wire.socket.receive(&mut wire.context.buffer, clock) {
                Ok(received) => self.take(received, wire.ledger, wire.context),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error, true)),
            }
        }
        Ok(true)
    }

    fn end(&mut self, _ledger: &mut Ledger, _context: &mut Context<'_>) {
        self.unsent = 0;
    }
}
