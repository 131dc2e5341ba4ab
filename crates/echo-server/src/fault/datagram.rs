//! The faults of one UDP socket: what stands between receiving a datagram and answering it.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use quinn_udp::RecvMeta;

use super::hold::Hold;
use super::pace::time_for;
use super::plan::{Plan, Script};
use super::{Action, Delay, Subject};
use crate::event::{Done, Events, PeerAddress, unmapped};
use crate::name::Name;
use echo_core::Transport;

/// The most that is held back of one socket, in bytes; nothing is received while it is.
const HELD_MAX: usize = 1 << 20;

/// What a reply costs besides its bytes: itself and its key, in a tree that is half full at worst, and its
/// source, which is known as long.
const REPLY_COST: usize =
    2 * (size_of::<Key>() + size_of::<Reply>() + size_of::<(SocketAddr, Source)>());

/// Sources that are told apart. Past this the one that was silent for longest, and has no reply held back,
/// is forgotten, and counts as a new one if it comes back. Half a megabyte at most.
const SOURCES: usize = 1024;

/// How long a datagram waits to be overtaken. Longer than a second, because clients that send one
/// each second are common.
const OVERTAKEN_WITHIN: Duration = Duration::from_secs(2);

/// Turns what was received into what is to be sent, and when.
pub(crate) struct DatagramFaults {
    sources: Sources,
    queue: Queue,
}

/// Whom the faults concern.
struct Sources {
    /// `None` where only what was held back is left to be sent.
    plan: Option<Arc<Plan>>,
    /// The name of the socket's listener.
    listener: Option<Name>,
    known: LruCache<SocketAddr, Source>,
    /// Sources so far.
    numbered: u64,
}

/// A reply to be sent, or several: `bytes` in datagrams of the length `meta.stride`.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Where the request came from, where it was sent to, and its length.
    pub(crate) meta: RecvMeta,
    pub(crate) bytes: Vec<u8>,
    /// Whether the datagram is answered by another one, too, of which this is a copy.
    pub(crate) extra: bool,
    /// Why a piece of it could not be sent, of those that have been.
    pub(crate) failed: Option<ErrorKind>,
    hold: Hold,
    /// Where it waits to be overtaken: the fault that has it wait, and its message as that counts.
    waits: Option<(u64, u64)>,
    /// Its turn at a given rate, once nothing else holds it, with that fault's number.
    turn: Option<(u64, Instant)>,
}

/// Where datagrams come from: what a connection is on TCP.
struct Source {
    script: Script,
    /// With its fault's number.
    rate: Option<(u64, u64)>,
    messages: u64,
    /// When the last reply would have arrived, at the given rate.
    arrived: Option<Instant>,
    /// Where in the queue a reply waits to be overtaken.
    waiting: Option<Key>,
}

/// When a reply is due, and its number: those due at one time leave in their order.
type Key = (Instant, u64);

/// Replies that are held back.
#[derive(Default)]
struct Queue {
    replies: BTreeMap<Key, Reply>,
    /// Replies so far.
    numbered: u64,
    /// How many of them each source has.
    of: HashMap<SocketAddr, usize>,
    /// What the replies cost, in bytes.
    held: usize,
}

impl DatagramFaults {
    pub(crate) fn new(plan: Arc<Plan>, listener: Option<Name>) -> Box<Self> {
        Box::new(DatagramFaults {
            sources: Sources {
                plan: Some(plan),
                listener,
                known: LruCache::unbounded(),
                numbered: 0,
            },
            queue: Queue::default(),
        })
    }

