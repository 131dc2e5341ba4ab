//! The path that is diagnosed: where it leads, what is known of it, and what probes may still take.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use echo_core::{Endpoint, Transport};
use serde::Serialize;

use super::settings::Diagnose;
use crate::connection::Connect;
use crate::interrupt::Interrupt;

/// However slow the path is, nobody waits longer for what is wrong with it.
const LONGEST: Duration = Duration::from_secs(60);

/// A path to one target, while it is probed.
pub struct Path<'a> {
    /// What was asked for: target, family, local address, limits of time.
    pub connect: &'a Connect,
    /// What may be spent.
    pub settings: &'a Diagnose,
    /// Probes look whether to stop at least every tenth of a second.
    pub interrupt: &'a Interrupt,
    /// What has been spent.
    pub spent: Spent,
    /// All addresses of the target, as they were resolved; `names` fills them in.
    pub addresses: Vec<SocketAddr>,
    /// The one that all probes after `reach` go to: the first that answers at all.
    pub remote: Option<SocketAddr>,
    /// Whether TCP connects to `remote`.
    pub has_tcp: bool,
    /// A local port from which datagrams to `remote` come back; `None` where none does.
    pub udp_port: Option<u16>,
    /// The shortest round trip that was seen.
    pub rtt: Option<Duration>,
    /// The largest packet that is known to pass, headers included.
    pub mtu: Option<u32>,
    /// Who answered for each TTL, from 1 on.
    pub hops: Vec<Hop>,
}

/// What was seen of one hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// How many routers before it, and itself.
    pub ttl: u8,
    /// Who said that the TTL was used up; `None`: nobody.
    pub address: Option<IpAddr>,
    /// How long that took.
    #[serde(rename = "rtt_ns", serialize_with = "nanos")]
    pub rtt: Option<Duration>,
}

fn nanos<S: serde::Serializer>(rtt: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    rtt.map(|rtt| rtt.as_nanos() as u64).serialize(serializer)
}

/// What probes have taken so far.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// When the first began.
    pub start: Instant,
    /// Bytes that were sent, with the headers of IP and UDP or TCP.
    pub sent_bytes: u64,
    /// Bytes that came back, counted alike.
    pub received_bytes: u64,
}

impl<'a> Path<'a> {
    /// A path of which nothing is known.
    pub fn new(connect: &'a Connect, settings: &'a Diagnose, interrupt: &'a Interrupt) -> Self {
        Path {
            connect,
            settings,
            interrupt,
            spent: Spent {
                start: Instant::now(),
                sent_bytes: 0,
                received_bytes: 0,
            },
            addresses: Vec::new(),
            remote: None,
            has_tcp: false,
            udp_port: None,
            rtt: None,
            mtu: None,
            hops: Vec::new(),
        }
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

    /// The target's port.
    pub fn port(&self) -> u16 {
        match &self.connect.target {
            Endpoint::Inet { port, .. } => *port,
            Endpoint::Unix(_) => 0,
        }
    }

    /// How many bytes may still be sent, and come back.
    pub fn bytes_left(&self) -> u64 {
        let spent = self.spent.sent_bytes.max(self.spent.received_bytes);
        self.settings.budget.0.saturating_sub(spent)
    }

    /// How long probes may still take.
    pub fn time_left(&self) -> Duration {
        LONGEST.saturating_sub(self.spent.start.elapsed())
    }

    /// How long to wait for a reply: four round trips where they are known, and `least` in any case.
    pub fn patience(&self, least: Duration) -> Duration {
        least.max(self.rtt.unwrap_or_default() * 4)
    }
}
