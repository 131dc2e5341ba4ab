//! From endpoints to bound sockets, with their options.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use anyhow::anyhow;
use echo_core::endpoint::DEFAULT_PORT;
use echo_core::{Endpoint, Failure, Transport, Zoned, remedied};
use echo_explain::Watched;
use socket2::{Domain, Protocol, Type};

use crate::config::Config;
use crate::event::{Address, Events, Kind};
use crate::fault::{Plan, Subject};
use crate::socket::inherited::Inherited;
use crate::socket::listener::{Listener, Reception, set_options};
use crate::socket::places::{Place, Places};
use crate::socket::{datagram, local_address, open, unix};
use crate::{Listen, Sockets};

/// Connections the system may hold ready for us. `std` hard-codes 128, which a burst of clients
/// overflows; the system lowers this to its own limit (`net.core.somaxconn`, 4,096 on Linux).
pub(crate) const BACKLOG: i32 = 4096;

/// How often port 0 is tried again when the port the system chose for TCP is taken for UDP.
const PORT_TRIES: usize = 32;

/// What sockets are bound by.
struct Binder<'a> {
    config: &'a Config,
    faults: Option<&'a Plan>,
    events: &'a Events,
    /// What one socket takes depends on all the others.
    places: Places,
}

/// Binds the addresses of `--metrics`, or none. Nothing goes wrong on purpose there, and what is
/// explained are the sockets of peers, of which `bound` are.
pub(crate) fn bind_metrics(config: &Config, bound: &[Listener]) -> Result<Vec<Listener>, Failure> {
    let events = &Events::off();
    let places = config.metrics.iter().map(|endpoint| {
        Ok(Place {
            transports: &[Transport::Tcp],
            option: "--metrics",
            ..Place::of(&endpoint.clone().into(), events)?
        })
    });
    let binder = Binder {
        config,
        faults: None,
        events,
        places: Places(places.collect::<Result<_, Failure>>()?),
    };
    let mut found = Vec::new();
    for place in &binder.places.0 {
        let own = bound.iter().chain(&found);
        let listeners = binder.inet(place);
        let listeners = listeners.map_err(|error| error.of(place, own))?;
        found.extend(listeners);
    }
    Ok(found)
}

/// Binds every endpoint, or none.
pub(crate) fn bind_all(
    config: &Config,
    faults: Option<&Plan>,
    events: &Events,
) -> Result<Vec<Listener>, Failure> {
    let listen = config.listen.iter();
    let places = listen.map(|listen| Place::of(listen, events));
    let binder = Binder {
        config,
        faults,
        events,
        places: Places(places.collect::<Result<_, _>>()?),
    };
    let mut inherited = Inherited::of_process();
    let mut bound: Vec<Listener> = Vec::new();
    for place in &binder.places.0 {
        match &place.listen.endpoint {
            Sockets::Inherited(_) => {
                let taken = inherited.take(&place.listen, config, events);
                bound.extend(taken.map_err(|Failure { exit, error }| {
                    let endpoint = &place.listen.endpoint;
                    Failure::new(exit, anyhow!("cannot listen on {endpoint}: {error}"))
                })?);
            }
            Sockets::Own(Endpoint::Unix(path)) => {
                let backlog = binder.backlog(&place.listen, Transport::Unix);
                let listener = unix::bind(path, &place.listen, backlog, None, events);
                bound.push(listener.map_err(Failure::bad)?);
            }
            Sockets::Own(Endpoint::Inet { .. }) => {
                let listeners = binder.inet(place);
                bound.extend(listeners.map_err(|error| error.of(place, bound.iter()))?);
            }
        }
    }
    let left = inherited.left();
    if !left.is_empty() {
        events.tell(|| Kind::Unused { names: left });
    }
    as_found(config, &bound).check()?;
    Ok(bound)
}

