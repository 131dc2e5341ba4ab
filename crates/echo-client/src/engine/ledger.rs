//! What each request on one connection has become. Requests are numbered from 1, in the order in
//! which they leave, across all the sockets that the connection has had.

use std::collections::VecDeque;

use echo_core::named;
use serde::{Deserialize, Serialize};

#[cfg(test)]
use super::simulated::{Mutant, has};

/// Requests among which those without an answer are remembered after their time was up, so that a late
/// reply is told from a duplicate: so many, at 32 bytes each, and all that left within two time-outs.
const REMEMBERED: usize = 4096;

/// But no more than so many, on 8 MiB for each connection that loses anything: 130,000 a second with time-outs of one.
const MOST: usize = 1 << 18;

/// Requests that leave within this part of the time-out are given up together.
const TOGETHER: u64 = 10;

/// A request on its way. Times are in nanoseconds since the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it should have left: with a rate, latency counts from here.
    pub due: u64,
    /// When it left, as this program saw it.
    pub sent: u64,
    /// How long after that the system let it go, as the system says.
    pub held: u32,
}

impl Request {
    /// A request that was due and left then, and of which the system has said nothing.
    pub const fn new(due: u64, sent: u64) -> Self {
        let held = 0;
        Request { due, sent, held }
    }

    /// When it left this machine, as far as that is known.
    pub const fn departed(&self) -> u64 {
        self.sent + self.held as u64
    }
}

/// What a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// Whether it is the one reply that a request is owed.
    pub const fn is_right(self) -> bool {
        matches!(self, Class::Ok | Class::Late | Class::Reordered)
    }
}

named!(Class);

/// A reply, entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub class: Class,
    /// The request it answers.
    pub answers: Option<(u64, Request)>,
    /// Whether a later request was answered before; a late reply mostly is that too.
    pub reordered: bool,
    /// Whether its request had been given up, and counted as lost.
    pub given_up: bool,
}

impl Entry {
    /// A reply of `class` to nobody knows which request.
    pub const fn stray(class: Class) -> Self {
        Entry {
            class,
            answers: None,
            reordered: false,
            given_up: false,
        }
    }
}

/// The requests of one connection.
#[derive(Debug, Default)]
pub struct Ledger {
    /// A request is given up so many nanoseconds after it left.
    pub timeout: u64,
    slots: VecDeque<Slot>,
    /// Requests among which those that were given up are remembered, however old they are.
    pub remembered: usize,
    /// The number of the oldest slot.
    oldest: u64,
    /// No request below this number is awaited.
    frontier: u64,
    awaited: usize,
    /// The highest number that has been answered.
    highest: u64,
    /// Requests that were answered rightly.
    answered: u64,
    /// The longest that a right reply has taken, over any socket: sooner, silence is no sign.
    pub longest: u64,
    /// Requests that have failed, and replies that were wrong, since the last right reply or on
    /// this socket.
    pub misses: u32,
    /// When the last request left that counts as one of these.
    missed: u64,
    /// And when the first one left.
    silent_since: Option<u64>,
    /// The number of the newest request whose time is up.
    expired: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    request: Request,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Awaited,
    /// Its time is up, or it is known to have failed. An answer would be a late one.
    GivenUp,
    Answered,
}

impl Ledger {
    /// A ledger without a request, which is given up `timeout` nanoseconds after it left.
    pub fn new(timeout: u64) -> Self {
        Ledger {
            timeout,
            remembered: REMEMBERED,
            oldest: 1,
            frontier: 1,
            ..Ledger::default()
        }
    }

    /// Something right has come, or a socket is new: what failed before is no sign any more.
    pub fn hear(&mut self) {
        (self.misses, self.silent_since) = (0, None);
    }

    /// For how long the oldest has had no reply, of those that failed in a row.
    pub fn silence(&self, now: u64) -> u64 {
        self.silent_since
            .map_or(0, |since| now.saturating_sub(since))
    }

    /// When the newest request left whose time is up, if its reply may still come.
    pub fn overdue(&self) -> Option<u64> {
        let index = usize::try_from(self.expired.checked_sub(self.oldest)?).ok()?;
        let slot = self.slots.get(index)?;
        (slot.state == State::GivenUp).then_some(slot.request.sent)
    }

