//! One UDP socket that sends back what it gets.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use echo_core::stamp::{Arrival, Reflector};
use echo_core::{Discipline, told};
use quinn_udp::RecvMeta;

use crate::Listen;
use crate::event::flood::{Flood, earlier};
use crate::event::stats::Counters;
use crate::event::{Address, Datagrams, DropReason, Events, Kind, pieces, unmapped};
use crate::fault::{DatagramFaults, Plan};
use crate::serve::backoff::Backoff;
use crate::serve::guard::Guard;
use crate::serve::turn::BYTES;
use crate::socket::datagram::{BATCH, Batch, DatagramSocket, Run, Sent};
use crate::socket::stamped::{self, Seen};

/// Batches answered in one turn, so that a flood cannot starve the worker's connections.
const BATCHES_PER_TURN: usize = 8;

/// What each datagram costs besides its own bytes, of which one turn has as many as a stream's: a batch may be
/// of trains, and one reply of thousands of pieces. It is known once a batch is answered. Each socket has it.
const DATAGRAM: usize = 2 << 10;

/// Pieces of a reply that leave with one call, where the system has GSO.
const PIECES: usize = 64;

/// How often a socket that gets datagrams is asked how many the system has dropped.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Bytes of its buffer that the system counts for a message at least; really two or three times as many.
const LEAST_COUNTED: u64 = 256;

/// A UDP socket that sends every acceptable datagram back.
pub(crate) struct UdpEcho {
    pub(crate) socket: DatagramSocket,
    guard: Guard,
    pub(crate) listen: Arc<Listen>,
    /// What makes the replies; without it they are what came.
    reflector: Option<Box<(Reflector, Discipline)>>,
    /// Entries offered to the next receive: many only while many arrive, for each has its cost.
    expected: usize,
    flood: Flood,
    /// When the system is asked what it has dropped.
    look: Option<Instant>,
    /// What goes wrong on purpose.
    faults: Option<Box<DatagramFaults>>,
    /// What comes waits.
    paused: bool,
    /// The server is stopping: what waits is answered, and no more.
    draining: bool,
    /// Messages that may have waited when it began to drain, and have not been received.
    left: u64,
    /// Nothing waited, or it could not be received, when that was last tried.
    emptied: bool,
    /// Nothing is received before it is over.
    backoff: Backoff,
}

/// What the worker lends for one turn.
pub(crate) struct UdpTurn<'a> {
    pub(crate) batch: &'a mut Batch,
    pub(crate) now: Instant,
    pub(crate) events: &'a Events,
    pub(crate) counters: &'a Counters,
    /// What its datagrams have cost, in bytes.
    pub(crate) spent: usize,
}

impl UdpTurn<'_> {
    /// Takes note of `count` datagrams of `size` bytes.
    fn spend(&mut self, count: usize, size: usize) {
        self.spent += count * (size + DATAGRAM);
    }

    /// Whether others are due.
    fn is_over(&self) -> bool {
        self.spent >= BYTES
    }
}

impl UdpEcho {
    pub(crate) fn new(
        socket: DatagramSocket,
        guard: Guard,
        listen: Arc<Listen>,
        reflector: Option<Reflector>,
    ) -> Self {
        UdpEcho {
            socket,
            guard,
            reflector: reflector.map(|reflector| Box::new((reflector, Discipline::default()))),
            expected: 1,
            flood: Flood::default(),
            look: None,
            listen,
            faults: None,
            paused: false,
            draining: false,
            left: 0,
            emptied: false,
            backoff: Backoff::new(),
        }
    }

