//! A run of `ping`: what to do next, and what to make of what comes back.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use echo_core::Failure;

use super::book::Book;
use super::link::{Link, Received, Shape};
use super::settings::Ping;
use super::show::Show;
use crate::connection::{Address, Connect, Connection, ErrorKind, cause, connect_one};
use crate::interrupt::Interrupt;
use crate::output;
use crate::report::{Fault, Latency, Report};
use crate::wire::echo;
use crate::wire::message::Message;

/// Replies to the last request are waited for no longer than this after an interrupt, since a
/// person waits for them too.
const PARTING: Duration = Duration::from_secs(1);

/// Over UDP a second copy of the last reply may still be on its way. It is waited for as long as
/// the slowest round trip took, twice: at least for this long, and [`PARTING`] at most.
const STRAGGLERS: Duration = Duration::from_millis(20);

/// A socket's time limit is as coarse as the system's tick (4 ms at 250 Hz), and rounds up. The
/// end of a wait for the next sending is slept through precisely, from this far off on.
const COARSE: Duration = Duration::from_millis(20);

/// A request that is due is sent late, but after a pause longer than this the missed ones are not
/// made up for: a burst would measure itself.
const CATCH_UP: Duration = Duration::from_millis(100);

/// A run under way.
pub struct Session<'a> {
    options: &'a Connect,
    config: &'a Ping,
    interrupt: &'a Interrupt,
    show: &'a Show,
    remote: Address,
    shape: Shape,
    link: Option<Link>,
    book: Book,
    /// Times to connect, with a connection for each request.
    connects: Latency,
    last_connect: Option<Duration>,
    errors: BTreeMap<ErrorKind, u64>,
    last_error: Option<Fault>,
    start: Instant,
    next_due: Instant,
    /// When the last reply came, or the last request left.
    last_event: Instant,
    /// When waiting ends whatever is awaited, after an interrupt.
    parting: Option<Instant>,
}

/// What is to be done now.
enum Step {
    Send,
    Wait(Instant),
    End,
}

impl<'a> Session<'a> {
    /// A run that will ping `remote`.
    pub fn new(
        options: &'a Connect,
        config: &'a Ping,
        remote: Address,
        show: &'a Show,
        interrupt: &'a Interrupt,
    ) -> Self {
        let (token, size) = (echo::token(), config.size.0 as usize);
        let now = Instant::now();
        Session {
            options,
            config,
            interrupt,
            show,
            remote,
            shape: Shape {
                token,
                size,
                message: Message::new(token, size, options.framing),
                busy: config.busy,
            },
            link: None,
            book: Book::new(options.timeout.0),
            connects: Latency::new(),
            last_connect: None,
            errors: BTreeMap::new(),
            last_error: None,
            start: now,
            next_due: now,
            last_event: now,
            parting: None,
        }
    }

    /// Takes over a connection that has been made.
    pub fn adopt(&mut self, connection: Connection) -> io::Result<()> {
        if self.options.verbose {
            output::note(format_args!("connected {}", connection.ends()));
        }
        if self.config.new_connection {
            self.connects.record(connection.elapsed);
            self.last_connect = Some(connection.elapsed);
        }
        self.book.counts.connections += 1;
        self.link = Some(Link::new(connection.socket, self.shape, self.book.next())?);
        Ok(())
    }

    /// Sends and receives until the count, the time or the user ends it.
    pub fn run(&mut self) -> Result<(), Failure> {
        loop {
            let now = Instant::now();
            if self.parting.is_none() && self.interrupt.is_raised() {
                self.parting = Some(now + PARTING.min(self.options.timeout.0));
            }
            while let Some(number) = self.book.expire(now) {
                let text = format!("no reply within {}", self.options.timeout);
                self.show.lost(Some(number), ErrorKind::Timeout, &text)?;
            }
            if self.config.new_connection && self.book.counts.sent > 0 && self.book.awaited() == 0 {
                self.link = None;
            }
            match self.step(now) {
                Step::End => return Ok(()),
                Step::Send => {
                    self.send()?;
                    let now = Instant::now();
                    // A sender that is behind would never receive if it did not look.
                    if matches!(self.step(now), Step::Send) {
                        self.receive(now)?;
                    }
                }
                Step::Wait(until) => self.wait(now, until)?,
            }
        }
    }

    fn step(&self, now: Instant) -> Step {
        let expiry = self.book.next_expiry();
        if self.is_over(now) {
            let until = match expiry {
                Some(expiry) => self.parting.unwrap_or(expiry).min(expiry),
                None => self.last_event + self.stragglers(),
            };
            return if now < until {
                Step::Wait(until)
            } else {
                Step::End
            };
        }
        if let Some(expiry) = expiry
            && self.is_one_at_a_time()
        {
            return Step::Wait(expiry);
        }
        if now >= self.next_due {
            return Step::Send;
        }
        let mut until = self.next_due;
        if let Some(end) = self.end() {
            until = until.min(end);
        }
        Step::Wait(expiry.map_or(until, |expiry| until.min(expiry)))
    }

    /// Whether nothing more is to be sent.
    fn is_over(&self, now: Instant) -> bool {
        let is_counted_out = self.config.count > 0 && self.book.counts.sent >= self.config.count;
        is_counted_out || self.parting.is_some() || self.end().is_some_and(|end| now >= end)
    }

    fn end(&self) -> Option<Instant> {
        let duration = self.config.duration.0;
        (!duration.is_zero()).then(|| self.start.checked_add(duration))?
    }

    fn is_one_at_a_time(&self) -> bool {
        let is_numbered = echo::is_numbered(self.shape.size);
        self.config.interval.0.is_zero()
            || self.config.new_connection
            || (self.options.is_udp() && !is_numbered)
    }

