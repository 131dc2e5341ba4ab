//! The only place that asks the system for something about a peer's socket; each call tells itself.

pub(crate) mod bind;
pub(crate) mod datagram;
mod inherited;
pub(crate) mod listener;
pub(crate) mod pipe;
mod places;
#[cfg(test)]
pub(crate) mod simulated;
pub(crate) mod stamped;
pub(crate) mod stream;
pub(crate) mod unix;

use std::io;
use std::net::SocketAddr;

use echo_core::Transport;
use echo_core::address::End;
use echo_explain::{Watched, end};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::event::{Address, Events};

/// A new socket that does not block.
pub(crate) fn open(
    events: &Events,
    domain: Domain,
    kind: Type,
    protocol: Option<Protocol>,
) -> io::Result<Watched<Events>> {
    let opening = Watched::new(events, domain, kind, protocol)?;
    opening.socket().set_nonblocking(true)?;
    Ok(opening)
}

/// The IP address and port of a socket that has one.
fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The address of a socket of such a kind; `None` where it has none.
fn address(transport: Transport, own: &SockAddr) -> Option<Address> {
    match (transport, end(own)) {
        (Transport::Tcp, End::Inet(address)) => Some(Address::Tcp(address)),
        (Transport::Udp, End::Inet(address)) => Some(Address::Udp(address)),
        (Transport::Unix, End::Unix(path)) => Some(Address::Unix(path)),
        _ => None,
    }
}
