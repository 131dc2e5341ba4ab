//! From the workers to whoever listens: bounded, never blocking, losses counted.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use echo_core::{Clock, named};
use echo_explain::{Audience, Call, Trouble, Witness};
use serde::{Deserialize, Serialize};

use super::{Event, Kind, Origin};
use crate::event::record::Record;
use crate::event::stats::Told;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    Off,
    /// Connections, datagrams in summary, and what goes wrong.
    Connections,
    /// Every read and write too.
    Traffic,
    /// Every call to the system, for `--explain`.
    #[serde(skip)]
    Calls,
}

named!(Level);

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lines that a person reads; more connections than one can read are summed up.
    #[default]
    Text,
    /// An object a line, with the keys of docs/EVENTS.md; never summed up.
    Json,
}

named!(Format);

/// Events waiting for their reader; past this they are dropped and counted. As many ends of connections
/// wait behind them: nothing else tells what those say.
const QUEUE: usize = 4096;

/// The most bytes of an event, so that a reader that stands still costs some 1.2 MB, and
/// telling of a connection no more than a few lines of the processor's cache.
const _: () = assert!(size_of::<Event>() <= 144);

/// Where the workers tell what happened. Never blocks: a reader that is too slow loses events,
/// and the loss is counted. Only a record, which is to be whole, is waited for, and not for long.
#[derive(Clone, Debug)]
pub struct Events {
    /// What the queue is told.
    level: Level,
    /// What the queue or the record is told: the one branch on the way of a byte.
    heard: Level,
    clock: Clock,
    queue: Option<Sender<Event>>,
    told: Arc<Told>,
    record: Option<Arc<Record>>,
    witness: Option<Arc<Mutex<Witness>>>,
}

/// The reading end of [`Events`].
#[derive(Debug)]
pub struct EventReader {
    queue: Receiver<Event>,
    told: Arc<Told>,
    clock: Clock,
    /// The time of the last one.
    last: Cell<SystemTime>,
}

impl Events {
    /// Nobody listens.
    pub fn off() -> Self {
        Events::channel(Level::Off).0
    }

    /// A writing and a reading end.
    pub fn channel(level: Level) -> (Self, EventReader) {
        let (sender, queue) = channel();
        let (told, clock) = (Arc::<Told>::default(), Clock::new());
        let events = Events {
            level,
            heard: level,
            clock: clock.clone(),
            queue: (level > Level::Off).then_some(sender),
            told: told.clone(),
            record: None,
            witness: (level == Level::Calls).then(Arc::default),
        };
        let last = Cell::new(UNIX_EPOCH);
        let reader = EventReader {
            queue,
            told,
            clock,
            last,
        };
        (events, reader)
    }

    /// As these, and every received chunk goes to `record` too.
    pub(crate) fn with_record(self, record: Arc<Record>) -> Self {
        Events {
            heard: self.heard.max(Level::Traffic),
            record: Some(record),
            ..self
        }
    }

