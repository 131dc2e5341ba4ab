//! From the target as it was written to addresses, anew for each connection.

use std::net::{SocketAddr, ToSocketAddrs};

use echo_core::{Address, Endpoint, Zoned};

use super::within::within;
use super::{Connect, ConnectError, ErrorKind, Family, cause};
use crate::interrupt::Interrupt;

/// All addresses of the target, of the wanted family, in the system's order.
///
/// # Errors
/// The name has none, or none that is wanted; it cannot be looked up in time.
pub fn resolve(config: &Connect, interrupt: &Interrupt) -> Result<Vec<Address>, ConnectError> {
    let (host, port) = match &config.target {
        Endpoint::Unix(path) => return Ok(vec![Address::Unix(path.clone())]),
        Endpoint::Inet { host, port, .. } => (host.clone(), *port),
    };
    let subject = format!("cannot resolve {host}");
    let address = match config.is_udp() {
        true => Address::Udp,
        false => Address::Tcp,
    };
    let mut wanted = Vec::new();
    for socket in look_up(config, host, port, interrupt)? {
        let address = address(socket);
        if config.wants(&socket) && !wanted.contains(&address) {
            wanted.push(address);
        }
    }
    if wanted.is_empty() {
        let error = ConnectError::new(ErrorKind::Dns, subject, config.unmet());
        return Err(match (config.family, config.bind) {
            (Family::Any, None) => error,
            _ => error.advise("leave that out, or give a name or an address of that family"),
        });
    }
    Ok(wanted)
}

/// Asks the system, unless the host is an address: that needs no thread, and no time.
fn look_up(
    config: &Connect,
    host: String,
    port: u16,
    interrupt: &Interrupt,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let subject = format!("cannot resolve {host}");
    match Zoned::at(&host, port) {
        Ok(Zoned(address)) => return Ok(vec![address]),
        Err(error) if host.contains('%') => {
            return Err(ConnectError::new(ErrorKind::Dns, subject, error));
        }
        Err(_) => {}
    }
    let looking = move || Ok((host.as_str(), port).to_socket_addrs()?.collect());
    within(&subject, config.connect_timeout, interrupt, looking)?.map_err(|error| {
        let text = cause(&error);
        let text = text.trim_start_matches("failed to lookup address information: ");
        ConnectError::new(ErrorKind::Dns, &subject, text)
    })
}

impl Connect {
    /// What no address of the target is.
    fn unmet(&self) -> String {
        let family = match self.family {
            Family::Any => None,
            Family::Ipv4 => Some("--family ipv4 (-4)"),
            Family::Ipv6 => Some("--family ipv6 (-6)"),
        };
        match (family, self.bind) {
            (Some(family), None) => format!("it has no address for {family}"),
            (None, Some(local)) => format!("it has no address of the family of --bind {local}"),
            (Some(family), Some(local)) => {
                format!("it has no address for both {family} and --bind {local}")
            }
            (None, None) => "it has no address".to_owned(),
        }
    }

    fn wants(&self, remote: &SocketAddr) -> bool {
        let family = match self.family {
            Family::Any => true,
            Family::Ipv4 => remote.is_ipv4(),
            Family::Ipv6 => remote.is_ipv6(),
        };
        family
            && self
                .bind
                .is_none_or(|local| local.0.is_ipv4() == remote.is_ipv4())
    }
}
