//! What the system tells of datagrams besides their bytes: when each came and in which state, when
//! ours left, and which of ours met an error on its way, by whose word.

use std::fs::read_to_string;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::libc::{
    EMSGSIZE, SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, SO_EE_ORIGIN_TIMESTAMPING, SO_MEMINFO,
    SOL_SOCKET, sock_extended_err, sockaddr_in6,
};
use nix::sys::socket::sockopt::{
    Ipv4RecvErr, Ipv4RecvTtl, Ipv6RecvErr, Ipv6RecvHopLimit, ReceiveTimestampns, Timestamping,
};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, TimestampingFlag, Timestamps,
    cmsg_space, getsockopt, recvmsg, setsockopt,
};
use nix::sys::time::TimeSpec;
use nix::{getsockopt_impl, libc, sockopt_impl};
use socket2::Socket;

/// A datagram that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Its bytes, so far as the buffer had room for them.
    pub len: usize,
    /// When the system took it from the network, by the clock of the day.
    pub stamp: Option<SystemTime>,
    /// The routers that it might still have passed (TTL, hop limit).
    pub ttl: Option<u8>,
    /// Its mark: class of service and notice of congestion (TOS, traffic class).
    pub tos: Option<u8>,
}

/// A datagram of ours that the system has let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Its number among those that its socket has sent, from 0 on.
    pub number: u32,
    /// When it left for the network, by the clock of the day.
    pub stamp: SystemTime,
}

/// An error that a datagram of ours met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How many of the datagram's bytes came with it: what its ICMP message quotes.
    pub len: usize,
    /// Whose word it is.
    pub origin: Origin,
    /// The system's number of the error.
    pub errno: i32,
    /// The largest packet that fits, where it was too large and somebody knows.
    pub mtu: Option<u32>,
}

/// Who tells of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This machine, which has not sent the datagram.
    Local,
    /// Somebody on the path, by an ICMP message.
    Icmp {
        /// Its address.
        from: IpAddr,
        /// The message's type, of ICMP or of ICMPv6 as the address is.
        kind: u8,
        /// Its code.
        code: u8,
    },
}

/// Room for all that the system may tell of one datagram, where a header of it may lie.
#[repr(align(8))]
struct Control([u8; ROOM]);

const ROOM: usize = cmsg_space::<TimeSpec>()
    + cmsg_space::<Timestamps>()
    + 2 * cmsg_space::<i32>()
    + cmsg_space::<(sock_extended_err, sockaddr_in6)>();

/// Has the system note when each datagram comes.
///
/// # Errors
/// It does not know how.
pub fn note_times(socket: &Socket) -> io::Result<()> {
    Ok(setsockopt(socket, ReceiveTimestampns, &true)?)
}

/// Has the system note when each datagram leaves, too: [`departure`] tells.
///
/// # Errors
/// It does not know how.
pub fn note_departures(socket: &Socket) -> io::Result<()> {
    let flags = TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY;
    Ok(setsockopt(socket, Timestamping, &flags)?)
}

/// Has the system note in which state datagrams come.
///
/// # Errors
/// It does not know how.
pub fn note_states(socket: &Socket, is_ipv4: bool) -> io::Result<()> {
    match is_ipv4 {
        true => {
            socket.set_recv_tos_v4(true)?;
            setsockopt(socket, Ipv4RecvTtl, &true)?;
        }
        false => {
            socket.set_recv_tclass_v6(true)?;
            setsockopt(socket, Ipv6RecvHopLimit, &true)?;
        }
    }
    Ok(())
}

/// Has the system note all that [`Arrival`] and [`Notice`] can tell. A read or a write may then
/// fail with an error that an earlier datagram has met, and of which [`notice`] tells more.
///
/// # Errors
/// It does not know how.
pub fn note_all(socket: &Socket, is_ipv4: bool) -> io::Result<()> {
    note_times(socket)?;
    note_states(socket, is_ipv4)?;
    match is_ipv4 {
        true => setsockopt(socket, Ipv4RecvErr, &true)?,
        false => setsockopt(socket, Ipv6RecvErr, &true)?,
    }
    Ok(())
}