/// The configuration, with the kind of those sockets that were handed over and are all of one.
fn as_found(config: &Config, bound: &[Listener]) -> Config {
    let mut found = config.clone();
    let inherited = found.listen.iter_mut();
    for listen in inherited.filter(|listen| listen.is_inherited()) {
        let own = bound.iter().filter(|one| *one.listen == *listen);
        let own: Vec<&Address> = own.map(|one| &one.address).collect();
        if let [first, rest @ ..] = &own[..]
            && rest.iter().all(|one| one.transport() == first.transport())
        {
            listen.endpoint = Sockets::Own(match first {
                Address::Unix(path) => Endpoint::Unix(path.clone()),
                Address::Tcp(address) | Address::Udp(address) => {
                    let host = address.ip().to_string();
                    Endpoint::inet(Some(first.transport()), host, address.port())
                }
            });
        }
    }
    found
}

/// Why one socket could not be bound.
struct BindError {
    kind: io::ErrorKind,
    transport: Transport,
    address: SocketAddr,
    told: String,
}

impl BindError {
    /// What the system said of a socket that was given with `option`.
    fn new(option: &str, transport: Transport, address: SocketAddr, error: &io::Error) -> Self {
        let kind = error.kind();
        let cause = match kind {
            io::ErrorKind::InvalidInput if is_without_zone(&address) => format!(
                "such an address is another machine on each network; name this one's, as in \
                 [fe80::1%eth0]:{DEFAULT_PORT}"
            ),
            io::ErrorKind::AddrInUse => format!(
                "the port is in use; stop the program that holds it (`ss -lnp` names it), or choose \
                 another with {option}"
            ),
            io::ErrorKind::PermissionDenied => format!(
                "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE, or choose another \
                 with {option}"
            ),
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address; `ip address` lists \
                                                those it has, 0.0.0.0 and [::] stand for all"
                    .to_owned()
            }
            _ => remedied(error, &format!("choose another address with {option}")),
        };
        let told = format!("cannot listen on {transport} {}: {cause}", Zoned(address));
        BindError {
            kind,
            transport,
            address,
            told,
        }
    }

    /// What to say of `place`, where `own` are sockets that this server has already: on another address of
    /// that port it is another program.
    fn of<'a>(self, place: &Place, mut own: impl Iterator<Item = &'a Listener>) -> Failure {
        let is_own = |bound: &&Listener| {
            let is_there = |own: SocketAddr| {
                let [one, other] = [own, self.address].map(|address| address.ip());
                let is_all = one.is_unspecified() || other.is_unspecified();
                own.port() == self.address.port() && (one == other || is_all)
            };
            let address = bound.address.socket();
            bound.address.transport() == self.transport && address.is_some_and(is_there)
        };
        match own.find(is_own) {
            Some(own) if self.kind == io::ErrorKind::AddrInUse => Failure::usage(anyhow!(
                "{} {} is an address that is listened on already, for {}; give each its own",
                place.option,
                place.listen.endpoint,
                own.listen.endpoint
            )),
            _ => Failure::bad(anyhow!(self.told)),
        }
    }
}

fn is_without_zone(address: &SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0)
}