    /// The number of the next request.
    pub fn next(&self) -> u64 {
        self.oldest + self.slots.len() as u64
    }

    /// Has the next request have this number, which is none of a request that is remembered.
    pub fn skip_to(&mut self, number: u64) {
        debug_assert!(self.slots.is_empty() && number >= self.oldest);
        (self.oldest, self.frontier) = (number, number);
    }

    /// Enters the next request. Returns its number.
    pub fn push(&mut self, request: Request) -> u64 {
        self.slots.push_back(Slot {
            request,
            state: State::Awaited,
        });
        self.awaited += 1;
        self.next() - 1
    }

    /// Requests whose replies are awaited.
    pub fn awaited(&self) -> usize {
        self.awaited
    }

    /// Requests that have had no right reply, on a stream: their echoes come in this order.
    pub fn unanswered(&self) -> usize {
        self.slots.len()
    }

    /// The number of the oldest request that is remembered.
    pub fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Whether a later request than this one has been answered.
    pub fn is_passed(&self, number: u64) -> bool {
        number < self.highest
    }

    /// Requests that were answered rightly.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Enters that the system let request `number` go at `at`, unless that is none of its time: it is
    /// `now`. Returns whether it was entered.
    pub fn departed(&mut self, number: u64, at: u64, now: u64) -> bool {
        let Some(request) = self.slot(number).map(|slot| &mut slot.request) else {
            return false;
        };
        let held = at.checked_sub(request.sent).filter(|_| at <= now);
        let held = held.and_then(|held| u32::try_from(held).ok());
        request.held = held.unwrap_or(0);
        held.is_some()
    }

    /// Request `number`, if it is remembered.
    pub fn request(&self, number: u64) -> Option<Request> {
        let index = usize::try_from(number.checked_sub(self.oldest)?).ok()?;
        self.slots.get(index).map(|slot| slot.request)
    }

    /// Enters a whole reply to request `number` that came at `at`.
    pub fn reply(&mut self, number: u64, at: u64) -> Entry {
        // A number of the future is none of ours, whatever its token.
        if number == 0 || number >= self.next() {
            return Entry::stray(Class::Foreign);
        }
        let Some(slot) = self.slot(number) else {
            return Entry::stray(Class::Duplicate);
        };
        let request = slot.request;
        let state = std::mem::replace(&mut slot.state, State::Answered);
        let reordered = self.is_passed(number);
        let class = match state {
            State::Answered => Class::Duplicate,
            _ => self.right(number, request, state, at, 1),
        };
        Entry {
            class,
            answers: Some((number, request)),
            reordered: reordered && class.is_right(),
            given_up: state == State::GivenUp,
        }
    }

    /// Enters that the next echoes of a stream came at `at`: of as many requests as left together,
    /// `most` at most. Returns how many they are.
    pub fn reply_next(&mut self, most: u64, at: u64) -> Option<(Entry, u64)> {
        let Slot { request, state } = *self.slots.front()?;
        let alike = |slot: &&Slot| slot.request == request && slot.state == state;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let count = self.slots.iter().take(most).take_while(alike).count();
        self.slots.drain(..count);
        let number = self.oldest;
        self.oldest += count as u64;
        let class = self.right(self.oldest - 1, request, state, at, count);
        let entry = Entry {
            class,
            answers: Some((number, request)),
            given_up: state == State::GivenUp,
            ..Entry::stray(class)
        };
        Some((entry, count as u64))
    }

    fn right(&mut self, number: u64, request: Request, was: State, at: u64, count: usize) -> Class {
        if was == State::Awaited {
            self.no_longer_awaited(count);
        }
        self.answered += count as u64;
        self.longest = self.longest.max(at.saturating_sub(request.sent));
        self.hear();
        let in_order = number > self.highest;
        self.highest = self.highest.max(number);
        #[cfg(test)]
        let at = match has(Mutant::LateForgiven) {
            true => request.sent,
            false => at,
        };
        // By its own time: whoever was refused in the place of another may be in time.
        if at.saturating_sub(request.sent) > self.timeout {
            Class::Late
        } else if in_order {
            Class::Ok
        } else {
            Class::Reordered
        }
    }

