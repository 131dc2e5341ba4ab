//! Accepting: one worker takes every connection and hands it to the one with the fewest.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use echo_explain::Call;
use mio::{Interest, Registry, Token};
use socket2::{SockRef, Socket};

use crate::event::Applied;
use crate::event::{ConnectionId, Events, Kind, Mark, PeerAddress};
use crate::fault::{self, Network};
use crate::serve::worker::Shared;
use crate::socket::listener::{Listener, SocketFile};
use crate::socket::stream::Stream;

/// Connections accepted in one turn, so that a storm of them cannot starve those that are open.
const ACCEPTS_PER_TURN: usize = 256;

/// The first and the longest pause when the system has no descriptor or memory to spare. A
/// connection waits in the listen backlog meanwhile.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// A connection on its way to a worker.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) id: ConnectionId,
    pub(crate) address: PeerAddress,
}

/// The listeners, and when to listen to them.
pub(crate) struct Acceptor {
    listeners: Vec<StreamListener>,
    /// Listeners from which a fault has no more taken.
    waiting: Vec<usize>,
    /// Sockets that refuse connections for as long as they are open.
    refusing: Vec<Socket>,
    next_id: ConnectionId,
    backoff: Duration,
    /// Nothing is accepted before this.
    paused: Option<Instant>,
    /// Listeners that may have more connections.
    ready: Vec<usize>,
}

enum StreamListener {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener, SocketFile),
}