    /// Whether anyone wants events of `level`.
    pub fn wants(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Whether someone looks at the bytes themselves, which must then pass through here.
    pub(crate) fn see_bytes(&self) -> bool {
        self.record.is_some() || self.witness.is_some()
    }

    /// Tells of a connection event; what it says is only put together when someone listens.
    pub fn tell(&self, kind: impl FnOnce() -> Kind) {
        self.send(Level::Connections, kind);
    }

    /// Tells of a read or a write.
    pub fn trace(&self, kind: impl FnOnce() -> Kind) {
        self.send(Level::Traffic, kind);
    }

    /// Tells what was received with one call. Where it arrived in several datagrams, each is `size`
    /// bytes long but the last.
    pub(crate) fn received(&self, origin: Origin, bytes: &[u8], size: usize) {
        if Level::Traffic > self.heard {
            return;
        }
        if let Some(record) = &self.record {
            for bytes in pieces(bytes, size) {
                record.add(origin, bytes, &self.clock);
            }
        }
        self.trace(|| origin.received(bytes, size));
    }

    /// Tells of a fault that was applied, and counts it.
    pub(crate) fn fault(&self, kind: impl FnOnce() -> Kind) {
        self.told.faults.fetch_add(1, Ordering::Relaxed);
        self.tell(kind);
    }

    fn send(&self, level: Level, kind: impl FnOnce() -> Kind) {
        if level > self.level {
            return;
        }
        self.put(Event {
            time: self.clock.now(),
            kind: kind(),
        });
    }

    /// What is counted here.
    pub(crate) fn told(&self) -> Arc<Told> {
        self.told.clone()
    }

    /// The clock by which everything is told.
    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    fn put(&self, event: Event) {
        let Some(queue) = &self.queue else { return };
        let (told, time) = (&self.told, event.time);
        match told.takes(&event.kind) {
            // Where nobody is left to read it, nothing waits, and nothing is lost to anybody.
            true if queue.send(event).is_err() => {
                told.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            true => {}
            false if told.lose() => drop(queue.send(Event {
                time,
                kind: MISSING,
            })),
            false => {}
        }
    }
}

/// Says, at its place in the queue, that events are missing; how many is known once it is read.
const MISSING: Kind = Kind::Lost { events: 0 };

impl Told {
    /// Whether there is room for an event, which it then takes. Once one is lost only ends have any until
    /// that is read, or it would be told again and again.
    fn takes(&self, kind: &Kind) -> bool {
        let room = match kind {
            Kind::Draining { .. } | Kind::Stopped { .. } => usize::MAX,
            Kind::Closed { .. } => 2 * QUEUE,
            _ if self.missing.load(Ordering::Relaxed) > 0 => 0,
            _ => QUEUE,
        };
        let takes = self.waiting.load(Ordering::Relaxed) < room;
        if takes {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
        takes
    }

    /// Counts an event that found no room. Returns whether it is the first since that was told.
    fn lose(&self) -> bool {
        self.missed.fetch_add(1, Ordering::Relaxed);
        self.missing.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Makes room for another one by `event`, and completes it.
    fn read(&self, event: &mut Event) {
        match &mut event.kind {
            Kind::Lost { events } => *events = self.missing.swap(0, Ordering::Relaxed),
            _ => drop(self.waiting.fetch_sub(1, Ordering::Relaxed)),
        }
    }
}

/// Calls to the system, told where they are made.
impl Audience for Events {
    fn listens(&self) -> bool {
        self.wants(Level::Calls)
    }

    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    fn hear(&self, time: SystemTime, socket: i32, call: Call, error: Option<Trouble>) {
        let Some(witness) = &self.witness else { return };
        let mut witness = witness.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = Kind::Call(Box::new(witness.step(time, socket, call, error)));
        self.put(Event { time, kind });
    }
}

/// The datagrams in `bytes`: an empty one is one, too.
pub(crate) fn pieces(bytes: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    let empty = bytes.is_empty().then_some(bytes);
    bytes.chunks(size.max(1)).chain(empty)
}

impl EventReader {
    /// The next event; `None` once the server is gone and all are read.
    pub fn next(&self) -> Option<Event> {
        self.queue.recv().ok().map(|event| self.taken(event))
    }

    /// The next event, if there is one already.
    pub fn try_next(&self) -> Option<Event> {
        self.queue.try_recv().ok().map(|event| self.taken(event))
    }

    /// The next event, if it comes before `deadline`.
    ///
    /// # Errors
    /// Whether it is the time that is over, or the server.
    pub fn next_before(&self, deadline: Instant) -> Result<Event, RecvTimeoutError> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.queue.recv_timeout(left).map(|event| self.taken(event))
    }

    /// Waits up to `limit` for the first event that `wanted` wants, and drops those before it.
    pub fn wait_for(&self, limit: Duration, wanted: impl Fn(&Kind) -> bool) -> Option<Event> {
        // One that no clock reaches is none.
        let deadline = Instant::now().checked_add(limit);
        loop {
            let event = match deadline {
                Some(deadline) => self.next_before(deadline).ok()?,
                None => self.next()?,
            };
            if wanted(&event.kind) {
                return Some(event);
            }
        }
    }

    /// A worker may be held up between looking at the clock and telling: then another's event is
    /// before its own, and has the later time.
    fn taken(&self, mut event: Event) -> Event {
        self.told.read(&mut event);
        event.time = self.last.get().max(event.time);
        self.last.set(event.time);
        event
    }

    /// The time, by the clock of the events. Those that are read later are not before it.
    pub fn now(&self) -> SystemTime {
        self.last.set(self.last.get().max(self.clock.now()));
        self.last.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{PeerAddress, Reason, Stop};

    fn end(id: u64) -> Kind {
        Kind::Closed {
            id,
            peer: PeerAddress::Unix,
            reason: Reason::Finished,
            received: 0,
            sent: 0,
            lasted: Duration::ZERO,
        }
    }

    #[test]
    fn a_reader_that_stands_still_loses_events_and_learns_how_many() {
        let (events, reader) = Events::channel(Level::Connections);
        for id in 0..QUEUE as u64 + 3 {
            events.tell(|| Kind::PeerFinished { id });
        }
        assert_eq!(events.told().missed.load(Ordering::Relaxed), 3);
        drop(events);
        let told: Vec<Kind> = std::iter::from_fn(|| reader.next())
            .map(|event| event.kind)
            .collect();
        assert_eq!(told.len(), QUEUE + 1);
        assert_eq!(told[QUEUE], Kind::Lost { events: 3 });
    }

    #[test]
    fn ends_are_told_however_late_they_are_read_and_behind_what_is_missing() {
        let (events, reader) = Events::channel(Level::Connections);
        for id in 0..QUEUE as u64 + 3 {
            events.tell(|| Kind::PeerFinished { id });
        }
        events.tell(|| end(1));
        // One that is told later does not go before it.
        events.tell(|| Kind::PeerFinished { id: 7 });
        for _ in 0..QUEUE {
            reader.try_next().unwrap();
        }
        events.tell(|| end(2));
        assert_eq!(
            reader.try_next().map(|event| event.kind),
            Some(Kind::Lost { events: 4 })
        );
        events.tell(|| Kind::PeerFinished { id: 8 });
        drop(events);
        let told: Vec<Kind> =
            std::iter::from_fn(|| reader.next().map(|event| event.kind)).collect();
        assert_eq!(told, [end(1), end(2), Kind::PeerFinished { id: 8 }]);
    }

    #[test]
    fn ends_that_nobody_reads_have_their_bound_and_the_end_of_all_has_none() {
        let (events, reader) = Events::channel(Level::Connections);
        for id in 0..3 * QUEUE as u64 {
            events.tell(|| end(id));
        }
        let over = Kind::Draining {
            why: Stop::Asked,
            connections: 0,
            at_most: Duration::ZERO,
        };
        events.tell(|| over.clone());
        drop(events);
        let told: Vec<Kind> =
            std::iter::from_fn(|| reader.next().map(|event| event.kind)).collect();
        let lost = Kind::Lost {
            events: QUEUE as u64,
        };
        assert_eq!(told.len(), 2 * QUEUE + 2);
        assert_eq!(told[2 * QUEUE..], [lost, over]);
    }

    #[test]
    fn a_reader_that_waits_is_woken_by_the_next_event_and_by_the_end() {
        let (events, reader) = Events::channel(Level::Connections);
        let (asked, asks) = std::sync::mpsc::channel();
        let writer = std::thread::spawn(move || {
            for id in asks {
                events.tell(|| Kind::PeerFinished { id });
            }
        });
        for id in 0..1_000 {
            asked.send(id).unwrap();
            let event = reader.next().unwrap();
            assert_eq!(event.kind, Kind::PeerFinished { id });
        }
        drop(asked);
        assert!(reader.next().is_none());
        writer.join().unwrap();
    }

    #[test]
    fn a_worker_that_is_held_up_before_it_tells_turns_no_time_back() {
        let (events, reader) = Events::channel(Level::Connections);
        let (now, kind) = (SystemTime::now(), end(1));
        for time in [now, now - Duration::from_secs(1)] {
            let kind = kind.clone();
            events.put(Event { time, kind });
        }
        let times = [reader.next(), reader.next()].map(|event| event.unwrap().time);
        assert_eq!(times, [now, now]);
        drop(events);
        assert!(reader.now() >= now);
    }

    #[test]
    fn a_reader_may_wait_for_ever() {
        let (events, reader) = Events::channel(Level::Connections);
        events.tell(|| end(1));
        let wanted = |kind: &Kind| matches!(kind, Kind::Closed { .. });
        assert!(reader.wait_for(Duration::MAX, wanted).is_some());
        drop(events);
        assert!(reader.wait_for(Duration::MAX, wanted).is_none());
    }

    #[test]
    fn what_nobody_wants_is_never_put_together() {
        let (events, _reader) = Events::channel(Level::Connections);
        events.trace(|| panic!("nobody wants this"));
        Events::off().tell(|| panic!("nobody wants this"));
    }

    #[test]
    fn a_train_is_cut_into_its_datagrams() {
        let cut = |bytes, size| pieces(bytes, size).collect::<Vec<_>>();
        assert_eq!(cut(b"abcde", 2), [&b"ab"[..], b"cd", b"e"]);
        assert_eq!(cut(b"abcde", 5), [b"abcde"]);
        assert_eq!(cut(b"", 0), [b""]);
    }
}
