//! Who is at the other end.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use echo_core::Zoned;
use echo_core::address::End;

/// The other end of a connection. A Unix peer has no address, only a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// IP address and port; a v4-mapped IPv6 address is shown as the IPv4 address it is.
    Inet(SocketAddr),
    /// A peer on a Unix socket.
    Unix,
}

impl PeerAddress {
    /// The IP address and port.
    pub fn socket(self) -> Option<SocketAddr> {
        match self {
            PeerAddress::Inet(address) => Some(address),
            PeerAddress::Unix => None,
        }
    }
}

impl From<PeerAddress> for End {
    fn from(peer: PeerAddress) -> Self {
        match peer {
            PeerAddress::Inet(address) => End::Inet(address),
            PeerAddress::Unix => End::Unix(PathBuf::new()),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Inet(address) => Zoned(unmapped(*address)).fmt(f),
            PeerAddress::Unix => f.write_str("a unix peer"),
        }
    }
}

/// `::ffff:192.0.2.1` as the IPv4 address it is.
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}
