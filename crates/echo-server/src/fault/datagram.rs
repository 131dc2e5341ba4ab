//! The faults of one UDP socket: what stands between receiving a datagram and answering it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use quinn_udp::RecvMeta;

use super::pace::time_for;
use super::plan::{Plan, Script};
use super::{Action, Delay, Subject};
use crate::event::{Done, Events, PeerAddress, unmapped};
use crate::name::Name;
use echo_core::Transport;

/// The most that is held back of one socket, in bytes; nothing is received while it is.
const HELD_MAX: usize = 1 << 20;

/// What a reply costs besides its bytes: itself and its key, in a tree that is half full at worst.
const REPLY_COST: usize = 2 * (size_of::<Key>() + size_of::<Reply>());

/// Sources that are told apart. Past this the one that was silent for longest is forgotten, and
/// counts as a new one if it comes back. Half a megabyte at most.
const SOURCES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// How long a datagram waits to be overtaken. Longer than a second, because clients that send one
/// each second are common.
const OVERTAKEN_WITHIN: Duration = Duration::from_secs(2);

/// Turns what was received into what is to be sent, and when.
pub(crate) struct DatagramFaults {
    /// `None` where only what was held back is left to be sent.
    plan: Option<Arc<Plan>>,
    /// The name of the socket's listener.
    listener: Option<Name>,
    sources: LruCache<SocketAddr, Source>,
    /// Sources so far.
    numbered: u64,
    queue: Queue,
}

/// A reply to be sent, or several: `bytes` in datagrams of the length `meta.stride`.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Where the request came from, and where it was sent to.
    pub(crate) meta: RecvMeta,
    pub(crate) bytes: Vec<u8>,
    /// Whether the datagram is answered by another one, too, of which this is a copy.
    pub(crate) extra: bool,
    /// The message it answers, and when that came.
    message: u64,
    received: Instant,
    /// By how much it is delayed.
    delay: Duration,
    /// The message it answers, as the fault counts by which it waits to be overtaken.
    waiting: Option<u64>,
}

/// Where datagrams come from: what a connection is on TCP.
struct Source {
    script: Script,
    rate: Option<u64>,
    /// The rate has just changed: what it held back leaves.
    freed: bool,
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
    /// What the replies cost, in bytes.
    held: usize,
}

impl DatagramFaults {
    pub(crate) fn new(plan: Arc<Plan>, listener: Option<Name>) -> Box<Self> {
        Box::new(DatagramFaults {
            plan: Some(plan),
            listener,
            sources: LruCache::new(SOURCES),
            numbered: 0,
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
        self.make_known(meta.addr);
        let Some(source) = self.sources.get_mut(&meta.addr) else {
            return false;
        };
        source.messages += 1;
        let mut reply = Reply {
            meta,
            bytes: datagram.to_vec(),
            extra: false,
            message: source.messages,
            received: now,
            delay: Duration::ZERO,
            waiting: None,
        };
        let script = &source.script;
        if script.is_empty() {
            reply.meta.stride = datagram.len();
            self.queue.insert(now, reply);
            return true;
        }
        let waits = source.waiting.is_some_and(|key| self.queue.has(key));
        let verdict = script.judge(source.messages, &mut reply.bytes, !waits, events);
        let len = reply.bytes.len();
        if verdict.copies == 0 {
            return false;
        }
        let mut at = now + verdict.delay;
        if let Some(rate) = source.rate {
            if source.arrived.is_none() {
                script.tell(events, None, &Action::Rate(rate), Done::Plainly);
            }
            at = source.arrived.map_or(at, |arrived| arrived.max(at));
            source.arrived = Some(at + time_for(len * verdict.copies, rate));
        }
        reply.delay = verdict.delay;
        reply.meta.stride = verdict.split.unwrap_or(len);
        reply.waiting = verdict.overtaken;
        if reply.waiting.is_some() {
            source.waiting = Some(self.queue.insert(at + OVERTAKEN_WITHIN, reply));
            return true;
        }
        for _ in 1..verdict.copies {
            let (bytes, extra) = (reply.bytes.clone(), true);
            self.queue.insert(
                at,
                Reply {
                    bytes,
                    extra,
                    ..reply
                },
            );
        }
        self.queue.insert(at, reply);
        let waited = source.waiting.take();
        if let Some(message) = waited.and_then(|key| self.queue.free(key, at)) {
            script.tell(events, Some(message), &Action::Reorder, Done::Plainly);
        }
        true
    }

    /// Whether more may be received.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.held < HELD_MAX
    }

    /// Goes on with the faults of `plan`. What one that is gone has held back leaves.
    pub(crate) fn revise(&mut self, plan: Option<Arc<Plan>>) {
        self.plan = plan;
        for (_, source) in &mut self.sources {
            source.script.revise(self.plan.as_ref(), source.messages);
            source.waiting = None;
            let rate = source.script.rate();
            source.freed = rate != source.rate;
            if source.freed {
                (source.rate, source.arrived) = (rate, None);
            }
        }
        for ((at, number), mut reply) in std::mem::take(&mut self.queue.replies) {
            let source = self.sources.peek_mut(&reply.meta.addr);
            let holds = |source: &Source| source.script.holds(reply.message, reply.bytes.len());
            let hold = source.as_deref().map(holds).unwrap_or_default();
            let leaves = source.as_ref().is_none_or(|source| source.freed)
                || reply.waiting.is_some() && hold.overtaken.is_none();
            let at = match leaves {
                true => reply.received,
                false => at - reply.delay,
            };
            let key = (at + hold.delay, number);
            reply.delay = hold.delay;
            reply.meta.stride = hold.split.unwrap_or(reply.bytes.len());
            reply.waiting = reply.waiting.and(hold.overtaken);
            if let Some(source) = source.filter(|_| reply.waiting.is_some()) {
                source.waiting = Some(key);
            }
            self.queue.replies.insert(key, reply);
        }
    }

    /// Whether no fault is left, nor anything that one has held back.
    pub(crate) fn is_spent(&self) -> bool {
        self.plan.is_none() && self.queue.replies.is_empty()
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
        let reply = self.queue.pop(now)?;
        // Nothing came to overtake it: all that happened is that it was late.
        if let Some(message) = reply.waiting
            && let Some(Source { script, .. }) = self.sources.peek(&reply.meta.addr)
        {
            let by = OVERTAKEN_WITHIN;
            let late = Action::Delay(Delay::Fixed(by));
            script.tell(events, Some(message), &late, Done::Delayed { by });
        }
        Some(reply)
    }

    /// Makes sure that a source has its number, and its faults.
    fn make_known(&mut self, address: SocketAddr) {
        if self.sources.contains(&address) {
            return;
        }
        self.numbered += 1;
        let (listener, peer) = (self.listener.as_ref(), PeerAddress::Inet(unmapped(address)));
        let subject = Subject::new(Transport::Udp, listener, self.numbered, Some(peer));
        let Some(plan) = &self.plan else { return };
        let script = Script::new(plan, subject);
        let rate = script.rate();
        self.sources.put(
            address,
            Source {
                script,
                rate,
                freed: false,
                messages: 0,
                arrived: None,
                waiting: None,
            },
        );
    }
}

impl Queue {
    fn insert(&mut self, at: Instant, reply: Reply) -> Key {
        let key = (at, self.numbered);
        self.numbered += 1;
        self.held += reply.bytes.len() + REPLY_COST;
        self.replies.insert(key, reply);
        key
    }