/// Receives one datagram.
///
/// # Errors
/// There is none (`WouldBlock`), or an earlier one that was sent met an error.
pub fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Arrival> {
    let mut arrival = Arrival::default();
    arrival.len = hear(socket, buffer, MsgFlags::empty(), |one| match one {
        ControlMessageOwned::ScmTimestampns(stamp) => {
            arrival.stamp = Some(UNIX_EPOCH + Duration::from(stamp));
        }
        ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
            arrival.ttl = u8::try_from(ttl).ok();
        }
        ControlMessageOwned::Ipv4Tos(tos) => arrival.tos = Some(tos),
        ControlMessageOwned::Ipv6TClass(tos) => arrival.tos = u8::try_from(tos).ok(),
        _ => {}
    })?;
    Ok(arrival)
}

/// Takes the oldest error that a datagram of this socket met, and puts what is known of that
/// datagram into `buffer`. This never waits.
///
/// # Errors
/// There is none (`WouldBlock`).
pub fn notice(socket: &Socket, buffer: &mut [u8]) -> io::Result<Notice> {
    let mut told = None;
    let len = hear(socket, buffer, MsgFlags::MSG_ERRQUEUE, |one| match one {
        ControlMessageOwned::Ipv4RecvErr(error, from) => {
            let from = from.map(|from| SocketAddrV4::from(SockaddrIn::from(from)).into());
            told = Some((error, from));
        }
        ControlMessageOwned::Ipv6RecvErr(error, from) => {
            let from = from.map(|from| SocketAddrV6::from(SockaddrIn6::from(from)).into());
            told = Some((error, from));
        }
        _ => {}
    })?;
    let (error, from) = told.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Notice {
        len,
        origin: origin(&error, from),
        errno: error.ee_errno as i32,
        mtu: (error.ee_errno == EMSGSIZE as u32).then_some(error.ee_info),
    })
}

/// Takes the oldest thing of which the system tells that it has become of a datagram of ours: `None`
/// where that is not its departure. This never waits.
///
/// # Errors
/// There is nothing to tell (`WouldBlock`).
pub fn departure(socket: &Socket) -> io::Result<Option<Departure>> {
    let (mut stamped, mut number) = (None, None);
    hear(socket, &mut [], MsgFlags::MSG_ERRQUEUE, |one| match one {
        ControlMessageOwned::ScmTimestampsns(stamps) => {
            stamped = Some(UNIX_EPOCH + Duration::from(stamps.system));
        }
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            let is_stamp = error.ee_origin == SO_EE_ORIGIN_TIMESTAMPING;
            number = is_stamp.then_some(error.ee_data);
        }
        _ => {}
    })?;
    let both = stamped.zip(number);
    Ok(both.map(|(stamp, number)| Departure { number, stamp }))
}

sockopt_impl!(
    /// What a socket has of memory, and at last the datagrams that it had no room for (`SK_MEMINFO_DROPS`).
    Memory, GetOnly, SOL_SOCKET, SO_MEMINFO, [u32; 9]
);

/// Datagrams so far of which this machine's sockets took none, since something on the way had changed them:
/// their checksum was wrong. A socket counts its own among those of [`drops`].
pub fn damaged() -> u64 {
    let read = |name: &str| read_to_string(format!("/proc/thread-self/net/{name}"));
    let (ipv4, ipv6) = (read("snmp"), read("snmp6"));
    let (ipv4, ipv6) = (ipv4.unwrap_or_default(), ipv6.unwrap_or_default());
    // A line of names, and one of counts; of IPv6 each has a line.
    let mut udp = ipv4.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let mut words = || udp.next().unwrap_or_default().split(' ');
    let counts = words().zip(words());
    let counts = counts.filter_map(|(name, count)| (name == "InCsumErrors").then_some(count));
    let others = ipv6.lines();
    let others = others.filter_map(|line| line.strip_prefix("Udp6InCsumErrors"));
    let counts = counts.chain(others).map(|count| count.trim().parse());
    counts.filter_map(Result::<u64, _>::ok).sum()
}

/// Datagrams that this socket had no room for so far, in the system's 32 bits, where it tells; and those that
/// came to it [`damaged`].
pub fn drops(socket: &Socket) -> Option<u32> {
    let [.., drops] = getsockopt(socket, Memory).ok()?;
    Some(drops)
}

fn origin(error: &sock_extended_err, from: Option<SocketAddr>) -> Origin {
    match (error.ee_origin, from) {
        (SO_EE_ORIGIN_ICMP | SO_EE_ORIGIN_ICMP6, Some(from)) => Origin::Icmp {
            from: from.ip(),
            kind: error.ee_type,
            code: error.ee_code,
        },
        _ => Origin::Local,
    }
}

