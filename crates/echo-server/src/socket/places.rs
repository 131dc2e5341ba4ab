//! Where is listened: the addresses of each listener, and what one of them leaves to the others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use anyhow::anyhow;
use echo_core::{Endpoint, Failure, Transport, Zoned, cause};

use crate::event::{Events, unmapped};
use crate::socket::datagram;
use crate::{Listen, Sockets};

/// A listener, and the addresses that its host has; a path has none, nor has what was handed over.
pub(super) struct Place {
    pub(super) listen: Arc<Listen>,
    pub(super) transports: &'static [Transport],
    pub(super) addresses: Vec<SocketAddr>,
    /// Whether the host is an address itself.
    pub(super) literal: bool,
    /// What it was given with.
    pub(super) option: &'static str,
}

/// All of them.
pub(super) struct Places(pub(super) Vec<Place>);

impl Place {
    /// Where `listen` is, which may need to be looked up.
    ///
    /// # Errors
    /// A [`Failure`] that names the endpoint, and what its host's lookup said.
    pub(super) fn of(listen: &Listen, events: &Events) -> Result<Self, Failure> {
        let endpoint = &listen.endpoint;
        let (addresses, literal) = match endpoint {
            Sockets::Own(Endpoint::Inet { host, port, .. }) => {
                let cannot = |cause| anyhow!("cannot listen on {endpoint}: {cause}");
                let addresses = resolve(host, *port);
                let addresses = addresses.map_err(|cause| Failure::bad(cannot(cause)))?;
                if addresses
                    .iter()
                    .any(|address| is_for_many(address.ip(), events))
                {
                    let cause = "a multicast or broadcast address is nobody's own, and is never \
                                 answered from; give an address of this machine, or 0.0.0.0 or [::] \
                                 for all it has";
                    return Err(Failure::usage(cannot(cause.to_owned())));
                }
                (
                    addresses,
                    host.contains(':') || host.parse::<IpAddr>().is_ok(),
                )
            }
            Sockets::Own(Endpoint::Unix(_)) | Sockets::Inherited(_) => (Vec::new(), false),
        };
        Ok(Place {
            listen: Arc::new(listen.clone()),
            transports: listen.transports(),
            addresses,
            literal,
            option: "--listen",
        })
    }
}

impl Places {
    /// The addresses listed for sockets of this kind, by what holds of their place.
    fn at(
        &self,
        transport: Transport,
        port: u16,
        which: fn(&Place) -> bool,
    ) -> impl Iterator<Item = &SocketAddr> {
        let same = move |place: &&Place| place.transports.contains(&transport) && which(place);
        let places = self.0.iter().filter(same);
        let addresses = places.flat_map(|place| &place.addresses);
        addresses.filter(move |address| address.port() == port && port != 0)
    }

    /// `[::]` takes IPv4 too, unless an IPv4 endpoint on the same port is listed.
    pub(super) fn takes_ipv4(&self, transport: Transport, address: SocketAddr) -> bool {
        let mut listed = self.at(transport, address.port(), |_| true);
        address.ip().is_unspecified() && !listed.any(SocketAddr::is_ipv4)
    }

    /// Whether one of a name's addresses is listed by itself, or among all of its family.
    pub(super) fn lists(&self, transport: Transport, address: SocketAddr) -> bool {
        let mut listed = self.at(transport, address.port(), |place| place.literal);
        listed.any(|other| {
            let all = other.ip().is_unspecified() && other.is_ipv4() == address.is_ipv4();
            all || *other == address
        })
    }
}

/// Whether what is sent to an address goes to several machines.
fn is_for_many(ip: IpAddr, events: &Events) -> bool {
    let is_broadcast = || datagram::is_broadcast(events, ip).is_ok_and(|is_it| is_it);
    let is_one = ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::LOCALHOST);
    ip.is_multicast() || ip.is_ipv4() && !is_one && is_broadcast()
}

/// A host's addresses, each once.
fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if host.contains(':') {
        return Zoned::at(host, port).map(|Zoned(address)| vec![unmapped(address)]);
    }
    let found = (host, port).to_socket_addrs().map_err(|error| {
        format!(
            "{host:?} could not be resolved: {}; check the spelling, or give an IP address",
            cause(&error)
        )
    })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(format!("{host:?} has no address; give an IP address"));
    }
    Ok(addresses)
}
