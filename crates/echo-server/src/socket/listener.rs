//! Bound sockets, and the connections that come to them.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use echo_core::Transport;
use echo_explain::Call;
use mio::{Interest, Registry, Token};
use socket2::{SockRef, Socket};

use crate::event::{Address, Events, Mark, PeerAddress};
use crate::socket::stream::Stream;
use crate::socket::unix::SocketFile;

/// A bound socket, not blocking.
pub(crate) enum Listener {
    Stream(StreamListener),
    Udp(UdpSocket),
    /// Bound, but not listening: the system refuses every connection.
    Refusing(Socket),
}

/// A bound socket and the address it got.
pub(crate) struct Bound {
    pub(crate) address: Address,
    pub(crate) listener: Listener,
}

impl Bound {
    /// Whether a fault has it refuse every connection.
    pub(crate) fn is_refusing(&self) -> bool {
        matches!(self.listener, Listener::Refusing(_))
    }

    pub(crate) fn close(self, events: &Events) {
        match self.listener {
            Listener::Stream(listener) => listener.close(events),
            Listener::Udp(socket) => events.close(socket),
            Listener::Refusing(socket) => events.close(socket),
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
        events.call(Mark::default(), number, || Call::Accept {
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

    /// How many connections the system holds ready from now on.
    pub(crate) fn set_backlog(&self, backlog: i32, events: &Events) {
        let mark = events.mark();
        let socket = match self {
            StreamListener::Tcp(listener) => SockRef::from(listener),
            StreamListener::Unix(_, listener) => SockRef::from(listener),
        };
        let outcome = socket.listen(backlog);
        events.outcome(mark, &*socket, &outcome, |()| Call::Listen { backlog });
    }
}
