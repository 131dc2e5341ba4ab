//! Bound sockets, and the connections that come to them.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use echo_core::Transport;
use echo_explain::{Audience, Begun, Call};
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::Listen;
use crate::event::{Address, Events, PeerAddress};
use crate::socket::stream::Stream;
use crate::socket::unix::SocketFile;

/// A bound socket, not blocking.
pub(crate) enum Listener {
    Stream(StreamListener, Reception),
    Udp(UdpSocket),
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
}

impl Bound {
    /// The TCP listener, where it is one.
    pub(crate) fn tcp(self) -> Option<mio::net::TcpListener> {
        match self.listener {
            Listener::Stream(StreamListener::Tcp(listener), _) => Some(listener),
            _ => None,
        }
    }

    pub(crate) fn close(self, events: &Events) {
        match self.listener {
            Listener::Stream(listener, _) => listener.close(events),
            Listener::Udp(socket) => events.close(socket),
        }
    }
}

/// A listener for streams.
pub(crate) enum StreamListener {
    Tcp(mio::net::TcpListener),
    /// The file goes first: as long as the socket has it, no other can have its number.
    Unix(Option<SocketFile>, mio::net::UnixListener),
}

impl StreamListener {
    /// Has `registry` tell when there are connections.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            StreamListener::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            StreamListener::Unix(_, listener) => {
                registry.register(listener, token, Interest::READABLE)
            }
        }
    }

    /// Takes a connection.
    pub(crate) fn accept(&self, events: &Events) -> io::Result<(Stream, PeerAddress)> {
        let (number, stream, peer) = match self {
            StreamListener::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                // Elsewhere accepted sockets inherit the listener's options.
                #[cfg(not(target_os = "linux"))]
                stream.set_nodelay(true)?;
                let peer = PeerAddress::Inet(address);
                (listener.as_raw_fd(), Stream::Tcp(stream), peer)
            }
            StreamListener::Unix(_, listener) => {
                let (stream, _) = listener.accept()?;
                let peer = PeerAddress::Unix;
                (listener.as_raw_fd(), Stream::Unix(stream), peer)
            }
        };
        events.ended(Begun::default(), number, &Ok(()), |()| Call::Accept {
            accepted: stream.as_raw_fd(),
            local: (&stream.local()).into(),
            peer: peer.into(),
        });
        Ok((stream, peer))
    }

    /// Stops listening.
    pub(crate) fn close(self, events: &Events) {
        match self {
            StreamListener::Tcp(listener) => events.close(listener),
            StreamListener::Unix(file, listener) => {
                drop(file);
                events.close(listener);
            }
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        match self {
            StreamListener::Tcp(_) => Transport::Tcp,
            StreamListener::Unix(..) => Transport::Unix,
        }
    }

    /// Has the system hold ready so many connections from now on.
    pub(crate) fn listen(&self, backlog: i32, events: &Events) -> io::Result<()> {
        let begun = events.begin();
        let socket = match self {
            StreamListener::Tcp(listener) => SockRef::from(listener),
            StreamListener::Unix(_, listener) => SockRef::from(listener),
        };
        if self.transport() == Transport::Tcp {
            // One that refused gave it up, and connections that it accepted before have its port.
            socket.set_reuse_address(true)?;
        }
        let outcome = socket.listen(backlog);
        let number = socket.as_raw_fd();
        events.ended(begun, number, &outcome, |()| Call::Listen { backlog });
        outcome
    }
}