impl StreamListener {
    fn accept(&self, events: &Events) -> io::Result<(Stream, PeerAddress)> {
        let (number, stream, peer) = match self {
            StreamListener::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                // Elsewhere accepted sockets inherit the listener's options.
                #[cfg(not(target_os = "linux"))]
                stream.set_nodelay(true)?;
                let peer = PeerAddress::Inet(address);
                (listener.as_raw_fd(), Stream::Tcp(stream), peer)
            }
            StreamListener::Unix(listener, _) => {
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

    fn close(self, events: &Events) {
        match self {
            StreamListener::Tcp(listener) => events.close(listener),
            StreamListener::Unix(listener, _file) => events.close(listener),
        }
    }

    fn network(&self) -> Network {
        match self {
            StreamListener::Tcp(_) => Network::Tcp,
            StreamListener::Unix(..) => Network::Unix,
        }
    }

    /// How many connections the system holds ready from now on.
    fn set_backlog(&self, backlog: i32, events: &Events) {
        let mark = events.mark();
        let socket = match self {
            StreamListener::Tcp(listener) => SockRef::from(listener),
            StreamListener::Unix(listener, _) => SockRef::from(listener),
        };
        let outcome = socket.listen(backlog);
        events.outcome(mark, &*socket, &outcome, |()| Call::Listen { backlog });
    }
}

impl Acceptor {
    /// Registers the stream listeners of `bound` with tokens from `first_token` on.
    pub(crate) fn new(
        listeners: Vec<Listener>,
        registry: &Registry,
        first_token: usize,
    ) -> io::Result<Self> {
        let mut acceptor = Acceptor {
            listeners: Vec::new(),
            waiting: Vec::new(),
            refusing: Vec::new(),
            next_id: 1,
            backoff: BACKOFF.0,
            paused: None,
            ready: Vec::new(),
        };
        for listener in listeners {
            let token = Token(first_token + acceptor.listeners.len());
            acceptor.listeners.push(match listener {
                Listener::Tcp(mut listener) => {
                    registry.register(&mut listener, token, Interest::READABLE)?;
                    StreamListener::Tcp(listener)
                }
                Listener::Unix(mut listener, file) => {
                    registry.register(&mut listener, token, Interest::READABLE)?;
                    StreamListener::Unix(listener, file)
                }
                Listener::Refusing(socket) => {
                    acceptor.refusing.push(socket);
                    continue;
                }
                Listener::Udp(_) => continue,
            });
        }
        Ok(acceptor)
    }

    /// Takes note that a listener has connections waiting.
    pub(crate) fn note(&mut self, index: usize) {
        if !self.ready.contains(&index) {
            self.ready.push(index);
        }
    }

    /// When there is something to accept: `None` when there is not.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        (!self.ready.is_empty()).then(|| self.paused.unwrap_or(now))
    }

    /// Accepts what waits, up to a turn's worth, and gives each connection to `admit`. Returns
    /// whether accepting is over: the last connection of `--max-total` has come.
    pub(crate) fn advance(
        &mut self,
        shared: &Shared,
        now: Instant,
        mut admit: impl FnMut(Accepted),
    ) -> bool {
        if self.paused.is_some_and(|until| now < until) {
            return false;
        }
        self.paused = None;
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(&index) = self.ready.last() else {
                return false;
            };
            if shared.faults.is_some() && self.leaves_waiting(shared, index) {
                self.ready.pop();
                continue;
            }
            match self.listeners[index].accept(&shared.events) {
                Ok((stream, address)) => {
                    self.backoff = BACKOFF.0;
                    if let Err(limit) = shared.limits.admit(address) {
                        shared.inboxes[0].counters.refused.add(1);
                        shared.events.tell(|| Kind::Refused {
                            local: stream.local(),
                            peer: address,
                            limit,
                        });
                        shared.events.close(stream);
                        continue;
                    }
                    let id = self.next_id;
                    self.next_id += 1;
                    let accepted = Accepted {
                        stream,
                        id,
                        address,
                    };
                    match refuse(shared, accepted) {
                        Some(accepted) => admit(accepted),
                        None => continue,
                    }
                    if shared.limits.is_last_admitted() {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready.pop();
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    self.pause(shared, now, &error);
                    return false;
                }
            }
        }
        false
    }

    /// Whether a fault has the next connection, and all after it, wait for ever.
    fn leaves_waiting(&mut self, shared: &Shared, index: usize) -> bool {
        let listener = &self.listeners[index];
        let (network, connection) = (listener.network(), self.next_id);
        let Some(backlog) = fault::backlog(&shared.config.fault, network, connection) else {
            return false;
        };
        if !self.waiting.contains(&index) {
            self.waiting.push(index);
            listener.set_backlog(backlog, &shared.events);
            shared.events.tell(|| Kind::Fault {
                what: Applied::NoAccept,
                network,
                connection,
                peer: None,
                message: 0,
            });
        }
        true
    }

    /// Closes the listeners: whoever waits in a backlog is refused.
    pub(crate) fn close(self, events: &Events) {
        for listener in self.listeners {
            listener.close(events);
        }
        for socket in self.refusing {
            events.close(socket);
        }
    }

    fn pause(&mut self, shared: &Shared, now: Instant, error: &io::Error) {
        let retry_in = self.backoff;
        // Told when the trouble starts and when it lasts, not at each of the short first pauses.
        if retry_in == BACKOFF.0 || retry_in == BACKOFF.1 {
            shared.events.tell(|| Kind::AcceptFailed {
                error: error.to_string(),
                retry_in,
            });
        }
        self.paused = Some(now + retry_in);
        self.backoff = (retry_in * 2).min(BACKOFF.1);
    }
}

/// Resets the connection if a fault refuses it, and else gives it back.
fn refuse(shared: &Shared, accepted: Accepted) -> Option<Accepted> {
    let Accepted {
        stream,
        id,
        address,
    } = &accepted;
    let network = stream.network();
    let plan = shared.faults.as_ref();
    if !plan.is_some_and(|plan| plan.refuses(network, *id, *address)) {
        return Some(accepted);
    }
    // Without it the peer sees the end all the same.
    let _: io::Result<()> = stream.reset_on_close();
    shared.limits.release(*address);
    shared.inboxes[0].counters.refused.add(1);
    shared.events.tell(|| Kind::Fault {
        what: Applied::Refuse,
        network,
        connection: *id,
        peer: Some(*address),
        message: 0,
    });
    shared.events.close(accepted.stream);
    None
}

/// Whether accepting failed for a connection that was gone before we took it, or that a filter
/// refused: the next one has nothing to do with it. Linux reports what happened to the connection
/// before as an error of `accept` (see accept(2)). All else, such as a lack of descriptors or
/// memory, would fail the next one too.
fn concerns_one_connection(error: &io::Error) -> bool {
    use rustix::io::Errno;

    let own = [
        Errno::CONNABORTED,
        Errno::HOSTUNREACH,
        Errno::INTR,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
        Errno::PERM,
        Errno::PROTO,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| own.contains(&Errno::from_raw_os_error(code)))
}
