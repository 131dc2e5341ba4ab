//! The address of `--metrics`: what a server has done, whether it lives and whether it is ready, for a
//! monitor that asks over HTTP. A thread of its own serves it; no worker has anything to do with it.

pub mod head;
mod process;
mod text;

use std::io::{self, Read, Write};
use std::net::Shutdown as Half;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use echo_core::{Failure, cause};
use mio::net::{TcpListener, TcpStream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::event::stats::Totals;
use crate::event::{Events, Kind};
use crate::pulse::Pulse;
use crate::shutdown::Shutdown;
use crate::thread;
use head::{Asked, MAX_HEAD, Page, Refusal};
use text::Text;

/// Connections at once. Others wait in the system's queue, each for [`PATIENCE`] at most for every one
/// of these.
const MAX_CLIENTS: usize = 8;

/// Descriptors that are used here beside the listeners: connections, both ends of what tells the end,
/// and a file that is read.
pub(crate) const FILES: usize = MAX_CLIENTS + 3;

/// How long a connection may take from beginning to end, whatever its client does.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a client that has its answer may take to close. Closing before it does could destroy the
/// answer, where it has sent what nobody reads.
const LINGER: Duration = Duration::from_secs(1);

/// How long to accept nothing after accepting has failed.
const PAUSE: Duration = Duration::from_millis(250);

/// The thread, which ends when this is dropped.
pub(crate) struct Metrics(#[expect(dead_code, reason = "its end tells")] UnixStream);

impl Metrics {
    /// Starts answering.
    ///
    /// # Errors
    /// A [`Failure`] when the system grants no descriptors or no thread.
    pub(crate) fn start(
        listeners: Vec<TcpListener>,
        totals: Arc<Totals>,
        shutdown: Shutdown,
        events: Events,
    ) -> Result<Self, Failure> {
        let pair = UnixStream::pair();
        let pair = pair.and_then(|(ours, over)| over.set_nonblocking(true).map(|()| (ours, over)));
        let (ours, over) = pair.map_err(|error| {
            Failure::bad(anyhow!(
                "cannot answer monitors: {}; raise the open-file limit (ulimit -n), or leave out \
                 --metrics",
                cause(&error)
            ))
        })?;
        let desk = Desk {
            pulse: Pulse::new(totals.clone(), shutdown.clone()),
            began: process::began(),
            totals,
            shutdown,
        };
        let room = Room {
            listeners,
            over,
            clients: Vec::new(),
            desk,
            events,
            paused: None,
            failing: false,
        };
        thread::start("metrics", move || room.run())?;
        Ok(Metrics(ours))
    }
}

/// What answers follow from.
struct Desk {
    totals: Arc<Totals>,
    shutdown: Shutdown,
    pulse: Pulse,
    began: Option<f64>,
}

/// Who asks, and how they come in.
struct Room {
    listeners: Vec<TcpListener>,
    /// Ends with the server.
    over: UnixStream,
    clients: Vec<Client>,
    desk: Desk,
    events: Events,
    /// Nobody is accepted before this.
    paused: Option<Instant>,
    /// Whether accepting failed the last time.
    failing: bool,
}

impl Room {
    fn run(mut self) {
        loop {
            let now = Instant::now();
            self.clients.retain(|client| client.until > now);
            self.paused = self.paused.filter(|until| *until > now);
            let accepts = self.clients.len() < MAX_CLIENTS && self.paused.is_none();
            let mut polled = vec![PollFd::new(&self.over, PollFlags::IN)];
            let clients = self.clients.iter();
            polled.extend(clients.map(|client| PollFd::new(&client.stream, client.waits_for())));
            let listeners = self.listeners.iter().filter(|_| accepts);
            polled.extend(listeners.map(|listener| PollFd::new(listener, PollFlags::IN)));
            let deadlines = self.clients.iter().map(|client| client.until);
            let next = deadlines.chain(self.paused).min();
            let timeout = next.map(|at| at.saturating_duration_since(now));
            let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
            match poll(&mut polled, timeout.as_ref()) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                // Whatever it is, it must neither burn a core nor outlive the server.
                Err(_) => {
                    std::thread::sleep(PAUSE);
                    match self.is_over() {
                        true => return,
                        false => continue,
                    }
                }
            }
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            let (clients, listeners) = ready[1..].split_at(self.clients.len());
            if ready[0] && self.is_over() {
                return;
            }
            let mut clients = clients.iter();
            let desk = &mut self.desk;
            self.clients
                .retain_mut(|client| clients.next() != Some(&true) || client.advance(desk));
            for index in (0..listeners.len()).filter(|index| listeners[*index]) {
                self.accept(index);
            }
        }
    }

    fn is_over(&self) -> bool {
        !matches!((&self.over).read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    fn accept(&mut self, listener: usize) {
        if self.clients.len() >= MAX_CLIENTS {
            return;
        }
        let now = Instant::now();
        match self.listeners[listener].accept() {
            Ok((stream, _)) => {
                self.failing = false;
                self.clients.push(Client {
                    stream,
                    until: now + PATIENCE,
                    stage: Stage::Asking(Vec::new()),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.paused = Some(now + PAUSE);
                // Told when it starts, not for as long as it lasts.
                if !std::mem::replace(&mut self.failing, true) {
                    self.events.tell(|| Kind::AcceptFailed {
                        error: format!("{} (--metrics)", cause(&error)),
                        retry_in: PAUSE,
                    });
                }
            }
        }
    }
}

/// A connection.
struct Client {
    stream: TcpStream,
    /// When it is closed, whatever it does.
    until: Instant,
    stage: Stage,
}

/// How far a connection has come.
enum Stage {
    /// The head that has arrived so far.
    Asking(Vec<u8>),
    /// What is still to be sent.
    Answering(Vec<u8>),
    /// It has its answer, and is to close.
    Leaving,
}

impl Client {
    fn waits_for(&self) -> PollFlags {
        match self.stage {
            Stage::Asking(_) | Stage::Leaving => PollFlags::IN,
            Stage::Answering(_) => PollFlags::OUT,
        }
    }

    /// Does what can be done now. Returns whether there is more to do.
    fn advance(&mut self, desk: &mut Desk) -> bool {
        let outcome = match &mut self.stage {
            Stage::Asking(head) => {
                let mut chunk = [0; MAX_HEAD];
                let room = MAX_HEAD - head.len();
                match self.stream.read(&mut chunk[..room]) {
                    Ok(0) => return false,
                    Ok(read) => {
                        head.extend_from_slice(&chunk[..read]);
                        if let Some(asked) = head::asked(head) {
                            self.stage = Stage::Answering(desk.answer(asked));
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
            Stage::Answering(rest) => match self.stream.write(rest) {
                Ok(sent) => {
                    rest.drain(..sent);
                    if rest.is_empty() {
                        self.until = self.until.min(Instant::now() + LINGER);
                        self.stage = Stage::Leaving;
                        // One that is gone already needs no end.
                        let _: io::Result<()> = self.stream.shutdown(Half::Write);
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Stage::Leaving => match self.stream.read(&mut [0; MAX_HEAD]) {
                Ok(0) => return false,
                read => read.map(|_| ()),
            },
        };
        match outcome {
            Ok(()) => true,
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ),
        }
    }
}

impl Desk {
    /// The answer as it is sent.
    fn answer(&mut self, asked: Asked) -> Vec<u8> {
        let ready = !self.shutdown.is_requested();
        let (status, body) = match asked.page {
            Ok(Page::Metrics) => {
                let mut text = Text::default();
                text.server(&self.totals.stats(), ready);
                process::add(&mut text, self.began);
                ("200 OK", text.0)
            }
            Ok(Page::Live) => match self.pulse.beats(Instant::now()) {
                true => ("200 OK", "live\n".to_owned()),
                false => ("503 Service Unavailable", "a worker hangs\n".to_owned()),
            },
            Ok(Page::Ready) => match ready {
                true => ("200 OK", "ready\n".to_owned()),
                false => ("503 Service Unavailable", "stopping\n".to_owned()),
            },
            Err(refusal) => {
                let (status, why) = match refusal {
                    Refusal::Malformed => ("400 Bad Request", "this is no HTTP/1.1"),
                    Refusal::NotFound => {
                        ("404 Not Found", "there are /metrics, /livez and /readyz")
                    }
                    Refusal::NotAllowed => ("405 Method Not Allowed\r\nAllow: GET", "use GET"),
                    Refusal::TooLarge => (
                        "431 Request Header Fields Too Large",
                        "the head may have 8 KiB and 64 fields",
                    ),
                };
                (status, format!("{why}\n"))
            }
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        let body = if asked.only_head { "" } else { &body };
        (head + body).into_bytes()
    }
}
