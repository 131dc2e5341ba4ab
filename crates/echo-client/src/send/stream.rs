//! Sends over a stream and receives at the same time, in constant memory.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use echo_core::units::{Size, Timespan};
use rustix::event::{PollFd, PollFlags};

use super::difference;
use super::show::Show;
use super::source::Source;
use super::window::Window;
use super::{Ended, Send, Trouble};
use crate::connection::{self, CLOSED, Connect, ErrorKind, Fault, TICK, Watched, is_for_now, wait};
use crate::interrupt::{Interrupt, Why};
use crate::output;
use crate::report::Report;

/// A server that has returned everything and heard that nothing more comes should close. One
/// that has not after this long never will; that is its own affair, for the echo is complete.
const GRACE: Duration = Duration::from_secs(1);

/// Not every server returns what it still holds once it hears that nothing more comes (`ncat -e`
/// and `socat` do not), so the end waits for the echo. Others return everything only then: when
/// nothing has come for this part of the timeout, it waits no more.
const QUIET: u32 = 2;

/// Sends all of `source`, ends the sending half, and checks the echo up to its end. How many
/// bytes that were, and how long it took, is put into the `report`.
pub fn exchange(
    (connect, config): (&Connect, &Send),
    source: Source,
    show: &mut Show,
    report: &mut Report,
    interrupt: &Interrupt,
) -> Ended {
    let connection = connection::connect(connect, interrupt)?;
    super::connected(&connection, connect, source.by_line, report);
    let start = Instant::now();
    let mut exchange = Exchange {
        peer: connection.remote.to_string(),
        socket: connection.socket,
        timeout: connect.timeout,
        half_close: config.half_close,
        source,
        show,
        window: Window::default(),
        trouble: None,
        broken: None,
        written: 0,
        last_byte: start,
        last_progress: start,
        urged: false,
    };
    let result = exchange.run(config.buffer, interrupt);
    report.elapsed = exchange.last_byte - start;
    report.counts.sent_bytes = exchange.window.written;
    report.counts.received_bytes = exchange.window.received;
    result
}

struct Exchange<'a> {
    socket: Watched,
    peer: String,
    /// How long the server may keep silent while it owes bytes.
    timeout: Timespan,
    half_close: bool,
    source: Source,
    show: &'a mut Show,
    window: Window,
    /// Why nothing more can be sent, though there is more.
    trouble: Option<Trouble>,
    /// Why the connection takes no more.
    broken: Option<Fault>,
    /// What had been written when progress was last looked at.
    written: u64,
    last_byte: Instant,
    last_progress: Instant,
    /// The sending half was ended because the echo did not come.
    urged: bool,
}

