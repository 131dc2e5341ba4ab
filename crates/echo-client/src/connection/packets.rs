//! How packets are to travel: marks and limits that a socket puts on what it sends.

use std::io;

use echo_core::cause;
use socket2::Socket;

use super::Connect;

/// Asks the system to send as `config` says.
///
/// # Errors
/// What it does not allow, with what was asked for.
pub(super) fn mark(socket: &Socket, is_ipv4: bool, config: &Connect) -> io::Result<()> {
    if let Some(name) = &config.interface {
        let set = bind_to(socket, name);
        set.map_err(|error| refused(&format!("--interface {name}"), &error))?;
    }
    if let Some(hops) = config.ttl {
        let set = match is_ipv4 {
            true => socket.set_ttl_v4(hops.into()),
            false => socket.set_unicast_hops_v6(hops.into()),
        };
        set.map_err(|error| refused(&format!("--ttl {hops}"), &error))?;
    }
    if let Some(class) = config.dscp {
        // The two lowest bits of the byte are for the notice of congestion (RFC 3168).
        let byte = u32::from(class) << 2;
        let set = match is_ipv4 {
            true => socket.set_tos_v4(byte),
            false => socket.set_tclass_v6(byte),
        };
        set.map_err(|error| refused(&format!("--dscp {class}"), &error))?;
    }
    if config.df {
        forbid_fragments(socket, is_ipv4).map_err(|error| refused("--df", &error))?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn bind_to(socket: &Socket, interface: &str) -> io::Result<()> {
    socket.bind_device(Some(interface.as_bytes()))
}

#[cfg(target_os = "linux")]
fn forbid_fragments(socket: &Socket, is_ipv4: bool) -> io::Result<()> {
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };

    match is_ipv4 {
        true => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DO)?,
        false => set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DO)?,
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn bind_to(_: &Socket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn forbid_fragments(_: &Socket, _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn refused(asked: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{asked}: {}", cause(error)))
}