    /// Takes a datagram that would be answered. Returns whether it will be.
    pub(crate) fn push(
        &mut self,
        meta: RecvMeta,
        datagram: &[u8],
        now: Instant,
        events: &Events,
    ) -> bool {
        let mut reply = Reply {
            meta,
            bytes: datagram.to_vec(),
            extra: false,
            failed: None,
            hold: Hold::none(now),
            waits: None,
            turn: None,
        };
        reply.meta.len = datagram.len();
        let Some(source) = self.sources.of(meta.addr, &self.queue) else {
            reply.meta.stride = datagram.len();
            self.queue.insert(reply);
            return true;
        };
        source.messages += 1;
        let (script, messages) = (&source.script, source.messages);
        let waits = |key: Key| self.queue.replies.contains_key(&key);
        let alone = !source.waiting.is_some_and(waits);
        let verdict = script.judge(messages, &mut reply.bytes, now, alone, events);
        if verdict.copies == 0 {
            return false;
        }
        let hold = verdict.hold;
        reply.meta.stride = hold.split.map_or(reply.bytes.len(), |(_, size)| size);
        reply.hold = hold.clone();
        reply.waits = verdict.overtaken;
        if reply.waits.is_some() {
            source.waiting = Some(self.queue.insert(reply));
            return true;
        }
        for _ in 1..verdict.copies {
            let (bytes, hold) = (reply.bytes.clone(), hold.clone());
            self.queue.insert(Reply {
                bytes,
                hold,
                extra: true,
                ..reply
            });
        }
        self.queue.insert(reply);
        let waited = source.waiting.take();
        if let Some(mut waited) = waited.and_then(|key| self.queue.remove(key)) {
            let message = waited.waits.take().map(|(_, message)| message);
            script.tell(events, message, &Action::Reorder, Done::Plainly);
            // It leaves behind the one that has overtaken it, whatever holds that.
            waited.hold = waited.hold.join(hold);
            self.queue.insert(waited);
        }
        true
    }

    /// Whether more may be received.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.held < HELD_MAX
    }

    /// Goes on with the faults of `plan`. What one that is gone has held back leaves.
    pub(crate) fn revise(&mut self, plan: Option<Arc<Plan>>) {
        self.sources.revise(plan.clone());
        for ((_, number), mut reply) in std::mem::take(&mut self.queue.replies) {
            reply.revise(plan.as_deref());
            let key = (reply.at(), number);
            let source = self.sources.known.peek_mut(&reply.meta.addr);
            if let Some(source) = source.filter(|_| reply.waits.is_some()) {
                source.waiting = Some(key);
            }
            self.queue.replies.insert(key, reply);
        }
    }

    /// Whether no fault is left, nor anything that one has held back.
    pub(crate) fn is_spent(&self) -> bool {
        self.sources.plan.is_none() && self.queue.replies.is_empty()
    }

    /// The datagrams that are not answered yet.
    pub(crate) fn owed(self) -> impl Iterator<Item = RecvMeta> {
        let replies = self.queue.replies.into_values();
        replies.filter(|reply| !reply.extra).map(|reply| reply.meta)
    }

    /// When the next reply is due.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.queue.replies.first_key_value().map(|((at, _), _)| *at)
    }

    /// A reply that is due.
    pub(crate) fn pop(&mut self, now: Instant, events: &Events) -> Option<Reply> {
        while let Some(mut reply) = self.queue.pop(now) {
            let Some(source) = self.sources.known.peek_mut(&reply.meta.addr) else {
                return Some(reply);
            };
            let script = &source.script;
            // Nothing came to overtake it: all that happened is that it was late.
            if let Some((_, message)) = reply.waits.take() {
                let by = OVERTAKEN_WITHIN;
                let late = Action::Delay(Delay::Fixed(by));
                script.tell(events, Some(message), &late, Done::Delayed { by });
            }
            let Some((fault, rate)) = source.rate.filter(|_| reply.turn.is_none()) else {
                return Some(reply);
            };
            if source.arrived.is_none() {
                script.tell(events, None, &Action::Rate(rate), Done::Plainly);
            }
            let turn = source.arrived.map_or(now, |arrived| arrived.max(now));
            source.arrived = Some(turn + time_for(reply.bytes.len(), rate));
            reply.turn = Some((fault, turn));
            if turn <= now {
                return Some(reply);
            }
            self.queue.insert(reply);
        }
        None
    }

    /// Has the rest of a reply that was cut leave next.
    pub(crate) fn put_back(&mut self, rest: Reply) {
        // Before all others, none of which has that number.
        let at = self.wake().map_or(rest.at(), |at| at.min(rest.at()));
        self.queue.place((at, 0), rest);
    }
}

