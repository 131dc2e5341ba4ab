//! Which datagrams may be answered: the rules that keep a UDP echo from being used as a weapon.
//!
//! A forged source address can set two UDP services on each other for ever (CVE-1999-0103,
//! CVE-2024-2169) or aim replies at a victim. A reply is never larger than its request, so the
//! server amplifies nothing; these rules end loops.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use echo_core::endpoint::DEFAULT_PORT;
use socket2::{Domain, Protocol, Type};

use crate::config::Config;
use crate::event::{DropReason, Events};
use crate::socket::opening::Opening;

/// Services live below this port (RFC 6335's system ports).
const FIRST_USER_PORT: u16 = 1024;

/// NFS: the one service above 1023 that RFC 4890's successors still single out as a loop partner.
const NFS_PORT: u16 = 2049;

/// Sources whose rate is followed. Two that share a slot share its allowance, so that a flood of
/// forged sources costs no memory. 4,096 slots of 24 bytes are 96 KiB.
const SLOTS: usize = 4096;

/// Destination addresses whose kind is remembered: a machine has few, but all of 127.0.0.0/8 is
/// its own.
const MAX_DESTINATIONS: usize = 1024;

/// Decides, for one UDP socket, which datagrams are answered.
pub(crate) struct Guard {
    own_ports: Vec<u16>,
    allow_any: bool,
    rate: u64,
    slots: Option<Box<[Slot]>>,
    hasher: RandomState,
    events: Events,
    destinations: HashMap<IpAddr, bool>,
}

/// One second's replies to one source.
#[derive(Clone, Copy)]
struct Slot {
    since: Option<Instant>,
    replies: u64,
}

impl Guard {
    /// A guard that refuses sources at `own_ports`, where this server listens.
    pub(crate) fn new(config: &Config, own_ports: Vec<u16>, events: Events) -> Self {
        Guard {
            own_ports,
            allow_any: config.udp_allow_any,
            rate: config.udp_rate.into(),
            slots: None,
            hasher: RandomState::new(),
            events,
            destinations: HashMap::new(),
        }
    }

    /// How many of `count` datagrams from `source` to `destination` may be answered: 1 to `count`.
    pub(crate) fn admit(
        &mut self,
        source: SocketAddr,
        destination: Option<IpAddr>,
        count: u64,
        now: Instant,
    ) -> Result<u64, DropReason> {
        let ip = source.ip().to_canonical();
        let port = source.port();
        if self.own_ports.contains(&port) && self.is_own(ip) {
            return Err(DropReason::OwnSocket);
        }
        let service = port < FIRST_USER_PORT || port == NFS_PORT || port == DEFAULT_PORT;
        // Nothing can be sent to port 0 at all.
        if port == 0 || (!self.allow_any && (service || self.own_ports.contains(&port))) {
            return Err(DropReason::ServicePort);
        }
        if !is_unicast(ip) || destination.is_some_and(|ip| !self.is_own_unicast(ip.to_canonical()))
        {
            return Err(DropReason::NotUnicast);
        }
        self.allowance(ip, count, now)
    }

    fn allowance(&mut self, ip: IpAddr, count: u64, now: Instant) -> Result<u64, DropReason> {
        if self.rate == 0 || ip.is_loopback() {
            return Ok(count);
        }
        let empty = Slot {
            since: None,
            replies: 0,
        };
        let slots = self.slots.get_or_insert_with(|| vec![empty; SLOTS].into());
        // Seeded, so that nobody can choose addresses that share a victim's slot.
        let slot = &mut slots[self.hasher.hash_one(ip) as usize % SLOTS];
        if slot
            .since
            .is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1))
        {
            *slot = Slot {
                since: Some(now),
                replies: 0,
            };
        }
        let allowed = count.min(self.rate.saturating_sub(slot.replies));
        slot.replies += allowed;
        if allowed == 0 {
            Err(DropReason::Rate)
        } else {
            Ok(allowed)
        }
    }

    /// Whether a datagram sent to `ip` was sent to this machine alone.
    fn is_own_unicast(&mut self, ip: IpAddr) -> bool {
        if !is_unicast(ip) {
            return false;
        }
        if ip == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            return true;
        }
        if let Some(&known) = self.destinations.get(&ip) {
            return known;
        }
        if self.destinations.len() >= MAX_DESTINATIONS {
            self.destinations.clear();
        }
        let unicast = !self.is_subnet_broadcast(ip);
        self.destinations.insert(ip, unicast);
        unicast
    }

    /// Whether `ip` is an address of this machine, on which a packet to itself can claim to be
    /// from it.
    fn is_own(&self, ip: IpAddr) -> bool {
        let bind = || self.probe(ip).map(drop);
        ip.is_loopback() || bind().is_ok()
    }

    /// Only the system knows which address is its network's broadcast address: it refuses to
    /// connect to it. No packet is sent.
    fn is_subnet_broadcast(&self, ip: IpAddr) -> bool {
        if ip.is_ipv6() {
            return false;
        }
        let connect = || {
            let probe = self.probe(Ipv4Addr::UNSPECIFIED.into())?;
            probe.connect(&SocketAddr::new(ip, NFS_PORT).into())
        };
        connect().is_err_and(|error: io::Error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// A socket bound to `ip`, closed again when dropped.
    fn probe(&self, ip: IpAddr) -> io::Result<Opening<'_>> {
        let address = SocketAddr::new(ip, 0);
        let (domain, kind) = (Domain::for_address(address), Type::DGRAM);
        let opening = Opening::new(&self.events, domain, kind, Some(Protocol::UDP))?;
        opening.bind(&address.into())?;
        Ok(opening)
    }
}

