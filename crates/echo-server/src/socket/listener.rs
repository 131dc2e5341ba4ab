//! Bound sockets, and the connections that come to them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use echo_core::Transport;
use echo_explain::{Audience, Begun, Call};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::Socket;

use crate::Listen;
use crate::event::{Address, Events, PeerAddress};
use crate::socket::stream::Stream;
use crate::socket::unix::SocketFile;

/// A bound socket, not blocking.
pub(crate) struct Listener {
    /// It goes first: as long as the socket has it, no other can have its number.
    pub(crate) file: Option<SocketFile>,
    pub(crate) transport: Transport,
    pub(crate) socket: Socket,
}

/// What becomes of those who connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reception {
    /// They are accepted.
    Open,
    /// They wait in the system's queue, as a fault has it.
    Waiting,
    /// The system refuses them: the socket is bound, and does not listen.
    Refusing,
}

/// A bound socket and the address it got.
pub(crate) struct Bound {
    /// As what it was configured.
    pub(crate) listen: Arc<Listen>,
    pub(crate) address: Address,
    pub(crate) listener: Listener,
    pub(crate) reception: Reception,
}

impl Listener {
    /// Has `registry` tell when there are connections.
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let mut source = SourceFd(&self.socket.as_raw_fd());
        registry.register(&mut source, token, Interest::READABLE)
    }

    /// Takes a connection.
    pub(crate) fn accept(&self, events: &Events) -> io::Result<(Stream, PeerAddress)> {
        let (socket, address) = accept(&self.socket)?;
        let stream = Stream::Socket(socket, self.transport);
        let peer = address.map_or(PeerAddress::Unix, PeerAddress::Inet);
        let number = self.socket.as_raw_fd();
        events.ended(Begun::default(), number, &Ok(()), |()| Call::Accept {
            accepted: stream.as_raw_fd(),
            local: (&stream.local()).into(),
            peer: peer.into(),
        });
        Ok((stream, peer))
    }

    /// Has the system hold ready so many connections from now on.
    pub(crate) fn listen(&self, backlog: i32, events: &Events) -> io::Result<()> {
        let (begun, number) = (events.begin(), self.socket.as_raw_fd());
        if self.transport == Transport::Tcp {
            // One that refused gave it up, and connections that it accepted before have its port.
            self.socket.set_reuse_address(true)?;
        }
        let outcome = self.socket.listen(backlog);
        events.ended(begun, number, &outcome, |()| Call::Listen { backlog });
        outcome
    }

    /// Stops listening.
    pub(crate) fn close(self, events: &Events) {
        drop(self.file);
        events.close(self.socket);
    }
}

/// A connection that does not block, with one call; and its other end's IP address and port.
fn accept(listener: &Socket) -> io::Result<(Socket, Option<SocketAddr>)> {
    use rustix::net::{SocketFlags, acceptfrom_with};

    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, address) = acceptfrom_with(listener, flags)?;
    let address = address.and_then(|address| address.try_into().ok());
    Ok((socket.into(), address))
}
