//! Which datagrams may be answered: the rules that keep a UDP echo from being used as a weapon.
//!
//! A forged source address can set two UDP services on each other for ever (CVE-1999-0103,
//! CVE-2024-2169) or aim replies at a victim. A reply is never larger than its request, so the
//! server amplifies nothing; these rules end loops.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use echo_core::endpoint::DEFAULT_PORT;
use socket2::{Domain, Protocol, Type};

use crate::config::Config;
use crate::event::{DropReason, Events, unmapped};
use crate::serve::rate::Rate;
use crate::socket::{datagram, open};

/// Services live below this port (RFC 6335's system ports).
const FIRST_USER_PORT: u16 = 1024;

/// NFS: the one service above 1023 that RFC 4890's successors still single out as a loop partner.
const NFS_PORT: u16 = 2049;

/// Datagrams that are followed, of 16 bytes: 64 KiB.
const SLOTS: usize = 4096;

/// Of this many datagrams that are the same, one gets no reply. Nothing else ends a loop with a
/// server that answers as this one does; a client that repeats itself loses one in 65,536.
const REPEATS: u32 = 1 << 16;

/// After this many others in its slot, a datagram is not looked for any more: with as many slots, more
/// than the system's buffers can hold under way in a loop.
const OTHERS: u32 = 1024;

/// Addresses of which the system's answer is remembered: a machine has few, but all of 127.0.0.0/8 is
/// its own, and a sender can claim any.
const MAX_KNOWN: usize = 1024;

/// How long such an answer is good for: addresses come and go.
const KNOWN_FOR: Duration = Duration::from_secs(5);

/// Decides, for one UDP socket, which datagrams are answered.
pub(crate) struct Guard {
    own_ports: Vec<u16>,
    allow_any: bool,
    rate: Arc<Rate>,
    repeats: Option<Box<[Repeats]>>,
    hasher: RandomState,
    events: Arc<Events>,
    own: Known,
    broadcast: Known,
}

/// What the system has said of addresses.
struct Known {
    answers: HashMap<SocketAddr, bool>,
    since: Instant,
}

impl Known {
    fn new() -> Self {
        Known {
            answers: HashMap::new(),
            since: Instant::now(),
        }
    }

    /// Forgets what may not be so any more.
    fn expire(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= KNOWN_FOR {
            self.answers.clear();
            self.since = now;
        }
    }

    /// What is known of an address, or else what the system says to `ask`. Where it says nothing, such as
    /// for want of descriptors, it is asked again.
    fn of(
        &mut self,
        address: SocketAddr,
        ask: impl FnOnce() -> io::Result<bool>,
    ) -> Result<bool, DropReason> {
        if let Some(known) = self.answers.get(&address) {
            return Ok(*known);
        }
        let answer = ask().map_err(|error| DropReason::Failed(error.kind()))?;
        if self.answers.len() >= MAX_KNOWN {
            self.answers.clear();
        }
        self.answers.insert(address, answer);
        Ok(answer)
    }
}

/// How often a datagram of a source has come again.
#[derive(Clone, Copy, Default)]
struct Repeats {
    datagram: u64,
    count: u32,
    others: u32,
}

impl Guard {
    /// A guard that refuses sources at `own_ports`, where this server listens, and those that `rate` does.
    pub(crate) fn new(
        config: &Config,
        rate: Arc<Rate>,
        own_ports: Vec<u16>,
        events: Arc<Events>,
    ) -> Self {
        Guard {
            own_ports,
            allow_any: config.udp_allow_any,
            rate,
            repeats: None,
            hasher: RandomState::new(),
            events,
            own: Known::new(),
            broadcast: Known::new(),
        }
    }

    /// How many of `count` datagrams from `source` to `destination`, the first of which is `bytes`,
    /// may be answered: 1 to `count`. What cannot be found out is taken for the worst.
    pub(crate) fn admit(
        &mut self,
        source: SocketAddr,
        destination: Option<IpAddr>,
        bytes: &[u8],
        count: u64,
        now: Instant,
    ) -> Result<u64, DropReason> {
        let ip = source.ip().to_canonical();
        let port = source.port();
        let destination = destination.map(|ip| ip.to_canonical());
        let has_own_port = self.own_ports.contains(&port);
        if has_own_port && (ip.is_loopback() || destination == Some(ip)) {
            return Err(DropReason::OwnSocket);
        }
        self.own.expire(now);
        self.broadcast.expire(now);
        let service = port < FIRST_USER_PORT || port == NFS_PORT || port == DEFAULT_PORT;
        // Nothing can be sent to port 0 at all.
        let is_refused = port == 0 || (!self.allow_any && (service || has_own_port));
        if is_refused {
            return Err(DropReason::ServicePort);
        }
        if has_own_port && self.is_own(source)? {
            return Err(DropReason::OwnSocket);
        }
        if !is_unicast(ip) || destination.is_some_and(|ip| !is_unicast(ip)) {
            return Err(DropReason::NotUnicast);
        }
        if let Some(ip) = destination
            && self.is_subnet_broadcast(ip)?
        {
            return Err(DropReason::NotUnicast);
        }
        if self.goes_round(source, bytes, count) {
            return Err(DropReason::Loop);
        }
        self.rate.admit(ip, count, now)
    }