    /// Answers what has arrived. Returns whether there may be more.
    pub(crate) fn advance(&mut self, turn: &mut UdpTurn<'_>) -> bool {
        let mut failing = None;
        for _ in 0..BATCHES_PER_TURN {
            let tries = self.backoff.tries(turn.now) && !self.paused;
            let over = self.draining && self.emptied;
            let has_room = self.release(turn);
            if turn.is_over() {
                return true;
            }
            if !has_room || !tries || over {
                return false;
            }
            match self.socket.receive(turn.batch, self.expected, turn.events) {
                Ok(()) => {
                    (failing, self.backoff) = (None, Backoff::new());
                    self.look.get_or_insert(turn.now + LOOK_EVERY);
                    let count = turn.batch.count();
                    if self.draining {
                        self.left = self.left.saturating_sub(count as u64);
                        // A sender that goes on must not hold up the end.
                        self.emptied |= self.left == 0;
                    }
                    let before = turn.spent;
                    self.answer(turn);
                    let cost = turn.spent - before;
                    self.expected = match count == self.expected {
                        // What the faults hold back is bounded but for what is received at once, as a turn is.
                        _ if self.faults.is_some() => 1,
                        // As many as would have been cheap enough.
                        _ if cost > BYTES / 8 => (count * (BYTES / 8) / cost).max(1),
                        true => (count * 4).min(BATCH),
                        false => count.max(1),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    (self.backoff, self.emptied) = (Backoff::new(), true);
                    return false;
                }
                // An error that an earlier reply caused, or an interruption: the datagrams that
                // wait are none the worse for it.
                Err(error) => failing = Some(error),
            }
        }
        if let Some(error) = &failing {
            self.fail(turn, error);
        }
        failing.is_none()
    }

    /// Takes note that receiving fails again and again. Of what waits no event tells once more.
    fn fail(&mut self, turn: &UdpTurn<'_>, error: &io::Error) {
        self.emptied = true;
        let (retry_in, is_told) = self.backoff.fail(turn.now);
        if is_told {
            turn.events.tell(|| Kind::ReceiveFailed {
                local: Address::Udp(self.socket.local()),
                error: told(error),
                retry_in,
            });
        }
    }

    /// When something must be told.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        earlier(self.flood.deadline(), self.look)
    }

    /// Tells what is due.
    pub(crate) fn tell(&mut self, now: Instant, events: &Events, counters: &Counters) {
        self.flood.flush(now, events);
        if self.look.take_if(|at| *at <= now).is_some() {
            let count = self.socket.overflowed();
            if count > 0 {
                counters.overflowed.add(count);
                let local = Address::Udp(self.socket.local());
                events.tell(|| Kind::DatagramsOverflowed { local, count });
            }
        }
    }

    /// Has the faults of `plan` apply from now on.
    pub(crate) fn set_faults(&mut self, plan: Option<Arc<Plan>>) {
        match (&mut self.faults, plan) {
            (Some(faults), plan) => faults.revise(plan),
            (faults, Some(plan)) => {
                *faults = Some(DatagramFaults::new(plan, self.listen.name.clone()));
            }
            (None, None) => {}
        }
    }

