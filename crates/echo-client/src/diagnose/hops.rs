//! The step `hops`: who answers at each distance, over UDP and TCP, and who answers that should not.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Result;

use super::answer::{Answer, came};
use super::dial::{Call, dial};
use super::finding::{Finding, Verdict, finding};
use super::path::{Hop, Path};
use super::sender::{self, Plan};
use super::train::{Cell, Probe};
use super::trains::SMALL;

/// The farthest hop that is looked for; few paths on Earth have more than 30.
const FARTHEST: u8 = 32;
/// Hops that are looked for at a time, and datagrams for each.
const BATCH: u8 = 8;
const EACH: usize = 3;
/// The time from one datagram to the next.
const INTERVAL: Duration = Duration::from_millis(10);
/// How long a hop may take to answer on a short path.
const PATIENCE: Duration = Duration::from_millis(400);

/// The same of a connection whose first packet is lost: it is sent again after a second.
const CONNECT: Duration = Duration::from_millis(1300);

/// How far away the ends of a path are, in hops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Distance {
    /// The fewest with which a datagram comes back.
    udp: Option<u8>,
    /// The most that a router has said were used up by a datagram.
    passed: u8,
    /// The fewest with which a connection is made.
    tcp: Option<u8>,
}

/// Walks the path, and holds the two transports beside each other.
pub fn hops(path: &mut Path<'_>) -> Result<String> {
    let distance = measure(path)?;
    if let Some(verdict) = distance.proxy() {
        let again = measure(path)?;
        if again.proxy() == Some(verdict) {
            if again.udp.is_none() && path.findings.has(Verdict::TcpNoEcho) {
                path.findings.add(dead(&path.hops).by("dead-behind-proxy"));
            }
            path.findings.add(again.finding(verdict, &path.hops));
        }
    }
    let (hops, udp, tcp) = (list(&path.hops), far(distance.udp), far(distance.tcp));
    Ok(format!("{hops}; UDP is answered {udp}, TCP {tcp}"))
}

fn measure(path: &mut Path<'_>) -> Result<Distance> {
    let remote = path.remote()?;
    let mut distance = walk(path, remote)?;
    if distance.udp.is_none() && path.udp_port.is_some() {
        // The path was silent for a while, not for good.
        distance = walk(path, remote)?;
    }
    if path.has_tcp {
        distance.tcp = tcp(path, remote, distance)?;
    }
    Ok(distance)
}

/// Sends datagrams to `remote` that may pass 1, 2, 3, ... routers, until they get there or nobody
/// answers any more. Notes who does, and returns what is known of how far UDP goes, unless they cannot
/// be sent.
pub(super) fn walk(path: &mut Path<'_>, remote: SocketAddr) -> io::Result<Distance> {
    path.hops.clear();
    let mut distance = Distance::default();
    // By turns, so that one burst of losses does not hide a hop.
    'walk: for first in (1..=FARTHEST).step_by(BATCH.into()) {
        let cell = |ttl| Cell {
            ttl: Some(ttl),
            ..Cell::of(SMALL)
        };
        let cells: Vec<_> = (first..first + BATCH).map(cell).collect();
        let (port, count) = (path.udp_port.unwrap_or(0), cells.len() * EACH);
        let plan = Plan {
            patience: PATIENCE,
            ..Plan::of((remote, port), cells, count, INTERVAL)
        };
        let train = sender::send(path, &plan)?;
        for ttl in first..first + BATCH {
            let answers = train.answers(|cell| cell.ttl == Some(ttl));
            distance.udp = (came(&answers) > 0).then_some(ttl);
            // A machine says seldom that nobody listens: it may lie nearer than that.
            if distance.udp.is_some() || answers.contains(&Answer::Refused) {
                break 'walk;
            }
            let router = |probe: &Probe| match probe.said? {
                (Answer::UsedUp(address), at) if probe.cell.ttl == Some(ttl) => {
                    Some((address, at.saturating_sub(probe.sent)))
                }
                _ => None,
            };
            let (address, rtt_ns) = train.probes.iter().find_map(router).unzip();
            path.hops.push(Hop {
                ttl,
                address,
                rtt_ns,
            });
            if address.is_some() {
                distance.passed = ttl;
            }
        }
        if distance.passed < first {
            break;
        }
    }
    // Where the end is reached, whoever is silent lies before it.
    if distance.udp.is_none() {
        path.hops.truncate(distance.passed.into());
    }
    Ok(distance)
}