impl Sources {
    /// The one that a datagram comes from, with its number and its faults; `None` where none is left.
    fn of(&mut self, address: SocketAddr, queue: &Queue) -> Option<&mut Source> {
        let plan = self.plan.as_ref()?;
        while self.known.len() >= SOURCES && !self.known.contains(&address) {
            let mut from_oldest = self.known.iter().rev().map(|(known, _)| *known);
            let Some(silent) = from_oldest.find(|known| !queue.of.contains_key(known)) else {
                break;
            };
            self.known.pop(&silent);
        }
        Some(self.known.get_or_insert_mut(address, || {
            self.numbered += 1;
            let (listener, peer) = (self.listener.as_ref(), PeerAddress::Inet(unmapped(address)));
            let subject = Subject::new(Transport::Udp, listener, self.numbered, Some(peer));
            let script = Script::new(plan, subject);
            Source {
                rate: script.rate(),
                script,
                messages: 0,
                arrived: None,
                waiting: None,
            }
        }))
    }

    /// Goes on with the faults of `plan`. Without any, no source has a number.
    fn revise(&mut self, plan: Option<Arc<Plan>>) {
        if plan.is_none() {
            self.known.clear();
            self.numbered = 0;
        }
        self.plan = plan;
        for (_, source) in &mut self.known {
            source.script.revise(self.plan.as_ref(), source.messages);
            source.waiting = None;
            let rate = source.script.rate();
            if rate != source.rate {
                (source.rate, source.arrived) = (rate, None);
            }
        }
    }
}

impl Reply {
    /// Keeps no more than `most` pieces. Returns the others.
    pub(crate) fn cut(&mut self, most: usize) -> Option<Reply> {
        let most = self.meta.stride.saturating_mul(most);
        (self.bytes.len() > most).then(|| Reply {
            bytes: self.bytes.split_off(most),
            hold: self.hold.clone(),
            ..*self
        })
    }

    /// When it may leave.
    fn at(&self) -> Instant {
        let at = match self.waits {
            None => self.hold.at(),
            Some(_) => self.hold.at() + OVERTAKEN_WITHIN,
        };
        self.turn.map_or(at, |(_, turn)| turn.max(at))
    }

    /// Goes on with what is left of the faults.
    fn revise(&mut self, plan: Option<&Plan>) {
        let is_left = |fault: u64| plan.is_some_and(|plan| plan.has(fault));
        self.hold.revise(is_left);
        if self.hold.split.is_none() {
            self.meta.stride = self.bytes.len();
        }
        self.turn.take_if(|(fault, _)| !is_left(*fault));
        self.waits.take_if(|(fault, _)| !is_left(*fault));
    }

    /// What it costs, in bytes.
    fn cost(&self) -> usize {
        self.bytes.len() + REPLY_COST + self.hold.cost()
    }
}

impl Queue {
    fn insert(&mut self, reply: Reply) -> Key {
        self.numbered += 1;
        let key = (reply.at(), self.numbered);
        self.place(key, reply);
        key
    }

    fn place(&mut self, key: Key, reply: Reply) {
        self.held += reply.cost();
        *self.of.entry(reply.meta.addr).or_default() += 1;
        self.replies.insert(key, reply);
    }

    fn pop(&mut self, now: Instant) -> Option<Reply> {
        let (key, _) = self.replies.first_key_value()?;
        (key.0 <= now)
            .then_some(*key)
            .and_then(|key| self.remove(key))
    }

    fn remove(&mut self, key: Key) -> Option<Reply> {
        let reply = self.replies.remove(&key)?;
        self.held -= reply.cost();
        let left = self.of.get_mut(&reply.meta.addr)?;
        *left -= 1;
        if *left == 0 {
            self.of.remove(&reply.meta.addr);
        }
        Some(reply)
    }
}

#[cfg(test)]
mod tests;
