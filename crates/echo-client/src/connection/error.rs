//! Why an address could not be connected to, and what helps.

use std::fs::Metadata;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::FileTypeExt;

use echo_core::units::Timespan;
use echo_core::{Endpoint, cause};
use rustix::io::Errno;

use super::{Address, ErrorKind, Fault};

/// A system error on the socket to `address`, before anything came back.
pub fn unconnected(address: &Address, error: &io::Error) -> Fault {
    why(address, error).of(format_args!("cannot connect to {address}"))
}

/// None of these addresses of `target` was to be had.
pub(super) fn none_of(target: &Endpoint, failed: &[(Address, io::Error)]) -> Fault {
    match failed {
        [] => Fault::new(ErrorKind::Dns, "it has no address")
            .remedied()
            .of(target),
        [(address, error)] => unconnected(address, error),
        [.., (address, last)] => {
            let told = |(address, error): &(Address, io::Error)| {
                format!("{address}: {}", why(address, error))
            };
            let causes: Vec<_> = failed.iter().map(told).collect();
            let message = format!("cannot connect to {target}: {}", causes.join(", "));
            Fault {
                message,
                ..why(address, last)
            }
        }
    }
}

/// The same after `wait` was waited in vain, which need not be advised any more.
pub(super) fn waited(fault: Fault, wait: Timespan) -> Fault {
    match fault.kind {
        ErrorKind::Refused | ErrorKind::NotFound => {
            fault.advise(format!("waited {wait}; start echo-server there"))
        }
        ErrorKind::Closed
        | ErrorKind::Dns
        | ErrorKind::Mismatch
        | ErrorKind::Reset
        | ErrorKind::Timeout => {
            let remedy = fault.remedy.clone().unwrap_or_default();
            fault.advise(format!("waited {wait} for an echo; {remedy}"))
        }
        _ => fault,
    }
}

/// An error of this `kind` for which `remedy` is better than what its kind has.
pub(super) fn advised(kind: io::ErrorKind, cause: impl Into<String>, remedy: &str) -> io::Error {
    let fault = Fault::new(ErrorKind::of(&kind.into()), cause);
    io::Error::new(kind, fault.advise(remedy))
}

/// What an error on the socket to `address` means there.
fn why(address: &Address, error: &io::Error) -> Fault {
    let own = error.get_ref().and_then(|own| own.downcast_ref::<Fault>());
    if let Some(own) = own {
        return own.clone();
    }
    let told = Fault::from(error);
    if told.remedy.is_some() {
        return told;
    }
    let (kind, plain) = (told.kind, told.remedied());
    let unreachable =
        |cause: &str, remedy: &str| Fault::new(ErrorKind::Unreachable, cause).advise(remedy);
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let is_no_socket = |data: Metadata| !data.file_type().is_socket();
    match (address, errno) {
        (Address::Unix(path), _) if path.metadata().is_ok_and(is_no_socket) => {
            Fault::new(ErrorKind::Other, "it is not a socket")
                .advise("give the path of the socket that echo-server listens on")
        }
        (Address::Unix(_), _) if kind == ErrorKind::Permission => {
            plain.advise("check the permissions of the socket, and of the directories above it")
        }
        (Address::Unix(_), _) => plain,
        (_, Some(Errno::AFNOSUPPORT)) => Fault::new(kind, "this machine has no IPv6")
            .advise("turn it on, or give a name or an address of IPv4"),
        (Address::Tcp(remote) | Address::Udp(remote), Some(errno)) => match errno {
            Errno::INVAL if lacks_zone(remote) => unreachable(
                "a link-local address means nothing without its zone",
                "name the interface that leads there, as in [fe80::1%eth0]:5346",
            ),
            Errno::INVAL if has_route(remote) => unreachable(
                "no way leads there from the local address",
                "give --bind an address that leads there, or leave it out",
            ),
            Errno::INVAL => unreachable(
                "a route of this machine discards what goes there",
                &format!("`ip route get {}` shows it", remote.ip()),
            ),
            Errno::NETUNREACH if remote.ip().is_multicast() => unreachable(
                "it is a multicast address, which takes no connections",
                "give the address of one server",
            ),
            Errno::NETUNREACH | Errno::ACCESS if is_broadcast(remote) => unreachable(
                "it is a broadcast address",
                "give the address of one server",
            ),
            // Where it is not for want of a port, a datagram would not find a way either.
            Errno::ADDRNOTAVAIL if !has_route(remote) => unreachable(
                "this machine has no address to reach it from",
                no_route(remote),
            ),
            Errno::AGAIN | Errno::ADDRNOTAVAIL => {
                let cause = "every local port that may be chosen is taken";
                Fault::new(ErrorKind::Exhausted, cause).remedied()
            }
            Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN if !has_route(remote) => {
                unreachable(&cause(error), no_route(remote))
            }
            _ => plain,
        },
        _ => plain,
    }
}

/// What to do where this machine knows no way to `address`.
fn no_route(address: &SocketAddr) -> &'static str {
    match address {
        SocketAddr::V4(_) => "check the address, and this machine's routes and addresses",
        SocketAddr::V6(_) => {
            "check the address, and whether this machine has IPv6 and a route to it, or use IPv4"
        }
    }
}

/// Whether an address has a meaning on one link only, and does not say on which.
pub(super) fn lacks_zone(address: &SocketAddr) -> bool {
    let SocketAddr::V6(v6) = address else {
        return false;
    };
    // The scope of a group (RFC 4291, section 2.7): this interface, or this link.
    let is_near_group = v6.ip().is_multicast() && matches!(v6.ip().octets()[1] & 0xf, 1 | 2);
    v6.scope_id() == 0 && (v6.ip().is_unicast_link_local() || is_near_group)
}

/// Whether this machine knows a way to `address`. Nothing is sent to find out.
fn has_route(address: &SocketAddr) -> bool {
    match datagrams(address) {
        Ok(socket) => socket.connect(address).is_ok(),
        // Where no port is left, that is what is wrong.
        Err(error) => error.kind() == io::ErrorKind::AddrInUse,
    }
}

/// Whether `address` is that of all on a network, which the system only lets those send to who ask for
/// that. Nothing is sent to find out.
fn is_broadcast(address: &SocketAddr) -> bool {
    datagrams(address).is_ok_and(|socket| {
        socket.connect(address).is_err()
            && socket.set_broadcast(true).is_ok()
            && socket.connect(address).is_ok()
    })
}

/// A socket of the family of `address`.
pub(super) fn datagrams(address: &SocketAddr) -> io::Result<UdpSocket> {
    match address {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }
}
