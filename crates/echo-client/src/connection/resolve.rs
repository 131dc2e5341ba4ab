//! From the target as it was written to addresses, anew for each connection.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use echo_core::units::Timespan;
use echo_core::{Address, Endpoint, Zoned};

use super::error::datagrams;
use super::within::within;
use super::{Connect, ErrorKind, Family, Fault, cause};
use crate::interrupt::{Interrupt, Why};

/// Whether `remote` is an address of this machine: it is if what is sent there is sent from there.
/// Nothing is sent to find out.
pub fn is_this_machine(remote: SocketAddr) -> bool {
    let local = datagrams(&remote).and_then(|socket| {
        socket.connect(remote)?;
        socket.local_addr()
    });
    local.is_ok_and(|local| local.ip() == remote.ip())
}

/// All addresses of the target, of the wanted family, in the system's order, found within `limit`.
///
/// # Errors
/// The name has none, or none that is wanted; it cannot be looked up in time.
pub(super) fn resolve(
    config: &Connect,
    limit: Duration,
    stopped: &dyn Fn() -> Option<Why>,
) -> Result<Vec<Address>, Fault> {
    let (host, port) = match &config.target {
        Endpoint::Unix(path) => return Ok(vec![Address::Unix(path.clone())]),
        Endpoint::Inet { host, port, .. } => (host.clone(), *port),
    };
    let subject = format!("cannot resolve {host}");
    let address = match config.is_udp() {
        true => Address::Udp,
        false => Address::Tcp,
    };
    let limits = config.limits();
    let mut wanted = Vec::new();
    for socket in look_up(config, host, port, limit, stopped)? {
        let fits = config.wants_family(socket.is_ipv4());
        let address = address(socket);
        if fits && !wanted.contains(&address) {
            wanted.push(address);
        }
    }
    if wanted.is_empty() {
        let said: Vec<_> = limits.into_iter().map(|(_, said)| said).collect();
        let cause = "it has no address";
        return Err(match said.is_empty() {
            true => unknown(&subject, cause),
            false => unknown(&subject, format!("{cause} for {}", said.join(" and ")))
                .advise("leave that out, or give a name or an address of that family"),
        });
    }
    Ok(wanted)
}

/// Asks the system, unless the host is an address: that needs no thread, and no time.
fn look_up(
    config: &Connect,
    host: String,
    port: u16,
    limit: Duration,
    stopped: &dyn Fn() -> Option<Why>,
) -> Result<Vec<SocketAddr>, Fault> {
    let subject = format!("cannot resolve {host}");
    match Zoned::at(&host, port) {
        Ok(Zoned(address)) => return Ok(vec![address]),
        Err(error) if host.contains('%') => {
            return Err(unknown(&subject, error.to_string()));
        }
        Err(_) => {}
    }
    let looking = move || Ok((host.as_str(), port).to_socket_addrs()?.collect());
    within(&subject, Timespan(limit), stopped, looking)?.map_err(|error| {
        // What was left of --wait is nobody's figure.
        if error.kind() == io::ErrorKind::TimedOut && limit < config.connect_timeout.0 {
            return unknown(&subject, "no answer");
        }
        unknown(&subject, cause(&error))
    })
}

fn unknown(subject: &str, cause: impl Into<String>) -> Fault {
    Fault::new(ErrorKind::Dns, cause).remedied().of(subject)
}

/// Why no address of a family is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// There is none, or the lookup failed at once, for this reason.
    Nothing(String),
    /// No name server has answered.
    Silence,
}

/// Asks the system for the addresses of one family alone, within the limit of time for connecting.
///
/// # Errors
/// There are none; nobody answers.
pub fn look_up_family(
    config: &Connect,
    host: &str,
    port: u16,
    is_ipv4: bool,
    interrupt: &Interrupt,
) -> Result<Vec<SocketAddr>, Unknown> {
    let name = host.to_owned();
    let family = match is_ipv4 {
        true => dns_lookup::AddrFamily::Inet,
        false => dns_lookup::AddrFamily::Inet6,
    };
    let hints = dns_lookup::AddrInfoHints {
        address: family.into(),
        // One row an address, not one for each kind of socket.
        socktype: dns_lookup::SockType::Stream.into(),
        ..dns_lookup::AddrInfoHints::default()
    };
    let looking = move || {
        let found = dns_lookup::getaddrinfo(Some(&name), None, Some(hints));
        let found = found.map_err(|error| match error.kind() {
            // As where the time is up.
            dns_lookup::LookupErrorKind::Again => io::ErrorKind::TimedOut.into(),
            _ => io::Error::from(error),
        })?;
        let addresses = found.flatten().map(|found| {
            let mut address = found.sockaddr;
            address.set_port(port);
            address
        });
        Ok(addresses.collect())
    };
    let stopped = || interrupt.why();
    let found = match within("it", config.connect_timeout, &stopped, looking.clone()) {
        // Without a thread for it, the system alone limits its time.
        Err(refused) if refused.kind == ErrorKind::Exhausted => Ok(looking()),
        found => found,
    };
    match found {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Err(Unknown::Silence),
        Ok(Err(error)) => Err(Unknown::Nothing(cause(&error))),
        Err(error) => Err(Unknown::Nothing(error.to_string())),
    }
}

impl Connect {
    /// Whether addresses of this family are wanted.
    pub fn wants_family(&self, is_ipv4: bool) -> bool {
        self.limits().iter().all(|(wanted, _)| *wanted == is_ipv4)
    }

    /// What limits the family of addresses: whether it must be IPv4, and what says so.
    fn limits(&self) -> Vec<(bool, String)> {
        let family = match self.family {
            Family::Any => None,
            Family::Ipv4 => Some((true, "--family ipv4 (-4)".to_owned())),
            Family::Ipv6 => Some((false, "--family ipv6 (-6)".to_owned())),
        };
        let bind = self.bind;
        let bind = bind.map(|local| (local.0.is_ipv4(), format!("--bind {local}")));
        family.into_iter().chain(bind).collect()
    }
}
