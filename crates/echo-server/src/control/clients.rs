//! The control socket: one thread, any number of clients, none of which can hold up another.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use anyhow::anyhow;
use echo_core::{Failure, remedied};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Value, json};
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

/// Commands of one client, and clients that come, before others have their turn.
const TURN: usize = 16;

/// Whoever owns the file may control the server.
const MODE: u32 = 0o600;

/// How long to do nothing after accepting or waiting has failed: it would be tried for ever.
const PAUSE: Duration = Duration::from_millis(250);

/// A bound control socket.
pub(crate) struct ControlSocket {
    listener: Listener,
    /// Both ends of what tells the thread that it is over.
    over: (UnixStream, UnixStream),
}

impl ControlSocket {
    /// Binds `path`, as any Unix path is bound, for its owner alone.
    pub(crate) fn bind(path: &Path, events: &Events) -> Result<Self, Failure> {
        let listener =
            unix::bind(path, CLIENTS as i32, Some(MODE), events).map_err(Failure::bad)?;
        let over = UnixStream::pair().map_err(|error| {
            let why = remedied(&error, "leave out --control");
            Failure::bad(anyhow!("cannot listen for commands: {why}"))
        })?;
        Ok(ControlSocket { listener, over })
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
        let (ours, woken) = self.over;
        let over = Arc::new(ours);
        let goes_on = Arc::downgrade(&over);
        let work = move || serve(self.listener, &woken, &goes_on, &control);
        let thread = thread::start("control", work)?;
        Ok(Serving { over, thread })
    }
}

/// Serves as long as somebody holds what `goes_on` leads to, whose end can be read from `woken`.
fn serve(listener: Listener, woken: &UnixStream, goes_on: &Weak<UnixStream>, control: &Control) {
    let mut clients: Vec<Client> = Vec::new();
    loop {
        let mut polled = vec![
            PollFd::new(woken, PollFlags::IN),
            PollFd::new(&listener.socket, PollFlags::IN),
        ];
        polled.extend(
            clients
                .iter()
                .map(|one| PollFd::new(&one.stream, one.waits_for())),
        );
        let at_once = clients.iter().any(|client| client.has_more);
        let timeout = at_once.then(Timespec::default);
        if poll(&mut polled, timeout.as_ref()).is_err_and(|error| error != Errno::INTR) {
            sleep(PAUSE);
        }
        if goes_on.strong_count() == 0 {
            return listener.close(&Events::off());
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut readiness = ready[2..].iter();
        clients.retain_mut(|client| {
            let is_due = readiness.next() == Some(&true) || client.has_more;
            !is_due || client.turn(control)
        });
        if ready[1] {
            accept(&listener, &mut clients);
        }
    }
}

/// Takes some of those who wait; of too many, turns the last away with the reason.
fn accept(listener: &Listener, clients: &mut Vec<Client>) {
    for _ in 0..TURN {
        match listener.accept(&Events::off()) {
            Ok((Stream::Socket(mut stream, _), _)) if clients.len() == CLIENTS => {
                let why = format!("{CLIENTS} are connected at once, and no more; one has to leave");
                // Whoever takes nothing, though it has just come, is not waited for.
                let _: io::Result<usize> = stream.write(&answer(&json!({ "error": why })));
            }
            Ok((Stream::Socket(stream, _), _)) => clients.push(Client {
                stream,
                input: Vec::new(),
                output: Vec::new(),
                ended: false,
                has_more: false,
            }),
            #[cfg(test)]
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return sleep(PAUSE),
        }
    }
}

/// A control socket that is being served.
pub(crate) struct Serving {
    over: Arc<UnixStream>,
    thread: JoinHandle<()>,
}

impl Serving {
    /// Ends it, and whoever is connected.
    pub(crate) fn end(self) {
        drop(self.over);
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
    /// Its turn was over before it was.
    has_more: bool,
}

impl Client {
    fn waits_for(&self) -> PollFlags {
        match self.output.is_empty() {
            true => PollFlags::IN,
            false => PollFlags::OUT,
        }
    }

    /// Does what can be done now. Returns whether it stays.
    fn turn(&mut self, control: &Control) -> bool {
        self.has_more = false;
        for _ in 0..TURN {
            match self.go_on(control) {
                Ok(true) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(false) | Err(_) => return false,
            }
        }
        self.has_more = true;
        true
    }

    /// Sends, or does a command, or reads. Returns whether there is more to do.
    fn go_on(&mut self, control: &Control) -> io::Result<bool> {
        if !self.output.is_empty() {
            let sent = self.stream.write(&self.output)?;
            self.output.drain(..sent);
        } else if let Some(end) = self.input.iter().position(|byte| *byte == b'\n')
            && end <= LINE_MAX
        {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            self.output = answer(&control.command(&String::from_utf8_lossy(&line)));
        } else if self.input.len() > LINE_MAX {
            self.output = answer(&json!({ "error": "the line is too long" }));
            self.input = Vec::new();
            self.ended = true;
        } else if self.ended {
            return Ok(false);
        } else {
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer)?;
            self.input.extend_from_slice(&buffer[..read]);
            self.ended = read == 0;
            if self.ended && !self.input.is_empty() {
                // The last line may have no end of its own.
                self.input.push(b'\n');
            }
        }
        Ok(true)
    }
}

/// An answer as it is sent.
fn answer(object: &Value) -> Vec<u8> {
    format!("{object}\n").into_bytes()
}
