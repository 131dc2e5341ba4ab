//! The address of a socket, with its transport: what an endpoint comes to once it is resolved.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::explain::End;

/// A socket's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP socket.
    Tcp(SocketAddr),
    /// A UDP socket.
    Udp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Address {
    /// The IP address and port; `None` for a Unix socket.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Address::Tcp(address) | Address::Udp(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// The transport's name: `tcp`, `udp` or `unix`.
    pub fn transport(&self) -> &'static str {
        match self {
            Address::Tcp(_) => "tcp",
            Address::Udp(_) => "udp",
            Address::Unix(_) => "unix",
        }
    }
}

/// As the ready lines have it: `tcp 127.0.0.1:5346`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport(), End::from(self))
    }
}

/// As an explanation names it.
impl From<&Address> for End {
    fn from(address: &Address) -> Self {
        match address {
            Address::Tcp(address) | Address::Udp(address) => End::Inet(*address),
            Address::Unix(path) => End::Unix(path.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_with_its_transport() {
        let socket = "[::1]:5346".parse().unwrap();
        assert_eq!(Address::Tcp(socket).to_string(), "tcp [::1]:5346");
        assert_eq!(Address::Udp(socket).to_string(), "udp [::1]:5346");
        assert_eq!(Address::Unix("e.sock".into()).to_string(), "unix e.sock");
    }
}