fn is_unicast(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(config: Config) -> Guard {
        Guard::new(&config, vec![40_000], Events::off())
    }

    fn admit(guard: &mut Guard, source: &str, destination: &str) -> Result<u64, DropReason> {
        let destination = Some(destination.parse().unwrap());
        guard.admit(source.parse().unwrap(), destination, 1, Instant::now())
    }

    #[test]
    fn services_and_our_own_sockets_get_no_reply() {
        let mut guard = guard(Config::default());
        for (source, verdict) in [
            ("127.0.0.1:0", Err(DropReason::ServicePort)),
            ("127.0.0.1:7", Err(DropReason::ServicePort)),
            ("127.0.0.1:1023", Err(DropReason::ServicePort)),
            ("127.0.0.1:1024", Ok(1)),
            ("127.0.0.1:2049", Err(DropReason::ServicePort)),
            ("127.0.0.1:5346", Err(DropReason::ServicePort)),
            ("127.0.0.1:40000", Err(DropReason::OwnSocket)),
            ("[::ffff:127.0.0.1]:40000", Err(DropReason::OwnSocket)),
            ("192.0.2.1:40000", Err(DropReason::ServicePort)),
            ("0.0.0.0:50000", Err(DropReason::NotUnicast)),
            ("224.0.0.1:50000", Err(DropReason::NotUnicast)),
            ("255.255.255.255:50000", Err(DropReason::NotUnicast)),
            ("[ff02::1]:50000", Err(DropReason::NotUnicast)),
        ] {
            assert_eq!(admit(&mut guard, source, "127.0.0.1"), verdict, "{source}");
        }
    }

    #[test]
    fn only_what_was_sent_to_this_machine_alone_is_answered() {
        let mut guard = guard(Config::default());
        for (destination, verdict) in [
            ("127.0.0.1", Ok(1)),
            ("::1", Ok(1)),
            ("127.255.255.255", Err(DropReason::NotUnicast)),
            ("255.255.255.255", Err(DropReason::NotUnicast)),
            ("224.0.0.1", Err(DropReason::NotUnicast)),
            ("::ffff:224.0.0.1", Err(DropReason::NotUnicast)),
        ] {
            assert_eq!(
                admit(&mut guard, "127.0.0.1:50000", destination),
                verdict,
                "{destination}"
            );
        }
    }

    #[test]
    fn allow_any_lifts_the_port_rule_but_never_for_ourselves() {
        let mut guard = guard(Config {
            udp_allow_any: true,
            ..Config::default()
        });
        assert_eq!(admit(&mut guard, "127.0.0.1:7", "127.0.0.1"), Ok(1));
        assert_eq!(admit(&mut guard, "192.0.2.1:40000", "127.0.0.1"), Ok(1));
        assert_eq!(
            admit(&mut guard, "127.0.0.1:40000", "127.0.0.1"),
            Err(DropReason::OwnSocket)
        );
    }

    #[test]
    fn the_rate_holds_for_each_source_and_second() {
        let mut guard = guard(Config {
            udp_rate: 10,
            ..Config::default()
        });
        let start = Instant::now();
        let mut admit = |source: &str, count, ms| {
            let now = start + Duration::from_millis(ms);
            guard.admit(source.parse().unwrap(), None, count, now)
        };
        assert_eq!(admit("192.0.2.1:50000", 8, 0), Ok(8));
        assert_eq!(admit("192.0.2.1:50001", 8, 1), Ok(2));
        assert_eq!(admit("192.0.2.1:50002", 1, 999), Err(DropReason::Rate));
        assert_eq!(admit("192.0.2.1:50000", 1, 1000), Ok(1));
        assert_eq!(admit("127.0.0.1:50000", 1000, 1000), Ok(1000));
    }
}
