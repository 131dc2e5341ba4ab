//! A connected socket, of any transport.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use echo_core::Address;
use socket2::SockRef;

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
    /// A socket that is connected to `address`.
    pub(super) fn of(address: &Address, socket: socket2::Socket) -> Self {
        match address {
            Address::Tcp(_) => Socket::Tcp(socket.into()),
            Address::Udp(_) => Socket::Udp(socket.into()),
            Address::Unix(_) => Socket::Unix(socket.into()),
        }
    }

    /// The two ends, of a socket that has an address and a port.
    pub fn ends(&self) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
        Ok(match self {
            Socket::Tcp(socket) => Some((socket.local_addr()?, socket.peer_addr()?)),
            Socket::Udp(socket) => Some((socket.local_addr()?, socket.peer_addr()?)),
            Socket::Unix(_) => None,
        })
    }

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
