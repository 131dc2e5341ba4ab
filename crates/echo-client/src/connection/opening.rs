//! A socket on its way to being connected, each call told where it is made.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use echo_core::address::End;
use echo_explain::{Call, Family, Kind};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::number;
use crate::narrator::Narrator;

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

    /// Connects it, within a limit of time where it has one.
    pub(super) fn connect(self, peer: &SockAddr, limit: Option<Duration>) -> io::Result<Socket> {
        let call = self.narrator.begin();
        let outcome = match limit {
            Some(limit) => self.socket().connect_timeout(peer, limit),
            None => self.socket().connect(peer),
        };
        call.ended(number(self.socket()), &outcome, |()| Call::Connect {
            local: self.local(),
            peer: end(peer),
        });
        outcome.map(|()| self.connected())
    }

    fn connected(mut self) -> Socket {
        self.socket
            .take()
            .expect("it is here until it is connected")
    }

    fn local(&self) -> End {
        let unknown = End::Unix(PathBuf::new());
        self.socket()
            .local_addr()
            .map_or(unknown, |local| end(&local))
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
