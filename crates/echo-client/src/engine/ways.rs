//! On which way each packet of one STAMP session was lost, repeated or overtaken, by the numbers that
//! the reflector gives to what it returns.
//!
//! Requests are counted from 0 in the order in which they leave; a reflector that keeps state counts its
//! replies in the order in which requests come. Between two requests that were answered in turn, each
//! number that is missing is a reply that was lost on the way back; what else is unanswered there
//! never came. Of what follows the last answer, nothing is known.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use crate::report::{Numbering, Ways};

/// Requests that are looked at together, so that each is looked at about once.
const BATCH: u64 = 1024;
/// So many replies that cannot be settled are in no order.
const MOST: u64 = 1 << 16;
/// A reflector whose numbers fall back by so much has begun a session anew: nothing on a path is
/// overtaken by so many. So it has where it gives a number for the second time.
const RESTART: u64 = u64::BITS as u64;
/// So often it may begin anew at once, and once more in each batch of requests.
const RESTARTS: u64 = 8;
/// Numbers beyond those of the requests are those of copies and of requests that were overtaken, and
/// their replies were lost. A path that makes such shows one in so many; what is left out beyond that
/// was given to somebody else.
const SEEN: u64 = 8;
/// And so many may be left out before one is seen.
const UNSEEN: u64 = 2;

/// The way of each packet of one session.
#[derive(Debug, Default)]
pub struct Session {
    /// The number of the oldest request that is not settled.
    base: u64,
    /// The request that is sent next.
    end: u64,
    /// The reflector's number of the first reply to each request between, where one has come: an outage
    /// takes no room.
    replies: BTreeMap<u64, u64>,
    /// Numbers of further replies: to copies that were made on the way there.
    copies: BTreeSet<u64>,
    /// The reflector's number that is settled next.
    next: u64,
    /// The first request that is measured.
    measured: u64,
    /// Whether anything is settled yet.
    has_begun: bool,
    /// The highest request that was answered, and the reflector's highest number.
    newest: Option<(u64, u64)>,
    /// Which numbers have come: bit 0 is the highest one, bit 1 that before it.
    come: u64,
    /// How often the reflector has begun anew.
    restarts: u64,
    /// Whether its numbers have turned out to count nothing, so that none of them is kept.
    is_void: bool,
    /// The request from which on it is worth the trouble to settle what was sent before.
    due: u64,
    /// Numbers that were given to more than the requests of their stretch.
    spares: u64,
    /// Since the reflector's numbers were last at their highest: the first newer request that has a
    /// lower one, and how many replies came after later ones.
    fallen: (Option<u64>, u64),
    /// The first request since the reflector began anew, and the end of what was settled before.
    anew: (u64, u64),
    /// The request from which on numbers on the wire are one more: one has been left out, to see whether
    /// the reflector counts or copies ours.
    gap: Option<u64>,
    /// By how much its first number was ahead of ours: whoever copies ours may add a constant.
    ahead: Option<u32>,
    /// That has not stayed so.
    has_own: bool,
    /// It has, behind the gap.
    has_copied: bool,
    /// One of its numbers was higher than those before.
    has_risen: bool,
    /// The longest stretch of requests that did not come in their order.
    reach: u64,
    /// Where requests were last found lost on the way there, and replies without a request: how many,
    /// and the request before which that was.
    gone: (u64, u64),
    spare: (u64, u64),
    found: Ways,
}

impl Session {
    /// The number on the wire of a request, which comes after those before it. Those that are not
    /// measured, the first ones, are not counted.
    pub fn number(&mut self, request: u64, is_measured: bool) -> u32 {
        if !is_measured {
            self.measured = request + 1;
        }
        self.end = self.end.max(request + 1);
        (request + u64::from(self.gap.is_some_and(|gap| request >= gap))) as u32
    }

    /// The request that has a number on the wire, if there is one.
    pub fn request(&self, number: u32) -> Option<u64> {
        let end = self.end;
        let left_out = u64::from(self.gap.is_some());
        // 32 bits of it are on the wire.
        let ago = ((end + left_out) as u32).wrapping_sub(number);
        let number = (end + left_out).checked_sub(u64::from(ago))?;
        match self.gap {
            Some(gap) if number == gap => None,
            Some(gap) if number > gap => Some(number - 1),
            _ => Some(number),
        }
        .filter(|request| *request < end)
    }

