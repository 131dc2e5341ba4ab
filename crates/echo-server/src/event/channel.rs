//! From the workers to whoever listens: bounded, never blocking, losses counted.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use echo_core::{Clock, named};
use echo_explain::Witness;
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

/// Events waiting for their reader; past this they are dropped and counted.
const QUEUE: usize = 4096;

/// The most bytes of an event, so that a reader that stands still costs some half a megabyte, and
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
    pub(super) clock: Clock,
    queue: Option<SyncSender<Event>>,
    told: Arc<Told>,
    kept: Arc<Kept>,
    record: Option<Arc<Record>>,
    pub(super) witness: Option<Arc<Mutex<Witness>>>,
}

/// The reading end of [`Events`].
#[derive(Debug)]
pub struct EventReader {
    queue: Receiver<Event>,
    kept: Arc<Kept>,
    told: Arc<Told>,
    /// How many of those that nobody read in time are known.
    known: Cell<u64>,
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
        let (sender, queue) = sync_channel(if level == Level::Off { 0 } else { QUEUE });
        let (told, clock) = (Arc::<Told>::default(), Clock::new());
        let kept = Arc::<Kept>::default();
        let events = Events {
            level,
            heard: level,
            clock: clock.clone(),
            queue: (level > Level::Off).then_some(sender),
            told: told.clone(),
            kept: kept.clone(),
            record: None,
            witness: (level == Level::Calls).then(Arc::default),
        };
        let last = Cell::new(UNIX_EPOCH);
        let reader = EventReader {
            queue,
            kept,
            told,
            known: Cell::default(),
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

    pub(super) fn put(&self, event: Event) {
        let Some(queue) = &self.queue else { return };
        let Some(event) = self.kept.behind(event, queue) else {
            return;
        };
        if let Err(TrySendError::Full(event)) = queue.try_send(event)
            && self.kept.take(event, queue).is_some()
        {
            self.told.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Ends that found the queue full: nothing else tells what they say. They are read once that is empty,
/// in their order.
#[derive(Debug, Default)]
struct Kept {
    events: Mutex<VecDeque<Event>>,
    /// Whether there are any; looked at without the lock.
    any: AtomicBool,
}

impl Kept {
    /// Takes an end where others are here before it, or gives the event back.
    fn behind(&self, event: Event, queue: &SyncSender<Event>) -> Option<Event> {
        match self.any.load(Ordering::Acquire) {
            true => self.take(event, queue),
            false => Some(event),
        }
    }

    /// Takes an event, or gives it back where it is no end or there is no room.
    fn take(&self, event: Event, queue: &SyncSender<Event>) -> Option<Event> {
        if !is_end(&event.kind) {
            return Some(event);
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(event.kind, Kind::Closed { .. }) && events.len() >= QUEUE {
            return Some(event);
        }
        events.push_back(event);
        self.any.store(true, Ordering::Release);
        // The reader may have emptied the queue before it could see that there are any: then it waits
        // for the queue alone, and the first of them must wake it.
        if let Some(first) = events.pop_front()
            && let Err(TrySendError::Full(first)) = queue.try_send(first)
        {
            events.push_front(first);
        }
        self.any.store(!events.is_empty(), Ordering::Release);
        None
    }

    fn next(&self) -> Option<Event> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let event = events.pop_front();
        self.any.store(!events.is_empty(), Ordering::Release);
        event
    }
}

/// Whether it is the end of a connection or of the server.
fn is_end(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Closed { .. } | Kind::Draining { .. } | Kind::Stopped { .. }
    )
}

/// The datagrams in `bytes`: an empty one is one, too.
pub(crate) fn pieces(bytes: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    let empty = bytes.is_empty().then_some(bytes);
    bytes.chunks(size.max(1)).chain(empty)
}

impl EventReader {
    /// The next event; `None` once the server is gone and all are read.
    pub fn next(&self) -> Option<Event> {
        let queued = || self.queue.recv().ok().or_else(|| self.kept.next());
        let event = self.ready().or_else(queued);
        event.map(|event| self.in_order(event))
    }

    /// The next event that is there, of those that found no room when no other is.
    fn ready(&self) -> Option<Event> {
        self.queue.try_recv().ok().or_else(|| self.kept.next())
    }

    /// The next event, if there is one already; none that found no room, for what is missing before
    /// it is to be told first. Those are [`EventReader::try_kept`]'s.
    pub fn try_next(&self) -> Option<Event> {
        self.queue.try_recv().ok().map(|event| self.in_order(event))
    }

    /// The next of the ends that found no room, if there is one.
    pub fn try_kept(&self) -> Option<Event> {
        self.kept.next().map(|event| self.in_order(event))
    }

    /// The next event, if it comes before `deadline`.
    ///
    /// # Errors
    /// Whether it is the time that is over, or the server.
    pub fn next_before(&self, deadline: Instant) -> Result<Event, RecvTimeoutError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = match self.ready() {
            Some(event) => event,
            None => self
                .queue
                .recv_timeout(left)
                .or_else(|why| self.kept.next().ok_or(why))?,
        };
        Ok(self.in_order(event))
    }

    /// Waits up to `limit` for the first event that `wanted` wants, and drops those before it.
    pub fn wait_for(&self, limit: Duration, wanted: impl Fn(&Kind) -> bool) -> Option<Event> {
        let deadline = Instant::now() + limit;
        loop {
            let event = self.next_before(deadline).ok()?;
            if wanted(&event.kind) {
                return Some(event);
            }
        }
    }

    /// A worker may be held up between looking at the clock and telling: then another's event is
    /// before its own, and has the later time.
    fn in_order(&self, event: Event) -> Event {
        self.last.set(self.last.get().max(event.time));
        let time = self.last.get();
        Event { time, ..event }
    }

    /// The time, by the clock of the events. Those that are read later are not before it.
    pub fn now(&self) -> SystemTime {
        self.last.set(self.last.get().max(self.clock.now()));
        self.last.get()
    }

    /// Events lost since the last call, because nobody read them in time.
    pub fn take_missed(&self) -> u64 {
        let missed = self.told.missed.load(Ordering::Relaxed);
        missed - self.known.replace(missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{PeerAddress, Reason, Stop};

    #[test]
    fn a_reader_that_stands_still_loses_events_and_learns_how_many() {
        let (events, reader) = Events::channel(Level::Connections);
        for id in 0..QUEUE as u64 + 3 {
            events.tell(|| Kind::PeerFinished { id });
        }
        assert_eq!(reader.take_missed(), 3);
        assert_eq!(reader.take_missed(), 0);
        drop(events);
        assert_eq!(std::iter::from_fn(|| reader.next()).count(), QUEUE);
    }

    #[test]
    fn ends_are_told_however_late_they_are_read_and_the_last_one_is_last() {
        let (events, reader) = Events::channel(Level::Connections);
        let end = |id| Kind::Closed {
            id,
            peer: PeerAddress::Unix,
            reason: Reason::Finished,
            received: 0,
            sent: 0,
            lasted: Duration::ZERO,
        };
        for id in 0..QUEUE as u64 + 3 {
            events.tell(|| Kind::PeerFinished { id });
        }
        events.tell(|| end(1));
        assert!(reader.next().is_some());
        // There is room again, but one that is told later waits its turn, and the first one goes.
        events.tell(|| end(2));
        events.tell(|| Kind::PeerFinished { id: 7 });
        drop(events);
        let told: Vec<Kind> =
            std::iter::from_fn(|| reader.next().map(|event| event.kind)).collect();
        assert_eq!(told.len(), QUEUE + 1);
        assert_eq!(told[QUEUE - 1..], [end(1), end(2)]);
        assert_eq!(reader.take_missed(), 4);
    }

    #[test]
    fn an_end_that_is_kept_wakes_a_reader_who_found_nothing_before() {
        let (events, reader) = Events::channel(Level::Connections);
        let event = Event {
            time: UNIX_EPOCH,
            kind: Kind::Draining {
                why: Stop::Asked,
                connections: 0,
                at_most: Duration::ZERO,
            },
        };
        let queue = events.queue.as_ref().unwrap();
        // As where the queue was full when the worker looked, and the reader has emptied it since.
        assert!(events.kept.take(event.clone(), queue).is_none());
        assert_eq!(reader.try_next().map(|event| event.kind), Some(event.kind));
        assert!(reader.try_kept().is_none());
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
