//! Sends over a stream and receives at the same time, in constant memory.

use std::io::{self, Read, Write};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::Context;
use echo_core::Failure;
use echo_core::units::Timespan;

use super::difference;
use super::show::Show;
use super::source::Source;
use super::watched::Watched;
use super::window::Window;
use super::{End, Trouble};
use crate::connection::{ErrorKind, TICK, cause};
use crate::interrupt::{Interrupt, Why};
use crate::report::{Fault, Report};
use crate::{output, thread};

/// A server that has returned everything and heard that nothing more comes should close. One
/// that has not after this long never will; that is its own affair, for the echo is complete.
const GRACE: Duration = Duration::from_secs(1);

/// How long a sender that may wait for input is given to end.
const PARTING: Duration = Duration::from_millis(100);

/// Not every server returns what it still holds once it hears that nothing more comes (`ncat -e`
/// and `socat` do not), so the end waits for the echo. Others return everything only then: when
/// nothing has come for this part of the timeout, it waits no more.
const QUIET: u32 = 2;

/// How to go about it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long the server may keep silent while it owes bytes.
    pub timeout: Timespan,
    /// End the sending half right after the last byte.
    pub half_close: bool,
    /// The most that one read takes.
    pub buffer: usize,
}

/// Sends all of `source`, ends the sending half, and checks the echo up to its end. How many
/// bytes that were, and how long it took, is put into the `report`.
pub fn exchange(
    socket: Watched,
    peer: String,
    options: Options,
    source: Source,
    show: &mut Show,
    report: &mut Report,
    interrupt: &Interrupt,
) -> Result<End, Trouble> {
    let start = Instant::now();
    let socket = Arc::new(socket);
    let window = Arc::new(Window::default());
    socket
        .set_read_timeout(Some(TICK.min(options.timeout.0)))
        .context("cannot limit the time of a read")
        .map_err(Failure::bad)?;
    let (outgoing, in_flight) = (Arc::clone(&socket), Arc::clone(&window));
    let (is_sending, has_sent) = mpsc::channel::<()>();
    thread::start("sender", move || {
        send(source, &outgoing, &in_flight, options.half_close);
        drop((outgoing, is_sending));
    })?;
    let mut receiver = Receiver {
        socket: &socket,
        window: &window,
        peer,
        timeout: options.timeout,
        buffer: options.buffer,
        received: 0,
        written: 0,
        last_byte: start,
        last_progress: start,
        urged: false,
    };
    let result = receiver.run(show, interrupt);
    report.elapsed = receiver.last_byte - start;
    report.counts.sent_bytes = window.progress().written;
    report.counts.received_bytes = receiver.received;
    window.close();
    // Whatever the sender waits for, it ends; that the socket may be gone already is no matter.
    let _ = socket.abandon();
    // It closes the socket, and tells of its calls. One that has not come to the end of the input
    // may wait for a person to type, though.
    let longest = match window.progress().is_complete {
        true => GRACE,
        false => PARTING,
    };
    // Nothing is ever sent: it has ended, or takes too long.
    let _: Result<(), _> = has_sent.recv_timeout(longest);
    result
}

fn send(mut source: Source, socket: &Watched, window: &Window, half_close: bool) {
    loop {
        match source.next() {
            Ok(Some(piece)) => {
                // Into the window first: the echo may be back before `write` returns.
                if !window.push(&piece) {
                    return;
                }
                if let Err(error) = write(&piece.bytes, socket, window) {
                    return window.break_off(broken(&error));
                }
            }
            Ok(None) => {
                let is_all_back = window.end();
                if half_close || is_all_back {
                    end_sending(socket);
                }
                return;
            }
            Err(trouble) => {
                window.fail(trouble);
                return end_sending(socket);
            }
        }
    }
}

/// Tells the server that nothing more comes. This fails only on a connection that is gone, which
/// the next read tells as well.
fn end_sending(socket: &Watched) {
    let _ = socket.finish();
}

