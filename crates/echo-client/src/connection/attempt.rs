//! One address that is tried: connected to, and asked for an echo where that is wanted.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use echo_core::Address;
use echo_explain::{Call, Opening};
use rustix::event::PollFlags;
use socket2::{Domain, Protocol, SockAddr, Type};

use super::opening::{self, Pending};
use super::{Connect, Connection, LocalAddress, Socket, cause, number};
use crate::wire::echo;
use crate::wire::message::Message;

/// What an address must do before it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Take the connection. Over UDP every address does.
    Nothing,
    /// Over UDP, not turn a datagram back: silence is as good as a reply, unless another replies.
    Life,
    /// Echo.
    Echo,
}

/// How often a port is chosen anew where the system's choice was the target's own.
const CHOICES: usize = 4;

/// An attempt under way.
pub(super) struct Attempt<'a> {
    pub(super) address: Address,
    config: &'a Connect,
    ask: Ask,
    began: Instant,
    elapsed: Duration,
    stage: Stage<'a>,
}

enum Stage<'a> {
    Connecting(Pending<'a>),
    Connected {
        socket: Socket,
        question: Vec<u8>,
        /// So much of it has come back.
        back: usize,
    },
}

/// What has become of an attempt.
pub(super) enum Progress<'a> {
    Waiting(Box<Attempt<'a>>),
    Taken(Connection),
}

impl<'a> Attempt<'a> {
    pub(super) fn begin(config: &'a Connect, address: &Address, ask: Ask) -> io::Result<Self> {
        let began = Instant::now();
        Ok(Attempt {
            address: address.clone(),
            config,
            ask,
            began,
            elapsed: Duration::ZERO,
            stage: Stage::Connecting(begin(config, address)?),
        })
    }

    /// How long it has been under way.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether it waits for an answer that need not come.
    pub(super) fn is_content_with_silence(&self) -> bool {
        self.ask == Ask::Life && matches!(self.stage, Stage::Connected { .. })
    }

    /// What its socket waits for.
    pub(super) fn interest(&self) -> PollFlags {
        match &self.stage {
            Stage::Connecting(_) if matches!(self.address, Address::Unix(_)) => PollFlags::empty(),
            Stage::Connecting(_) => PollFlags::OUT,
            Stage::Connected { .. } => PollFlags::IN,
        }
    }

    /// Goes on as far as it can.
    pub(super) fn go_on(mut self, is_ready: bool) -> io::Result<Progress<'a>> {
        match self.stage {
            Stage::Connecting(mut pending) => match pending.is_connected(is_ready) {
                Ok(false) => {
                    self.stage = Stage::Connecting(pending);
                    Ok(self.waiting())
                }
                outcome => {
                    let socket = Socket::of(&self.address, pending.end(outcome.map(|_| ()))?);
                    self.elapsed = self.began.elapsed();
                    self.stage = Stage::Connected {
                        socket: other_than_itself(self.config, &self.address, socket)?,
                        question: Vec::new(),
                        back: 0,
                    };
                    self.ask()
                }
            },
            Stage::Connected { .. } if is_ready => self.listen(),
            Stage::Connected { .. } => Ok(self.waiting()),
        }
    }

    /// Gives it up, for this reason.
    pub(super) fn give_up(self, error: io::Error) -> (Address, io::Error) {
        let error = match self.stage {
            Stage::Connecting(pending) => match pending.end(Err(error)) {
                Err(error) => error,
                Ok(_) => unreachable!("it was given up"),
            },
            Stage::Connected { .. } => error,
        };
        (self.address, error)
    }

    /// Asks the question, unless nobody wants to know.
    fn ask(mut self) -> io::Result<Progress<'a>> {
        let is_udp = matches!(self.address, Address::Udp(_));
        let Stage::Connected {
            socket, question, ..
        } = &mut self.stage
        else {
            return Ok(self.waiting());
        };
        if self.ask == Ask::Nothing || (self.ask == Ask::Life && !is_udp) {
            return Ok(self.taken());
        }
        *question = match is_udp {
            true => {
                let mut datagram = vec![0; echo::HEADER_LEN];
                echo::encode(echo::token(), 0, &mut datagram);
                datagram
            }
            false => {
                let max = usize::try_from(self.config.max_frame.0).unwrap_or(usize::MAX);
                let len = max.saturating_sub(1).clamp(1, 8);
                let message = Message::new(echo::token(), len, self.config.framing);
                let mut bytes = vec![0; message.wire_len()];
                message.fill(0, 0, &mut bytes);
                bytes
            }
        };
        socket.set_nonblocking(true)?;
        let call = self.config.narrator.begin();
        let outcome = (&*socket).write(question);
        let offered_bytes = question.len() as u64;
        call.ended(number(socket), &outcome, |len| Call::Send {
            sent_bytes: len as u64,
            offered_bytes,
        });
        outcome?;
        Ok(self.waiting())
    }

    /// Hears what comes back.
    fn listen(mut self) -> io::Result<Progress<'a>> {
        let Stage::Connected {
            socket,
            question,
            back,
        } = &mut self.stage
        else {
            return Ok(self.waiting());
        };
        let mut buffer = [0; 2 * echo::HEADER_LEN];
        let outcome = (&*socket).read(&mut buffer);
        let call = self.config.narrator.begin();
        call.ended(number(socket), &outcome, |len| Call::Receive {
            received_bytes: len as u64,
            room_bytes: buffer.len() as u64,
        });
        let answer = match outcome {
            Ok(len) => &buffer[..len],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(self.waiting());
            }
            Err(error) => return Err(error),
        };
        if let Address::Udp(_) = self.address {
            let is_echo = answer == &question[..] || self.ask == Ask::Life;
            return match is_echo {
                // On a socket of its own, the run sees no late copy of this.
                true => Ok(Progress::Taken(open(self.config, &self.address)?)),
                false => Ok(self.waiting()),
            };
        }
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !question[*back..].starts_with(answer) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        *back += answer.len();
        match *back == question.len() {
            true => {
                socket.set_nonblocking(false)?;
                Ok(self.taken())
            }
            false => Ok(self.waiting()),
        }
    }

    fn waiting(self) -> Progress<'a> {
        Progress::Waiting(Box::new(self))
    }

    fn taken(self) -> Progress<'a> {
        match self.stage {
            Stage::Connected { socket, .. } => Progress::Taken(Connection {
                socket,
                remote: self.address,
                elapsed: self.elapsed,
            }),
            Stage::Connecting(_) => self.waiting(),
        }
    }
}

