//! Datagrams sent one by one, each of its own size and reach, and what became of each.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use socket2::Socket;

use super::answer::Answer;
use super::path::Path;
use crate::connection::ancillary::{self, Notice};
use crate::connection::packets::{self, Fragments};
use crate::connection::{TICK, wait};
use crate::wire::echo;

/// The pause between two datagrams. Even those that fill a packet then stay below the limits of
/// rate that other steps look for.
const GAP: Duration = Duration::from_millis(10);

/// A socket for datagrams, connected to one address.
#[derive(Debug)]
pub struct Line {
    socket: Socket,
    remote: SocketAddr,
}

/// One datagram to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Shot {
    /// The number of the line that it leaves by.
    pub line: usize,
    /// Bytes of the packet, headers included.
    pub size: usize,
    /// The routers that it may pass; `None`: as many as usual. Either all shots of a line say, or none.
    pub ttl: Option<u8>,
}

/// What became of one datagram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    /// It came back after this long.
    pub rtt: Option<Duration>,
    /// Some of what came back was not what was sent: the offset of the first such byte.
    pub wrong: Option<usize>,
    /// What was said of it instead, and how long after it was sent.
    pub told: Option<(Notice, Duration)>,
    /// Why this machine has not sent it.
    pub unsent: Option<io::ErrorKind>,
}

impl Fate {
    /// What it came to, as one that was sent to `target`.
    pub fn answer(&self, target: IpAddr) -> Answer {
        match (self.rtt, &self.told, self.unsent) {
            (Some(rtt), ..) => Answer::Came(rtt),
            (None, Some((notice, _)), _) => Answer::told(notice, target),
            (None, None, Some(kind)) => Answer::unsent(kind),
            (None, None, None) => Answer::Silence,
        }
    }

    fn is_known(&self) -> bool {
        self.rtt.is_some() || self.told.is_some() || self.unsent.is_some()
    }
}

impl Line {
    /// Opens one to `remote` from the local `port`, or from one that the system chooses.
    ///
    /// # Errors
    /// What the system does not allow.
    pub fn open(path: &Path<'_>, remote: SocketAddr, port: u16) -> io::Result<Self> {
        let socket = path.datagrams(remote, port)?;
        Ok(Line { socket, remote })
    }

    /// Says what may become of datagrams that are too large.
    ///
    /// # Errors
    /// What the system does not allow.
    pub fn fragments(self, fragments: Fragments) -> io::Result<Self> {
        packets::set_fragments(&self.socket, self.remote.is_ipv4(), fragments)?;
        Ok(self)
    }

    /// Its local address, if it has one.
    pub fn local(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }
}

/// Bytes of the headers of IP and UDP before a datagram to `remote`.
pub const fn headers(remote: IpAddr) -> usize {
    match remote {
        IpAddr::V4(_) => 28,
        IpAddr::V6(_) => 48,
    }
}

/// A volley under way.
struct Volley<'a> {
    lines: &'a [Line],
    shots: &'a [Shot],
    token: u64,
    /// When each was sent, so far.
    sent: Vec<Instant>,
    fates: Vec<Fate>,
    buffer: Vec<u8>,
    received_bytes: usize,
}

