//! A UDP socket whose datagrams are stamped: one at a time, with what the system knows of each, which
//! `quinn-udp` does not hand over.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime};

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, cmsg_space, recvmsg, sendmsg,
    setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use quinn_udp::RecvMeta;
use socket2::Socket;

/// The TTL of packets between the two ends of a session (RFC 5357, section 4.1.2).
const TTL: u32 = 255;

/// Room for all that the system tells of a datagram, over IPv4 and IPv6 at once.
const ROOM: usize = cmsg_space::<TimeSpec>()
    + cmsg_space::<in_pktinfo>()
    + cmsg_space::<in6_pktinfo>()
    + 4 * cmsg_space::<i32>();

/// Where control messages may lie.
#[repr(align(8))]
struct Control([u8; ROOM]);

/// What the system knows of a datagram besides its bytes, its source and its destination.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// When it came, since the start of 1970.
    pub(crate) at: Duration,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
}

/// The time by the system's clock, since the start of 1970.
pub(crate) fn now() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default()
}

/// Has the system tell what [`receive`] wants to know, and join no datagrams.
pub(crate) fn prepare(socket: &Socket, is_ipv6: bool) -> io::Result<()> {
    setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(socket, sockopt::UdpGroSegment, &false)?;
    if is_ipv6 {
        setsockopt(socket, sockopt::Ipv6RecvHopLimit, &true)?;
        setsockopt(socket, sockopt::Ipv6RecvTClass, &true)?;
        socket.set_unicast_hops_v6(TTL)?;
    }
    // One that takes IPv4 too tells of it as one for IPv4 alone does.
    if !is_ipv6 || !socket.only_v6()? {
        setsockopt(socket, sockopt::Ipv4RecvTtl, &true)?;
        setsockopt(socket, sockopt::IpRecvTos, &true)?;
        socket.set_ttl_v4(TTL)?;
    }
    Ok(())
}

/// Receives one datagram.
///
/// # Errors
/// The system's: there is none (`WouldBlock`), or an earlier reply caused one.
pub(crate) fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<(RecvMeta, Seen)> {
    let mut control = Control([0; ROOM]);
    let mut buffers = [IoSliceMut::new(buffer)];
    let number = socket.as_raw_fd();
    let flags = MsgFlags::empty();
    let message = recvmsg::<SockaddrStorage>(number, &mut buffers, Some(&mut control.0), flags)?;
    let (mut meta, mut seen) = (RecvMeta::default(), Seen::default());
    (meta.len, meta.stride) = (message.bytes, message.bytes);
    meta.addr = message
        .address
        .and_then(inet)
        .ok_or(io::ErrorKind::InvalidData)?;
    for told in message.cmsgs()? {
        match told {
            ControlMessageOwned::ScmTimestampns(at) => seen.at = at.into(),
            ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                seen.ttl = ttl as u8;
            }
            ControlMessageOwned::Ipv4Tos(tos) => seen.tos = tos,
            ControlMessageOwned::Ipv6TClass(tos) => seen.tos = tos as u8,
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                meta.dst_ip = Some(Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr)).into());
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                meta.dst_ip = Some(IpAddr::from(info.ipi6_addr.s6_addr));
            }
            _ => {}
        }
    }
    if seen.at.is_zero() {
        seen.at = now();
    }
    Ok((meta, seen))
}

fn inet(address: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::V6((*v6).into()))
    })
}

/// Sends one datagram to `destination` with a type of service, from an address of this machine where
/// one is given.
pub(crate) fn send(
    socket: &impl AsRawFd,
    destination: SocketAddr,
    source: Option<IpAddr>,
    tos: u8,
    contents: &[u8],
) -> io::Result<()> {
    let is_ipv4 = destination.ip().to_canonical().is_ipv4();
    let (v4, v6);
    let source = match (source.map(|ip| ip.to_canonical()), is_ipv4) {
        (Some(IpAddr::V4(ip)), true) => {
            v4 = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr {
                    s_addr: ip.to_bits().to_be(),
                },
                ipi_addr: in_addr { s_addr: 0 },
            };
            Some(ControlMessage::Ipv4PacketInfo(&v4))
        }
        (Some(IpAddr::V6(ip)), false) => {
            v6 = in6_pktinfo {
                ipi6_addr: in6_addr {
                    s6_addr: ip.octets(),
                },
                ipi6_ifindex: 0,
            };
            Some(ControlMessage::Ipv6PacketInfo(&v6))
        }
        _ => None,
    };
    let class = i32::from(tos);
    let mark = match is_ipv4 {
        true => ControlMessage::Ipv4Tos(&tos),
        false => ControlMessage::Ipv6TClass(&class),
    };
    let control: Vec<ControlMessage<'_>> = source.into_iter().chain([mark]).collect();
    let destination = SockaddrStorage::from(destination);
    let contents = [IoSlice::new(contents)];
    let flags = MsgFlags::MSG_DONTWAIT;
    sendmsg(
        socket.as_raw_fd(),
        &contents,
        &control,
        flags,
        Some(&destination),
    )?;
    Ok(())
}
