//! The address of `--metrics`: what a program has done, whether it lives and whether it is ready, for a
//! monitor that asks over HTTP. A thread of its own serves it; what is measured has nothing to do with it.

pub mod head;
mod process;
pub mod rounds;
mod text;

use std::io::{self, Read, Write};
use std::net::{Shutdown as Half, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use echo_core::told;
use rustix::event::{PollFd, PollFlags};

use head::{Asked, MAX_HEAD, Page};
use rounds::PAUSE;
pub use rounds::{Rounds, Service};
pub use text::{Label, Text};

/// Connections at once. Others wait in the system's queue, each for [`PATIENCE`] at most for every one
/// of these.
const MAX_CLIENTS: usize = 8;

/// Descriptors that are used here beside the listeners: connections, both ends of what tells the end,
/// and a file that is read.
pub const FILES: usize = MAX_CLIENTS + 3;

/// How long a connection may take from beginning to end, whatever its client does.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a client that has its answer may take to close. Closing before it does could destroy the
/// answer, where it has sent what nobody reads.
const LINGER: Duration = Duration::from_secs(1);

/// What a program answers from.
pub trait Answers: Send + 'static {
    /// Adds what the program has done. What the system says of its process is added to that.
    fn metrics(&mut self, text: &mut Text);

    /// Whether it still does what it is there for.
    fn is_live(&mut self) -> bool;

    /// Whether it is to be asked for more of that.
    fn is_ready(&self) -> bool;

    /// Somebody could not be accepted, because of `error`; for so long nobody will be.
    fn accept_failed(&self, error: String, retry_in: Duration);
}

/// What answers whoever comes to these `listeners`, which do not block, once it is called.
///
/// # Errors
/// The system grants no descriptors.
pub fn monitors(
    listeners: Vec<TcpListener>,
    answers: impl Answers,
) -> io::Result<(Rounds, impl FnOnce() + Send + 'static)> {
    Rounds::new(Monitors {
        listeners,
        answers,
        began: process::began(),
        failing: false,
    })
}

/// Where monitors come in, and what they are answered from.
struct Monitors<A> {
    listeners: Vec<TcpListener>,
    answers: A,
    /// When the process began.
    began: Option<f64>,
    /// Whether accepting failed the last time.
    failing: bool,
}

impl<A: Answers> Service for Monitors<A> {
    type Client = Client;

    fn listeners(&self, clients: usize) -> Vec<PollFd<'_>> {
        let listeners = self.listeners.iter().filter(|_| clients < MAX_CLIENTS);
        let listeners = listeners.map(|listener| PollFd::new(listener, PollFlags::IN));
        listeners.collect()
    }

    fn waits(client: &Client) -> (PollFd<'_>, Option<Instant>) {
        let flags = match client.stage {
            Stage::Asking(_) | Stage::Leaving => PollFlags::IN,
            Stage::Answering(_) => PollFlags::OUT,
        };
        (PollFd::new(&client.stream, flags), Some(client.until))
    }

    fn turn(&mut self, client: &mut Client) -> bool {
        use io::ErrorKind::{Interrupted, WouldBlock};
        let (answers, began) = (&mut self.answers, self.began);
        let over = client.until <= Instant::now();
        !over
            && match client.advance(|asked| answer(asked, answers, began)) {
                Ok(more) => more,
                Err(error) => matches!(error.kind(), WouldBlock | Interrupted),
            }
    }

    fn accept(&mut self, listener: usize, clients: &mut Vec<Client>) {
        if clients.len() >= MAX_CLIENTS {
            return;
        }
        let accepted = self.listeners[listener].accept();
        match accepted.and_then(|(stream, _)| stream.set_nonblocking(true).map(|()| stream)) {
            Ok(stream) => {
                self.failing = false;
                clients.push(Client {
                    stream,
                    until: Instant::now() + PATIENCE,
                    stage: Stage::Asking(Vec::new()),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // Told when it starts, not for as long as it lasts.
                if !std::mem::replace(&mut self.failing, true) {
                    let failure = format!("--metrics: {}", told(&error));
                    self.answers.accept_failed(failure, PAUSE);
                }
                // There is no other way not to be asked at once again; who is being answered waits, too.
                std::thread::sleep(PAUSE);
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
    fn advance(&mut self, answer: impl FnOnce(Asked) -> Vec<u8>) -> io::Result<bool> {
        let mut chunk = [0; MAX_HEAD];
        match &mut self.stage {
            Stage::Asking(head) => {
                let read = self.stream.read(&mut chunk[head.len()..])?;
                head.extend_from_slice(&chunk[head.len()..][..read]);
                if let Some(asked) = head::asked(head) {
                    self.stage = Stage::Answering(answer(asked));
                }
                Ok(read > 0)
            }
            Stage::Answering(rest) => {
                let sent = self.stream.write(rest)?;
                rest.drain(..sent);
                if rest.is_empty() {
                    self.until = self.until.min(Instant::now() + LINGER);
                    self.stage = Stage::Leaving;
                    // One that is gone already needs no end.
                    let _: io::Result<()> = self.stream.shutdown(Half::Write);
                }
                Ok(true)
            }
            Stage::Leaving => Ok(self.stream.read(&mut chunk)? > 0),
        }
    }
}

/// The answer as it is sent, by a process that began then.
fn answer(asked: Asked, answers: &mut impl Answers, began: Option<f64>) -> Vec<u8> {
    const UNAVAILABLE: &str = "503 Service Unavailable";
    let mut text = Text::default();
    let (status, body) = match asked {
        Ok(Page::Metrics) => {
            answers.metrics(&mut text);
            process::add(&mut text, began);
            ("200 OK", &*text.0)
        }
        Ok(Page::Live) if answers.is_live() => ("200 OK", "live\n"),
        Ok(Page::Live) => (UNAVAILABLE, "hangs\n"),
        Ok(Page::Ready) if answers.is_ready() => ("200 OK", "ready\n"),
        Ok(Page::Ready) => (UNAVAILABLE, "not ready\n"),
        Err(refusal) => refusal,
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    (head + body).into_bytes()
}