    fn stragglers(&self) -> Duration {
        if !self.options.is_udp() || self.book.rtt.is_empty() || self.parting.is_some() {
            return Duration::ZERO;
        }
        let slowest = self.book.rtt.max().unwrap_or_default();
        (slowest * 2).clamp(STRAGGLERS, PARTING)
    }

    /// Waits until the next thing to do, and receives meanwhile.
    fn wait(&mut self, now: Instant, until: Instant) -> Result<(), Failure> {
        let left = until.saturating_duration_since(now);
        let is_next_sending = self.book.awaited() == 0 && !self.is_over(now);
        if self.link.is_none() || (is_next_sending && left <= COARSE) {
            self.interrupt.wait(left);
            return Ok(());
        }
        let coarse = if is_next_sending {
            COARSE
        } else {
            Duration::ZERO
        };
        self.receive(until - coarse)
    }

    fn send(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        self.next_due += self.config.interval.0;
        if now.saturating_duration_since(self.next_due) > CATCH_UP {
            self.next_due = now;
        }
        let number = self.book.next();
        if self.link.is_none() {
            match self.reconnect() {
                Ok(()) => {}
                Err(_) if self.interrupt.is_raised() => return Ok(()),
                Err(fault) => {
                    self.book.sent(Instant::now(), 0);
                    return self.fail(number, fault);
                }
            }
        }
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let bytes = link.prepare(number);
        let limit = self.options.timeout.0;
        self.last_event = Instant::now();
        let mut result = link.write(limit, self.interrupt);
        if self.options.is_udp()
            && let Err(error) = &result
            && ErrorKind::of(error) == ErrorKind::Refused
        {
            // It answers an earlier datagram, in the place of which this one was not sent.
            let earlier = self.book.oldest_awaited();
            result = link.write(limit, self.interrupt);
            if let Some(earlier) = earlier {
                self.fail(earlier, port_unreachable())?;
            }
        }
        self.book.sent(self.last_event, bytes);
        match result {
            Ok(()) => Ok(()),
            Err(error) => self.broken(&error, Some(number)),
        }
    }

    fn reconnect(&mut self) -> Result<(), Fault> {
        let connection = connect_one(self.options, &self.remote, self.interrupt)?;
        self.adopt(connection)
            .map_err(|error| Fault::new(ErrorKind::of(&error), cause(&error)))
    }

    /// Receives what comes next, until `until` at most, and all that has come with it.
    fn receive(&mut self, until: Instant) -> Result<(), Failure> {
        while let Some(link) = &mut self.link {
            match link.receive(until) {
                Received::Quiet => {}
                Received::Failed(error) => self.broken(&error, self.book.oldest_awaited())?,
                Received::Reply {
                    reply,
                    at,
                    bytes,
                    detail,
                } => {
                    self.last_event = at;
                    let entry = self.book.received(reply, at, bytes);
                    let connect = self.last_connect.take();
                    self.show.reply(entry, bytes, connect, detail.as_deref())?;
                }
            }
            if self.link.as_ref().is_none_or(|link| !link.has_more()) {
                break;
            }
        }
        Ok(())
    }

    /// An error on the socket: of a datagram it is the answer; a stream is at its end.
    fn broken(&mut self, error: &io::Error, number: Option<u64>) -> Result<(), Failure> {
        let kind = match error.kind() {
            io::ErrorKind::UnexpectedEof => ErrorKind::Closed,
            io::ErrorKind::InvalidData => ErrorKind::Mismatch,
            _ => ErrorKind::of(error),
        };
        let fault = match kind {
            ErrorKind::Closed => Fault::new(kind, "the server closed the connection"),
            ErrorKind::Mismatch => Fault::new(kind, "the stream is out of step; connecting anew"),
            ErrorKind::Refused if self.options.is_udp() => port_unreachable(),
            _ => Fault::new(kind, cause(error)),
        };
        if self.options.is_udp() {
            return match number {
                Some(number) => self.fail(number, fault),
                None => self.show.lost(None, fault.kind, &fault.message),
            };
        }
        self.link = None;
        // Without a request under way the end of a connection is no loss, but it is news.
        if self.book.awaited() == 0 {
            *self.errors.entry(kind).or_default() += 1;
            return self.show.lost(None, kind, &fault.message);
        }
        while let Some(number) = self.book.oldest_awaited() {
            self.fail(number, fault.clone())?;
        }
        Ok(())
    }

    /// A request has failed, and it is known why.
    fn fail(&mut self, number: u64, fault: Fault) -> Result<(), Failure> {
        self.book.give_up(number);
        *self.errors.entry(fault.kind).or_default() += 1;
        self.show.lost(Some(number), fault.kind, &fault.message)?;
        self.last_error = Some(fault);
        Ok(())
    }

    /// Closes the books into the report.
    pub fn finish(mut self, report: &mut Report) {
        self.book.close();
        report.elapsed = self.last_event.saturating_duration_since(self.start);
        report.counts = self.book.counts;
        report.rtt = self.book.rtt;
        report.jitter = self.book.jitter.mean();
        report.errors = self.errors;
        if self.config.new_connection {
            report.connect = Some(self.connects);
        }
        if self.config.busy {
            let note = "busy polling: this side never slept while it awaited a reply";
            report.notes.push(note.to_owned());
        }
        // Of a target that never answered, the reason is worth more than the count.
        if report.counts.received == 0
            && let Some(error) = self.last_error
        {
            let text = format!("{}: {}", self.remote, error.message);
            report.fault = Some(Fault::new(error.kind, text));
        }
    }
}

/// What ICMP says of a port on which nobody listens.
fn port_unreachable() -> Fault {
    Fault::new(ErrorKind::Refused, "port unreachable")
}
