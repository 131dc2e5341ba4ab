//! Accepting: one worker takes every connection and hands it to the one with the fewest.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use echo_core::cause;
use mio::{Registry, Token};
use socket2::Socket;

use crate::event::{ConnectionId, Events, Kind, PeerAddress};
use crate::fault::{self, Action, Plan};
#[cfg(test)]
use crate::serve::defect::{self, Mutant};
use crate::serve::inbox::Accepted;
use crate::serve::shared::Shared;
use crate::socket::listener::{Listener, StreamListener};
use crate::socket::stream::Stream;

/// Connections accepted in one turn, so that a storm of them cannot starve those that are open.
const ACCEPTS_PER_TURN: usize = 256;

/// The first and the longest pause when the system has no descriptor or memory to spare. A
/// connection waits in the listen backlog meanwhile.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// Failures in a row, each of one connection, after which it is not the connections that fail. With
/// the pauses between them these are 900 tries in the first three seconds of a lasting failure.
const TRIES: u32 = 64;

/// The listeners, and when to listen to them.
pub(crate) struct Acceptor {
    doors: Vec<Door>,
    /// Sockets that refuse connections for as long as they are open.
    refusing: Vec<Socket>,
    next_id: ConnectionId,
    /// Doors that may have more connections.
    ready: Vec<usize>,
}

/// One listener, and how it fares.
struct Door {
    listener: StreamListener,
    /// A fault has no more taken from it.
    closed: bool,
    /// Failures in a row that each concerned one connection.
    failures: u32,
    backoff: Duration,
    /// Nothing is accepted before this.
    paused: Option<Instant>,
}

impl Acceptor {
    /// Registers the stream listeners of `bound` with tokens from `first_token` on.
    pub(crate) fn new(
        listeners: Vec<Listener>,
        registry: &Registry,
        first_token: usize,
    ) -> io::Result<Self> {
        let mut acceptor = Acceptor {
            doors: Vec::new(),
            refusing: Vec::new(),
            next_id: 1,
            ready: Vec::new(),
        };
        for listener in listeners {
            let token = Token(first_token + acceptor.doors.len());
            let listener = match listener {
                Listener::Stream(mut listener) => {
                    listener.register(registry, token)?;
                    listener
                }
                Listener::Refusing(socket) => {
                    acceptor.refusing.push(socket);
                    continue;
                }
                Listener::Udp(_) => continue,
            };
            acceptor.doors.push(Door {
                listener,
                closed: false,
                failures: 0,
                backoff: BACKOFF.0,
                paused: None,
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
        let due = |index: &usize| self.doors[*index].paused.unwrap_or(now);
        self.ready.iter().map(due).min()
    }

    /// Accepts what waits, up to a turn's worth, and gives each connection to `hand_over`. Returns
    /// whether accepting is over: the last connection of `--max-total` has come.
    pub(crate) fn advance(
        &mut self,
        shared: &Shared,
        now: Instant,
        mut hand_over: impl FnMut(Accepted),
    ) -> bool {
        for _ in 0..ACCEPTS_PER_TURN {
            let is_open = |index: &usize| self.doors[*index].paused.is_none_or(|at| at <= now);
            let Some(at) = self.ready.iter().rposition(is_open) else {
                return false;
            };
            let index = self.ready[at];
            let next_id = self.next_id;
            let door = &mut self.doors[index];
            door.paused = None;
            if shared.faults.is_some() && door.leaves_waiting(shared, next_id) {
                self.ready.remove(at);
                continue;
            }
            match door.listener.accept(&shared.events) {
                Ok((stream, address)) => {
                    door.failures = 0;
                    door.backoff = BACKOFF.0;
                    if let Some(accepted) = self.admit(shared, stream, address) {
                        hand_over(accepted);
                    }
                    if shared.limits.is_last_admitted() {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready.remove(at);
                }
                Err(error) => door.fail(shared, now, &error),
            }
        }
        false
    }

    /// Gives a connection its number and its place, or turns it away: first where a fault does, for
    /// it takes no place then.
    pub(crate) fn admit(
        &mut self,
        shared: &Shared,
        stream: Stream,
        address: PeerAddress,
    ) -> Option<Accepted> {
        let (id, transport) = (self.next_id, stream.transport());
        let refuses = |plan: &Arc<Plan>| plan.refuses(transport, id, address, &shared.events);
        if shared.faults.as_ref().is_some_and(refuses) {
            self.next_id += 1;
            #[cfg(test)]
            if defect::has(Mutant::PlaceLost) {
                std::mem::forget(shared.limits.admit(address));
            }
            // Without it the peer sees the end all the same.
            let _: io::Result<()> = stream.reset_on_close();
        } else {
            match shared.limits.admit(address) {
                Ok(permit) => {
                    self.next_id += 1;
                    return Some(Accepted {
                        stream,
                        id,
                        address,
                        permit,
                    });
                }
                Err(limit) => shared.events.tell(|| Kind::Refused {
                    local: stream.local(),
                    peer: address,
                    limit,
                }),
            }
        }
        shared.inboxes[0].counters.refused.add(1);
        shared.events.close(stream);
        None
    }

    /// Closes the listeners: whoever waits in a backlog is refused.
    pub(crate) fn close(self, events: &Events) {
        for door in self.doors {
            door.listener.close(events);
        }
        for socket in self.refusing {
            events.close(socket);
        }
    }
}

impl Door {
    /// Whether a fault has the next connection, and all after it, wait for ever.
    fn leaves_waiting(&mut self, shared: &Shared, connection: ConnectionId) -> bool {
        let transport = self.listener.transport();
        let Some(backlog) = fault::backlog(&shared.config.fault, transport, connection) else {
            return false;
        };
        if !std::mem::replace(&mut self.closed, true) {
            self.listener.set_backlog(backlog, &shared.events);
            fault::tell_from(connection, transport, &Action::NoAccept(0), &shared.events);
        }
        true
    }

    /// Takes note that accepting failed. What concerns one connection holds up no other, until it
    /// is seen to last.
    fn fail(&mut self, shared: &Shared, now: Instant, error: &io::Error) {
        self.failures += 1;
        if concerns_one_connection(error) && !self.failures.is_multiple_of(TRIES) {
            return;
        }
        let retry_in = self.backoff;
        // Told when the trouble starts and when it lasts, not at each of the short first pauses.
        if retry_in == BACKOFF.0 || retry_in == BACKOFF.1 {
            shared.events.tell(|| Kind::AcceptFailed {
                error: cause(error),
                retry_in,
            });
        }
        self.paused = Some(now + retry_in);
        self.backoff = (retry_in * 2).min(BACKOFF.1);
    }
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
