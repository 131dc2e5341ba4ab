//! The address of a socket, with its transport: what an endpoint comes to once it is resolved.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::endpoint::Transport;
use crate::path::{FilePath, of_socket, shown};
use crate::zone::Zoned;

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

    /// What carries bytes there.
    pub fn transport(&self) -> Transport {
        match self {
            Address::Tcp(_) => Transport::Tcp,
            Address::Udp(_) => Transport::Udp,
            Address::Unix(_) => Transport::Unix,
        }
    }
}

/// One end of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum End {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// A path; empty where an end has none.
    Unix(PathBuf),
}

impl End {
    /// The IP address and port.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            End::Inet(address) => Some(*address),
            End::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for End {
    fn from(address: SocketAddr) -> Self {
        End::Inet(address)
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

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Inet(address) => Zoned(*address).fmt(f),
            End::Unix(path) => shown(path).fmt(f),
        }
    }
}

impl From<End> for String {
    fn from(end: End) -> Self {
        end.to_string()
    }
}

impl From<String> for End {
    fn from(text: String) -> Self {
        match text.parse() {
            Ok(Zoned(address)) => End::Inet(address),
            Err(_) => End::Unix(of_socket(FilePath::from_text(&text))),
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
