//! A connected socket, of any transport.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use echo_core::Address;
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use super::opening::Opening;
use super::{Connect, LocalAddress, cause};

/// A connected socket. UDP is connected too: it then hears of ICMP errors, and from no one else.
#[derive(Debug)]
pub enum Socket {
    /// A TCP stream, with `TCP_NODELAY`.
    Tcp(TcpStream),
    /// Datagrams; a read receives one, a write sends one.
    Udp(UdpSocket),
    /// A Unix stream.
    Unix(UnixStream),
}

/// Opens a connected, blocking socket to one address, within the limit that `config` sets. Where
/// `connect` also minds interrupts and retries, this is the bare system calls.
pub fn open(config: &Connect, address: &Address) -> io::Result<Socket> {
    let narrator = &config.narrator;
    match address {
        Address::Tcp(remote) => {
            let (domain, protocol) = (Domain::for_address(*remote), Protocol::TCP);
            let opening = Opening::new(narrator, domain, Type::STREAM, Some(protocol))?;
            if let Some(LocalAddress(local)) = config.bind {
                // A fixed port is free again at once, whatever the last connection's TIME_WAIT.
                opening.socket().set_reuse_address(local.port() != 0)?;
                bind(&opening, local)?;
            }
            opening.socket().set_tcp_nodelay(true)?;
            let limit = Some(config.connect_timeout.0);
            let socket = opening.connect(&(*remote).into(), limit)?;
            Ok(Socket::Tcp(socket.into()))
        }
        Address::Udp(remote) => {
            let (domain, protocol) = (Domain::for_address(*remote), Protocol::UDP);
            let opening = Opening::new(narrator, domain, Type::DGRAM, Some(protocol))?;
            if let Some(LocalAddress(local)) = config.bind {
                bind(&opening, local)?;
            }
            let socket = opening.connect(&(*remote).into(), None)?;
            Ok(Socket::Udp(socket.into()))
        }
        Address::Unix(path) => {
            let opening = Opening::new(narrator, Domain::UNIX, Type::STREAM, None)?;
            let socket = opening.connect(&SockAddr::unix(path)?, None)?;
            Ok(Socket::Unix(socket.into()))
        }
    }
}

fn bind(opening: &Opening<'_>, local: SocketAddr) -> io::Result<()> {
    opening.bind(local).map_err(|error| {
        let text = format!("local address {}: {}", LocalAddress(local), cause(&error));
        io::Error::new(io::ErrorKind::AddrInUse, text)
    })
}

/// A socket's number in this process, as explanations show it.
pub(crate) fn number(socket: &impl AsRawFd) -> i32 {
    socket.as_raw_fd()
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// The congestion control of a TCP connection; `None` of anything else, and where the system does
/// not tell.
pub fn congestion_control(socket: &impl AsFd) -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        let name = SockRef::from(socket).tcp_congestion().ok()?;
        let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        String::from_utf8(name[..end].to_vec()).ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        None
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Udp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Socket {
    /// How long a read may block; `None` for ever. The system rounds up to its clock's tick.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_read_timeout(limit),
            Socket::Udp(socket) => socket.set_read_timeout(limit),
            Socket::Unix(socket) => socket.set_read_timeout(limit),
        }
    }

    /// How long a write may block; `None` for ever.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_write_timeout(limit),
            Socket::Udp(socket) => socket.set_write_timeout(limit),
            Socket::Unix(socket) => socket.set_write_timeout(limit),
        }
    }

    /// Whether a read or a write that would block fails instead.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_nonblocking(nonblocking),
            Socket::Udp(socket) => socket.set_nonblocking(nonblocking),
            Socket::Unix(socket) => socket.set_nonblocking(nonblocking),
        }
    }

    /// Ends one direction, or both. Datagrams have no end to tell of.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.shutdown(how),
            Socket::Udp(_) => Ok(()),
            Socket::Unix(socket) => socket.shutdown(how),
        }
    }
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&*socket).read(buffer),
            Socket::Udp(socket) => socket.recv(buffer),
            Socket::Unix(socket) => (&*socket).read(buffer),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&*socket).write(bytes),
            Socket::Udp(socket) => socket.send(bytes),
            Socket::Unix(socket) => (&*socket).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
