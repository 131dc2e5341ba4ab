//! A connected stream socket, TCP or Unix.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use echo_core::Transport;
use echo_core::escape::excerpt;
use echo_explain::{Audience, Begun, Call};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Socket;

use crate::event::{Address, Events};
use crate::socket::address;
#[cfg(test)]
use crate::socket::simulated;

/// A peer that has gone is an error, not a signal.
const SEND: SendFlags = SendFlags::NOSIGNAL;

/// A connected stream socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Socket(Socket, Transport),
    #[cfg(test)]
    Simulated(simulated::Socket),
}

impl Stream {
    /// This end's address; the system is asked where it is not known, and does not refuse to tell it of
    /// a socket that is open.
    pub(crate) fn local(&self, known: Option<SocketAddr>) -> Address {
        if let Some(known) = known {
            return Address::Tcp(known);
        }
        let name = match self {
            Stream::Socket(socket, _) => socket.local_addr().ok(),
            #[cfg(test)]
            Stream::Simulated(_) => None,
        };
        let address = name.and_then(|name| address(self.transport(), &name));
        address.unwrap_or(Address::Tcp((Ipv4Addr::UNSPECIFIED, 0).into()))
    }

    /// Reads what is there. This and [`Stream::write`] ask the system directly: the C
    /// library's `recv` and `send` are points where a thread may be cancelled, which costs some 2 %
    /// of an echo.
    pub(crate) fn read(&mut self, buffer: &mut [u8], events: &Events) -> io::Result<usize> {
        let room = buffer.len();
        let outcome = match self {
            #[cfg(test)]
            Stream::Simulated(socket) => socket.read(buffer),
            _ => recv(self.fd(), &mut *buffer, RecvFlags::empty())
                .map(|(n, _)| n)
                .map_err(io::Error::from),
        };
        events.ended(Begun::default(), self.as_raw_fd(), &outcome, |n| {
            Call::Receive {
                received_bytes: n as u64,
                room_bytes: room as u64,
                data: excerpt(&buffer[..n]),
            }
        });
        outcome
    }

    /// Looks at what is there, and leaves it for [`Stream::read`].
    pub(crate) fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (n, _) = recv(self.fd(), buffer, RecvFlags::PEEK)?;
        Ok(n)
    }

    /// Writes what the socket takes at once.
    pub(crate) fn write(&mut self, bytes: &[u8], events: &Events) -> io::Result<usize> {
        let begun = events.begin();
        let outcome = match self {
            #[cfg(test)]
            Stream::Simulated(socket) => socket.write(bytes),
            _ => send(self.fd(), bytes, SEND).map_err(io::Error::from),
        };
        events.ended(begun, self.as_raw_fd(), &outcome, |n| Call::Send {
            sent_bytes: n as u64,
            offered_bytes: bytes.len() as u64,
            data: excerpt(bytes),
        });
        outcome
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Socket(socket, _) => socket.as_fd(),
            #[cfg(test)]
            Stream::Simulated(_) => unreachable!("it has no descriptor"),
        }
    }

    /// Has the close that follows send a reset, where there is such a thing.
    pub(crate) fn reset_on_close(&self) -> io::Result<()> {
        match self {
            Stream::Socket(socket, Transport::Tcp) => socket.set_linger(Some(Duration::ZERO)),
            _ => Ok(()),
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        match self {
            Stream::Socket(_, transport) => *transport,
            #[cfg(test)]
            Stream::Simulated(socket) => socket.wire().transport,
        }
    }

    pub(crate) fn finish_sending(&self, events: &Events) -> io::Result<()> {
        let begun = events.begin();
        let outcome = match self {
            Stream::Socket(socket, _) => socket.shutdown(Shutdown::Write),
            #[cfg(test)]
            Stream::Simulated(socket) => socket.finish(),
        };
        let call = |()| Call::Shutdown { both: false };
        events.ended(begun, self.as_raw_fd(), &outcome, call);
        outcome
    }

    /// Whether a read that did not fill its buffer emptied the socket. On a Unix socket it may
    /// have stopped between two messages of different credentials.
    pub(crate) fn short_read_means_empty(&self) -> bool {
        self.transport() == Transport::Tcp
    }

    /// The descriptor, where bytes can be moved without a copy through user memory.
    pub(crate) fn spliceable(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Stream::Socket(socket, Transport::Tcp) => Some(socket.as_fd()),
            _ => None,
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            #[cfg(test)]
            Stream::Simulated(_) => -1,
            _ => self.fd().as_raw_fd(),
        }
    }
}
