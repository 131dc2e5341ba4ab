//! A connected socket that never blocks, of any transport.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use mio::event::Source;
use mio::net::{TcpStream, UdpSocket, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::connection;

/// A connected socket; one system call a method.
#[derive(Debug)]
pub enum Socket {
    /// A TCP stream.
    Tcp(TcpStream),
    /// Datagrams.
    Udp(UdpSocket),
    /// A Unix stream.
    Unix(UnixStream),
}

impl Socket {
    /// Takes over a blocking socket.
    pub fn new(socket: connection::Socket) -> io::Result<Self> {
        Ok(match socket {
            connection::Socket::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Socket::Tcp(TcpStream::from_std(stream))
            }
            connection::Socket::Udp(socket) => {
                socket.set_nonblocking(true)?;
                Socket::Udp(UdpSocket::from_std(socket))
            }
            connection::Socket::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Socket::Unix(UnixStream::from_std(stream))
            }
        })
    }

    /// Has the poll tell, once for each change, when it can be read or written again.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let source: &mut dyn Source = match self {
            Socket::Tcp(stream) => stream,
            Socket::Udp(socket) => socket,
            Socket::Unix(stream) => stream,
        };
        registry.register(source, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Reads bytes, or receives one datagram.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (len, _) = recv(&*self, buffer, RecvFlags::empty())?;
        Ok(len)
    }

    /// Writes bytes, or sends one datagram.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&*self, bytes, SendFlags::empty())?)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Udp(socket) => socket.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}