impl Exchange<'_> {
    fn run(&mut self, buffer: Size, interrupt: &Interrupt) -> Ended {
        let mut buffer = vec![0; buffer.0 as usize];
        loop {
            let (may_read, may_send) = self.wait();
            if may_send {
                self.send();
            }
            if may_read {
                match self.socket.read(&mut buffer) {
                    Ok(0) => return self.ended(Fault::new(ErrorKind::Closed, CLOSED)),
                    Ok(len) => self.take(&buffer[..len])?,
                    Err(error) if is_for_now(&error) => {}
                    Err(error) => return self.ended(Fault::from(&error)),
                }
            } else if !may_send && self.idle()? {
                return Ok(None);
            }
            if let Some(why) = interrupt.why() {
                return self.interrupted(why);
            }
            if interrupt.take_question() {
                output::note(format_args!(
                    "{}: {} of {} bytes sent have come back identical so far",
                    self.peer, self.window.received, self.window.written
                ));
            }
        }
    }

    /// Waits until there is something to be read, or to be sent. Says whether that is so.
    fn wait(&self) -> (bool, bool) {
        let is_full = !self.window.outgoing().is_empty();
        let is_over = self.broken.is_some() || self.trouble.is_some();
        let wants_input =
            !is_over && !is_full && !self.window.is_complete && self.window.has_room();
        let mut events = PollFlags::IN;
        events.set(PollFlags::OUT, is_full && self.broken.is_none());
        let input = self.source.file().filter(|_| wants_input);
        let mut fds = vec![PollFd::new(&self.socket, events)];
        fds.extend(input.map(|file| PollFd::new(file, PollFlags::IN)));
        let is_at_hand = wants_input && input.is_none();
        let limit = match is_at_hand {
            true => Duration::ZERO,
            false => TICK.min(self.timeout.0),
        };
        wait(&mut fds, limit);
        let socket = fds[0].revents();
        let has_input = fds.get(1).is_some_and(|input| !input.revents().is_empty());
        (
            socket.intersects(!PollFlags::OUT),
            is_at_hand || has_input || socket.contains(PollFlags::OUT),
        )
    }

    /// Reads what is to be sent, unless that waits, and sends it.
    fn send(&mut self) {
        if self.window.outgoing().is_empty() {
            match self.source.next() {
                Ok(Some(piece)) => self.window.push(piece),
                Ok(None) => {
                    self.window.is_complete = true;
                    if self.half_close || self.window.is_all_back() {
                        self.socket.finish();
                    }
                }
                Err(trouble) => {
                    self.trouble = Some(trouble);
                    self.socket.finish();
                }
            }
        }
        if !self.window.outgoing().is_empty() {
            match self.socket.write(self.window.outgoing()) {
                Ok(len) => self.window.wrote(len),
                Err(error) if is_for_now(&error) => {}
                Err(error) => self.broken = Some(Fault::from(&error)),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let show = &mut *self.show;
        let same = self.window.take(bytes, |payload| show.take(payload))?;
        self.show.progress(self.window.received);
        self.last_byte = Instant::now();
        self.last_progress = self.last_byte;
        let rest = &bytes[same..];
        if rest.is_empty() {
            if self.source.by_line && self.window.received == self.window.pushed {
                self.show.pause()?;
            }
            if self.window.is_all_back() {
                self.socket.finish();
                // That may have waited for somebody.
                self.last_progress = Instant::now();
            }
            return Ok(());
        }
        self.show.unexpected(rest)?;
        let (offset, expected) = (self.window.received, self.window.expected());
        self.window.received += rest.len() as u64;
        Err(difference::differs(&self.peer, offset, &expected, rest).into())
    }

    /// Nothing came for a while. Says whether the exchange is over by that.
    fn idle(&mut self) -> Result<bool, Trouble> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        if let Some(how) = self.broken.take() {
            return self.ended(how).map(|_| true);
        }
        let (window, timeout) = (&self.window, self.timeout);
        let (received, written) = (window.received, window.written);
        let quiet = self.last_progress.elapsed();
        if window.is_all_back() {
            let is_over = quiet >= GRACE.min(timeout.0);
            if is_over {
                self.show.end()?;
            }
            return Ok(is_over);
        }
        let is_all_sent = window.is_complete && written == window.pushed;
        if is_all_sent && !self.urged && quiet >= timeout.0 / QUIET {
            self.urged = true;
            self.socket.finish();
        }
        let owes = received < window.due || written < window.pushed;
        if !owes {
            self.show.pause()?;
        }
        if !owes || written != self.written {
            self.written = written;
            self.last_progress = Instant::now();
        } else if quiet >= timeout.0 {
            self.show.end_early()?;
            let message = format!(
                "{}: no progress for {timeout}: {received} of {written} bytes sent came back; is \
                 it an echo server, with the same --framing? Allow more time with --timeout",
                self.peer
            );
            return Err(Fault::new(ErrorKind::Timeout, message).into());
        }
        Ok(false)
    }

    /// The connection is over. That is well when everything is back: whether it then ends in an
    /// orderly way or in a reset says nothing about the echo.
    fn ended(&mut self, how: Fault) -> Ended {
        if self.window.is_all_back() {
            self.show.end()?;
            return Ok(None);
        }
        self.show.end_early()?;
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        let (received, pushed) = (self.window.received, self.window.pushed);
        if self.urged {
            let message = format!(
                "{}: nothing came back for {}, and when told that nothing more would be sent, the \
                 server gave no more than {received} of {pushed} bytes ({}); is it an echo server, \
                 with the same --framing? Allow more time with --timeout",
                self.peer,
                Timespan(self.timeout.0 / QUIET),
                how.message,
            );
            return Err(Fault::new(ErrorKind::Timeout, message).into());
        }
        if !matches!(how.kind, ErrorKind::Closed | ErrorKind::Reset) {
            // It is not the server that says so.
            return Err(how.of(&self.peer).into());
        }
        if received == pushed {
            return Err(difference::ended(&self.peer, pushed, &how).into());
        }
        let expected = self.window.expected();
        Err(difference::short(&self.peer, received, pushed, &expected, &how).into())
    }

    /// Whoever asks to stop may do so between two messages; a deadline is for the whole.
    fn interrupted(&mut self, why: Why) -> Ended {
        let window = &self.window;
        if window.is_all_back() {
            self.show.end()?;
            return Ok(None);
        }
        if why == Why::Signal && window.received >= window.due {
            self.show.end()?;
            return Ok(Some(why));
        }
        self.show.end_early()?;
        let message = format!(
            "{}: {why}: {} of {} bytes sent had come back identical",
            self.peer, window.received, window.written
        );
        Err(Fault::new(ErrorKind::Interrupted, message).into())
    }
}
