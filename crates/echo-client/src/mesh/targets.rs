//! The peers that the sources list, and their addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use echo_core::config::text_of;
use echo_core::{Zoned, cause};
use serde::Deserialize;

use super::ring::Ring;
use super::settings::{Mesh, Own, Source, host_and_port};
use crate::connection::is_this_machine;
use crate::thread::start;

/// The largest list that is read: 100,000 peers at 160 bytes each.
const MAX_LIST: u64 = 16 << 20;

/// From so many addresses of a name on, more may be missing: a reply of DNS has 64 KiB at most, that
/// is some 4,090 addresses, and resolvers leave out the others in silence.
pub const MANY_ADDRESSES: usize = 2_000;

/// Names that are looked up at once, each in a thread: one that nobody answers for must not keep the
/// others waiting.
const AT_ONCE: usize = 128;

/// A name for which nobody answers for so long has no address for now. A resolver gives up sooner: by
/// default it asks each of up to three servers twice, and waits 5 s for the first.
const LIMIT: Duration = Duration::from_secs(60);

/// What has been found is told so often at most, for it is the whole list that changes.
const SOON: Duration = Duration::from_millis(250);

/// Where a peer is listed: a name or an address, and a port.
pub type Host = (String, u16);

/// What is known of names by now: the addresses that each has had last, if it has had any.
pub type Found = BTreeMap<Host, Vec<SocketAddr>>;

/// One that is to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it is called; no other has that name.
    pub name: Arc<str>,
    /// Where it is, as people call it; empty if nobody says.
    pub zone: Arc<str>,
    /// Where it answers; `None` while its name has no address.
    pub address: Option<SocketAddr>,
    /// Whether its name is yet to be looked up, so that nobody knows where it answers.
    pub is_awaited: bool,
}

impl Peer {
    /// What its figures are told by.
    pub fn key(&self) -> (Arc<str>, Arc<str>) {
        (self.name.clone(), self.zone.clone())
    }
}

/// A group of a list. Prometheus takes no other fields, and takes it where both are missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    targets: Option<Vec<String>>,
    labels: Option<HashMap<String, String>>,
}

/// What a source lists: each peer, whose name may be yet to look up, and its host. A name that stands for
/// its addresses is one peer until then.
///
/// # Errors
/// Why it cannot be had.
pub fn list(source: &Source) -> Result<Vec<(Peer, Host)>, String> {
    match source {
        Source::File(path) => parse(&text_of(path, MAX_LIST)?),
        Source::Dns(host, port) => {
            let peer = Peer {
                name: "".into(),
                zone: "".into(),
                address: None,
                is_awaited: true,
            };
            Ok(vec![(peer, (host.clone(), *port))])
        }
    }
}

/// The peers of a source by what was `found`. One whose name has no address is down.
pub fn located(source: &Source, listed: &[(Peer, Host)], found: &Found) -> Vec<Peer> {
    let mut peers = Vec::new();
    for (peer, host) in listed {
        let addresses = found.get(host);
        if let Source::File(_) = source {
            // Of several always the same one, in whichever order they come.
            let first = || addresses?.iter().min().copied();
            peers.push(Peer {
                address: peer.address.or_else(first),
                is_awaited: peer.is_awaited && addresses.is_none(),
                ..peer.clone()
            });
            continue;
        }
        peers.extend(addresses.into_iter().flatten().map(|address| Peer {
            name: Zoned(*address).to_string().into(),
            zone: peer.zone.clone(),
            address: Some(*address),
            is_awaited: false,
        }));
    }
    peers
}

/// Looks up names, many at once, and tells now and then what has been found by then; returns why some
/// have no address. One for which nobody answers in time has none: its thread ends when the system
/// gives up.
pub fn look_up(
    hosts: &BTreeSet<Host>,
    found: &mut Found,
    mut tell: impl FnMut(&Found),
) -> BTreeMap<Host, String> {
    let mut failed = BTreeMap::new();
    let mut waiting = hosts.iter();
    let mut asked = BTreeMap::new();
    let (sender, answers) = mpsc::channel();
    let (mut told, mut is_new) = (Instant::now(), false);
    loop {
        while asked.len() < AT_ONCE
            && let Some(host) = waiting.next().cloned()
        {
            asked.insert(host.clone(), Instant::now());
            let (own, of) = (sender.clone(), host.clone());
            let answer = move || own.send((of.clone(), resolve(&of.0, of.1)));
            if let Err(refused) = start("resolve", answer) {
                let _ = sender.send((host, Err(refused.to_string())));
            }
        }
        if asked.is_empty() {
            return failed;
        }
        let answer = answers.recv_timeout(SOON).ok();
        if let Some((host, _)) = &answer {
            asked.remove(host);
        }
        let late = asked.extract_if(.., |_, begun| begun.elapsed() >= LIMIT);
        let late = late.map(|(host, _)| (host, Err(format!("no answer within {LIMIT:?}"))));
        for (host, answer) in answer.into_iter().chain(late) {
            is_new = true;
            match answer {
                Ok(addresses) => {
                    // It may have been late.
                    failed.remove(&host);
                    found.insert(host, addresses);
                }
                Err(error) => {
                    // It keeps what it has had.
                    found.entry(host.clone()).or_default();
                    failed.insert(host, error);
                }
            }
        }
        if is_new && told.elapsed() >= SOON {
            tell(found);
            (told, is_new) = (Instant::now(), false);
        }
    }
}