    /// Takes a reply to `request` that has the reflector's number `theirs`; it is the first one to it
    /// or another.
    pub fn reply(&mut self, request: u64, theirs: u32, is_first: bool) {
        if self.is_void {
            return;
        }
        let (anew, settled) = self.anew;
        if request < anew {
            // It has a number of before. Where it was missed, it was for want of its reply.
            let is_missed = is_first && (self.measured..settled).contains(&request);
            self.found.lost_back -= u64::from(is_missed).min(self.found.lost_back);
            return;
        }
        let ours = request + u64::from(self.gap.is_some_and(|gap| request >= gap));
        let ahead = theirs.wrapping_sub(ours as u32);
        let is_ours = *self.ahead.get_or_insert(ahead) == ahead;
        self.has_own |= !is_ours;
        self.has_copied |= is_ours && self.gap.is_some_and(|gap| request >= gap);
        let (newest, highest) = self.newest.unwrap_or((request, theirs.into()));
        // Something between is missing, or late. Whether its way can be known shows once a number has
        // been left out.
        let expected = self.newest.map_or(0, |(newest, _)| newest + 1);
        let is_gap = is_first && request > expected && !self.has_own;
        // 32 bits of it are on the wire, too.
        let ahead = theirs.wrapping_sub(highest as u32) as i32;
        let theirs = highest.saturating_add_signed(ahead.into());
        if is_first && request > newest && theirs <= highest {
            let fallen = highest - theirs;
            if fallen > 0 {
                self.fallen.0.get_or_insert(request);
            }
            if fallen >= RESTART || self.come >> fallen & 1 == 1 {
                return self.restart(request, theirs);
            }
        }
        self.newest = Some((newest.max(request), highest));
        self.note(theirs);
        if is_first {
            match theirs < highest {
                true => self.fallen.1 += 1,
                false => self.found.reordered_back += mem::take(&mut self.fallen).1,
            }
            self.keep(request, theirs);
            if is_gap {
                self.gap.get_or_insert(self.end);
            }
            return;
        }
        let is_new = self.replies.get(&request) != Some(&theirs);
        match is_new && theirs >= self.next && self.copies.insert(theirs) {
            true => self.found.duplicated_there += 1,
            false => self.found.duplicated_back += 1,
        }
        self.is_void |= self.copies.len() as u64 > MOST;
    }

    /// Notes that the reflector has given this number.
    fn note(&mut self, theirs: u64) {
        let Some((_, highest)) = &mut self.newest else {
            return;
        };
        let ahead = theirs.saturating_sub(*highest);
        *highest += ahead;
        self.has_risen |= ahead > 0;
        let shift = |bits: u64, by| u32::try_from(by).ok().and_then(|by| bits.checked_shl(by));
        self.come = shift(self.come, ahead).unwrap_or(0);
        self.come |= shift(1, *highest - theirs).unwrap_or(0);
    }

    /// Keeps the number of the first reply, unless its request is settled.
    fn keep(&mut self, request: u64, theirs: u64) {
        if request >= self.base {
            self.replies.insert(request, theirs);
        }
    }

    /// Its numbers began again, as shows with this reply: what was under way then has come to nobody
    /// knows what.
    fn restart(&mut self, request: u64, theirs: u64) {
        self.restarts += 1;
        // No session begins anew time and again, though a reflector may have a bad moment.
        self.is_void = self.restarts > RESTARTS + request / BATCH;
        self.keep(request, theirs);
        // The first that fell may have been settled since, as a number that was merely late.
        let fallen = mem::take(&mut self.fallen).0;
        let anew = fallen.unwrap_or(request).max(self.base);
        let since = self.replies.split_off(&anew);
        self.settle(anew);
        self.copies.clear();
        self.anew = (anew, self.base);
        (self.base, self.replies) = (anew, since);
        let numbers: Vec<u64> = self.replies.values().copied().collect();
        self.next = numbers.iter().copied().min().unwrap_or(theirs);
        (self.newest, self.come) = (Some((request, theirs)), 0);
        numbers.into_iter().for_each(|theirs| self.note(theirs));
    }

    /// Settles what was sent before request `oldest`, to which no first reply can come any more, if that
    /// is worth the trouble.
    pub fn forget(&mut self, oldest: u64) {
        if oldest < self.due.max(self.base + BATCH) {
            return;
        }
        self.settle(oldest);
        let left = self.replies.range(..oldest).count() as u64;
        self.is_void |= left > MOST;
        if self.is_void {
            self.replies = self.replies.split_off(&oldest);
            self.base = oldest;
        }
        // What could not be settled is looked at again when there is as much of it once more.
        self.due = oldest + left.max(BATCH);
    }