impl Binder<'_> {
    fn inet(&self, place: &Place) -> Result<Vec<Listener>, BindError> {
        let is_chosen = place.addresses.iter().all(|address| address.port() == 0);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.addresses(place) {
                // The port that the first socket was given is taken for a later one.
                Err(e) if is_chosen && e.kind == io::ErrorKind::AddrInUse && tries < PORT_TRIES => {
                }
                outcome => return outcome,
            }
        }
    }

    /// Binds all transports on all addresses of a place, with one port number for all.
    fn addresses(&self, place: &Place) -> Result<Vec<Listener>, BindError> {
        let mut bound: Vec<Listener> = Vec::new();
        let mut missing = None;
        for &address in &place.addresses {
            for &transport in place.transports {
                let mut address = address;
                if let Some(first) = bound.first().and_then(|first| first.address.socket()) {
                    address.set_port(first.port());
                }
                if !place.literal && self.places.lists(transport, address) {
                    continue;
                }
                let failed = |error| BindError::new(place.option, transport, address, &error);
                match self
                    .socket(&place.listen, transport, address)
                    .map_err(failed)
                {
                    Ok(socket) => bound.push(socket),
                    // A name may resolve to an address family that this machine does not run.
                    Err(e) if !place.literal && e.kind == io::ErrorKind::AddrNotAvailable => {
                        missing = Some(e);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        match missing {
            Some(error) if bound.is_empty() => Err(error),
            _ => Ok(bound),
        }
    }

    fn socket(
        &self,
        listen: &Arc<Listen>,
        transport: Transport,
        address: SocketAddr,
    ) -> io::Result<Listener> {
        let only_v6 = !self.places.takes_ipv4(transport, address);
        if transport == Transport::Udp {
            let opening = open_inet(self.events, Type::DGRAM, Protocol::UDP, address, only_v6)?;
            datagram::ask_for_room(opening.socket());
            opening.bind(&address.into())?;
            let address = Address::Udp(local_address(opening.socket())?);
            return Ok(Listener::new(listen, address, opening));
        }
        let opening = open_inet(self.events, Type::STREAM, Protocol::TCP, address, only_v6)?;
        set_options(self.config, opening.socket())?;
        opening.bind(&address.into())?;
        let address = Address::Tcp(local_address(opening.socket())?);
        let mut listener = Listener::new(listen, address, opening);
        let name = listen.name.as_ref();
        if self.faults.is_some_and(|plan| plan.refuses_all(name)) {
            // Or another program that sets it could bind there too, and listen.
            listener.socket.socket().set_reuse_address(false)?;
            listener.reception = Reception::Refusing;
        } else {
            listener.socket.listen(self.backlog(listen, transport))?;
        }
        Ok(listener)
    }

    /// How many connections the system may hold ready: fewer where a fault leaves them waiting.
    fn backlog(&self, listen: &Listen, transport: Transport) -> i32 {
        let first = Subject::new(transport, listen.name.as_ref(), 1, None);
        let waiting = self.faults.and_then(|plan| plan.backlog(&first));
        waiting.unwrap_or(BACKLOG)
    }
}

/// Has a listener listen no more, and the system refuse whoever connects. Its port stays its own. Returns
/// whether it has another socket then.
pub(crate) fn refuse(
    listener: &mut Listener,
    config: &Config,
    events: &Events,
) -> io::Result<bool> {
    let is_chosen = matches!(
        listener.listen.endpoint,
        Sockets::Own(Endpoint::Inet { port: 0, .. })
    );
    let socket = listener.socket.socket();
    let address = local_address(socket)?;
    let only_v6 = address.is_ipv6() && socket.only_v6()?;
    let opening = open_inet(events, Type::STREAM, Protocol::TCP, address, only_v6)?;
    set_options(config, opening.socket())?;
    // One that was told its port by the system would lose it as soon as it listens no more; but
    // while it is open nobody else can take it who does not ask for just that.
    match socket.shutdown(Shutdown::Read) {
        // It was tried before.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
        outcome => outcome?,
    }
    let bound = opening.bind(&address.into());
    let is_another = bound.is_ok();
    match bound {
        Ok(()) => listener.socket = opening,
        // Where a port cannot be asked for again, because it is below 1024 or was never to be shared, the
        // one that was handed over for it has it still. One that the system chose is gone, though the socket
        // still tells of it.
        Err(error) if is_chosen => return Err(error),
        Err(_) => {}
    }
    listener.socket.socket().set_reuse_address(false)?;
    Ok(is_another)
}

fn open_inet(
    events: &Events,
    kind: Type,
    protocol: Protocol,
    address: SocketAddr,
    only_v6: bool,
) -> io::Result<Watched<Events>> {
    let opening = open(events, Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        opening.socket().set_only_v6(only_v6)?;
    }
    Ok(opening)
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::Socket;

    #[test]
    fn a_listener_whose_port_is_gone_does_not_go_on_as_if_it_had_it() {
        let (config, events) = (Config::default(), Events::off());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let open = |address: SocketAddr| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&address.into()).unwrap();
            socket
        };
        let first = open(any);
        let address = local_address(&first).unwrap();
        // Has the port as long as nobody else is let in, and lets nobody in.
        let other = open(address);
        first.listen(1).unwrap();
        other.set_reuse_address(false).unwrap();
        let listen: Listen = "tcp://127.0.0.1:0".parse().unwrap();
        let (own, first) = (Address::Tcp(address), Watched::of(&events, first));
        let mut listener = Listener::new(&Arc::new(listen), own, first);
        let error = refuse(&mut listener, &config, &events).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(other);
        assert!(refuse(&mut listener, &config, &events).unwrap());
        assert_eq!(local_address(listener.socket.socket()).unwrap(), address);
    }
}
