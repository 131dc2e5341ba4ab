//! How packets are to travel: marks and limits that a socket puts on what it sends.

use std::io;

use echo_core::cause;
use socket2::Socket;

use super::Connect;

/// Asks the system to send as `config` says.
///
/// # Errors
/// What it does not allow, with what was asked for.
pub fn mark(socket: &Socket, is_ipv4: bool, config: &Connect) -> io::Result<()> {
    if let Some(name) = &config.interface {
        let set = bind_to(socket, name);
        set.map_err(|error| refused(&format!("--interface {name}"), &error))?;
    }
    if let Some(hops) = config.ttl {
        let set = set_ttl(socket, is_ipv4, hops);
        set.map_err(|error| refused(&format!("--ttl {hops}"), &error))?;
    }
    if let Some(class) = config.dscp {
        // The two lowest bits of the byte are for the notice of congestion (RFC 3168).
        let set = set_tos(socket, is_ipv4, class << 2);
        set.map_err(|error| refused(&format!("--dscp {class}"), &error))?;
    }
    if config.df {
        let set = set_fragments(socket, is_ipv4, Fragments::Forbidden);
        set.map_err(|error| refused("--df", &error))?;
    }
    Ok(())
}

/// What may become of a packet that is too large for the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragments {
    /// Routers and this machine may cut it.
    Allowed,
    /// Nobody may cut it, and this machine refuses what it knows to be too large.
    Forbidden,
    /// Nobody may cut it, and this machine sends it whatever it has heard of the path.
    Probed,
}

/// Lets what is sent pass `hops` routers at most (TTL, hop limit).
///
/// # Errors
/// What the system does not allow.
pub fn set_ttl(socket: &Socket, is_ipv4: bool, hops: u8) -> io::Result<()> {
    match is_ipv4 {
        true => socket.set_ttl_v4(hops.into()),
        false => socket.set_unicast_hops_v6(hops.into()),
    }
}

/// Marks what is sent with this byte: class of service and notice of congestion (TOS, traffic class).
///
/// # Errors
/// What the system does not allow.
pub fn set_tos(socket: &Socket, is_ipv4: bool, byte: u8) -> io::Result<()> {
    match is_ipv4 {
        true => socket.set_tos_v4(byte.into()),
        false => socket.set_tclass_v6(byte.into()),
    }
}

/// Says what may become of packets that are too large.
///
/// # Errors
/// What the system does not allow.
pub fn set_fragments(socket: &Socket, is_ipv4: bool, fragments: Fragments) -> io::Result<()> {
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery as V4, Ipv6PathMtuDiscovery as V6, set_ip_mtu_discover,
        set_ipv6_mtu_discover,
    };

    let (v4, v6) = match fragments {
        Fragments::Allowed => (V4::DONT, V6::DONT),
        Fragments::Forbidden => (V4::DO, V6::DO),
        Fragments::Probed => (V4::PROBE, V6::PROBE),
    };
    match is_ipv4 {
        true => set_ip_mtu_discover(socket, v4)?,
        false => set_ipv6_mtu_discover(socket, v6)?,
    }
    Ok(())
}

fn bind_to(socket: &Socket, interface: &str) -> io::Result<()> {
    socket.bind_device(Some(interface.as_bytes()))
}

fn refused(asked: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{asked}: {}", cause(error)))
}
