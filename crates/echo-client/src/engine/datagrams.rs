//! One socket's datagrams: answered in any order, or not at all.

use std::{fmt, io};

use super::clock::Clock;
use super::flow::{Context, Transport, Wire, broken, goes_on};
use super::ledger::{Class, Entry, Ledger, Request};
use super::socket::{Received, Socket};
use crate::connection::{ErrorKind, Fault};
use crate::report::Ways;
use crate::wire::echo::{self, Reply};

/// Datagrams received before others have their turn, and what is due is looked at: whoever floods
/// this socket must not stop it from sending.
const TURN: usize = 64;
/// So many of the newest requests are recognised without a number.
const RECENT: u64 = 8;

/// What datagrams say.
pub trait Codec: fmt::Debug + Send {
    /// What a reply is that has wrong bytes.
    const WRONG: &str;
    /// What to do where nobody takes them, if that is other than with an echo server.
    const ABSENT: Option<&str> = None;
    /// Whether the other end misses those that have not left.
    const COUNTS: bool = false;

    /// The bytes of each.
    fn size(&self) -> usize;

    /// Requests from number `first` on go over another socket.
    fn begin(&mut self, _first: u64, _: &Socket, _: Clock) {}

    /// Makes `out` the datagram of a request, which is measured or not.
    fn encode(&mut self, number: u64, request: Request, is_measured: bool, out: &mut [u8]);

    /// What a datagram that came is; `scratch` has room for one more.
    fn recognise(&mut self, datagram: &[u8], ledger: &Ledger, scratch: &mut [u8]) -> Reply;

    /// Takes what the reply just recognised tells besides: it is one to request `number`, entered so.
    fn learn(&mut self, _: &Entry, _number: u64, _: &Received, _: &mut Context<'_>) {}

    /// Nothing is awaited any more that left before request `oldest`.
    fn forget(&mut self, _oldest: u64) {}

    /// Nothing more comes over this socket.
    fn end(&mut self, _: &mut Ways) {}
}

/// Echoes, which carry a token.
#[derive(Debug)]
pub struct Echo {
    /// It tells them from those of others.
    pub token: u64,
    /// The bytes of each.
    pub size: usize,
}

impl Codec for Echo {
    const WRONG: &str = "a reply has wrong bytes";

    fn size(&self) -> usize {
        self.size
    }

    fn encode(&mut self, number: u64, _: Request, _: bool, out: &mut [u8]) {
        echo::encode(self.token, number, out);
    }

    fn recognise(&mut self, datagram: &[u8], ledger: &Ledger, scratch: &mut [u8]) -> Reply {
        if echo::is_numbered(self.size) {
            return echo::decode(self.token, self.size, datagram);
        }
        let request = &mut scratch[..self.size];
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
}

/// Requests and replies over UDP.
#[derive(Debug)]
pub struct Datagrams<C> {
    codec: C,
    /// The newest requests, which have not been sent.
    unsent: u64,
    /// The number of the first request on this socket.
    first: u64,
}

impl<C: Codec> Datagrams<C> {
    /// Datagrams that say this.
    pub fn new(codec: C) -> Self {
        Datagrams {
            codec,
            unsent: 0,
            first: 1,
        }
    }

    fn hear_departures(&self, wire: &mut Wire<'_, '_>) {
        while let Some((number, at, now)) = wire.socket.departed(wire.context.clock) {
            if wire.ledger.departed(self.first + number, at, now) {
                wire.context.recorder.has_departures = true;
            }
        }
    }

    /// The next one has not left, and will not, because of `fault`.
    fn withhold(&mut self, fault: &Fault, wire: &mut Wire<'_, '_>) {
        // It has a number of ours, and none of those that left: what has not been told by now of an earlier one
        // is entered for a later one, before which that departed, and so for none.
        self.hear_departures(wire);
        self.first += 1;
        let number = wire.ledger.next() - self.unsent;
        self.unsent -= 1;
        if let Some(request) = wire.ledger.withhold(number) {
            wire.context.recorder.withheld(request, self.codec.size());
            wire.context.tell_error(Some(number), fault);
        }
    }