impl AsFd for Attempt<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stage {
            Stage::Connecting(pending) => pending.as_fd(),
            Stage::Connected { socket, .. } => socket.as_fd(),
        }
    }
}

/// A socket to an address that needs no waiting: one for datagrams.
pub(super) fn open(config: &Connect, address: &Address) -> io::Result<Connection> {
    let attempt = Attempt::begin(config, address, Ask::Nothing)?;
    match attempt.go_on(true)? {
        Progress::Taken(connection) => Ok(connection),
        Progress::Waiting(_) => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Begins to connect to one address.
fn begin<'a>(config: &'a Connect, address: &Address) -> io::Result<Pending<'a>> {
    let (remote, kind, protocol) = match address {
        Address::Tcp(remote) => (remote, Type::STREAM, Protocol::TCP),
        Address::Udp(remote) => (remote, Type::DGRAM, Protocol::UDP),
        Address::Unix(path) => {
            let opening = Opening::new(&config.narrator, Domain::UNIX, Type::STREAM, None)?;
            return opening::connect(opening, &config.narrator, SockAddr::unix(path)?);
        }
    };
    let domain = Domain::for_address(*remote);
    let opening = Opening::new(&config.narrator, domain, kind, Some(protocol))?;
    let is_stream = kind == Type::STREAM;
    if let Some(LocalAddress(local)) = config.bind {
        // A fixed port is free again at once, whatever the last connection's TIME_WAIT.
        opening
            .socket()
            .set_reuse_address(is_stream && local.port() != 0)?;
        opening
            .bind(&local.into())
            .map_err(|error| not_ours(local, cause(&error)))?;
    }
    if is_stream {
        opening.socket().set_tcp_nodelay(true)?;
    }
    opening::connect(opening, &config.narrator, (*remote).into())
}

fn not_ours(local: SocketAddr, cause: impl std::fmt::Display) -> io::Error {
    let text = format!("local address {}: {cause}", LocalAddress(local));
    io::Error::new(io::ErrorKind::AddrInUse, text)
}

/// `socket`, or one that is not connected to itself. Where nobody listens on a port from which the
/// system chooses ports for clients, it may choose that one: what is sent then comes back, from
/// nobody (RFC 9293, section 3.5, a simultaneous open with itself).
fn other_than_itself(config: &Connect, address: &Address, socket: Socket) -> io::Result<Socket> {
    let is_itself = |socket: &Socket| {
        socket
            .ends()
            .map(|ends| ends.is_some_and(|(us, them)| us == them))
    };
    // Kept open, so that their port is not chosen again.
    let mut selves = Vec::new();
    let mut socket = socket;
    for _ in 0..CHOICES {
        if !is_itself(&socket)? {
            return Ok(socket);
        }
        if let Some(LocalAddress(local)) = config.bind
            && local.port() != 0
        {
            let cause = "it is the target itself, which would only hear itself";
            return Err(not_ours(local, cause));
        }
        let mut pending = begin(config, address)?;
        // Nobody listens there, as is known by now: this machine refuses at once.
        let outcome = match pending.is_connected(true)? {
            true => Ok(()),
            false => Err(io::ErrorKind::ConnectionRefused.into()),
        };
        selves.push(std::mem::replace(
            &mut socket,
            Socket::of(address, pending.end(outcome)?),
        ));
    }
    Err(io::ErrorKind::ConnectionRefused.into())
}