    /// Settles all, and says what has become of the session, if there was one.
    pub fn end(&mut self) -> Option<Ways> {
        let mut session = mem::take(self);
        session.newest?;
        session.found.reordered_back += session.fallen.1;
        session.settle(u64::MAX);
        let found = session.found;
        let seen = found.duplicated_there + found.reordered_there;
        let is_count =
            session.has_risen && !session.is_void && session.spares <= UNSEEN + SEEN * seen;
        let numbering = match (session.has_own, session.has_copied) {
            (true, _) if is_count => Numbering::Stateful,
            (false, true) => Numbering::Stateless,
            _ => Numbering::Unknown,
        };
        let mut ways = match numbering {
            Numbering::Stateful => found,
            // Numbers that are ours say nothing of the way.
            _ => Ways::default(),
        };
        ways.numbering = numbering;
        Some(ways)
    }

    /// Settles what was sent before request `end`, as far as it lies between two that were answered in
    /// turn: all before the one has lower numbers of the reflector than all from it on.
    fn settle(&mut self, end: u64) {
        let mut least = u64::MAX;
        // With each reply, the lowest number from it on.
        let replies = self.replies.iter().rev().map(|(&request, &theirs)| {
            least = least.min(theirs);
            (request, theirs, least)
        });
        let replies: Vec<_> = replies.collect();
        let (mut start, mut highest) = (self.base, None);
        for &(request, theirs, lowest) in replies.iter().rev() {
            if request < end && theirs == lowest && highest.is_none_or(|highest| highest < theirs) {
                self.stretch(start, request, theirs);
                start = request;
            }
            highest = highest.max(Some(theirs));
        }
        if end == u64::MAX {
            // The last one that was answered is the last of which anything is known.
            let end = replies.first().map_or(start, |(request, ..)| request + 1);
            self.stretch(start, end, highest.map_or(self.next, |highest| highest + 1));
            start = end;
        }
        self.base = start;
        self.replies = self.replies.split_off(&start);
    }

    /// Accounts for the requests from `start` up to `end`, and for the reflector's numbers up to
    /// `theirs`.
    fn stretch(&mut self, start: u64, end: u64, theirs: u64) {
        let answered = self.replies.range(start..end);
        let mut answered: Vec<_> = answered.map(|(at, theirs)| (*theirs, *at)).collect();
        let later = self.copies.split_off(&theirs);
        let copies = mem::replace(&mut self.copies, later).len();
        let seen = (answered.len() + copies) as u64;
        let unanswered = end - start - answered.len() as u64;
        let missing = theirs.saturating_sub(self.next).saturating_sub(seen);
        self.next = theirs;
        // Its session may be older than ours: then the first of its numbers says nothing.
        let is_first = !mem::replace(&mut self.has_begun, true);
        let is_older = is_first && seen == 0 && missing > unanswered;
        if is_older || start < self.measured {
            return;
        }
        if answered.len() > 1 {
            answered.sort_unstable();
            let mut last = 0;
            for (_, at) in &answered {
                self.found.reordered_there += u64::from(*at < last);
                last = last.max(*at);
            }
            if self.found.reordered_there > 0 {
                self.reach = self.reach.max(end - start);
            }
        }
        let both = unanswered.min(missing);
        self.spares += missing - both;
        self.found.lost_back += both;
        self.found.lost_there += unanswered - both;
        self.found.copies_lost_back += missing - both;
        let (has_copies, reach) = (self.found.duplicated_there > 0, self.reach.max(1));
        for (last, more) in [
            (&mut self.gone, unanswered - both),
            (&mut self.spare, missing - both),
        ] {
            let is_far = has_copies && end.saturating_sub(last.1) > reach;
            let count = if is_far { more } else { last.0 + more };
            *last = (count, if more > 0 { end } else { last.1 });
        }
        self.reconcile(has_copies, reach);
    }

    /// A request that was overtaken, and whose reply was lost, is missing in one stretch, and its
    /// number in another that is near. Without such a neighbour the number was a copy's.
    fn reconcile(&mut self, has_copies: bool, reach: u64) {
        let is_near = !has_copies || self.gone.1.abs_diff(self.spare.1) <= reach;
        let both = self.gone.0.min(self.spare.0);
        if both > 0 && is_near {
            self.found.lost_there -= both;
            self.found.lost_back += both;
            self.found.copies_lost_back -= both;
            self.gone.0 -= both;
            self.spare.0 -= both;
        }
    }
}

#[cfg(test)]
mod tests;
