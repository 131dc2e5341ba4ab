//! How packets are to travel: marks and limits that a socket puts on what it sends.

use std::io;

use echo_core::cause;
use socket2::Socket;

use super::Connect;
use super::error::advised;

/// Asks the system to send as `config` says.
///
/// # Errors
/// What it does not allow, with what was asked for.
pub fn mark(socket: &Socket, is_ipv4: bool, config: &Connect) -> io::Result<()> {
    if let Some(name) = &config.interface {
        socket.bind_device(Some(name.as_bytes())).map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "that takes CAP_NET_RAW: run it as root, or leave --interface out"
                }
                _ => "name one of this machine, as `ip link` lists them, or leave --interface out",
            };
            refused(&format!("--interface {name}"), &error, remedy)
        })?;
    }
    // The two lowest bits of the byte are for the notice of congestion (RFC 3168).
    let marks = [
        ("--ttl", config.ttl, set_ttl as Mark, 0),
        ("--dscp", config.dscp, set_tos, 2),
    ];
    for (option, value, set, shift) in marks {
        if let Some(value) = value {
            set(socket, is_ipv4, value << shift)
                .map_err(|error| refused(&format!("{option} {value}"), &error, "leave that out"))?;
        }
    }
    if config.df {
        let set = set_fragments(socket, is_ipv4, Fragments::Forbidden);
        set.map_err(|error| refused("--df", &error, "leave that out"))?;
    }
    Ok(())
}

/// What puts a byte on packets.
type Mark = fn(&Socket, bool, u8) -> io::Result<()>;

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

/// The most bytes of a datagram that fit the path of a connected socket in one packet, as far as the
/// system knows.
pub fn most(socket: &Socket) -> Option<usize> {
    use rustix::net::sockopt::{ip_mtu, ipv6_mtu};

    // The headers of IP and UDP.
    let (mtu, headers) = match socket.local_addr().ok()?.is_ipv4() {
        true => (ip_mtu(socket), 20 + 8),
        false => (ipv6_mtu(socket), 40 + 8),
    };
    usize::try_from(mtu.ok()?).ok()?.checked_sub(headers)
}

fn refused(asked: &str, error: &io::Error, remedy: &'static str) -> io::Error {
    let cause = format!("{asked}: {}", cause(error));
    advised(error.kind(), cause, remedy)
}
