//! A socket on its way to being bound or connected, each call told where it is made.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use echo_core::address::End;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{Audience, Call, Family, SocketKind};

/// A new socket. Unless it gets where it should, it is closed again.
pub struct Opening<'a, A: Audience> {
    socket: Option<Socket>,
    audience: &'a A,
}

impl<'a, A: Audience> Opening<'a, A> {
    /// A socket.
    ///
    /// # Errors
    /// The system's.
    pub fn new(
        audience: &'a A,
        domain: Domain,
        kind: Type,
        protocol: Option<Protocol>,
    ) -> io::Result<Self> {
        let begun = audience.begin();
        let socket = Socket::new(domain, kind, protocol)?;
        let family = match domain {
            Domain::IPV4 => Family::Inet,
            Domain::IPV6 => Family::Inet6,
            _ => Family::Unix,
        };
        let kind = match kind {
            Type::DGRAM => SocketKind::Datagram,
            _ => SocketKind::Stream,
        };
        audience.ended(begun, socket.as_raw_fd(), &Ok(()), |()| Call::Socket {
            family,
            kind,
        });
        Ok(Opening {
            socket: Some(socket),
            audience,
        })
    }

    /// The socket, for its options.
    pub fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("it is here until it is ready")
    }

    /// Gives it an address.
    ///
    /// # Errors
    /// The system's, as with all calls.
    pub fn bind(&self, address: &SockAddr) -> io::Result<()> {
        let made = || Call::Bind {
            asked: end(address),
            local: self.local(),
        };
        self.call(|socket| socket.bind(address), made)
    }

    /// Connects it.
    ///
    /// # Errors
    /// See [`Opening::bind`].
    pub fn connect(&self, peer: &SockAddr) -> io::Result<()> {
        let made = || Call::Connect {
            local: self.local(),
            peer: end(peer),
        };
        self.call(|socket| socket.connect(peer), made)
    }

    /// Lets others connect.
    ///
    /// # Errors
    /// See [`Opening::bind`].
    pub fn listen(&self, backlog: i32) -> io::Result<()> {
        self.call(|socket| socket.listen(backlog), || Call::Listen { backlog })
    }

    /// Makes a call, and tells it.
    fn call(
        &self,
        make: impl FnOnce(&Socket) -> io::Result<()>,
        made: impl FnOnce() -> Call,
    ) -> io::Result<()> {
        let (begun, socket) = (self.audience.begin(), self.socket());
        let outcome = make(socket);
        self.audience
            .ended(begun, socket.as_raw_fd(), &outcome, |()| made());
        outcome
    }

    /// The socket, ready.
    pub fn ready(mut self) -> Socket {
        self.socket.take().expect("it is here until it is ready")
    }

    /// This end; empty where the system does not tell.
    pub fn local(&self) -> End {
        let local = self.socket().local_addr();
        local.map_or(End::Unix(PathBuf::new()), |local| end(&local))
    }
}

impl<A: Audience> Drop for Opening<'_, A> {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            self.audience.close(socket);
        }
    }
}

/// An address of a socket, as an explanation names it.
pub fn end(address: &SockAddr) -> End {
    if let Some(address) = address.as_socket() {
        return End::Inet(address);
    }
    let name = address.as_abstract_namespace();
    End::Unix(match address.as_pathname() {
        Some(path) => path.to_owned(),
        None => OsString::from_vec(name.map_or(Vec::new(), |name| [b"\0", name].concat())).into(),
    })
}