    /// Has what comes wait, or no more. At the end nothing does.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused && !self.draining;
    }

    /// Receives no more from now on than what waits already.
    pub(crate) fn drain(&mut self) {
        // What a failure has left is given up; what a command has is not.
        let has_failed = self.backoff.until().is_some();
        (self.draining, self.emptied, self.paused) = (true, has_failed, false);
        self.backoff = Backoff::new();
        self.left = self.socket.room() / LEAST_COUNTED;
    }

    /// Whether something waits to be answered, or a reply that a fault holds back to be sent.
    pub(crate) fn owes(&self) -> bool {
        let held = self.faults.as_ref();
        !self.emptied || held.is_some_and(|faults| faults.wake().is_some())
    }

    /// Books what is still owed as lost, tells what is still untold, and closes the socket.
    pub(crate) fn close(mut self, turn: &UdpTurn<'_>) {
        let faults = self.faults.take().into_iter();
        for meta in faults.flat_map(|faults| faults.owed()) {
            self.dropped(turn, &meta, DropReason::Shutdown, 1);
        }
        // All that is held back is due within a second.
        self.tell(turn.now + LOOK_EVERY, turn.events, turn.counters);
    }

    /// When the faults have something to do, or receiving is tried again.
    pub(crate) fn wake(&self) -> Option<Instant> {
        let faults = self.faults.as_ref().and_then(|faults| faults.wake());
        earlier(faults, self.backoff.until().filter(|_| !self.paused))
    }

    fn answer(&mut self, turn: &mut UdpTurn<'_>) {
        let mut next = 0;
        while let Some(run) = self.socket.run(turn.batch, next) {
            next = run.next;
            turn.counters.datagrams.add(run.count);
            turn.spend(run.count as usize, run.meta.stride);
            match self.faults {
                Some(_) => self.distort(turn, &run),
                None => self.echo(turn, &run),
            }
        }
    }

    fn echo(&mut self, turn: &mut UdpTurn<'_>, run: &Run) {
        let meta = &run.meta;
        let bytes = turn.batch.bytes(run);
        let one = &bytes[..bytes.len().min(meta.stride)];
        let admitted = self
            .guard
            .admit(meta.addr, meta.dst_ip, one, run.count, turn.now);
        let admitted = admitted.and_then(|allowed| {
            let seen = turn.batch.seen;
            self.reflect(meta, seen, turn.batch.bytes(run))?;
            Ok(allowed)
        });
        let allowed = *admitted.as_ref().unwrap_or(&0);
        if allowed > 0 {
            let replies = turn.batch.bytes(run);
            #[cfg(test)]
            crate::serve::defect::strike(replies);
            let replies = &replies[..replies.len().min(allowed as usize * meta.stride)];
            let sent = self.socket.send(meta, replies, turn.events);
            self.replied(turn, meta, &sent, allowed);
        }
        let why = admitted.err().unwrap_or(DropReason::Rate);
        self.dropped(turn, meta, why, run.count - allowed);
    }

    /// Gives the faults what was received, one datagram at a time.
    fn distort(&mut self, turn: &mut UdpTurn<'_>, run: &Run) {
        // Later than the turn's start: what came meanwhile must not leave too early.
        let (meta, now) = (run.meta, Instant::now());
        let bytes = turn.batch.bytes(run).to_vec();
        for datagram in pieces(&bytes, meta.stride) {
            let mut reply = datagram.to_vec();
            let admitted = self
                .guard
                .admit(meta.addr, meta.dst_ip, datagram, 1, turn.now)
                .and_then(|_| self.reflect(&meta, turn.batch.seen, &mut reply));
            let push =
                |faults: &mut Box<DatagramFaults>| faults.push(meta, &reply, now, turn.events);
            let why = match admitted {
                Ok(()) if self.faults.as_mut().is_some_and(push) => continue,
                Ok(()) => DropReason::Fault,
                Err(why) => why,
            };
            self.dropped(turn, &meta, why, 1);
        }
    }

    /// Makes a request its reply, where that is not what came.
    fn reflect(
        &mut self,
        meta: &RecvMeta,
        seen: Seen,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        let Some((reflector, clock)) = self.reflector.as_deref_mut() else {
            return Ok(());
        };
        let arrival = Arrival {
            source: unmapped(meta.addr),
            destination: self.socket.asked(meta),
            at: seen.at,
            ttl: seen.ttl,
            tos: seen.tos,
        };
        Ok(reflector.reflect(datagram, &arrival, clock.error(), stamped::now)?)
    }

    /// Sends what the faults have due. Returns whether they have room for more.
    fn release(&mut self, turn: &mut UdpTurn<'_>) -> bool {
        if self.faults.is_none() {
            return true;
        }
        let now = Instant::now();
        while !turn.is_over()
            && let Some(faults) = &mut self.faults
            && let Some(mut reply) = faults.pop(now, turn.events)
        {
            let rest = reply.cut(PIECES);
            let (meta, bytes) = (reply.meta, &reply.bytes);
            let sent = self.socket.send(&meta, bytes, turn.events);
            turn.spend(pieces(bytes, meta.stride).count(), meta.stride);
            let error = sent.error.or(reply.failed);
            if let Some(mut rest) = rest {
                rest.failed = error;
                faults.put_back(rest);
            } else if !reply.extra {
                // In however many pieces, it is one datagram that is answered, and only once.
                let one = Sent {
                    count: u64::from(error.is_none()),
                    bytes: meta.len as u64,
                    error,
                };
                self.replied(turn, &meta, &one, 1);
            }
        }
        self.faults.take_if(|faults| faults.is_spent());
        self.faults.as_ref().is_none_or(|faults| faults.has_room())
    }

    /// Books `count` datagrams that were to be answered: each as answered, or as dropped.
    fn replied(&mut self, turn: &UdpTurn<'_>, meta: &RecvMeta, sent: &Sent, count: u64) {
        if sent.count > 0 {
            turn.counters.answered.add(sent.count);
            let sum = self.sum(meta, sent.count, sent.bytes);
            self.flood.note(turn.now, turn.events, None, sum);
        }
        if let Some(error) = sent.error {
            self.dropped(turn, meta, DropReason::Failed(error), count - sent.count);
        }
    }

    fn dropped(&mut self, turn: &UdpTurn<'_>, meta: &RecvMeta, why: DropReason, count: u64) {
        if count > 0 {
            turn.counters.dropped[why.index()].add(count);
            let sum = self.sum(meta, count, 0);
            self.flood.note(turn.now, turn.events, Some(why), sum);
        }
    }

    fn sum(&self, meta: &RecvMeta, count: u64, bytes: u64) -> Datagrams {
        let (local, peer) = (self.socket.local(), unmapped(meta.addr));
        Datagrams {
            local,
            peer,
            count,
            bytes,
        }
    }
}

#[cfg(test)]
mod tests;