fn parse(text: &str) -> Result<Vec<(Peer, Host)>, String> {
    let wrong = |error| format!("it is no list for Prometheus (file_sd, JSON): {error}");
    let groups: Vec<Group> = serde_json::from_str(text).map_err(wrong)?;
    let mut peers = BTreeMap::new();
    for Group { targets, labels } in groups {
        let (targets, mut labels) = (targets.unwrap_or_default(), labels.unwrap_or_default());
        // An empty label is none, to Prometheus.
        labels.retain(|_, text| !text.is_empty());
        let label = |name| labels.get(name).map(String::as_str);
        let zone: Arc<str> = label("zone").unwrap_or_default().into();
        // A name is that of one peer.
        let name = label("name").filter(|_| targets.len() == 1);
        for target in targets {
            let (host, port) =
                host_and_port(&target).map_err(|error| format!("{target:?}: {error}"))?;
            let name: Arc<str> = name.unwrap_or(&target).into();
            let address = Zoned::at(&host, port).ok().map(|address| address.0);
            let peer = Peer {
                name: name.clone(),
                zone: zone.clone(),
                address,
                is_awaited: address.is_none(),
            };
            let peer = (peer, (host, port));
            // To Prometheus, what is there twice and the same is there once.
            let other = peers.insert(name.clone(), peer.clone());
            if other.is_some_and(|other| other != peer) {
                return Err(format!("{name:?} is there twice; give each its own name"));
            }
        }
    }
    Ok(peers.into_values().collect())
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(Zoned(address)) = Zoned::at(host, port) {
        return Ok(vec![address]);
    }
    let found = (host, port).to_socket_addrs();
    found.map(Iterator::collect).map_err(|error| cause(&error))
}

/// Whom this one watches, of all that are `known`, and what it is called itself. Whoever is yet to be
/// looked up has a place on the ring, and is not watched.
pub fn watched(mesh: &Mesh, known: &BTreeMap<Arc<str>, Peer>) -> (String, Vec<Peer>) {
    let (own, others): (Vec<_>, Vec<_>) = known.values().partition(|peer| is_own(mesh.own, peer));
    // Whoever is on no list has a place on the ring all the same, by the name of its machine.
    let host = || {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    };
    let name = own.first().map_or_else(host, |peer| peer.name.to_string());
    let ring = Ring::new(others.iter().map(|peer| &*peer.name));
    let names = ring.after(&name, mesh.peers).into_iter();
    let peers = names.map(|name| &known[name]);
    let peers = peers.filter(|peer| !peer.is_awaited).cloned().collect();
    (name, peers)
}

/// Whether a peer is this machine.
fn is_own(own: Own, peer: &Peer) -> bool {
    let Some(address) = peer.address else {
        return false;
    };
    match own {
        Own::At(own) => own.ip() == address.ip() && [0, address.port()].contains(&own.port()),
        Own::Auto => is_this_machine(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_that_of_prometheus() {
        let peers = parse(
            r#"[{"targets": ["192.0.2.1:7"], "labels": {"name": "a", "zone": "z", "rack": "9"}},
                {"targets": ["192.0.2.2:7", "[2001:db8::1]:7"], "labels": {"name": "both"}},
                {"targets": [], "labels": null}, {}]"#,
        );
        let told = peers.unwrap().into_iter().map(|(peer, _)| {
            let address = peer.address.map(|address| address.to_string());
            [
                peer.name.to_string(),
                peer.zone.to_string(),
                address.unwrap(),
            ]
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                ["192.0.2.2:7", "", "192.0.2.2:7"],
                ["[2001:db8::1]:7", "", "[2001:db8::1]:7"],
                ["a", "z", "192.0.2.1:7"],
            ]
        );
    }

    #[test]
    fn a_peer_that_is_listed_twice_is_one_and_an_empty_name_is_none() {
        let peers = parse(
            r#"[{"targets": ["192.0.2.1:7", "192.0.2.1:7"]}, {"targets": ["192.0.2.1:7"], "labels": {"name": ""}},
                {"targets": ["192.0.2.2:7"], "labels": {"name": "", "zone": ""}}]"#,
        );
        let names = peers
            .unwrap()
            .into_iter()
            .map(|(peer, _)| peer.name.to_string());
        assert_eq!(names.collect::<Vec<_>>(), ["192.0.2.1:7", "192.0.2.2:7"]);
    }

    #[test]
    fn a_list_that_is_wrong_says_where() {
        for (text, told) in [
            ("", "EOF"),
            ("[{\"targets\": [\"192.0.2.1:7\"", "EOF"),
            ("{}", "expected a sequence"),
            (
                "[{\"targets\": [], \"zone\": \"a\"}]",
                "unknown field `zone`",
            ),
            ("[null]", "expected struct"),
            ("[{\"targets\": [7]}]", "expected a string"),
            ("[{\"targets\": [\"192.0.2.1\"]}]", "the port is missing"),
            ("[{\"targets\": [\"unix:x\"]}]", "HOST:PORT alone"),
            ("[{\"targets\": [\"http://h/x\"]}]", "HOST:PORT alone"),
            (
                "[{\"targets\": [\"192.0.2.1:1\"]}, {\"targets\": [\"192.0.2.1:1\"], \"labels\": {\"zone\": \"b\"}}]",
                "is there twice",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
