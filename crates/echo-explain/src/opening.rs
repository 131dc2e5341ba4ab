//! A socket on its way to being bound or connected, each call told where it is made.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use echo_core::address::End;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{Audience, Begun, Call, Family, SocketKind};

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
        let begun = self.audience.begin();
        let outcome = self.socket().bind(address);
        self.ended(begun, &outcome, || Call::Bind {
            asked: end(address),
            local: self.local(),
        });
        outcome
    }

    /// Connects it.
    ///
    /// # Errors
    /// See [`Opening::bind`].
    pub fn connect(&self, peer: &SockAddr) -> io::Result<()> {
        let begun = self.audience.begin();
        let outcome = self.socket().connect(peer);
        self.ended(begun, &outcome, || Call::Connect {
            local: self.local(),
            peer: end(peer),
        });
        outcome
    }

    /// Lets others connect.
    ///
    /// # Errors
    /// See [`Opening::bind`].
    pub fn listen(&self, backlog: i32) -> io::Result<()> {
        let begun = self.audience.begin();
        let outcome = self.socket().listen(backlog);
        self.ended(begun, &outcome, || Call::Listen { backlog });
        outcome
    }

    /// The socket, ready.
    pub fn ready(mut self) -> Socket {
        self.socket.take().expect("it is here until it is ready")
    }

    fn ended(&self, begun: Begun, outcome: &io::Result<()>, call: impl FnOnce() -> Call) {
        let socket = self.socket().as_raw_fd();
        self.audience.ended(begun, socket, outcome, |()| call());
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
