//! The books: what was sent, what came back, and what each reply is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::report::{Counts, Jitter, Latency};
use crate::wire::echo::Reply;

/// Requests that are remembered: at 24 bytes each, 1.5 MB. Whatever answers an older one is taken
/// for a duplicate, so that a request which has been given up stays lost.
const REMEMBERED: usize = 1 << 16;

/// Every request of a run, in the order in which they were sent. Numbers start at 1.
#[derive(Debug)]
pub struct Book {
    /// What was sent and what became of it; `lost` is known when the run is over.
    pub counts: Counts,
    /// Round trips of the right replies.
    pub rtt: Latency,
    /// How much they differ from one to the next.
    pub jitter: Jitter,
    timeout: Duration,
    slots: VecDeque<Slot>,
    /// The number of the oldest slot.
    oldest: u64,
    /// The highest number that has been answered.
    highest: u64,
    /// No request below this number is awaited.
    frontier: u64,
    awaited: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    sent: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Awaited,
    /// Its time is up, or it is known to have failed. An answer would be a late one.
    GivenUp,
    Answered,
}

/// What a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The right bytes, in time, in order.
    Ok,
    /// Right, but after its time was up.
    Late,
    /// Right, but after the reply to a later request.
    Reordered,
    /// Another one to a request that had its reply.
    Duplicate,
    /// Wrong bytes.
    Corrupt,
    /// Cut short.
    Truncated,
    /// To none of the requests.
    Foreign,
}

impl Class {
    /// Its name in text and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Ok => "ok",
            Class::Late => "late",
            Class::Reordered => "reordered",
            Class::Duplicate => "duplicate",
            Class::Corrupt => "corrupt",
            Class::Truncated => "truncated",
            Class::Foreign => "foreign",
        }
    }
}

/// A reply, entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub class: Class,
    /// The request it answers, and the time since that was sent.
    pub answers: Option<(u64, Duration)>,
}

impl Book {
    /// Empty books. A request is given up `timeout` after it was sent.
    pub fn new(timeout: Duration) -> Self {
        Book {
            counts: Counts::default(),
            rtt: Latency::new(),
            jitter: Jitter::default(),
            timeout,
            slots: VecDeque::new(),
            oldest: 1,
            highest: 0,
            frontier: 1,
            awaited: 0,
        }
    }

    /// The number of the next request.
    pub fn next(&self) -> u64 {
        self.oldest + self.slots.len() as u64
    }

    /// Enters the next request, of `bytes` bytes.
    pub fn sent(&mut self, at: Instant, bytes: usize) {
        if self.slots.len() == REMEMBERED {
            self.forget_oldest();
        }
        self.slots.push_back(Slot {
            sent: at,
            state: State::Awaited,
        });
        self.awaited += 1;
        self.counts.sent += 1;
        self.counts.sent_bytes += bytes as u64;
    }

    /// Enters a reply of `bytes` bytes.
    pub fn received(&mut self, reply: Reply, at: Instant, bytes: usize) -> Entry {
        self.counts.received += 1;
        self.counts.received_bytes += bytes as u64;
        let class = match reply {
            Reply::Whole(number) => return self.answered(number, at),
            Reply::Corrupt => Class::Corrupt,
            Reply::Truncated => Class::Truncated,
            Reply::Foreign => Class::Foreign,
        };
        self.stray(class, None)
    }

    fn stray(&mut self, class: Class, answers: Option<(u64, Duration)>) -> Entry {
        match class {
            Class::Duplicate => self.counts.duplicate += 1,
            Class::Corrupt => self.counts.corrupt += 1,
            Class::Truncated => self.counts.truncated += 1,
            _ => self.counts.foreign += 1,
        }
        Entry { class, answers }
    }

    fn answered(&mut self, number: u64, at: Instant) -> Entry {
        if number == 0 || number >= self.next() {
            return self.stray(Class::Foreign, None);
        }
        let Some(slot) = self.slot(number) else {
            return self.stray(Class::Duplicate, None);
        };
        let rtt = at.saturating_duration_since(slot.sent);
        let answers = Some((number, rtt));
        let state = std::mem::replace(&mut slot.state, State::Answered);
        if state == State::Answered {
            return self.stray(Class::Duplicate, answers);
        }
        let class = if state == State::GivenUp || rtt > self.timeout {
            self.counts.late += 1;
            Class::Late
        } else if number < self.highest {
            Class::Reordered
        } else {
            Class::Ok
        };
        if state == State::Awaited {
            self.no_longer_awaited();
        }
        self.counts.reordered += u64::from(number < self.highest);
        self.counts.unique += 1;
        self.highest = self.highest.max(number);
        self.rtt.record(rtt);
        self.jitter.record(rtt);
        Entry { class, answers }
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let index = usize::try_from(number.checked_sub(self.oldest)?).ok()?;
        self.slots.get_mut(index)
    }

