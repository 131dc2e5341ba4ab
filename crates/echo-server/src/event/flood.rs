//! What is told of the datagrams of one socket, where telling of each would be too much.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::event::{DropReason, Events, Kind, Level, unmapped};

/// What is held back of a flood: the first datagram is told at once, then a sum each second.
pub(crate) struct Flood {
    local: SocketAddr,
    answered: Sum,
    dropped: Option<(DropReason, Sum)>,
}

/// Datagrams since they were last told.
#[derive(Default)]
struct Sum {
    last: Option<Instant>,
    peer: Option<SocketAddr>,
    count: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, peer: SocketAddr, count: u64, bytes: u64) {
        self.peer = Some(peer);
        self.count += count;
        self.bytes += bytes;
    }

    /// When it is due: a second after the last one was told.
    fn due(&self) -> Option<Instant> {
        self.peer?;
        self.last.map(|last| last + Duration::from_secs(1))
    }

    /// The peer, count and bytes to be told now, if it is time.
    fn take(&mut self, now: Instant) -> Option<(SocketAddr, u64, u64)> {
        if self.due().is_some_and(|due| now < due) {
            return None;
        }
        let told = (self.peer.take()?, self.count, self.bytes);
        *self = Sum {
            last: Some(now),
            ..Sum::default()
        };
        Some(told)
    }
}

impl Flood {
    /// Nothing yet, of the socket at `local`.
    pub(crate) fn new(local: SocketAddr) -> Self {
        Flood {
            local,
            answered: Sum::default(),
            dropped: None,
        }
    }

    /// Datagrams were answered.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        events: &Events,
        peer: SocketAddr,
        count: u64,
        bytes: u64,
    ) {
        // At a finer level each one is told.
        if events.wants(Level::Connections) && !events.wants(Level::Traffic) {
            self.answered.add(peer, count, bytes);
            self.flush_answered(now, events);
        }
    }

    /// Datagrams were not answered.
    pub(crate) fn dropped(
        &mut self,
        now: Instant,
        events: &Events,
        peer: SocketAddr,
        why: DropReason,
        count: u64,
    ) {
        if !events.wants(Level::Connections) {
            return;
        }
        let (told, sum) = self.dropped.get_or_insert_with(|| (why, Sum::default()));
        *told = why;
        sum.add(unmapped(peer), count, 0);
        self.flush_dropped(now, events);
    }

    /// When what is held back must be told.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let dropped = self.dropped.as_ref().and_then(|(_, sum)| sum.due());
        self.answered.due().into_iter().chain(dropped).min()
    }

    /// Tells what is due.
    pub(crate) fn flush(&mut self, now: Instant, events: &Events) {
        self.flush_answered(now, events);
        self.flush_dropped(now, events);
    }

    fn flush_answered(&mut self, now: Instant, events: &Events) {
        if let Some((peer, count, bytes)) = self.answered.take(now) {
            let local = self.local;
            events.tell(|| Kind::Datagrams {
                local,
                peer,
                count,
                bytes,
            });
        }
    }

    fn flush_dropped(&mut self, now: Instant, events: &Events) {
        if let Some((why, sum)) = &mut self.dropped
            && let Some((peer, count, _)) = sum.take(now)
        {
            let (local, reason) = (self.local, *why);
            events.tell(|| Kind::DatagramsDropped {
                local,
                peer,
                reason,
                count,
            });
        }
    }
}
