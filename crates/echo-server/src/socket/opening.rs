//! A socket on its way to listening, each call told where it is made.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;

use echo_core::address::End;
use echo_explain::{Call, Family, Kind};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::event::Events;

/// A new socket. Unless it gets where it should, it is closed again.
pub(crate) struct Opening<'a> {
    socket: Option<Socket>,
    events: &'a Events,
}

impl<'a> Opening<'a> {
    /// A socket that does not block.
    pub(crate) fn new(
        events: &'a Events,
        domain: Domain,
        kind: Type,
        protocol: Option<Protocol>,
    ) -> io::Result<Self> {
        let mark = events.mark();
        let socket = Socket::new(domain, kind, protocol)?;
        events.call(mark, socket.as_raw_fd(), || Call::Socket {
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
        let opening = Opening {
            socket: Some(socket),
            events,
        };
        opening.socket().set_nonblocking(true)?;
        Ok(opening)
    }

    /// The socket, for its options.
    pub(crate) fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("it is here until it is ready")
    }

    /// Gives it an address.
    pub(crate) fn bind(&self, address: &SockAddr) -> io::Result<()> {
        let mark = self.events.mark();
        let outcome = self.socket().bind(address);
        self.events.outcome(mark, self.socket(), &outcome, |()| {
            let local = self.socket().local_addr().ok();
            Call::Bind {
                asked: end(address),
                local: end(local.as_ref().unwrap_or(address)),
            }
        });
        outcome
    }

    /// Joins it to another.
    pub(crate) fn connect(&self, peer: &SockAddr) -> io::Result<()> {
        let mark = self.events.mark();
        let outcome = self.socket().connect(peer);
        self.events.outcome(mark, self.socket(), &outcome, |()| {
            let local = self.socket().local_addr().ok();
            Call::Connect {
                local: end(local.as_ref().unwrap_or(peer)),
                peer: end(peer),
            }
        });
        outcome
    }

    /// Lets others connect.
    pub(crate) fn listen(&self, backlog: i32) -> io::Result<()> {
        let mark = self.events.mark();
        let outcome = self.socket().listen(backlog);
        self.events
            .outcome(mark, self.socket(), &outcome, |()| Call::Listen { backlog });
        outcome
    }

    /// The socket, ready.
    pub(crate) fn ready(mut self) -> Socket {
        self.socket.take().expect("it is here until it is ready")
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            self.events.close(socket);
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
