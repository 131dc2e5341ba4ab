//! A socket on its way to being connected, each call told where it is made.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use echo_core::address::End;
use echo_explain::{Call, Family, Kind};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::number;
use crate::narrator::{Begun, Narrator};

/// A new socket. Unless it gets connected, it is closed again.
pub(super) struct Opening<'a> {
    socket: Option<Socket>,
    narrator: &'a Narrator,
}

impl<'a> Opening<'a> {
    pub(super) fn new(
        narrator: &'a Narrator,
        domain: Domain,
        kind: Type,
        protocol: Option<Protocol>,
    ) -> io::Result<Self> {
        let call = narrator.begin();
        let socket = Socket::new(domain, kind, protocol)?;
        call.ended(number(&socket), &Ok(()), |()| Call::Socket {
            family: match domain {
                Domain::IPV4 => Family::Inet,
                Domain::IPV6 => Family::Inet6,
                _ => Family::Unix,
            },
            kind: match kind {
                Type::DGRAM => Kind::Datagram,
                _ => Kind::Stream,
            },
        });
        Ok(Opening {
            socket: Some(socket),
            narrator,
        })
    }

    /// The socket, for its options.
    pub(super) fn socket(&self) -> &Socket {
        self.socket
            .as_ref()
            .expect("it is here until it is connected")
    }

    /// Gives it an address.
    pub(super) fn bind(&self, address: SocketAddr) -> io::Result<()> {
        let call = self.narrator.begin();
        let outcome = self.socket().bind(&address.into());
        call.ended(number(self.socket()), &outcome, |()| Call::Bind {
            asked: End::Inet(address),
            local: self.local(),
        });
        outcome
    }

    /// Begins to connect it. From here on it does not block.
    pub(super) fn connect(self, peer: SockAddr) -> io::Result<Pending<'a>> {
        self.socket().set_nonblocking(true)?;
        let mut pending = Pending {
            call: self.narrator.begin(),
            opening: self,
            peer,
            is_connected: false,
        };
        match pending.connect() {
            Err(error) => pending
                .end(Err(error))
                .map(|_| unreachable!("it has failed")),
            Ok(()) => Ok(pending),
        }
    }

    fn local(&self) -> End {
        let unknown = End::Unix(PathBuf::new());
        self.socket()
            .local_addr()
            .map_or(unknown, |local| end(&local))
    }
}

/// A socket that is being connected.
pub(super) struct Pending<'a> {
    opening: Opening<'a>,
    call: Begun<'a>,
    peer: SockAddr,
    is_connected: bool,
}

impl Pending<'_> {
    fn connect(&mut self) -> io::Result<()> {
        let under_way = match self.peer.is_unix() {
            // The listener's queue is full: nobody will tell when it has room.
            true => Errno::AGAIN,
            false => Errno::INPROGRESS,
        };
        match self.opening.socket().connect(&self.peer) {
            Err(error) if error.raw_os_error() == Some(under_way.raw_os_error()) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                self.is_connected = true;
                Ok(())
            }
        }
    }

    /// Whether it is connected by now, or has failed.
    pub(super) fn is_connected(&mut self, is_ready: bool) -> io::Result<bool> {
        if self.peer.is_unix() && !self.is_connected {
            self.connect()?;
        } else if is_ready && !self.is_connected {
            match self.opening.socket().take_error()? {
                Some(error) => return Err(error),
                None => self.is_connected = true,
            }
        }
        Ok(self.is_connected)
    }

    /// Tells what came of it, and returns the socket, which blocks again; unless it is connected,
    /// it is closed.
    pub(super) fn end(mut self, outcome: io::Result<()>) -> io::Result<Socket> {
        let opening = &self.opening;
        self.call
            .ended(number(opening.socket()), &outcome, |()| Call::Connect {
                local: opening.local(),
                peer: end(&self.peer),
            });
        outcome?;
        opening.socket().set_nonblocking(false)?;
        Ok(self
            .opening
            .socket
            .take()
            .expect("it is here until it is connected"))
    }
}

impl AsFd for Pending<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.opening.socket().as_fd()
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            let (call, number) = (self.narrator.begin(), number(&socket));
            drop(socket);
            call.ended(number, &Ok(()), |()| Call::Close);
        }
    }
}

fn end(address: &SockAddr) -> End {
    if let Some(address) = address.as_socket() {
        return End::Inet(address);
    }
    let name = address
        .as_abstract_namespace()
        .map(|name| [b"\0", name].concat());
    End::Unix(match address.as_pathname() {
        Some(path) => path.to_owned(),
        None => OsString::from_vec(name.unwrap_or_default()).into(),
    })
}
