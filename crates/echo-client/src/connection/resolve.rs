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
    let limits = config.limits();
    let mut wanted = Vec::new();
    for socket in look_up(config, host, port, interrupt)? {
        let fits = limits.iter().all(|(ipv4, _)| *ipv4 == socket.is_ipv4());
        let address = address(socket);
        if fits && !wanted.contains(&address) {
            wanted.push(address);
        }
    }
    if wanted.is_empty() {
        let said: Vec<_> = limits.into_iter().map(|(_, said)| said).collect();
        let cause = "it has no address";
        return Err(match said.is_empty() {
            true => ConnectError::new(ErrorKind::Dns, subject, cause),
            false => {
                let cause = format!("{cause} for {}", said.join(" and "));
                let remedy = "leave that out, or give a name or an address of that family";
                ConnectError::new(ErrorKind::Dns, subject, cause).advise(remedy)
            }
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
