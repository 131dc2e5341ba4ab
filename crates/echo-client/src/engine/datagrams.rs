//! One socket's datagrams: answered in any order, or not at all.

use std::io;

use super::flow::{Context, Transport, Wire, broken};
use super::ledger::{Class, Entry, Ledger};
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
}

impl Datagrams {
    /// Datagrams of `size` bytes that carry `token`.
    pub fn new(token: u64, size: usize) -> Self {
        Datagrams {
            token,
            size,
            unsent: 0,
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

    /// Takes a datagram of `n` bytes that came at `at` and is in the context's buffer.
    fn take(&mut self, n: usize, at: u64, ledger: &mut Ledger, context: &mut Context<'_>) {
        match self.recognise(n, ledger, context) {
            Reply::Whole(number) => {
                let entry = ledger.reply(number, at);
                context.enter(entry, 1, at, n, None);
                while let Some(lost) = ledger.forget() {
                    context.recorder.lost(lost);
                }
            }
            Reply::Corrupt => {
                ledger.misses += 1;
                context.wrong(Class::Corrupt, at, n, "a reply has wrong bytes");
            }
            Reply::Truncated => {
                ledger.misses += 1;
                let told = format!("a reply has {n} bytes, and {} were sent", self.size);
                context.wrong(Class::Truncated, at, n, told);
            }
            Reply::Foreign => context.enter(Entry::stray(Class::Foreign), 1, at, n, None),
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
        while self.unsent > 0 {
            let datagram = &mut wire.context.scratch[..self.size];
            echo::encode(self.token, end - self.unsent, datagram);
            match wire.socket.write(datagram) {
                Ok(_) => self.unsent -= 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(broken(&error, true)),
            }
        }
        Ok(())
    }

    fn read(&mut self, _ended: bool, wire: &mut Wire<'_, '_>) -> Result<bool, Fault> {
        for _ in 0..TURN {
            match wire.socket.receive(&mut wire.context.buffer) {
                Ok((n, age)) => {
                    let now = wire.context.clock.now();
                    let at = now.saturating_sub(age.as_nanos() as u64);
                    self.take(n, at, wire.ledger, wire.context);
                }
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