/// Sends all `shots` and waits for what becomes of each, but not longer than `patience` for the
/// last. Stops early once all is known, or somebody asks to stop.
pub fn fire(path: &mut Path<'_>, lines: &[Line], shots: &[Shot], patience: Duration) -> Vec<Fate> {
    let mut volley = Volley {
        lines,
        shots,
        token: echo::token(),
        sent: Vec::with_capacity(shots.len()),
        fates: vec![Fate::default(); shots.len()],
        buffer: vec![0; 1 << 16],
        received_bytes: 0,
    };
    let mut due = Instant::now();
    while path.interrupt.why().is_none() {
        let now = Instant::now();
        if now >= due && volley.sent.len() < shots.len() {
            volley.send();
            due = now + GAP;
        }
        for line in 0..lines.len() {
            volley.collect(line);
        }
        let until = match volley.sent.len() < shots.len() {
            true => due,
            false => volley.sent.last().map_or(now, |last| *last + patience),
        };
        let is_sent = volley.sent.len() == shots.len();
        if is_sent && (now >= until || volley.fates.iter().all(Fate::is_known)) {
            break;
        }
        let mut polled: Vec<_> = lines
            .iter()
            .map(|line| PollFd::new(&line.socket, PollFlags::IN))
            .collect();
        wait(&mut polled, until.saturating_duration_since(now).min(TICK));
    }
    let sent_bytes = shots.iter().take(volley.sent.len()).map(|shot| shot.size);
    path.spent.sent_bytes += sent_bytes.sum::<usize>() as u64;
    path.spent.received_bytes += volley.received_bytes as u64;
    volley.fates
}

impl Volley<'_> {
    fn send(&mut self) {
        let number = self.sent.len();
        let shot = self.shots[number];
        let line = &self.lines[shot.line];
        let mut datagram = vec![0; shot.size.saturating_sub(headers(line.remote.ip()))];
        echo::encode(self.token, number as u64, &mut datagram);
        if let Some(ttl) = shot.ttl {
            // One that cannot be limited reaches the end, which is told as such.
            let _: io::Result<()> = packets::set_ttl(&line.socket, line.remote.is_ipv4(), ttl);
        }
        self.sent.push(Instant::now());
        let mut sent = line.socket.send(&datagram);
        if sent.is_err() {
            // It may be an earlier one's error, which is taken with this.
            self.collect(shot.line);
            sent = self.lines[shot.line].socket.send(&datagram);
        }
        if let Err(error) = sent {
            self.fates[number].unsent = Some(error.kind());
            self.collect(shot.line);
        }
    }

    /// Takes all that has come for one line.
    fn collect(&mut self, line: usize) {
        let Line { socket, remote } = &self.lines[line];
        let headers = headers(remote.ip());
        loop {
            match ancillary::receive(socket, &mut self.buffer) {
                Ok(arrival) => {
                    self.received_bytes += headers + arrival.len;
                    self.reply(arrival.len);
                }
                Err(_) => match ancillary::notice(socket, &mut self.buffer) {
                    Ok(notice) => self.told(line, notice),
                    Err(_) => return,
                },
            }
        }
    }

    fn reply(&mut self, len: usize) {
        let reply = &self.buffer[..len];
        let Some(number) = self.number(reply) else {
            return;
        };
        let mut request = vec![0; len];
        echo::encode(self.token, number as u64, &mut request);
        let size = self.shots[number].size;
        let elapsed = self.sent[number].elapsed();
        let fate = &mut self.fates[number];
        fate.rtt.get_or_insert(elapsed);
        let headers = headers(self.lines[self.shots[number].line].remote.ip());
        if len + headers == size {
            let mut bytes = reply.iter().zip(&request);
            fate.wrong = fate.wrong.or(bytes.position(|(came, sent)| came != sent));
        }
    }

    fn told(&mut self, line: usize, notice: Notice) {
        let quoted = self.number(&self.buffer[..notice.len]);
        // Some quote no more than the header of UDP: then it is the oldest of which nothing is known.
        let oldest = || {
            let mut numbers = 0..self.sent.len();
            numbers.find(|n| self.shots[*n].line == line && !self.fates[*n].is_known())
        };
        if let Some(number) = quoted.or_else(oldest) {
            let elapsed = self.sent[number].elapsed();
            self.fates[number].told.get_or_insert((notice, elapsed));
        }
    }

    /// The number of the datagram that begins with these bytes, if it is one that was sent.
    fn number(&self, head: &[u8]) -> Option<usize> {
        let number = usize::try_from(echo::number_of(self.token, head)?).ok()?;
        (number < self.sent.len()).then_some(number)
    }
}