fn write(mut bytes: &[u8], mut socket: &Watched, window: &Window) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => {
                window.written(len);
                bytes = &bytes[len..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

struct Receiver<'a> {
    socket: &'a Watched,
    window: &'a Window,
    peer: String,
    timeout: Timespan,
    buffer: usize,
    received: u64,
    /// What had been written when progress was last looked at.
    written: u64,
    last_byte: Instant,
    last_progress: Instant,
    /// The sending half was ended because the echo did not come.
    urged: bool,
}

impl Receiver<'_> {
    fn run(&mut self, show: &mut Show, interrupt: &Interrupt) -> Result<End, Trouble> {
        let mut buffer = vec![0; self.buffer];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return self.ended(show, closed()),
                Ok(len) => self.take(&buffer[..len], show)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_tick(&error) => {
                    if let Some(end) = self.idle(show)? {
                        return Ok(end);
                    }
                }
                Err(error) => return self.ended(show, broken(&error)),
            }
            if let Some(why) = interrupt.why() {
                return self.interrupted(why, show);
            }
            if interrupt.take_question() {
                let (peer, written) = (&self.peer, self.window.progress().written);
                output::note(format_args!(
                    "{peer}: {} of {written} bytes sent have come back identical so far",
                    self.received
                ));
            }
        }
    }

    fn take(&mut self, bytes: &[u8], show: &mut Show) -> Result<(), Trouble> {
        let comparison = self.window.compare(bytes);
        let (same, rest) = bytes.split_at(comparison.same);
        let payload = match self.window.progress().padding {
            Some(start) => {
                let left = start.saturating_sub(self.received);
                &same[..same.len().min(usize::try_from(left).unwrap_or(usize::MAX))]
            }
            None => same,
        };
        show.take(payload)?;
        self.received += same.len() as u64;
        show.progress(self.received);
        self.last_byte = Instant::now();
        self.last_progress = self.last_byte;
        if rest.is_empty() {
            if self.is_all_back() {
                end_sending(self.socket);
            }
            return Ok(());
        }
        show.unexpected(rest)?;
        let (offset, expected) = (self.received, comparison.expected);
        self.received += rest.len() as u64;
        Err(difference::differs(&self.peer, offset, &expected, rest).into())
    }

    /// Nothing came for a while. Says whether the exchange is over by that.
    fn idle(&mut self, show: &mut Show) -> Result<Option<End>, Trouble> {
        if let Some(trouble) = self.window.trouble() {
            return Err(trouble);
        }
        if let Some(how) = self.window.broken() {
            return self.ended(show, how).map(Some);
        }
        let progress = self.window.progress();
        if self.is_all_back() {
            return match self.last_progress.elapsed() >= GRACE.min(self.timeout.0) {
                true => Ok(Some(End::whole(show)?)),
                false => Ok(None),
            };
        }
        let is_all_sent = progress.is_complete && progress.written == progress.pushed;
        if is_all_sent && !self.urged && self.last_progress.elapsed() >= self.timeout.0 / QUIET {
            self.urged = true;
            end_sending(self.socket);
        }
        let owes = self.received < progress.due || progress.written < progress.pushed;
        if !owes {
            show.pause()?;
        }
        if !owes || progress.written != self.written {
            self.written = progress.written;
            self.last_progress = Instant::now();
        } else if self.last_progress.elapsed() >= self.timeout.0 {
            show.end_early()?;
            let message = format!(
                "{}: no progress for {}: {} of {} bytes sent came back; is it an echo server, \
                 with the same --framing? Allow more time with --timeout",
                self.peer, self.timeout, self.received, progress.written
            );
            return Err(Fault::new(ErrorKind::Timeout, message).into());
        }
        Ok(None)
    }

    /// The connection is over. That is well when everything is back: whether it then ends in an
    /// orderly way or in a reset says nothing about the echo.
    fn ended(&mut self, show: &mut Show, how: Fault) -> Result<End, Trouble> {
        if self.is_all_back() {
            return End::whole(show);
        }
        show.end_early()?;
        if let Some(trouble) = self.window.trouble() {
            return Err(trouble);
        }
        if self.urged {
            let message = format!(
                "{}: nothing came back for {}, and when told that nothing more would be sent, the \
                 server gave no more than {} of {} bytes ({}); is it an echo server, with the \
                 same --framing? Allow more time with --timeout",
                self.peer,
                Timespan(self.timeout.0 / QUIET),
                self.received,
                self.window.progress().pushed,
                how.message,
            );
            return Err(Fault::new(ErrorKind::Timeout, message).into());
        }
        let expected = self.window.compare(b"").expected;
        let pushed = self.window.progress().pushed;
        Err(difference::short(&self.peer, self.received, pushed, &expected, &how).into())
    }

    fn is_all_back(&self) -> bool {
        let progress = self.window.progress();
        progress.is_complete && self.received == progress.pushed
    }

    /// Whoever asks to stop may do so between two messages; a deadline is for the whole.
    fn interrupted(&mut self, why: Why, show: &mut Show) -> Result<End, Trouble> {
        if self.is_all_back() {
            return End::whole(show);
        }
        let progress = self.window.progress();
        if why == Why::Signal && self.received >= progress.due {
            show.end()?;
            return Ok(End::Stopped(why));
        }
        show.end_early()?;
        let message = format!(
            "{}: {why}: {} of {} bytes sent had come back identical",
            self.peer, self.received, progress.written
        );
        Err(Fault::new(ErrorKind::Interrupted, message).into())
    }
}

fn closed() -> Fault {
    Fault::new(ErrorKind::Closed, "the server closed the connection")
}

fn broken(error: &io::Error) -> Fault {
    Fault::new(ErrorKind::of(error), cause(error))
}

/// Whether a read only ran into its limit of time. `TimedOut` is the connection's own end: TCP has
/// given up.
fn is_tick(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
