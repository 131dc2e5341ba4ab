//! What is told of the datagrams of one socket, where telling of each would be too much.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::event::{DropReason, Events, Kind, Level, fields};

/// Datagrams between one socket and one peer, or the sum of several peers'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "transport", rename = "udp")]
pub struct Datagrams {
    /// The socket; where they were sent to or are sent from.
    #[serde(serialize_with = "fields::address")]
    pub local: SocketAddr,
    /// The other end; of a sum, the last one's.
    #[serde(serialize_with = "fields::address")]
    pub peer: SocketAddr,
    /// How many.
    #[serde(rename = "datagrams")]
    pub count: u64,
    /// Their bytes, which each event names by what became of them.
    #[serde(skip)]
    pub bytes: u64,
}

/// How often a sum is told.
const SECOND: Duration = Duration::from_secs(1);

/// What is held back of a flood: of each kind the first is told at once, then a sum each second.
#[derive(Default)]
pub(crate) struct Flood {
    /// Those that were answered, and those that were not, by reason.
    held: [Held; 1 + DropReason::CODES.len()],
    /// When a sum must be told.
    due: Option<Instant>,
}

/// Datagrams of one kind since they were last told.
#[derive(Clone, Copy, Default)]
struct Held {
    told: Option<Instant>,
    /// With the last one's reason, where they were dropped.
    sum: Option<(Option<DropReason>, Datagrams)>,
}

impl Held {
    fn add(&mut self, why: Option<DropReason>, new: Datagrams) {
        let (count, bytes) = self.sum.map_or((0, 0), |(_, sum)| (sum.count, sum.bytes));
        let sum = Datagrams {
            count: count + new.count,
            bytes: bytes + new.bytes,
            ..new
        };
        self.sum = Some((why, sum));
    }

    /// Tells it if it is time, else says when that will be.
    fn tell(&mut self, now: Instant, events: &Events) -> Option<Instant> {
        let (why, sum) = self.sum?;
        let due = self.told.map_or(now, |told| told + SECOND);
        if now < due {
            return Some(due);
        }
        events.tell(|| match why {
            None => Kind::DatagramsAnswered(sum),
            Some(reason) => Kind::DatagramsDropped { reason, sum },
        });
        *self = Held {
            told: Some(now),
            sum: None,
        };
        None
    }
}

impl Flood {
    /// Datagrams were answered or, for the reason `why`, not.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        events: &Events,
        why: Option<DropReason>,
        sum: Datagrams,
    ) {
        let is_told_elsewhere = match why {
            // At a finer level each one is told.
            None => events.wants(Level::Traffic),
            // The faults tell what they do.
            Some(why) => why == DropReason::Fault,
        };
        if is_told_elsewhere || !events.wants(Level::Connections) {
            return;
        }
        let held = &mut self.held[why.map_or(0, |why| 1 + why.index())];
        held.add(why, sum);
        self.due = earlier(self.due, held.tell(now, events));
    }

    /// When what is held back must be told.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Tells what is due.
    pub(crate) fn flush(&mut self, now: Instant, events: &Events) {
        let held = self.held.iter_mut();
        self.due = held.filter_map(|held| held.tell(now, events)).min();
    }
}

/// The earlier of two moments, if there is one.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_by_itself_the_first_at_once_and_then_a_sum_a_second() {
        let (events, reader) = Events::channel(Level::Connections);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let one = |count| {
            let (local, peer) = (
                "127.0.0.1:7".parse().unwrap(),
                "127.0.0.1:8".parse().unwrap(),
            );
            let bytes = 10 * count;
            Datagrams {
                local,
                peer,
                count,
                bytes,
            }
        };
        let dropped = |reason, count| Kind::DatagramsDropped {
            reason,
            sum: one(count),
        };
        let mut flood = Flood::default();
        let told = || std::iter::from_fn(|| reader.try_next()).map(|event| event.kind);
        flood.note(at(0), &events, None, one(1));
        flood.note(at(100), &events, Some(DropReason::Rate), one(2));
        flood.note(at(100), &events, Some(DropReason::ServicePort), one(3));
        flood.note(at(100), &events, Some(DropReason::Fault), one(9));
        let first = [
            Kind::DatagramsAnswered(one(1)),
            dropped(DropReason::Rate, 2),
            dropped(DropReason::ServicePort, 3),
        ];
        assert!(told().eq(first));
        assert_eq!(flood.deadline(), None);
        for _ in 0..2 {
            flood.note(at(200), &events, Some(DropReason::Rate), one(4));
            flood.note(at(200), &events, Some(DropReason::ServicePort), one(5));
        }
        flood.note(at(200), &events, None, one(6));
        assert_eq!(flood.deadline(), Some(at(1000)));
        flood.flush(at(1000), &events);
        assert!(told().eq([Kind::DatagramsAnswered(one(6))]));
        assert_eq!(flood.deadline(), Some(at(1100)));
        flood.flush(at(1100), &events);
        let sums: Vec<_> = told().collect();
        assert!(sums.contains(&dropped(DropReason::Rate, 8)));
        assert!(sums.contains(&dropped(DropReason::ServicePort, 10)));
        assert_eq!((sums.len(), flood.deadline()), (2, None));
    }
}