/// The fewest hops with which a connection is made. More than UDP is known to take are tried only if
/// so many do not do.
fn tcp(path: &mut Path<'_>, remote: SocketAddr, distance: Distance) -> io::Result<Option<u8>> {
    let near = distance.udp.unwrap_or(distance.passed);
    let mut connects = |ttls: RangeInclusive<u8>| {
        let call = |ttl| Call {
            ttl: Some(ttl),
            ..Call::to(remote)
        };
        // Each several times: half of the ports may never get through.
        let calls: Vec<Call> = ttls.flat_map(|ttl| [call(ttl); 4]).collect();
        let made = calls.iter().zip(dial(path, &calls, calls.len(), CONNECT)?);
        let made = made.filter(|(_, (answer, _))| answer.time().is_some());
        io::Result::Ok(made.filter_map(|(call, _)| call.ttl).min())
    };
    match connects(1..=near)? {
        None => connects(near + 1..=near.saturating_add(BATCH)),
        found => Ok(found),
    }
}

/// Nobody answers behind the last hop that does.
pub(super) fn dead(hops: &[Hop]) -> Finding {
    let last = hops.iter().rev().find_map(|hop| hop.address);
    let last = last.map_or_else(|| "this machine".to_owned(), |last| last.to_string());
    Finding::of(Verdict::Dead, &[]).at(last)
}

impl Distance {
    /// Who answers from nearer than the server. A router that says of a datagram that its hops are
    /// used up lies before the server.
    fn proxy(self) -> Option<Verdict> {
        match (self.udp, self.tcp?) {
            (Some(udp), tcp) if tcp < udp => Some(Verdict::TcpProxy),
            (Some(udp), tcp) if udp < tcp => Some(Verdict::UdpProxy),
            (None, tcp) if tcp <= self.passed => Some(Verdict::TcpProxy),
            _ => None,
        }
    }

    fn finding(self, verdict: Verdict, hops: &[Hop]) -> Finding {
        let nearer = self.tcp.into_iter().chain(self.udp).min().unwrap_or(1);
        let hop = hops.iter().find(|hop| hop.ttl == nearer);
        let place = hop
            .and_then(|hop| hop.address)
            .map_or_else(|| format!("hop {nearer}"), |address| address.to_string());
        let udp = match self.udp {
            Some(udp) => format!("datagrams come back {}", far(Some(udp))),
            None => format!("datagrams have passed a router {}", far(Some(self.passed))),
        };
        finding!(verdict; udp, tcp: far(self.tcp)).at(place)
    }
}

fn far(hops: Option<u8>) -> String {
    match hops {
        Some(1) => "at 1 hop".to_owned(),
        Some(hops) => format!("at {hops} hops"),
        None => "at none".to_owned(),
    }
}

fn list(hops: &[Hop]) -> String {
    let name = |hop: &Hop| hop.address.map_or("*".to_owned(), |at| at.to_string());
    match hops {
        [] => "no hop answers".to_owned(),
        hops => hops.iter().map(name).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(udp: Option<u8>, passed: u8, tcp: Option<u8>) -> Option<Verdict> {
        Distance { udp, passed, tcp }.proxy()
    }

    #[test]
    fn who_answers_nearer_than_the_other_transport_is_no_server() {
        assert_eq!(at(Some(5), 4, Some(5)), None);
        assert_eq!(at(Some(5), 4, Some(1)), Some(Verdict::TcpProxy));
        assert_eq!(at(Some(3), 2, Some(5)), Some(Verdict::UdpProxy));
    }

    #[test]
    fn who_connects_before_a_router_that_datagrams_have_passed_is_no_server() {
        assert_eq!(at(None, 1, Some(1)), Some(Verdict::TcpProxy));
        assert_eq!(at(None, 3, Some(4)), None);
        assert_eq!(at(None, 3, None), None);
        assert_eq!(at(Some(2), 1, None), None);
    }
}
