//! The control socket: one thread, any number of clients, none of which can hold up another.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::anyhow;
use echo_core::{Failure, cause};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Poll, Token, Waker};
use slab::Slab;
use socket2::Socket;

use super::Control;
use crate::event::Events;
use crate::serve::limits::CLIENTS;
use crate::socket::listener::Listener;
use crate::socket::stream::Stream;
use crate::socket::unix;
use crate::thread;

/// The longest line, in bytes: far more than any fault has.
const LINE_MAX: usize = 16 << 10;

/// Commands of one client before others have their turn.
const TURN: usize = 16;

/// Whoever owns the file may control the server.
const MODE: u32 = 0o600;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// A bound control socket.
pub(crate) struct ControlSocket {
    listener: Listener,
    poll: Poll,
    waker: Arc<Waker>,
}

impl ControlSocket {
    /// Binds `path`, as any Unix path is bound, for its owner alone.
    pub(crate) fn bind(path: &Path, events: &Events) -> Result<Self, Failure> {
        let listener =
            unix::bind(path, CLIENTS as i32, Some(MODE), events).map_err(Failure::bad)?;
        let poll = || {
            let poll = Poll::new()?;
            listener.register(poll.registry(), LISTENER)?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
            Ok((poll, waker))
        };
        let (poll, waker) = poll().map_err(|error: io::Error| {
            let cause = cause(&error);
            Failure::bad(anyhow!(
                "cannot listen for commands: {cause}; raise ulimit -n"
            ))
        })?;
        Ok(ControlSocket {
            listener,
            poll,
            waker,
        })
    }

    /// Stops listening.
    pub(crate) fn close(self, events: &Events) {
        self.listener.close(events);
    }

    /// Has commands done from now on, until what is returned ends it.
    ///
    /// # Errors
    /// A [`Failure`] when the system grants no thread.
    pub(crate) fn start(self, control: Control) -> Result<Serving, Failure> {
        let waker = self.waker.clone();
        let thread = thread::start("control", move || self.serve(&control))?;
        Ok(Serving { waker, thread })
    }

    fn serve(mut self, control: &Control) {
        let mut ready = mio::Events::with_capacity(CLIENTS);
        let mut clients: Slab<Client> = Slab::new();
        let mut again: Vec<usize> = Vec::new();
        loop {
            let timeout = (!again.is_empty()).then_some(std::time::Duration::ZERO);
            match self.poll.poll(&mut ready, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return,
                _ => {}
            }
            let tokens: Vec<Token> = ready.iter().map(Event::token).collect();
            for token in tokens {
                match token {
                    WAKER => return self.listener.close(&Events::off()),
                    LISTENER => self.accept(&mut clients),
                    Token(key) => again.push(key),
                }
            }
            again.sort_unstable();
            again.dedup();
            for key in std::mem::take(&mut again) {
                match clients.get_mut(key).map(|client| client.turn(control)) {
                    Some(Next::Again) => again.push(key),
                    Some(Next::Over) => drop(clients.remove(key)),
                    Some(Next::Event) | None => {}
                }
            }
        }
    }

    /// Takes whoever waits. What fails for one does so for the next, too, and is tried then.
    fn accept(&self, clients: &mut Slab<Client>) {
        while let Ok((Stream::Socket(stream, _), _)) = self.listener.accept(&Events::off()) {
            if clients.len() == CLIENTS {
                continue;
            }
            let entry = clients.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            if registry
                .register(
                    &mut SourceFd(&stream.as_raw_fd()),
                    Token(entry.key()),
                    interest,
                )
                .is_ok()
            {
                entry.insert(Client {
                    stream,
                    input: Vec::new(),
                    output: Vec::new(),
                    ended: false,
                });
            }
        }
    }
}

/// A control socket that is being served.
pub(crate) struct Serving {
    waker: Arc<Waker>,
    thread: JoinHandle<()>,
}

impl Serving {
    /// Ends it, and whoever is connected.
    pub(crate) fn end(self) {
        // Neither fails unless it has ended already.
        let _: io::Result<()> = self.waker.wake();
        drop(self.thread.join());
    }
}

/// Whoever sends commands.
struct Client {
    stream: Socket,
    /// What has come of a line.
    input: Vec<u8>,
    /// What it is still to be told. Nothing is read meanwhile.
    output: Vec<u8>,
    /// No more commands will come.
    ended: bool,
}

/// What a client needs next.
enum Next {
    Event,
    Again,
    Over,
}

impl Client {
    fn turn(&mut self, control: &Control) -> Next {
        for _ in 0..TURN {
            match self.go_on(control) {
                Ok(true) => {}
                Ok(false) => return Next::Over,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Event,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Next::Over,
            }
        }
        Next::Again
    }

    /// Sends, or does a command, or reads. Returns whether there is more to do.
    fn go_on(&mut self, control: &Control) -> io::Result<bool> {
        if !self.output.is_empty() {
            let sent = self.stream.write(&self.output)?;
            self.output.drain(..sent);
        } else if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            self.tell(&control.command(&String::from_utf8_lossy(&line)));
        } else if self.input.len() > LINE_MAX {
            self.tell(&serde_json::json!({ "error": "the line is too long" }));
            self.input = Vec::new();
            self.ended = true;
        } else if self.ended {
            return Ok(false);
        } else {
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer)?;
            self.input.extend_from_slice(&buffer[..read]);
            self.ended = read == 0;
        }
        Ok(true)
    }

    fn tell(&mut self, answer: &serde_json::Value) {
        self.output = format!("{answer}\n").into_bytes();
    }
}
