//! Socket addresses with their zones: `fe80::1` is another machine on each network (RFC 4007).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

/// A socket address that is written and shown with its zone's name: `[fe80::1%eth0]:5346`.
///
/// ```
/// use echo_core::Zoned;
///
/// let here: Zoned = "[fe80::1%1]:7".parse().unwrap();
/// assert!(here.0.is_ipv6() && here.0.port() == 7);
/// assert!("[fe80::1%no-such-zone]:7".parse::<Zoned>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Zoned(pub SocketAddr);

impl Zoned {
    /// The address `text`, with its zone but without brackets, at `port`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn at(text: &str, port: u16) -> Result<Self, String> {
        let bad = || format!("{text:?} is no IP address");
        let Some((ip, zone)) = text.split_once('%') else {
            let ip: IpAddr = text.parse().map_err(|_| bad())?;
            return Ok(Zoned(SocketAddr::new(ip, port)));
        };
        let ip: Ipv6Addr = ip.parse().map_err(|_| bad())?;
        let number = zone.parse().ok().or_else(|| number(zone));
        let number = number.ok_or_else(|| {
            format!("this machine has no network {zone:?}; `ip link` lists those it has")
        })?;
        Ok(Zoned(SocketAddrV6::new(ip, port, 0, number).into()))
    }

    /// An address with or, for port 0, without a port; with or without brackets.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn with_or_without_port(text: &str) -> Result<Self, String> {
        let inner = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        Zoned::at(inner.unwrap_or(text), 0).or_else(|error| text.parse().map_err(|_| error))
    }

    /// The IP address alone, with its zone.
    pub fn ip(&self) -> String {
        match self.0 {
            SocketAddr::V6(v6) if v6.scope_id() > 0 => {
                let number = v6.scope_id();
                let zone = name(number).unwrap_or_else(|| number.to_string());
                format!("{}%{zone}", v6.ip())
            }
            address => address.ip().to_string(),
        }
    }
}

impl FromStr for Zoned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let zoned = || {
            let (ip, port) = text.strip_prefix('[')?.split_once("]:")?;
            Some(Zoned::at(ip, port.parse().ok()?))
        };
        match text.parse() {
            Ok(address) => Ok(Zoned(address)),
            Err(_) => zoned().unwrap_or_else(|| Err(format!("{text:?} is no socket address"))),
        }
    }
}

impl fmt::Display for Zoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SocketAddr::V6(v6) if v6.scope_id() > 0 => write!(f, "[{}]:{}", self.ip(), v6.port()),
            address => write!(f, "{address}"),
        }
    }
}

/// The number of a network, by its name.
fn number(name: &str) -> Option<u32> {
    rustix::net::netdevice::name_to_index(asking()?, name).ok()
}

/// The name of a network, by its number.
fn name(number: u32) -> Option<String> {
    rustix::net::netdevice::index_to_name(asking()?, number).ok()
}

/// A socket to ask with: the system answers whoever has one, of whatever kind.
fn asking() -> Option<rustix::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

    let (family, kind) = (AddressFamily::UNIX, SocketType::DGRAM);
    socket_with(family, kind, SocketFlags::CLOEXEC, None).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_shown_by_name_and_read_by_name_or_number() {
        for text in ["[fe80::1%lo]:5346", "[fe80::1%1]:5346"] {
            let address: Zoned = text.parse().unwrap();
            assert_eq!(address.to_string(), "[fe80::1%lo]:5346", "{text}");
            assert_eq!(address.ip(), "fe80::1%lo");
        }
        for text in ["127.0.0.1:7", "[::1]:7", "[fe80::1%4000000000]:7"] {
            assert_eq!(text.parse::<Zoned>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "[fe80::1%]:7",
            "[fe80::1%lo]",
            "[127.0.0.1%lo]:7",
            "[fe80::1%lo]:x",
        ] {
            assert!(text.parse::<Zoned>().is_err(), "{text}");
        }
    }
}
