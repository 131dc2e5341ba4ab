//! Accepting: one worker takes every connection and hands it to the one with the fewest.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use echo_core::{Transport, told};
use echo_explain::Audience;
use mio::{Registry, Token};

use crate::Name;
use crate::config::Config;
use crate::event::{ConnectionId, Done, Events, Kind, Refusal};
use crate::fault::{Action, Plan, Subject};
use crate::serve::backoff::Backoff;
#[cfg(test)]
use crate::serve::defect::{self, Mutant};
use crate::serve::handshakes::Handshakes;
use crate::serve::inbox::{Accepted, Newcomer};
use crate::serve::shared::Shared;
use crate::socket::bind;
use crate::socket::listener::{Listener, Reception};

/// Connections accepted in one turn, so that a storm of them cannot starve those that are open.
const ACCEPTS_PER_TURN: usize = 256;

/// Failures in a row, each of one connection, after which it is not the connections that fail. With
/// the pauses between them these are 900 tries in the first three seconds of a lasting failure.
const TRIES: u32 = 64;

/// The listeners, and when to listen to them.
pub(crate) struct Acceptor {
    doors: Vec<Door>,
    /// The faults that apply now.
    faults: Option<Arc<Plan>>,
    next_id: ConnectionId,
    /// Doors that may have more connections.
    ready: Vec<usize>,
    /// With `--proxy-protocol`, those who have come in and not yet said for whom.
    handshakes: Option<Handshakes>,
}

/// One listener, and how it fares.
struct Door {
    token: Token,
    listener: Listener,
    /// Whoever connects waits, as a command has it.
    held: bool,
    /// Failures in a row that each concerned one connection.
    failures: u32,
    /// Nothing is accepted before it is over.
    backoff: Backoff,
}

impl Acceptor {
    /// Registers the stream listeners of `bound` with tokens from `first_token` on.
    pub(crate) fn new(
        bound: Vec<Listener>,
        registry: &Registry,
        first_token: usize,
        config: &Config,
    ) -> io::Result<Self> {
        let mut doors = Vec::new();
        for listener in bound {
            let token = Token(first_token + doors.len());
            listener.register(registry, token)?;
            doors.push(Door {
                token,
                listener,
                held: false,
                failures: 0,
                backoff: Backoff::new(),
            });
        }
        let after = first_token + doors.len();
        let handshakes = config
            .proxy_protocol
            .then(|| Handshakes::new(registry, after));
        Ok(Acceptor {
            doors,
            faults: None,
            next_id: 1,
            ready: Vec::new(),
            handshakes: handshakes.transpose()?,
        })
    }

    /// Has the faults of `plan` apply from now on: listens again, or no more.
    pub(crate) fn set_faults(
        &mut self,
        shared: &Shared,
        registry: &Registry,
        plan: Option<Arc<Plan>>,
    ) {
        self.faults = plan;
        for door in &mut self.doors {
            let plan = self.faults.as_deref();
            if let Err(error) = door.open_or_refuse(shared, registry, plan, self.next_id) {
                shared.events.tell(|| Kind::AcceptFailed {
                    error: told(&error),
                    retry_in: Duration::ZERO,
                });
            }
        }
        self.ready = (0..self.doors.len()).collect();
    }

    /// Has whoever connects to the listeners of this name, or any, wait; or no more.
    pub(crate) fn pause(&mut self, listener: Option<&Name>, paused: bool) {
        let doors = self.doors.iter_mut();
        for door in doors.filter(|door| door.listener.listen.is_called(listener)) {
            door.held = paused;
        }
        // Where nothing waits, that is all there is to see.
        self.ready = (0..self.doors.len()).collect();
    }

    /// Takes note of what the system says of the listener `index`, or of a connection behind those.
    /// It may have been the last of that.
    pub(crate) fn note(&mut self, index: usize, over: bool) {
        match index.checked_sub(self.doors.len()) {
            Some(key) => {
                if let Some(handshakes) = &mut self.handshakes {
                    handshakes.note(key, over);
                }
            }
            None if !self.ready.contains(&index) => self.ready.push(index),
            None => {}
        }
    }