    /// Enters that the next echo of a stream has come, and is wrong: its request will get no other.
    pub fn wrong_next(&mut self) -> Option<Entry> {
        let (number, slot) = self.pop()?;
        self.misses += 1;
        Some(Entry {
            answers: Some((number, slot.request)),
            given_up: slot.state == State::GivenUp,
            ..Entry::stray(Class::Corrupt)
        })
    }

    /// When the next request will be given up.
    pub fn next_expiry(&self) -> Option<u64> {
        let index = (self.awaited > 0).then_some(self.frontier - self.oldest)?;
        let slot = self.slots.get(usize::try_from(index).ok()?)?;
        Some(slot.request.sent.saturating_add(self.timeout))
    }

    /// Gives up a request whose time is up by `now`, and says which: one at a time.
    pub fn expire(&mut self, now: u64) -> Option<(u64, Request)> {
        self.next_expiry().filter(|expiry| *expiry <= now)?;
        let given_up = self.give_up_oldest()?;
        self.expired = given_up.0;
        Some(given_up)
    }

    /// Gives up the oldest request that is awaited, which was refused. Unlike those that fall silent
    /// together, each that is refused is a miss: something on the way has answered.
    pub fn refuse_oldest(&mut self) -> Option<(u64, Request)> {
        let misses = self.misses;
        let given_up = self.give_up_oldest();
        self.misses = misses + 1;
        given_up
    }

    /// Enters that request `number` has not left, and is not awaited: a miss, too. Returns it, unless it was
    /// given up before.
    pub fn withhold(&mut self, number: u64) -> Option<Request> {
        let slot = self.slot(number);
        let slot = slot.filter(|slot| slot.state == State::Awaited)?;
        slot.state = State::Answered;
        let request = slot.request;
        self.no_longer_awaited(1);
        self.misses += 1;
        Some(request)
    }

    /// Gives up the oldest request that is awaited, which is known to have failed. Those that left
    /// at about the same time fail together: they are one miss.
    fn give_up_oldest(&mut self) -> Option<(u64, Request)> {
        let number = (self.awaited > 0).then_some(self.frontier)?;
        let slot = self.slot(number)?;
        slot.state = State::GivenUp;
        let request = slot.request;
        let sent = request.sent;
        self.no_longer_awaited(1);
        self.silent_since.get_or_insert(sent);
        if self.misses == 0 || sent.saturating_sub(self.missed) >= self.timeout / TOGETHER {
            (self.misses, self.missed) = (self.misses + 1, sent);
        }
        Some((number, request))
    }

    /// Lets go of the oldest requests that are settled, and of those given up that are too many and too
    /// old to be remembered.
    pub fn forget(&mut self) {
        let newest = self.slots.back().map_or(0, |slot| slot.request.sent);
        let old = newest.saturating_sub(self.timeout.saturating_mul(2));
        while let Some(slot) = self.slots.front()
            && match slot.state {
                State::Awaited => false,
                State::GivenUp => {
                    let slots = self.slots.len();
                    slots > self.remembered && (slot.request.sent < old || slots > MOST)
                }
                State::Answered => true,
            }
        {
            self.pop();
        }
    }

    /// Lets go of all up to the next request that is still awaited, as no reply can come any more, and
    /// returns that.
    pub fn abandon(&mut self) -> Option<(u64, Request)> {
        loop {
            let (number, slot) = self.pop()?;
            if slot.state == State::Awaited {
                return Some((number, slot.request));
            }
        }
    }

    /// Lets go of the oldest slot, and says which number it had.
    fn pop(&mut self) -> Option<(u64, Slot)> {
        let slot = self.slots.pop_front()?;
        self.oldest += 1;
        if slot.state == State::Awaited {
            self.no_longer_awaited(1);
        }
        Some((self.oldest - 1, slot))
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let index = usize::try_from(number.checked_sub(self.oldest)?).ok()?;
        self.slots.get_mut(index)
    }

    fn no_longer_awaited(&mut self, count: usize) {
        self.awaited -= count;
        self.frontier = self.frontier.max(self.oldest);
        while self
            .slot(self.frontier)
            .is_some_and(|slot| slot.state != State::Awaited)
        {
            self.frontier += 1;
        }
    }
}

#[cfg(test)]
mod tests;
