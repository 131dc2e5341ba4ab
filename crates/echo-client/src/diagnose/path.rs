//! The path that is diagnosed: where it leads, what is known of it, and what probes may still take.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use echo_core::framing::Framing;
use echo_core::{Endpoint, Transport};
use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use socket2::{Domain, Socket, Type};

use super::finding::Findings;
use super::settings::Diagnose;
use super::train::Silence;
use super::verdict::Trains;
use crate::connection::{Connect, ancillary, packets, wait};
use crate::interrupt::Interrupt;

/// However slow the path is, nobody waits longer for what is wrong with it.
pub const LONGEST: Duration = Duration::from_secs(60);
/// Bytes: steps without a train send less than this.
pub const LITTLE: u64 = 8_000;

/// Where datagrams go, and the local port that they come from; 0 lets the system choose.
pub type To = (SocketAddr, u16);

/// A path to one target, while it is probed.
pub struct Path<'a> {
    /// What was asked for: target, family, local address, limits of time.
    pub connect: &'a Connect,
    /// What may be spent.
    pub settings: &'a Diagnose,
    /// Probes look whether to stop at least every tenth of a second.
    pub interrupt: &'a Interrupt,
    /// When the first probe began, and how long all may take from then on.
    pub start: Instant,
    pub longest: Duration,
    /// Bytes that were sent and that came back so far, with the headers of IP and UDP or TCP.
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// All addresses of the target, as they were resolved; `names` fills them in.
    pub addresses: Vec<SocketAddr>,
    /// The one that all probes after `reach` go to: none answers over more transports.
    pub remote: Option<SocketAddr>,
    /// Whether TCP connects to `remote`.
    pub has_tcp: bool,
    /// Where messages end on a connection: as was asked for, or as the server has it.
    pub framing: Framing,
    /// A local port from which datagrams to `remote` come back; `None` where none does.
    pub udp_port: Option<u16>,
    /// The shortest round trip that was seen.
    pub rtt: Option<Duration>,
    /// The largest packet that is known to pass, headers included.
    pub mtu: Option<u32>,
    /// Who answered for each TTL, from 1 on.
    pub hops: Vec<Hop>,
    /// Since when no datagram to `remote` is answered; `None`: the last one was.
    pub silence: Option<Silence>,
    /// The trains that were sent, what was found and what was done, in order.
    pub trains: Trains,
    pub findings: Findings,
    pub steps: Vec<Done>,
    /// How long all took, once it is over.
    pub elapsed: Duration,
}

/// What people call a family of addresses.
pub const fn family(is_ipv4: bool) -> &'static str {
    match is_ipv4 {
        true => "IPv4",
        false => "IPv6",
    }
}

/// What was seen of one hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// How many routers before it, and itself.
    pub ttl: u8,
    /// Who said that the TTL was used up; `None`: nobody.
    pub address: Option<IpAddr>,
    /// How long that took, in nanoseconds.
    pub rtt_ns: Option<u64>,
}

/// One step, and what came of it.
#[derive(Debug, Serialize)]
pub struct Done {
    /// What it is called.
    pub name: &'static str,
    /// What was seen, or why nothing was, in English.
    pub told: String,
    /// Whether it was left out.
    pub left_out: bool,
    /// How long it took.
    #[serde(rename = "elapsed_ns", with = "crate::report::document::nanos")]
    pub elapsed: Duration,
}

impl<'a> Path<'a> {
    /// A path of which nothing is known.
    pub fn new(connect: &'a Connect, settings: &'a Diagnose, interrupt: &'a Interrupt) -> Self {
        Path {
            connect,
            settings,
            interrupt,
            start: Instant::now(),
            longest: LONGEST,
            sent_bytes: 0,
            received_bytes: 0,
            addresses: Vec::new(),
            remote: None,
            has_tcp: false,
            framing: connect.framing,
            udp_port: None,
            rtt: None,
            mtu: None,
            hops: Vec::new(),
            silence: None,
            trains: Trains::default(),
            findings: Findings::default(),
            steps: Vec::new(),
            elapsed: Duration::ZERO,
        }
    }

    /// Tries whether this machine sends as the options say: what it refuses, as it has no such device or
    /// address or does not allow it, is no fault of the path.
    pub fn check(&self) -> io::Result<()> {
        let any = (Ipv4Addr::UNSPECIFIED, 0).into();
        let local: SocketAddr = self.connect.bind.map_or(any, |bind| bind.0);
        self.socket(Type::DGRAM, local, 0).map(drop)
    }

