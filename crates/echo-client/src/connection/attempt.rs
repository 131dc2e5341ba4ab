//! One address that is tried: connected to, and asked for an echo where that is wanted.

use std::io::{self, Read, Write};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use echo_core::Address;
use echo_core::units::Timespan;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Type};

use super::error::{advised, lacks_zone};
use super::pending::Pending;
use super::{
    Connect, Connection, LocalAddress, Watched, cause, ends, packets, whether_it_is_there,
};
use crate::wire::echo;
use crate::wire::message::Message;
use crate::wire::stamp::Packets;

/// What an address must do before it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Take the connection. Over UDP every address does.
    Nothing,
    /// Over UDP, not turn a datagram back: silence is as good as a reply, unless another replies.
    Life,
    /// Echo, within this time.
    Echo(Duration),
}

impl Ask {
    /// How long a look-up and an attempt may take each.
    pub(super) fn limit(self, config: &Connect) -> Duration {
        match self {
            Ask::Echo(within) => within.min(config.connect_timeout.0),
            _ => config.connect_timeout.0,
        }
    }
}

/// How long the echo of a datagram is waited for: a round trip through a satellite and back.
const REPLY: Duration = Duration::from_secs(1);

/// How often a port is chosen anew where the system's choice was the target's own.
const CHOICES: usize = 4;

/// An attempt under way.
pub(crate) struct Attempt<'a> {
    pub(super) address: Address,
    config: &'a Connect,
    ask: Ask,
    began: Instant,
    /// How long connecting took.
    elapsed: Duration,
    /// When something was last asked or heard.
    heard: Instant,
    /// Sockets that were connected to themselves: open, so that their ports are not chosen again.
    selves: Vec<Watched>,
    stage: Stage,
}

enum Stage {
    Connecting(Pending),
    /// What was asked, so far as it has not come back.
    Asked(Watched, Vec<u8>),
    Over,
}

impl<'a> Attempt<'a> {
    /// Begins to connect.
    pub(crate) fn begin(config: &'a Connect, address: &Address, ask: Ask) -> io::Result<Self> {
        let began = Instant::now();
        Ok(Attempt {
            address: address.clone(),
            config,
            ask: match address {
                Address::Udp(_) => ask,
                _ if ask == Ask::Life => Ask::Nothing,
                _ => ask,
            },
            began,
            elapsed: Duration::ZERO,
            heard: began,
            selves: Vec::new(),
            stage: Stage::Connecting(begin(config, address)?),
        })
    }

    /// Whether it has an answer that need not come, and has not for this long.
    pub(super) fn is_silent_for(&self, time: Duration) -> bool {
        let is_asked = self.ask == Ask::Life && matches!(self.stage, Stage::Asked(..));
        is_asked && self.began.elapsed() >= time
    }

    /// Whether it has been waited long enough for an echo.
    pub(super) fn is_overdue(&self) -> bool {
        let is_asked = matches!((self.ask, &self.stage), (Ask::Echo(_), Stage::Asked(..)));
        let patience = match self.address {
            // A datagram may be lost: better to ask again.
            Address::Udp(_) => REPLY.min(self.config.timeout.0),
            _ => self.config.timeout.0,
        };
        is_asked && self.heard.elapsed() >= patience
    }