    /// When there is something to accept: `None` when there is not.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let due = |index: &usize| self.doors[*index].backoff.until().unwrap_or(now);
        let handshakes = self.handshakes.as_ref();
        let handshakes = handshakes.and_then(|handshakes| handshakes.due(now));
        self.ready.iter().map(due).chain(handshakes).min()
    }

    /// Accepts what waits, up to a turn's worth, and gives each connection to `hand_over`. Returns
    /// whether accepting is over: the last connection of `--max-total` has come.
    pub(crate) fn advance(
        &mut self,
        shared: &Shared,
        now: Instant,
        mut hand_over: impl FnMut(Accepted),
    ) -> bool {
        // Those whose load balancer has said for whom it speaks.
        while let Some(newcomer) = self
            .handshakes
            .as_mut()
            .and_then(|all| all.next(shared, now))
        {
            self.admit(shared, newcomer).map(&mut hand_over);
            if shared.limits.is_last_admitted() {
                return true;
            }
        }
        for _ in 0..ACCEPTS_PER_TURN {
            let doors = &mut self.doors;
            let is_open = |index: &usize| doors[*index].backoff.tries(now);
            let Some(at) = self.ready.iter().rposition(is_open) else {
                return false;
            };
            let waiting = self.handshakes.as_ref().map_or(0, Handshakes::len);
            let (index, next_id) = (self.ready[at], self.next_id + waiting as ConnectionId);
            let door = &mut self.doors[index];
            if !door.takes(shared, self.faults.as_deref(), next_id) {
                self.ready.remove(at);
                continue;
            }
            match door.listener.accept(&shared.events) {
                Ok((stream, address)) => {
                    door.failures = 0;
                    door.backoff = Backoff::new();
                    let own = door.listener.address.socket();
                    let newcomer = Newcomer {
                        stream,
                        address,
                        listen: door.listener.listen.clone(),
                        local: own.filter(|own| !own.ip().is_unspecified()),
                        place: None,
                    };
                    match &mut self.handshakes {
                        Some(handshakes) => handshakes.begin(shared, newcomer, now),
                        None => {
                            self.admit(shared, newcomer).map(&mut hand_over);
                        }
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
    pub(crate) fn admit(&mut self, shared: &Shared, mut newcomer: Newcomer) -> Option<Accepted> {
        let (id, address) = (self.next_id, newcomer.address);
        let refused = self.faults.as_ref().is_some_and(|plan| {
            let listener = newcomer.listen.name.as_ref();
            let transport = newcomer.stream.transport();
            let subject = Subject::new(transport, listener, id, Some(address));
            plan.refuses(&subject, &shared.events)
        });
        if refused {
            self.next_id += 1;
            #[cfg(test)]
            if defect::has(Mutant::PlaceLost) {
                std::mem::forget(shared.limits.admit(address, None));
            }
            // Without it the peer sees the end all the same.
            let _: io::Result<()> = newcomer.stream.reset_on_close();
            shared.inboxes[0].counters.refused[Refusal::Fault.index()].add(1);
            shared.events.close(newcomer.stream);
            return None;
        }
        match shared.limits.admit(address, newcomer.place.take()) {
            Ok(permit) => {
                self.next_id += 1;
                Some(Accepted {
                    id,
                    newcomer,
                    permit,
                })
            }
            Err(refusal) => {
                shared.turn_away(newcomer, refusal);
                None
            }
        }
    }

    /// Closes the listeners: whoever waits in a backlog is refused.
    pub(crate) fn close(self, events: &Events) {
        drop(self.doors);
        if let Some(handshakes) = self.handshakes {
            handshakes.close(events);
        }
    }
}

impl Door {
    /// Stops listening where a fault has it refuse all, and listens again where none does.
    fn open_or_refuse(
        &mut self,
        shared: &Shared,
        registry: &Registry,
        plan: Option<&Plan>,
        number: ConnectionId,
    ) -> io::Result<()> {
        let next = self.next(number);
        let tcp = next.transport == Transport::Tcp;
        let refuses = tcp && plan.is_some_and(|plan| plan.refuses_all(next.listener.as_ref()));
        let backlog = plan.and_then(|plan| plan.backlog(&next));
        match self.listener.reception {
            Reception::Refusing if refuses => return Ok(()),
            Reception::Waiting if !refuses && backlog.is_some() => return Ok(()),
            Reception::Open if !refuses => return Ok(()),
            _ if refuses => {
                if bind::refuse(&mut self.listener, &shared.config, &shared.events)? {
                    self.listener.register(registry, self.token)?;
                }
                self.listener.reception = Reception::Refusing;
                next.tell(&shared.events, None, &Action::Refuse, Done::Plainly);
            }
            _ => {
                let backlog = backlog.unwrap_or(bind::BACKLOG);
                self.listener.listen_with(backlog)?;
                self.listener.reception = Reception::Open;
            }
        }
        Ok(())
    }

    /// Whether the next connection is taken: no fault has it, and all after it, wait or refused.
    fn takes(&mut self, shared: &Shared, plan: Option<&Plan>, number: ConnectionId) -> bool {
        if self.held || self.listener.reception == Reception::Refusing {
            return false;
        }
        let Some(plan) = plan else {
            return true;
        };
        let next = self.next(number);
        let Some(backlog) = plan.backlog(&next) else {
            return true;
        };
        let reception = &mut self.listener.reception;
        if std::mem::replace(reception, Reception::Waiting) != Reception::Waiting {
            // Where that fails, more wait than were to.
            let _: io::Result<()> = self.listener.listen_with(backlog);
            let action = Action::NoAccept(0);
            next.tell(&shared.events, None, &action, Done::Plainly);
        }
        false
    }

    /// The connection of this number, which is to come.
    fn next(&self, number: ConnectionId) -> Subject {
        let name = self.listener.listen.name.as_ref();
        Subject::new(self.listener.address.transport(), name, number, None)
    }

    /// Takes note that accepting failed. What concerns one connection holds up no other, until it
    /// is seen to last.
    fn fail(&mut self, shared: &Shared, now: Instant, error: &io::Error) {
        self.failures += 1;
        if concerns_one_connection(error) && !self.failures.is_multiple_of(TRIES) {
            return;
        }
        let (retry_in, is_told) = self.backoff.fail(now);
        if is_told {
            shared.events.tell(|| Kind::AcceptFailed {
                error: told(error),
                retry_in,
            });
        }
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