    /// What an error of the socket means, and what to do about it.
    fn broken(error: &io::Error, socket: &Socket) -> Fault {
        let fault = broken(error, true);
        match fault.kind {
            ErrorKind::Refused if let Some(absent) = C::ABSENT => fault.advise(absent),
            ErrorKind::TooLarge if let Some(most) = socket.most() => {
                let message = format!("{}: {most} bytes fit", fault.message);
                Fault::new(fault.kind, message)
                    .advise(format!("give --size {most} or less, or leave --df out"))
            }
            _ => fault,
        }
    }

    /// Takes a datagram that is in the context's buffer.
    fn take(&mut self, received: Received, ledger: &mut Ledger, context: &mut Context<'_>) {
        let Received {
            len: n, at, read, ..
        } = received;
        let came = at.unwrap_or(read);
        let (datagram, scratch) = (&context.buffer[..n], &mut context.scratch);
        match self.codec.recognise(datagram, ledger, scratch) {
            Reply::Whole(number) => {
                // Nothing is answered before it has left, whatever a stamp says. A wake-up that is
                // late is no part of a round trip.
                let request = ledger.request(number);
                let stamped = at.filter(|&at| request.is_none_or(|sent| sent.departed() <= at));
                let at = stamped.unwrap_or(read);
                let entry = ledger.reply(number, at);
                if let (Some(_), true, Some((_, request))) =
                    (stamped, entry.class.is_right(), entry.answers)
                {
                    context.recorder.read_late(request, read - at);
                }
                let came = Received {
                    at: stamped,
                    ..received
                };
                self.codec.learn(&entry, number, &came, context);
                context.enter(entry, 1, at, n, None);
                ledger.forget();
                self.codec.forget(ledger.oldest());
            }
            Reply::Corrupt => {
                ledger.misses += 1;
                context.wrong(Class::Corrupt, came, n, C::WRONG);
            }
            Reply::Truncated => {
                ledger.misses += 1;
                let told = format!("a reply has {n} bytes, and {} were sent", self.codec.size());
                context.wrong(Class::Truncated, came, n, told);
            }
            Reply::Foreign => context.enter(Entry::stray(Class::Foreign), 1, came, n, None),
        }
    }
}

impl<C: Codec> Transport for Datagrams<C> {
    fn is_blocked(&self) -> bool {
        self.unsent > 0
    }

    fn push(&mut self) -> usize {
        self.unsent += 1;
        self.codec.size()
    }

    fn flush(&mut self, wire: &mut Wire<'_, '_>) -> Result<(), Fault> {
        let end = wire.ledger.next();
        if wire.socket.sent == 0 && self.unsent > 0 {
            self.first = end - self.unsent;
            self.codec
                .begin(self.first, wire.socket, wire.context.clock);
        }
        while self.unsent > 0 {
            let datagram = &mut wire.context.scratch[..self.codec.size()];
            let number = end - self.unsent;
            if let Some(request) = wire.ledger.request(number) {
                let is_measured = wire.context.recorder.measures(request);
                self.codec.encode(number, request, is_measured, datagram);
            }
            match wire.socket.write(datagram) {
                Ok(_) => self.unsent -= 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    let fault = Self::broken(&error, wire.socket);
                    // This machine's own firewall, which may let the next one go.
                    if fault.kind != ErrorKind::Permission {
                        return Err(fault);
                    }
                    self.withhold(&fault, wire);
                    if C::COUNTS || !goes_on(wire.ledger, wire.ledger.misses, wire.context.plan) {
                        while self.unsent > 0 {
                            self.withhold(&fault, wire);
                        }
                        return Err(fault);
                    }
                    wire.context.recorder.failed(fault.kind);
                    wire.context.found.last_error = Some(fault);
                }
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
                Err(error) => return Err(Self::broken(&error, wire.socket)),
            }
        }
        Ok(true)
    }

    fn end(&mut self, _ledger: &mut Ledger, _context: &mut Context<'_>) {
        self.unsent = 0;
    }

    fn sum_up(&mut self, context: &mut Context<'_>) {
        self.codec.end(&mut context.found.ways);
    }
}