    fn has(&self, key: Key) -> bool {
        self.replies.contains_key(&key)
    }

    /// Has a waiting reply leave at `at`, after those that are due then. Returns its message;
    /// `None` if it has left.
    fn free(&mut self, key: Key, at: Instant) -> Option<u64> {
        let mut reply = self.remove(key)?;
        let message = reply.waiting.take();
        self.insert(at, reply);
        message
    }

    fn pop(&mut self, now: Instant) -> Option<Reply> {
        let (&key, _) = self.replies.first_key_value()?;
        if key.0 > now {
            return None;
        }
        self.remove(key)
    }

    fn remove(&mut self, key: Key) -> Option<Reply> {
        let reply = self.replies.remove(&key)?;
        self.held -= reply.bytes.len() + REPLY_COST;
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventReader, Kind, Level};
    use crate::fault::Faults;

    struct Bench {
        faults: Box<DatagramFaults>,
        events: Events,
        reader: EventReader,
        now: Instant,
    }

    impl Bench {
        fn new(specs: &[&str]) -> Self {
            let faults = specs.iter().map(|spec| spec.parse().unwrap()).collect();
            let (events, reader) = Events::channel(Level::Connections);
            Bench {
                faults: DatagramFaults::new(Faults::new(7, faults).plan().unwrap(), None),
                events,
                reader,
                now: Instant::now(),
            }
        }

        fn push(&mut self, port: u16, datagram: &[u8]) -> bool {
            let mut meta = RecvMeta::default();
            meta.addr = SocketAddr::from(([127, 0, 0, 1], port));
            self.faults.push(meta, datagram, self.now, &self.events)
        }

        /// What leaves when time passes, and how long after now.
        fn run(&mut self) -> Vec<(Duration, Vec<u8>)> {
            let mut left = Vec::new();
            while let Some(at) = self.faults.wake() {
                let reply = self.faults.pop(at, &self.events).unwrap();
                let after = at.saturating_duration_since(self.now);
                for piece in crate::event::pieces(&reply.bytes, reply.meta.stride) {
                    left.push((after, piece.to_vec()));
                }
            }
            assert_eq!(self.faults.queue.held, 0);
            left
        }

