//! A socket, each call on which is told where it is made.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use echo_core::address::End;
use echo_core::escape::excerpt;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{Audience, Begun, Call, Family, SocketKind};

/// A socket, and whom is told what is done with it. Dropped, it is closed.
#[derive(Debug)]
pub struct Watched<A: Audience> {
    /// `None` only while it is dropped.
    socket: Option<Socket>,
    audience: A,
    /// We have said that we send no more.
    is_finished: bool,
}

impl<A: Audience + Clone> Watched<A> {
    /// A new socket.
    ///
    /// # Errors
    /// The system's.
    pub fn new(
        audience: &A,
        domain: Domain,
        kind: Type,
        protocol: Option<Protocol>,
    ) -> io::Result<Self> {
        let begun = audience.begin();
        let socket = Socket::new(domain, kind, protocol)?;
        let watched = Watched::of(audience, socket);
        let family = match domain {
            Domain::IPV4 => Family::Inet,
            Domain::IPV6 => Family::Inet6,
            _ => Family::Unix,
        };
        let kind = match kind {
            Type::DGRAM => SocketKind::Datagram,
            _ => SocketKind::Stream,
        };
        watched.ended(begun, &Ok(()), |()| Call::Socket { family, kind });
        Ok(watched)
    }

    /// A socket that is there already.
    pub fn of(audience: &A, socket: Socket) -> Self {
        Watched {
            socket: Some(socket),
            audience: audience.clone(),
            is_finished: false,
        }
    }
}

impl<A: Audience> Watched<A> {
    /// The socket, for calls that are not told.
    pub fn socket(&self) -> &Socket {
        let socket = self.socket.as_ref();
        socket.expect("it is there until it is dropped")
    }

    /// The socket, which is watched no more.
    pub fn into_inner(mut self) -> Socket {
        self.socket.take().expect("it is there until it is dropped")
    }

    /// Gives it an address.
    ///
    /// # Errors
    /// The system's, as with all calls.
    pub fn bind(&self, address: &SockAddr) -> io::Result<()> {
        let begun = self.audience.begin();
        let outcome = self.socket().bind(address);
        self.ended(begun, &outcome, |()| Call::Bind {
            asked: end(address),
            local: self.local(),
        });
        outcome
    }

    /// Lets others connect.
    ///
    /// # Errors
    /// See [`Watched::bind`].
    pub fn listen(&self, backlog: i32) -> io::Result<()> {
        let begun = self.audience.begin();
        let outcome = self.socket().listen(backlog);
        self.ended(begun, &outcome, |()| Call::Listen { backlog });
        outcome
    }

    /// Connects it.
    ///
    /// # Errors
    /// See [`Watched::bind`].
    pub fn connect(&self, peer: &SockAddr) -> io::Result<()> {
        let begun = self.audience.begin();
        let outcome = self.socket().connect(peer);
        self.connected(begun, peer, &outcome);
        outcome
    }

    /// Tells what came of connecting it, which had `begun`.
    pub fn connected(&self, begun: Begun, peer: &SockAddr, outcome: &io::Result<()>) {
        self.ended(begun, outcome, |()| Call::Connect {
            local: self.local(),
            peer: end(peer),
        });
    }

    /// Tells the other side that nothing more comes, unless it has been told. This fails only on a
    /// connection that is gone, which the next read tells as well.
    pub fn finish(&mut self) {
        if !std::mem::replace(&mut self.is_finished, true) {
            let begun = self.audience.begin();
            let outcome = self.socket().shutdown(Shutdown::Write);
            self.ended(begun, &outcome, |()| Call::Shutdown { both: false });
        }
    }

    /// This end; empty where the system does not tell.
    fn local(&self) -> End {
        let local = self.socket().local_addr();
        local.map_or(End::Unix(PathBuf::new()), |local| end(&local))
    }

    /// Tells what came of a call on it, which had `begun`.
    pub fn ended<T: Copy + Default>(
        &self,
        begun: Begun,
        outcome: &io::Result<T>,
        call: impl FnOnce(T) -> Call,
    ) {
        let number = self.socket().as_raw_fd();
        self.audience.ended(begun, number, outcome, call);
    }
}

impl<A: Audience> Read for Watched<A> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begun = self.audience.begin();
        let outcome = self.socket().read(buffer);
        self.ended(begun, &outcome, |len| Call::Receive {
            received_bytes: len as u64,
            room_bytes: buffer.len() as u64,
            data: excerpt(&buffer[..len]),
        });
        outcome
    }
}

impl<A: Audience> Write for Watched<A> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let begun = self.audience.begin();
        let outcome = self.socket().write(bytes);
        self.ended(begun, &outcome, |len| Call::Send {
            sent_bytes: len as u64,
            offered_bytes: bytes.len() as u64,
            data: excerpt(bytes),
        });
        outcome
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<A: Audience> AsFd for Watched<A> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl<A: Audience> Drop for Watched<A> {
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
