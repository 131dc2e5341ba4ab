//! Bound sockets, and the connections that come to them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use echo_core::Transport;
use echo_explain::{Audience, Begun, Call, Watched};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Socket, TcpKeepalive};

use crate::Listen;
use crate::config::Config;
use crate::event::{Address, Events, PeerAddress};
use crate::file::{Lock, OwnFile};
use crate::socket::stream::Stream;

/// A bound socket, not blocking. Dropped, it is closed.
pub(crate) struct Listener {
    /// It goes first: as long as the socket has it, no other can have its number.
    pub(super) _file: Option<SocketFile>,
    pub(crate) socket: Watched<Events>,
    /// The address it got.
    pub(crate) address: Address,
    /// As what it was configured.
    pub(crate) listen: Arc<Listen>,
    pub(crate) reception: Reception,
}

/// A Unix socket's file, and the right to it; nothing in the abstract namespace.
pub(crate) struct SocketFile {
    // In this order: the right goes last.
    pub(super) _socket: OwnFile,
    pub(super) _right: Lock,
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

impl Listener {
    /// One that accepts whoever connects.
    pub(super) fn new(listen: &Arc<Listen>, address: Address, socket: Watched<Events>) -> Self {
        Listener {
            _file: None,
            socket,
            address,
            listen: listen.clone(),
            reception: Reception::Open,
        }
    }

    /// Has `registry` tell when there are connections.
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let mut source = SourceFd(&self.socket.socket().as_raw_fd());
        registry.register(&mut source, token, Interest::READABLE)
    }

    /// Takes a connection.
    pub(crate) fn accept(&self, events: &Events) -> io::Result<(Stream, PeerAddress)> {
        let (socket, address) = accept(self.socket.socket())?;
        let stream = Stream::Socket(socket, self.address.transport());
        let peer = address.map_or(PeerAddress::Unix, PeerAddress::Inet);
        let number = self.socket.socket().as_raw_fd();
        events.ended(Begun::default(), number, &Ok(()), |()| Call::Accept {
            accepted: stream.as_raw_fd(),
            local: (&stream.local(None)).into(),
            peer: peer.into(),
        });
        Ok((stream, peer))
    }

    /// Has the system hold ready so many connections from now on.
    pub(crate) fn listen_with(&self, backlog: i32) -> io::Result<()> {
        if self.address.transport() == Transport::Tcp {
            // One that refused gave it up, and connections that it accepted before have its port.
            self.socket.socket().set_reuse_address(true)?;
        }
        self.socket.listen(backlog)
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

/// The options of a listener before it is bound, and of its connections: accepted sockets inherit them.
pub(super) fn set_options(config: &Config, socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // Lets a restarted server bind while old connections are in TIME_WAIT, and one that refused listen
    // again; two listeners still cannot share a port. Never set for UDP, where two sockets could.
    socket.set_reuse_address(true)?;
    // Urgent data is part of what the peer sent, and comes back in its place.
    socket.set_out_of_band_inline(true)?;
    // Before it listens: the scale of the window, which is agreed upon first, follows from it.
    let buffer = config.socket_buffer.0.min(i32::MAX as u64) as usize;
    if buffer > 0 {
        socket.set_recv_buffer_size(buffer)?;
        socket.set_send_buffer_size(buffer)?;
    }
    let keepalive = Duration::from(config.keepalive);
    if keepalive.is_zero() {
        return Ok(());
    }
    // Probes start after the given time and take as long again: 4 of them, spread evenly. The
    // system counts in whole seconds.
    let idle = keepalive.max(Duration::from_secs(1));
    let interval = (idle / 4).max(Duration::from_secs(1));
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(idle)
            .with_interval(interval)
            .with_retries(4),
    )?;
    // The same bound for a peer that vanished while data was on its way to it, but never sooner
    // than the write timeout: to the system, a peer that does not read looks the same. It holds for
    // silent peers, too: where it is set, Linux asks no more how many probes had no answer.
    if config.write_timeout.0 > Duration::ZERO {
        // In milliseconds, in 31 bits: some 24 days, after which a longer write timeout is ours alone.
        let timeout = (idle * 2).max(config.write_timeout.into());
        socket.set_tcp_user_timeout(Some(timeout.min(Duration::from_millis(i32::MAX as u64))))?;
    }
    Ok(())
}