        fn told(&self, name: &str) -> Vec<u64> {
            std::iter::from_fn(|| self.reader.try_next())
                .filter_map(|event| match event.kind {
                    Kind::Fault { what, message, .. } if what.name == name => message,
                    _ => None,
                })
                .collect()
        }
    }

    fn payloads(left: Vec<(Duration, Vec<u8>)>) -> String {
        let texts = left
            .into_iter()
            .map(|(_, bytes)| String::from_utf8(bytes).unwrap());
        texts.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_reordered_datagram_is_overtaken_by_the_next_of_its_source() {
        let mut bench = Bench::new(&["reorder,msg=2", "reorder,msg=5"]);
        for number in ["1", "2", "3", "4", "5"] {
            bench.push(1000, number.as_bytes());
            bench.push(2000, b"x");
        }
        bench.push(1000, b"6");
        let left = bench.run();
        let own = left
            .into_iter()
            .filter(|(_, bytes)| bytes != b"x")
            .collect();
        assert_eq!(payloads(own), "1 3 2 4 6 5");
        assert_eq!(bench.told("reorder"), [2, 2, 5]);
    }

    #[test]
    fn a_reordered_datagram_is_told_by_the_number_that_its_fault_counts() {
        let mut bench = Bench::new(&["drop,msg=9"]);
        bench.push(1000, b"1");
        let mut later = Faults::new(7, vec!["drop,msg=9".parse().unwrap()]);
        later.change(|_| false, vec!["reorder,msg=1".parse().unwrap()]);
        bench.faults.revise(later.plan());
        bench.push(1000, b"2");
        bench.push(1000, b"3");
        assert_eq!(payloads(bench.run()), "1 3 2");
        assert_eq!(bench.told("reorder"), [1]);
    }

    #[test]
    fn a_datagram_that_nothing_overtakes_is_late_and_told_so() {
        let mut bench = Bench::new(&["reorder,msg=1"]);
        bench.push(1000, b"alone");
        assert_eq!(bench.run(), [(OVERTAKEN_WITHIN, b"alone".to_vec())]);
        assert_eq!(bench.told("delay"), [1]);
    }

    #[test]
    fn all_that_are_reordered_swap_in_pairs() {
        let mut bench = Bench::new(&["reorder"]);
        for number in ["1", "2", "3", "4"] {
            bench.push(1000, number.as_bytes());
        }
        assert_eq!(payloads(bench.run()), "2 1 4 3");
    }

    #[test]
    fn a_source_counts_as_a_connection_wherever_its_datagrams_fall() {
        let drops = |order: &[u16]| {
            let mut bench = Bench::new(&["drop=50%,conn=..2"]);
            let mut answered = [0; 3];
            for &port in order {
                let source = usize::from(port / 1000 - 1);
                answered[source] += usize::from(bench.push(port, b"x"));
            }
            answered
        };
        let together: Vec<u16> = [1000, 2000, 3000].repeat(200);
        let one_by_one = [vec![1000; 200], vec![2000; 200], vec![3000; 200]].concat();
        let answered = drops(&together);
        assert_eq!(answered, drops(&one_by_one));
        assert_eq!(
            answered[2], 200,
            "the third source is none of the first two"
        );
        assert!(
            answered[..2].iter().all(|n| (60..140).contains(n)),
            "{answered:?}"
        );
    }

    #[test]
    fn a_rate_spaces_replies_and_a_split_cuts_them() {
        let mut bench = Bench::new(&["rate=1000", "split=60"]);
        for _ in 0..3 {
            bench.push(1000, &[b'x'; 100]);
        }
        let left: Vec<_> = bench
            .run()
            .into_iter()
            .map(|(at, b)| (at.as_millis(), b.len()))
            .collect();
        assert_eq!(
            left,
            [(0, 60), (0, 40), (100, 60), (100, 40), (200, 60), (200, 40)]
        );
    }

    #[test]
    fn an_empty_datagram_is_answered_and_cannot_be_corrupted() {
        let mut bench = Bench::new(&["corrupt", "delay=1ms"]);
        assert!(bench.push(1000, b""));
        assert_eq!(bench.run(), [(Duration::from_millis(1), vec![])]);
        assert!(bench.told("corrupt").is_empty());
    }

    #[test]
    fn memory_is_bounded_whatever_is_held_and_whoever_sends() {
        let mut bench = Bench::new(&["delay=1h", "duplicate"]);
        let mut pushed = 0;
        while bench.faults.has_room() {
            bench.push(1000, b"x");
            pushed += 1;
        }
        assert!(pushed * 2 * (REPLY_COST + 1) < HELD_MAX + 3 * REPLY_COST);
        bench.run();
        assert!(bench.faults.has_room());
        let most = SOURCES.get();
        for port in 1..=3 * most as u16 {
            bench
                .faults
                .make_known(SocketAddr::from(([127, 0, 0, 1], port)));
        }
        assert_eq!(bench.faults.sources.len(), most);
        assert!(most * size_of::<(SocketAddr, Source)>() < 512 << 10);
    }
}