    /// Whether a datagram of this source has come so often that it must be going round.
    fn goes_round(&mut self, source: SocketAddr, bytes: &[u8], count: u64) -> bool {
        let slots = self
            .repeats
            .get_or_insert_with(|| vec![Repeats::default(); SLOTS].into());
        // Both ends of a long one, where clients put what tells one from the other.
        let end = bytes.len().saturating_sub(32);
        let (start, end) = (&bytes[..bytes.len().min(32)], &bytes[end..]);
        let datagram = self.hasher.hash_one((source, bytes.len(), start, end));
        let slot = &mut slots[datagram as usize % SLOTS];
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if slot.datagram == datagram {
            (slot.count, slot.others) = (slot.count.saturating_add(count), 0);
        } else {
            slot.others = slot.others.saturating_add(count);
        }
        let goes_round = slot.datagram == datagram && slot.count >= REPEATS;
        if goes_round || slot.others > OTHERS {
            *slot = Repeats {
                datagram,
                ..Repeats::default()
            };
        }
        goes_round
    }

    /// Whether this is an address of this machine, on which a packet to itself can claim to be from it.
    fn is_own(&mut self, source: SocketAddr) -> Result<bool, DropReason> {
        let mut address = unmapped(source);
        address.set_port(0);
        let events = &self.events;
        self.own.of(address, || {
            let (domain, kind) = (Domain::for_address(address), Type::DGRAM);
            let probe = open(events, domain, kind, Some(Protocol::UDP))?;
            match probe.bind(&address.into()) {
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(false),
                outcome => outcome.map(|()| true),
            }
        })
    }

    fn is_subnet_broadcast(&mut self, ip: IpAddr) -> Result<bool, DropReason> {
        if ip.is_ipv6() || ip == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            return Ok(false);
        }
        let (address, events) = (SocketAddr::new(ip, 0), &self.events);
        self.broadcast
            .of(address, || datagram::is_broadcast(events, ip))
    }
}

fn is_unicast(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Level;

    fn guard(config: Config) -> Guard {
        let rate = Rate::new(config.udp_rate).into();
        Guard::new(&config, rate, vec![40_000], Events::off().into())
    }

    fn admit(guard: &mut Guard, source: &str, destination: &str) -> Result<u64, DropReason> {
        let destination = Some(destination.parse().unwrap());
        guard.admit(
            source.parse().unwrap(),
            destination,
            b"x",
            1,
            Instant::now(),
        )
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
    fn the_system_is_asked_about_a_source_only_where_that_decides_and_once_in_seconds() {
        let (events, reader) = Events::channel(Level::Calls);
        let events = Arc::new(events);
        let start = Instant::now();
        let source = "203.0.113.1:40000".parse().unwrap();
        for udp_allow_any in [false, true] {
            let config = Config {
                udp_allow_any,
                ..Config::default()
            };
            let rate = Rate::new(0).into();
            let mut guard = Guard::new(&config, rate, vec![40_000], events.clone());
            let mut calls = |after| {
                let verdict = guard.admit(source, None, b"x", 1, start + after);
                assert_eq!(verdict.is_ok(), udp_allow_any, "{verdict:?}");
                std::iter::from_fn(|| reader.try_next()).count()
            };
            // A socket, its bind and its close.
            let once = calls(Duration::ZERO);
            assert_eq!((2..=3).contains(&once), udp_allow_any, "{once}");
            assert_eq!(calls(KNOWN_FOR / 2), 0);
            // A machine is given addresses while it runs.
            assert_eq!(calls(2 * KNOWN_FOR), once);
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
    fn however_many_go_round_none_does_for_ever() {
        /// More than are looked for in one slot, as a receive buffer of 4 MiB holds them.
        const MANY: u16 = 1500;
        /// At once, to be through sooner.
        const COUNT: u64 = 64;
        let mut guard = guard(Config::default());
        let mut admit = |number: &u16| {
            let (source, now) = ("127.0.0.1:50000".parse().unwrap(), Instant::now());
            guard.admit(source, None, &number.to_be_bytes(), COUNT, now)
        };
        let mut under_way: Vec<u16> = (0..MANY).collect();
        for _ in 0..10 * u64::from(REPEATS) / COUNT {
            under_way.retain(|number| admit(number).is_ok());
        }
        assert!(under_way.is_empty(), "{} are left", under_way.len());
    }

    #[test]
    fn what_goes_round_gets_no_reply_in_the_end() {
        let mut guard = guard(Config::default());
        let mut admit = |bytes: &[u8]| {
            let (source, now) = ("127.0.0.1:50000".parse().unwrap(), Instant::now());
            guard.admit(source, None, bytes, 1, now)
        };
        // Three under way, of which each comes back as long as it is answered.
        let mut under_way = vec![vec![1; 100], vec![2; 100], vec![3; 100]];
        for _ in 0..10 * REPEATS {
            under_way.retain(|datagram| admit(datagram).is_ok());
        }
        assert!(under_way.is_empty(), "{under_way:?}");
        for number in 0..2 * REPEATS {
            assert_eq!(admit(&number.to_be_bytes()), Ok(1));
        }
    }
}