    /// Requests whose replies are awaited.
    pub fn awaited(&self) -> usize {
        self.awaited
    }

    /// The oldest request whose reply is awaited.
    pub fn oldest_awaited(&self) -> Option<u64> {
        (self.awaited > 0).then_some(self.frontier)
    }

    /// When the next request will be given up.
    pub fn next_expiry(&self) -> Option<Instant> {
        let index = self.oldest_awaited()? - self.oldest;
        let slot = self.slots.get(usize::try_from(index).ok()?)?;
        Some(slot.sent + self.timeout)
    }

    /// Gives up a request whose time is up by `now`, and says which: one at a time.
    pub fn expire(&mut self, now: Instant) -> Option<u64> {
        let number = self.oldest_awaited()?;
        if self.next_expiry()? > now {
            return None;
        }
        self.give_up(number);
        Some(number)
    }

    /// Gives up a request of which it is known that it failed.
    pub fn give_up(&mut self, number: u64) {
        if let Some(slot) = self.slot(number).filter(|s| s.state == State::Awaited) {
            slot.state = State::GivenUp;
            self.no_longer_awaited();
        }
    }

    fn no_longer_awaited(&mut self) {
        self.awaited -= 1;
        while self
            .slot(self.frontier)
            .is_some_and(|slot| slot.state != State::Awaited)
        {
            self.frontier += 1;
        }
    }

    /// Closes the books.
    pub fn close(&mut self) {
        self.counts.lost = self.counts.sent - self.counts.unique;
    }

    fn forget_oldest(&mut self) {
        self.give_up(self.oldest);
        self.slots.pop_front();
        self.oldest += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(100);

    fn book(requests: u64) -> (Book, Instant) {
        let (mut book, start) = (Book::new(TIMEOUT), Instant::now());
        for _ in 0..requests {
            book.sent(start, 56);
        }
        (book, start)
    }

    fn classes(book: &mut Book, at: Instant, replies: &[Reply]) -> Vec<Class> {
        replies
            .iter()
            .map(|&reply| book.received(reply, at, 56).class)
            .collect()
    }

    #[test]
    fn every_reply_has_a_class_and_the_books_balance() {
        use Reply::{Corrupt, Foreign, Truncated, Whole};
        let (mut book, start) = book(6);
        let at = start + Duration::from_millis(1);
        let replies = [
            Whole(1),
            Whole(3),
            Whole(2),
            Whole(3),
            Corrupt,
            Truncated,
            Foreign,
            Whole(0),
            Whole(7),
        ];
        assert_eq!(
            classes(&mut book, at, &replies),
            [
                Class::Ok,
                Class::Ok,
                Class::Reordered,
                Class::Duplicate,
                Class::Corrupt,
                Class::Truncated,
                Class::Foreign,
                Class::Foreign,
                Class::Foreign,
            ]
        );
        let end = start + TIMEOUT;
        assert_eq!(
            [book.expire(end), book.expire(end), book.expire(end)],
            [Some(4), Some(5), Some(6)]
        );
        assert_eq!((book.expire(end), book.awaited()), (None, 0));
        assert_eq!(
            classes(&mut book, end, &[Whole(5), Whole(5)]),
            [Class::Late, Class::Duplicate]
        );
        book.close();
        assert!(book.counts.balance(), "{:?}", book.counts);
        assert_eq!(
            (book.counts.lost, book.counts.late, book.counts.unique),
            (2, 1, 4)
        );
        assert_eq!(book.rtt.count(), 4);
    }

    #[test]
    fn a_reply_after_its_time_is_late_even_when_nobody_looked() {
        let (mut book, start) = book(1);
        let at = start + TIMEOUT + Duration::from_nanos(1);
        assert_eq!(classes(&mut book, at, &[Reply::Whole(1)]), [Class::Late]);
        assert_eq!(book.awaited(), 0);
    }

    #[test]
    fn memory_is_bounded_and_the_books_balance_all_the_same() {
        let requests = REMEMBERED as u64 + 10;
        let (mut book, start) = book(requests);
        assert_eq!(book.slots.len(), REMEMBERED);
        for number in 1..=requests {
            book.received(Reply::Whole(number), start, 56);
        }
        book.close();
        assert!(book.counts.balance());
        assert_eq!((book.counts.lost, book.counts.duplicate), (10, 10));
        assert_eq!(book.awaited(), 0);
    }

    #[test]
    fn a_request_that_failed_is_not_awaited() {
        let (mut book, start) = book(2);
        book.give_up(1);
        book.give_up(1);
        assert_eq!((book.awaited(), book.oldest_awaited()), (1, Some(2)));
        assert_eq!(book.next_expiry(), Some(start + TIMEOUT));
    }
}