    /// Its socket, while that is being connected.
    pub(crate) fn connecting(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            Stage::Connecting(pending) => Some(pending.as_fd()),
            _ => None,
        }
    }

    /// Its socket, and what that waits for. One that connects to a path does not wait: it is tried
    /// again.
    pub(super) fn poll(&self) -> Option<PollFd<'_>> {
        match (&self.stage, &self.address) {
            (Stage::Connecting(_), Address::Unix(_)) | (Stage::Over, _) => None,
            (Stage::Connecting(pending), _) => Some(PollFd::new(pending, PollFlags::OUT)),
            (Stage::Asked(socket, _), _) => Some(PollFd::new(socket, PollFlags::IN)),
        }
    }

    /// Goes on as far as it can. Returns the connection once it has done what it is asked for.
    pub(crate) fn go_on(&mut self, is_ready: bool) -> io::Result<Option<Connection>> {
        match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Connecting(mut pending) => {
                let connected = pending.is_connected(is_ready);
                if let Ok(false) = connected {
                    self.stage = Stage::Connecting(pending);
                    return Ok(None);
                }
                let socket = pending.end(connected.map(|_| ()))?;
                self.elapsed = self.began.elapsed();
                if ends(socket.socket()).is_some_and(|[us, them]| us == them) {
                    return self.begin_anew(socket).map(|()| None);
                }
                match self.ask {
                    Ask::Nothing => Ok(Some(self.taken(socket))),
                    _ => self.ask(socket).map(|()| None),
                }
            }
            Stage::Asked(socket, left) if is_ready => self.hear(socket, left),
            stage => {
                self.stage = stage;
                Ok(None)
            }
        }
    }

    /// Tries another port than that of `socket`, which is connected to itself. Where nobody listens on a
    /// port from which the system chooses ports for clients, it may choose that one: what is sent then
    /// comes back, from nobody (RFC 9293, section 3.5, a simultaneous open with itself).
    fn begin_anew(&mut self, socket: Watched) -> io::Result<()> {
        if let Some(LocalAddress(local)) = self.config.bind
            && local.port() != 0
        {
            let cause = "it is the target itself, which would only hear itself";
            return Err(not_ours(local, cause));
        }
        self.selves.push(socket);
        if self.selves.len() >= CHOICES {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.stage = Stage::Connecting(begin(self.config, &self.address)?);
        Ok(())
    }

    /// Gives it up because it took too long: `limit`, if connecting did.
    pub(super) fn give_up_late(self, limit: Duration) -> (Address, io::Error) {
        let is_udp = matches!(self.address, Address::Udp(_));
        let late = match self.stage {
            Stage::Asked(..) => {
                let told = match is_udp {
                    true => "nothing came back",
                    false => "it takes connections and sends nothing back",
                };
                let remedy = whether_it_is_there(self.config.is_stamp(), is_udp);
                advised(io::ErrorKind::TimedOut, told, remedy)
            }
            _ if limit < self.config.connect_timeout.0 => advised(
                io::ErrorKind::TimedOut,
                "no answer",
                "check the address and the firewalls on the way",
            ),
            _ => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {}", Timespan(limit)),
            ),
        };
        self.give_up(late)
    }

    /// Gives it up, for this reason.
    pub(super) fn give_up(self, error: io::Error) -> (Address, io::Error) {
        let error = match self.stage {
            Stage::Connecting(pending) => pending
                .end(Err(error))
                .map_or_else(|error| error, |_| unreachable!("it was given up")),
            _ => error,
        };
        (self.address, error)
    }

    /// Asks for an echo.
    fn ask(&mut self, mut socket: Watched) -> io::Result<()> {
        self.heard = Instant::now();
        let question = question(self.config);
        socket.write_all(&question)?;
        self.stage = Stage::Asked(socket, question);
        Ok(())
    }

    /// Hears what comes back, of which this is `left`.
    fn hear(&mut self, mut socket: Watched, mut left: Vec<u8>) -> io::Result<Option<Connection>> {
        let mut buffer = [0; 2 * echo::HEADER_LEN];
        match socket.read(&mut buffer).map(|len| &buffer[..len]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) => {}
            Ok(answer) if let Address::Udp(_) = self.address => {
                let is_right = answer == &left[..] || self.config.is_stamp();
                if is_right || self.ask == Ask::Life {
                    // On a socket of its own, the run sees no late copy of this.
                    return open(self.config, &self.address).map(Some);
                }
            }
            Ok([]) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(answer) if !left.starts_with(answer) => {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Ok(answer) => {
                left.drain(..answer.len());
                self.heard = Instant::now();
            }
        }
        if left.is_empty() {
            return Ok(Some(self.taken(socket)));
        }
        self.stage = Stage::Asked(socket, left);
        Ok(None)
    }

    fn taken(&self, socket: Watched) -> Connection {
        Connection {
            socket,
            remote: self.address.clone(),
            elapsed: self.elapsed,
        }
    }
}

/// What asks for an echo.
fn question(config: &Connect) -> Vec<u8> {
    if config.is_stamp() {
        let packets = Packets::new(config.key.clone(), 0, 0);
        let mut question = vec![0; packets.size()];
        packets.encode(&Packets::question(), &mut question);
        return question;
    }
    let max = usize::try_from(config.max_frame.0).unwrap_or(usize::MAX);
    let len = max.saturating_sub(1).clamp(1, 8);
    let message = Message::new(echo::token(), len, config.framing);
    let mut question = vec![0; message.wire_len()];
    message.fill(0, 0, &mut question);
    question
}

/// A socket to an address that needs no waiting: one for datagrams.
pub(super) fn open(config: &Connect, address: &Address) -> io::Result<Connection> {
    let mut attempt = Attempt::begin(config, address, Ask::Nothing)?;
    loop {
        if let Some(connection) = attempt.go_on(true)? {
            return Ok(connection);
        }
    }
}

/// Begins to connect to one address.
fn begin(config: &Connect, address: &Address) -> io::Result<Pending> {
    let (remote, kind, protocol) = match address {
        Address::Tcp(remote) => (remote, Type::STREAM, Protocol::TCP),
        Address::Udp(remote) => (remote, Type::DGRAM, Protocol::UDP),
        Address::Unix(path) => {
            let socket = Watched::new(&config.narrator, Domain::UNIX, Type::STREAM, None)?;
            return Pending::new(socket, &config.narrator, SockAddr::unix(path)?);
        }
    };
    let domain = Domain::for_address(*remote);
    let socket = Watched::new(&config.narrator, domain, kind, Some(protocol))?;
    packets::mark(socket.socket(), remote.is_ipv4(), config)?;
    let is_stream = kind == Type::STREAM;
    if let Some(LocalAddress(local)) = config.bind {
        // A fixed port is free again at once, whatever the last connection's TIME_WAIT.
        socket
            .socket()
            .set_reuse_address(is_stream && local.port() != 0)?;
        socket
            .bind(&local.into())
            .map_err(|error| match error.kind() {
                // Where the port was left to the system, none is left: connecting says that so.
                io::ErrorKind::AddrInUse if local.port() == 0 => Errno::AGAIN.into(),
                _ if lacks_zone(&local) => not_ours(local, "it lacks its zone, as in fe80::1%eth0"),
                _ => not_ours(local, cause(&error)),
            })?;
    }
    if is_stream {
        socket.socket().set_tcp_nodelay(true)?;
    }
    Pending::new(socket, &config.narrator, (*remote).into()).map_err(|error| match config.bind {
        // No other port was to be chosen.
        Some(LocalAddress(local))
            if local.port() != 0 && error.kind() == io::ErrorKind::AddrNotAvailable =>
        {
            not_ours(
                local,
                "a connection from it to there is not over yet (TIME_WAIT)",
            )
        }
        _ => error,
    })
}

fn not_ours(local: SocketAddr, cause: impl std::fmt::Display) -> io::Error {
    let text = format!("local address {}: {cause}", LocalAddress(local));
    io::Error::new(io::ErrorKind::AddrInUse, text)
}
