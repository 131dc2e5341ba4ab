//! The control socket: one thread, any number of clients, none of which can hold up another.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::{JoinHandle, sleep};
use std::time::Instant;

use anyhow::anyhow;
use echo_core::{Endpoint, Failure, remedied};
use echo_metrics::rounds::PAUSE;
use echo_metrics::{Rounds, Service};
use rustix::event::{PollFd, PollFlags};
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

/// Clients that come before others have their turn.
const TURN: usize = 16;

/// Whoever owns the file may control the server.
const MODE: u32 = 0o600;

/// Binds `path`, as any Unix path is bound, for its owner alone.
pub(crate) fn bind(path: &Path, events: &Events) -> Result<Listener, Failure> {
    let listen = Arc::new(Endpoint::Unix(path.to_owned()).into());
    unix::bind(path, &listen, CLIENTS as i32, Some(MODE), events).map_err(Failure::bad)
}

/// Has commands done from now on, until what is returned ends it.
///
/// # Errors
/// A [`Failure`] when the system grants no descriptors or no thread.
pub(crate) fn start(listener: Listener, control: Control) -> Result<Serving, Failure> {
    let (rounds, work) = Rounds::new(Commands { listener, control }).map_err(|error| {
        let why = remedied(&error, "leave out --control");
        Failure::bad(anyhow!("cannot listen for commands: {why}"))
    })?;
    let thread = thread::start("control", work)?;
    Ok(Serving { rounds, thread })
}

/// Where commands come in, and what does them.
struct Commands {
    listener: Listener,
    control: Control,
}

impl Service for Commands {
    type Client = Client;

    fn listeners(&self, _clients: usize) -> Vec<PollFd<'_>> {
        vec![PollFd::new(&self.listener.socket, PollFlags::IN)]
    }

    /// Of too many, turns the last away with the reason.
    fn accept(&mut self, _listener: usize, clients: &mut Vec<Client>) {
        for _ in 0..TURN {
            match self.listener.accept(&Events::off()) {
                Ok((Stream::Socket(mut stream, _), _)) if clients.len() == CLIENTS => {
                    let why =
                        format!("{CLIENTS} are connected at once, and no more; one has to leave");
                    // Whoever takes nothing, though it has just come, is not waited for.
                    let _: io::Result<usize> = stream.write(&answer(&json!({ "error": why })));
                }
                Ok((Stream::Socket(stream, _), _)) => clients.push(Client {
                    stream,
                    input: Vec::new(),
                    output: Vec::new(),
                    ended: false,
                }),
                #[cfg(test)]
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return sleep(PAUSE),
            }
        }
    }

    fn waits(client: &Client) -> (PollFd<'_>, Option<Instant>) {
        let flags = match client.output.is_empty() {
            true => PollFlags::IN,
            false => PollFlags::OUT,
        };
        let at_once = client.is_asking().then(Instant::now);
        (PollFd::new(&client.stream, flags), at_once)
    }

    fn turn(&mut self, client: &mut Client) -> bool {
        client.go_on(&self.control).unwrap_or_else(|error| {
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
        })
    }
}

/// A control socket that is being served.
pub(crate) struct Serving {
    rounds: Rounds,
    thread: JoinHandle<()>,
}

impl Serving {
    /// Ends it, and whoever is connected.
    pub(crate) fn end(self) {
        drop(self.rounds);
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

impl Client {
    /// Whether there is something to do that waits for nothing but its turn.
    fn is_asking(&self) -> bool {
        let has_line = || self.input.contains(&b'\n') || self.input.len() > LINE_MAX;
        self.output.is_empty() && (self.ended || has_line())
    }

    /// Sends, or does a command and sends, or reads. Returns whether there is more to do.
    fn go_on(&mut self, control: &Control) -> io::Result<bool> {
        if self.output.is_empty() && !self.hear(control)? {
            return Ok(false);
        }
        // Also what was answered just now: it may have been to stop, and then there is no further turn.
        if !self.output.is_empty() {
            let sent = self.stream.write(&self.output)?;
            self.output.drain(..sent);
        }
        Ok(true)
    }

    /// Does a command, or reads. Returns whether there is more to do.
    fn hear(&mut self, control: &Control) -> io::Result<bool> {
        if let Some(end) = self.input.iter().position(|byte| *byte == b'\n')
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
