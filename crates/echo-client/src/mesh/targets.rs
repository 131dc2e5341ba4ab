//! The peers that the sources list, and their addresses.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use echo_core::config::text_of;
use echo_core::{Zoned, cause};
use serde::Deserialize;

use super::ring::Ring;
use super::settings::{Mesh, Own, Source, host_and_port};
use crate::connection::is_this_machine;

/// The largest list that is read: 100,000 peers at 160 bytes each.
const MAX_LIST: u64 = 16 << 20;

/// From so many addresses of a name on, more may be missing: a reply of DNS has 64 KiB at most, that
/// is some 4,090 addresses, and resolvers leave out the others in silence.
pub const MANY_ADDRESSES: usize = 2_000;

/// One that is to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it is called; no other has that name.
    pub name: Arc<str>,
    /// Where it is, as people call it; empty if nobody says.
    pub zone: Arc<str>,
    /// Where it answers; `None` while its name has no address.
    pub address: Option<SocketAddr>,
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

/// All that a source lists.
///
/// # Errors
/// Why it cannot be had.
pub fn list(source: &Source) -> Result<Vec<Peer>, String> {
    match source {
        Source::File(path) => parse(&text_of(path, MAX_LIST)?),
        Source::Dns(host, port) => {
            let mut addresses = resolve(host, *port).map_err(|error| {
                let text = cause(&error);
                text.trim_start_matches("failed to lookup address information: ")
                    .to_owned()
            })?;
            addresses.sort_unstable();
            addresses.dedup();
            let peer = |address| Peer {
                name: Zoned(address).to_string().into(),
                zone: "".into(),
                address: Some(address),
            };
            Ok(addresses.into_iter().map(peer).collect())
        }
    }
}

fn parse(text: &str) -> Result<Vec<Peer>, String> {
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
            let peer = Peer {
                name: name.clone(),
                zone: zone.clone(),
                // Of several always the same one, in whichever order they come; without any it is down.
                address: resolve(&host, port)
                    .ok()
                    .and_then(|found| found.into_iter().min()),
            };
            // To Prometheus, what is there twice and the same is there once.
            let other = peers.insert(name.clone(), peer.clone());
            if other.is_some_and(|other| other != peer) {
                return Err(format!("{name:?} is there twice; give each its own name"));
            }
        }
    }
    Ok(peers.into_values().collect())
}

fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match Zoned::at(host, port) {
        Ok(Zoned(address)) => Ok(vec![address]),
        Err(_) => Ok((host, port).to_socket_addrs()?.collect()),
    }
}

/// Whom this one watches, of all that are `known`, and what it is called itself.
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
    let peers = names.map(|name| known[name].clone()).collect();
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
        let told = peers.unwrap().into_iter().map(|peer| {
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
        let names = peers.unwrap().into_iter().map(|peer| peer.name.to_string());
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