    /// Whether the target is asked over this transport: both, unless one was named.
    pub fn wants(&self, transport: Transport) -> bool {
        match &self.connect.target {
            Endpoint::Inet {
                transport: Some(only),
                ..
            } => *only == transport,
            _ => !self.connect.udp || transport == Transport::Udp,
        }
    }

    /// Where probes go; an error where nothing answers.
    pub fn remote(&self) -> Result<SocketAddr> {
        self.remote.context("nothing answers")
    }

    /// Where datagrams go and from which port, so that they come back; an error where none does.
    pub fn peer(&self) -> Result<To> {
        let port = self.udp_port.context("no datagram comes back")?;
        Ok((self.remote()?, port))
    }

    /// Whether anything answers, as far as is known.
    pub fn is_answered(&self) -> bool {
        self.udp_port.is_some() || self.has_tcp
    }

    /// How many bytes may still be sent, and come back.
    pub fn bytes_left(&self) -> u64 {
        let spent = self.sent_bytes.max(self.received_bytes);
        self.settings.budget.0.saturating_sub(spent)
    }

    /// How long probes may still take.
    pub fn time_left(&self) -> Duration {
        self.longest.saturating_sub(self.start.elapsed())
    }

    /// How long to wait for a reply: `least`, and one round trip and a half where they are known.
    pub fn patience(&self, least: Duration) -> Duration {
        least + self.rtt.unwrap_or_default() * 3 / 2
    }

    /// A UDP socket that is connected to `remote`, from `port` or one that the system chooses.
    pub fn datagrams(&self, remote: SocketAddr, port: u16) -> io::Result<Socket> {
        let socket = self.socket(Type::DGRAM, remote, port)?;
        // What comes while this program does not run must not be lost for it.
        let _: io::Result<()> = socket.set_recv_buffer_size(1 << 20);
        socket
            .connect(&remote.into())
            .map_err(|error| match error.kind() {
                // Of datagrams this is how the system says it.
                ErrorKind::WouldBlock => {
                    io::Error::new(ErrorKind::AddrNotAvailable, "no local port is free")
                }
                _ => error,
            })?;
        match is_itself(&socket, remote) {
            true => Err(ErrorKind::ConnectionRefused.into()),
            false => Ok(socket),
        }
    }

    /// A socket that may be connected to `remote`, from `port` or one that the system chooses. It does
    /// not block, and tells all that [`ancillary`] can. What the system does not allow is an error.
    pub fn socket(&self, kind: Type, remote: SocketAddr, port: u16) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(remote), kind, None)?;
        socket.set_nonblocking(true)?;
        ancillary::note_all(&socket, remote.is_ipv4())?;
        packets::mark(&socket, remote.is_ipv4(), self.connect)?;
        let any: SocketAddr = match remote {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
        };
        let mut local = self.connect.bind.map_or(any, |bind| bind.0);
        if port > 0 {
            local.set_port(port);
        }
        if port > 0 || self.connect.bind.is_some() {
            // A train and the probes beside it may share a port that is known to work.
            socket.set_reuse_address(true)?;
            socket.bind(&local.into())?;
        }
        Ok(socket)
    }
}

/// Whether a socket has been given the very port that it sends to: then nobody else listens there, and
/// what comes back comes from nobody.
pub fn is_itself(socket: &Socket, remote: SocketAddr) -> bool {
    let local = socket.local_addr();
    local.is_ok_and(|local| local.as_socket() == Some(remote))
}

/// Which of these sockets have something of this kind to tell, within `limit`.
pub fn ready<'a>(
    sockets: impl IntoIterator<Item = &'a Socket>,
    kind: PollFlags,
    limit: Duration,
) -> Vec<usize> {
    let polled = sockets.into_iter().map(|socket| PollFd::new(socket, kind));
    let mut polled: Vec<_> = polled.collect();
    wait(&mut polled, limit);
    let is_ready = |at: &usize| !polled[*at].revents().is_empty();
    (0..polled.len()).filter(is_ready).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_that_is_asked_for_makes_no_other_step_longer() {
        let (connect, interrupt) = (Connect::default(), Interrupt::default());
        let mut settings = Diagnose::default();
        settings.idle.0 = Duration::from_secs(3600);
        let path = Path::new(&connect, &settings, &interrupt);
        assert!(path.time_left() <= LONGEST);
    }
}