/// Receives once, and has `take` look at each thing that is told of it.
fn hear(
    socket: &Socket,
    buffer: &mut [u8],
    flags: MsgFlags,
    take: impl FnMut(ControlMessageOwned),
) -> io::Result<usize> {
    let mut control = Control([0; ROOM]);
    let mut buffers = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut buffers,
        Some(&mut control.0),
        flags,
    )?;
    message.cmsgs()?.for_each(take);
    Ok(message.bytes)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use rustix::event::{PollFd, PollFlags};
    use socket2::{Domain, Type};

    use super::super::{packets, wait};
    use super::*;

    const LOOPBACKS: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

    fn connected(remote: SocketAddr) -> Socket {
        let socket = Socket::new(Domain::for_address(remote), Type::DGRAM, None).unwrap();
        socket.connect(&remote.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        note_all(&socket, remote.is_ipv4()).unwrap();
        socket
    }

    fn awaits(socket: &Socket, what: PollFlags) {
        let mut polled = [PollFd::new(socket, what)];
        wait(&mut polled, Duration::from_secs(10));
        assert!(polled[0].revents().contains(what), "nothing has come");
    }

    #[test]
    fn a_datagram_tells_when_it_came_and_in_which_state() {
        for local in LOOPBACKS {
            let server = Socket::from(UdpSocket::bind(local).unwrap());
            let address = server.local_addr().unwrap().as_socket().unwrap();
            let is_ipv4 = address.is_ipv4();
            note_all(&server, is_ipv4).unwrap();
            let client = connected(address);
            packets::set_ttl(&client, is_ipv4, 9).unwrap();
            packets::set_tos(&client, is_ipv4, 0xb9).unwrap();
            let before = SystemTime::now();
            client.send(b"one").unwrap();
            let mut buffer = [0; 8];
            let arrival = receive(&server, &mut buffer).unwrap();
            assert_eq!(&buffer[..arrival.len], b"one");
            assert_eq!((arrival.ttl, arrival.tos), (Some(9), Some(0xb9)), "{local}");
            // The system's own clock may tick between the two.
            let late = arrival.stamp.unwrap().duration_since(before);
            assert!(late.is_ok_and(|late| late < Duration::from_secs(60)));
        }
    }

    #[test]
    fn a_datagram_that_leaves_tells_which_it_is_and_when() {
        for local in LOOPBACKS {
            let server = UdpSocket::bind(local).unwrap();
            let client = connected(server.local_addr().unwrap());
            note_departures(&client).unwrap();
            for number in 0..3 {
                let before = SystemTime::now();
                client.send(b"one").unwrap();
                awaits(&client, PollFlags::ERR);
                let left = departure(&client).unwrap().unwrap();
                assert_eq!(left.number, number, "{local}");
                let late = left.stamp.duration_since(before);
                assert!(late.is_ok_and(|late| late < Duration::from_secs(60)));
            }
            let none = departure(&client).unwrap_err();
            assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn what_a_socket_had_no_room_for_is_told_of_that_socket() {
        for local in LOOPBACKS {
            let [full, empty] = [(); 2].map(|()| Socket::from(UdpSocket::bind(local).unwrap()));
            full.set_recv_buffer_size(0).unwrap();
            let client = connected(full.local_addr().unwrap().as_socket().unwrap());
            for _ in 0..1000 {
                client.send(&[0; 1000]).unwrap();
            }
            let told = [&full, &empty].map(|socket| drops(socket).unwrap());
            assert!((900..1000).contains(&told[0]), "{local}: {told:?}");
            assert_eq!(told[1], 0, "{local}");
        }
    }

    #[test]
    fn a_closed_port_is_told_by_the_machine_that_has_it() {
        for (local, kind, code) in [(LOOPBACKS[0], 3, 3), (LOOPBACKS[1], 1, 4)] {
            let closed = UdpSocket::bind(local).unwrap().local_addr().unwrap();
            let client = connected(closed);
            client.send(b"anybody").unwrap();
            awaits(&client, PollFlags::ERR);
            let mut buffer = [0; 64];
            let notice = notice(&client, &mut buffer).unwrap();
            assert_eq!(&buffer[..notice.len], b"anybody");
            let from = closed.ip();
            assert_eq!(notice.origin, Origin::Icmp { from, kind, code });
            assert_eq!(notice.errno, nix::libc::ECONNREFUSED);
            assert_eq!(notice.mtu, None);
            let none = super::notice(&client, &mut buffer).unwrap_err();
            assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
