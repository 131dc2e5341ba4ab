//! On which way each packet of one STAMP session was lost, repeated or overtaken, by the numbers that
//! the reflector gives to what it returns.
//!
//! Requests are counted from 0 in the order in which they leave; a reflector that keeps state counts its
//! replies in the order in which requests come. Between two requests that were answered in turn, each
//! number that is missing is a reply that was lost on the way back; what else is unanswered there
//! never came. Of what follows the last answer, nothing is known.

use std::collections::{BTreeSet, VecDeque};
use std::mem;

use crate::report::{Numbering, Ways};

/// Requests that are looked at together, so that each is looked at about once.
const BATCH: usize = 1024;
/// A reflector whose numbers fall back by more than this has begun a session anew: nothing on a path
/// is overtaken by so many. So it has where it gives a number for the second time.
const RESTART: u64 = 64;

/// The way of each packet of one session.
#[derive(Debug)]
pub struct Session {
    /// The number of the oldest request that is not settled.
    base: u64,
    /// The reflector's number of the first reply to each request from there on.
    replies: VecDeque<Option<u64>>,
    /// Numbers of further replies: to copies that were made on the way there.
    copies: BTreeSet<u64>,
    /// The reflector's number that is settled next.
    next: u64,
    /// The first request that is measured.
    measured: u64,
    /// Whether nothing is settled yet.
    is_first: bool,
    /// The highest request that was answered, and the reflector's highest number.
    newest: Option<(u64, u64)>,
    /// Since the reflector's numbers were last at their highest: the first newer request that has a
    /// lower one, and how many replies came after later ones.
    fallen: (Option<u64>, u64),
    /// The first request since the reflector began anew, and the end of what was settled before.
    anew: (u64, u64),
    /// The request from which on numbers on the wire are one more: one has been left out, to see whether
    /// the reflector counts or copies ours.
    gap: Option<u64>,
    /// Its numbers have differed from ours.
    has_own: bool,
    /// They were the same behind the gap.
    has_copied: bool,
    /// The longest stretch of requests that did not come in their order.
    reach: u64,
    /// Where requests were last found lost on the way there, and replies without a request: how many,
    /// and the request before which that was.
    gone: (u64, u64),
    spare: (u64, u64),
    found: Ways,
}

impl Default for Session {
    fn default() -> Self {
        Session {
            base: 0,
            replies: VecDeque::new(),
            copies: BTreeSet::new(),
            next: 0,
            measured: 0,
            is_first: true,
            newest: None,
            fallen: (None, 0),
            anew: (0, 0),
            gap: None,
            has_own: false,
            has_copied: false,
            reach: 0,
            gone: (0, 0),
            spare: (0, 0),
            found: Ways::default(),
        }
    }
}

impl Session {
    /// The number on the wire of a request, which comes after those before it. Those that are not
    /// measured, the first ones, are not counted.
    pub fn number(&mut self, request: u64, is_measured: bool) -> u32 {
        if !is_measured {
            self.measured = request + 1;
        }
        let end = request + 1 - self.base;
        if self.replies.len() < end as usize {
            self.replies.resize(end as usize, None);
        }
        (request + u64::from(self.gap.is_some_and(|gap| request >= gap))) as u32
    }

    /// The request that has a number on the wire, if there is one.
    pub fn request(&self, number: u32) -> Option<u64> {
        let end = self.base + self.replies.len() as u64;
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
        let (anew, settled) = self.anew;
        if request < anew {
            // It has a number of before. Where it was missed, it was for want of its reply.
            let is_missed = is_first && (self.measured..settled).contains(&request);
            self.found.lost_back -= u64::from(is_missed).min(self.found.lost_back);
            return;
        }
        let ours = request + u64::from(self.gap.is_some_and(|gap| request >= gap));
        self.has_own |= theirs != ours as u32;
        self.has_copied |= self.gap.is_some_and(|gap| request >= gap) && theirs == ours as u32;
        let (newest, highest) = self.newest.unwrap_or((request, theirs.into()));
        // Something between is missing, or late. Whether its way can be known shows once a number has
        // been left out.
        let expected = self.newest.map_or(0, |(newest, _)| newest + 1);
        let is_gap = is_first && request > expected && !self.has_own;
        // 32 bits of it are on the wire, too.
        let ahead = theirs.wrapping_sub(highest as u32) as i32;
        let theirs = highest.saturating_add_signed(ahead.into());
        if is_first && request > newest && theirs < highest {
            let is_again = || self.copies.contains(&theirs) || self.replies.contains(&Some(theirs));
            self.fallen.0.get_or_insert(request);
            if highest - theirs > RESTART || is_again() {
                return self.restart(request, theirs);
            }
        }
        self.newest = Some((newest.max(request), highest.max(theirs)));
        if is_first {
            match theirs < highest {
                true => self.fallen.1 += 1,
                false => self.found.reordered_back += mem::take(&mut self.fallen).1,
            }
            if let Some(slot) = self.slot(request) {
                *slot = Some(theirs);
            }
            let end = self.base + self.replies.len() as u64;
            if is_gap {
                self.gap.get_or_insert(end);
            }
            return;
        }
        let is_new = self.slot(request).is_none_or(|slot| *slot != Some(theirs));
        match is_new && theirs >= self.next && self.copies.insert(theirs) {
            true => self.found.duplicated_there += 1,
            false => self.found.duplicated_back += 1,
        }
    }

    fn slot(&mut self, request: u64) -> Option<&mut Option<u64>> {
        let at = request.checked_sub(self.base)?;
        self.replies.get_mut(at as usize)
    }

    /// Its numbers began again, as shows with this reply: what was under way then has come to nobody
    /// knows what.
    fn restart(&mut self, request: u64, theirs: u64) {
        if let Some(slot) = self.slot(request) {
            *slot = Some(theirs);
        }
        let anew = mem::take(&mut self.fallen).0.unwrap_or(request);
        let since = self.replies.split_off((anew - self.base) as usize);
        self.settle(anew);
        self.copies.clear();
        self.anew = (anew, self.base);
        (self.base, self.replies) = (anew, since);
        let numbers = || self.replies.iter().flatten().copied();
        let highest = numbers().max().unwrap_or(theirs);
        self.next = numbers().min().unwrap_or(theirs);
        self.newest = Some((request, highest));
    }

    /// Settles what was sent before request `oldest`, to which no first reply can come any more, if that
    /// is worth the trouble.
    pub fn forget(&mut self, oldest: u64) {
        if oldest.saturating_sub(self.base) >= BATCH as u64 {
            self.settle(oldest);
        }
    }

    /// Settles all, and says what has become of the session, if there was one.
    pub fn end(&mut self) -> Option<Ways> {
        self.newest?;
        self.found.reordered_back += mem::take(&mut self.fallen).1;
        self.settle(u64::MAX);
        let numbering = match (self.has_own, self.has_copied) {
            (true, _) => Numbering::Stateful,
            (false, true) => Numbering::Stateless,
            (false, false) => Numbering::Unknown,
        };
        let mut ways = match numbering {
            Numbering::Stateful => mem::take(self).found,
            // Numbers that are ours say nothing of the way.
            _ => Ways::default(),
        };
        *self = Session::default();
        ways.numbering = numbering;
        Some(ways)
    }

    /// Settles what was sent before request `end`, as far as it lies between two that were answered in
    /// turn: all before the one has lower numbers of the reflector than all from it on.
    fn settle(&mut self, end: u64) {
        let mut lowest = vec![u64::MAX; self.replies.len() + 1];
        for (at, reply) in self.replies.iter().enumerate().rev() {
            lowest[at] = reply.map_or(lowest[at + 1], |theirs| theirs.min(lowest[at + 1]));
        }
        let most = usize::try_from(end.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let (mut start, mut highest) = (0, None);
        for (at, &lowest) in lowest.iter().enumerate().take(self.replies.len()) {
            let Some(theirs) = self.replies[at] else {
                continue;
            };
            if at < most && theirs == lowest && highest.is_none_or(|highest| highest < theirs) {
                self.stretch(start, at, theirs);
                start = at;
            }
            highest = highest.max(Some(theirs));
        }
        if end == u64::MAX {
            // The last one that was answered is the last of which anything is known.
            let answered = self.replies.iter().rposition(Option::is_some);
            let end = answered.map_or(start, |at| at + 1);
            self.stretch(start, end, highest.map_or(self.next, |highest| highest + 1));
            start = end;
        }
        self.base += start as u64;
        self.replies.drain(..start);
    }

    /// Accounts for the requests from `start` up to `end`, and for the reflector's numbers up to
    /// `theirs`.
    fn stretch(&mut self, start: usize, end: usize, theirs: u64) {
        let mut answered: Vec<(u64, usize)> = self
            .replies
            .range(start..end)
            .enumerate()
            .filter_map(|(at, reply)| Some(((*reply)?, at)))
            .collect();
        let later = self.copies.split_off(&theirs);
        let copies = mem::replace(&mut self.copies, later).len();
        let seen = (answered.len() + copies) as u64;
        let unanswered = (end - start - answered.len()) as u64;
        let missing = theirs.saturating_sub(self.next).saturating_sub(seen);
        self.next = theirs;
        let before = self.base + end as u64;
        // Its session may be older than ours: then the first of its numbers says nothing.
        let is_older = mem::take(&mut self.is_first) && seen == 0 && missing > unanswered;
        if is_older || self.base + (start as u64) < self.measured {
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
                self.reach = self.reach.max((end - start) as u64);
            }
        }
        let both = unanswered.min(missing);
        self.found.lost_back += both;
        self.found.lost_there += unanswered - both;
        self.found.copies_lost_back += missing - both;
        let (has_copies, reach) = (self.found.duplicated_there > 0, self.reach.max(1));
        for (last, more) in [
            (&mut self.gone, unanswered - both),
            (&mut self.spare, missing - both),
        ] {
            let is_far = has_copies && before.saturating_sub(last.1) > reach;
            let count = if is_far { more } else { last.0 + more };
            *last = (count, if more > 0 { before } else { last.1 });
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
mod tests {
    use super::*;
    use echo_core::splitmix::{GAMMA, mix};

    /// What happens to packets: of so many, one, each way. Times are in the intervals of requests.
    #[derive(Clone, Copy, Debug, Default)]
    struct Path {
        drop: [u64; 2],
        swap: [u64; 2],
        copy: [u64; 2],
        is_stateless: bool,
    }

    /// What the path has done, and what the session makes of it.
    struct Run {
        lost: [u64; 2],
        tail: u64,
        missing: u64,
        copies: u64,
        found: Ways,
    }

    fn run(path: Path, requests: u64, mut seed: u64) -> Run {
        let mut one_in = |many: u64| {
            seed = seed.wrapping_add(GAMMA);
            many > 0 && mix(seed).is_multiple_of(many)
        };
        // A way takes what left, by its time, and gives what comes, in order.
        let mut way = |packets: Vec<(u64, u64, u32)>, at: usize| {
            let mut come = Vec::new();
            for (time, ours, theirs) in packets {
                for copy in 0..1 + u64::from(one_in(path.copy[at])) {
                    let late = 8 * u64::from(one_in(path.swap[at]));
                    if !one_in(path.drop[at]) {
                        come.push((time + late + copy, ours, theirs));
                    }
                }
            }
            come.sort_unstable();
            come
        };
        let mut arrived = way((0..requests).map(|n| (2 * n, n, 0)).collect(), 0);
        let mut reached = vec![false; requests as usize];
        for (theirs, packet) in arrived.iter_mut().enumerate() {
            reached[packet.1 as usize] = true;
            packet.2 = theirs as u32;
        }
        let come = way(arrived, 1);
        let came: BTreeSet<u32> = come.iter().map(|packet| packet.2).collect();
        let highest = came.last().map_or(0, |last| *last as usize + 1);
        let missing = (highest - came.len()) as u64;
        let ours: BTreeSet<u64> = come.iter().map(|packet| packet.1).collect();
        let copies = (came.len() - ours.len()) as u64;
        let mut session = Session::default();
        let mut answered = vec![false; requests as usize];
        let mut left = 0;
        for (time, request, theirs) in come {
            while left < requests && left * 2 <= time {
                session.number(left, true);
                left += 1;
            }
            let is_first = !std::mem::replace(&mut answered[request as usize], true);
            // A reflector that copies our numbers copies that which is left out, too.
            let left_out = u64::from(session.gap.is_some_and(|gap| request >= gap));
            let theirs = match path.is_stateless {
                true => (request + left_out) as u32,
                false => theirs,
            };
            session.reply(request, theirs, is_first);
            let oldest = answered.iter().position(|is| !is).unwrap_or(0) as u64;
            session.forget(oldest.max(left.saturating_sub(200)));
        }
        for request in left..requests {
            session.number(request, true);
        }
        let last = answered.iter().rposition(|is| *is).map_or(0, |at| at + 1);
        let lost = |way: bool| {
            let requests = (0..last).filter(|n| !answered[*n] && reached[*n] == way);
            requests.count() as u64
        };
        let lost = [lost(false), lost(true)];
        Run {
            lost,
            tail: requests - last as u64,
            missing,
            copies,
            found: session.end().unwrap_or_default(),
        }
    }

    fn paths() -> impl Iterator<Item = (Path, u64)> {
        (0..200u64).map(|seed| {
            let draw = |salt: u64, choices: &[u64]| {
                choices[(mix(seed * 31 + salt) % choices.len() as u64) as usize]
            };
            let [drop, swap] = [[0, 20, 20, 5], [0, 0, 100, 30]];
            let path = Path {
                drop: [draw(1, &drop), draw(2, &drop)],
                swap: [draw(3, &swap), draw(4, &swap)],
                ..Path::default()
            };
            (path, seed)
        })
    }

    #[test]
    fn what_was_lost_each_way_is_counted_exactly_whatever_else_happens() {
        for (path, seed) in paths() {
            // Copies of replies are told by their numbers.
            let copied = Path {
                copy: [0, if seed % 2 == 0 { 50 } else { 0 }],
                ..path
            };
            let run = run(copied, 1000, seed);
            if run.found.numbering == Numbering::Unknown {
                assert_eq!(run.lost, [0, 0], "{copied:?}");
                continue;
            }
            let found = [run.found.lost_there, run.found.lost_back];
            assert_eq!(
                found, run.lost,
                "{copied:?} seed {seed}, {} at the end",
                run.tail
            );
            assert_eq!(run.found.duplicated_there, 0, "{copied:?}");
        }
    }

    #[test]
    fn copies_made_on_the_way_there_are_no_losses() {
        let (mut off, mut all) = (0, 0);
        for (path, seed) in paths() {
            let copied = Path {
                copy: [50, 100],
                ..path
            };
            let run = run(copied, 1000, seed);
            let found = &run.found;
            assert_eq!(found.duplicated_there, run.copies, "{copied:?} {seed}");
            off += found.lost_there.abs_diff(run.lost[0]) + found.lost_back.abs_diff(run.lost[1]);
            all += run.lost[0] + run.lost[1];
            let missing = found.lost_back + found.copies_lost_back;
            // What is missing before the first that came may be an older session's.
            assert!(run.missing - missing <= 1, "{copied:?} {seed}");
        }
        // The reply to a copy that was lost beside a request that never came looks like the reply to
        // that request.
        assert!(off * 100 < all, "{off} of {all}");
    }

    #[test]
    fn a_reflector_that_copies_our_numbers_says_nothing_of_the_way() {
        for (path, seed) in paths() {
            let run = run(
                Path {
                    is_stateless: true,
                    ..path
                },
                500,
                seed,
            );
            assert_ne!(run.found.numbering, Numbering::Stateful, "{path:?}");
            assert_eq!((run.found.lost_there, run.found.lost_back), (0, 0));
            if run.lost != [0, 0] {
                assert_eq!(run.found.numbering, Numbering::Stateless, "{path:?} {seed}");
            }
        }
    }

    #[test]
    fn numbers_are_taken_for_those_of_requests_and_one_may_be_left_out() {
        let mut session = Session::default();
        for request in 0..4 {
            assert_eq!(session.number(request, true), request as u32);
        }
        assert_eq!((session.request(3), session.request(4)), (Some(3), None));
        session.reply(0, 0, true);
        session.reply(2, 2, true);
        // Something is missing, and the numbers could be ours: one is left out.
        assert_eq!(session.number(4, true), 5);
        assert_eq!(
            [3, 4, 5, 6].map(|n| session.request(n)),
            [Some(3), None, Some(4), None]
        );
        session.reply(4, 4, true);
        let found = session.end().unwrap();
        assert_eq!(found.numbering, Numbering::Stateful);
        assert_eq!((found.lost_there, found.lost_back), (0, 2));
    }

    #[test]
    fn a_session_that_is_older_or_begins_anew_makes_no_losses_up() {
        let mut session = Session::default();
        for (request, theirs) in [(0, 700), (1, 701), (3, 702), (4, 703)] {
            for n in 0..=request {
                session.number(n, true);
            }
            session.reply(request, theirs, true);
        }
        for request in 5..300 {
            session.number(request, true);
            // The reflector has restarted, and three requests met nobody.
            if request > 7 {
                session.reply(request, request as u32 - 8, true);
            }
        }
        let found = session.end().unwrap();
        assert_eq!((found.lost_there, found.lost_back), (1, 0));
    }

    #[test]
    fn a_reflector_that_begins_anew_soon_overtakes_nothing() {
        // It begins anew with this request, and the replies to these do not come, or come late.
        for (anew, lost, late) in [
            (50, vec![], None),
            (1, vec![], None),
            (40, vec![0, 40], None),
            (40, vec![0, 1, 2, 40, 42], None),
            (60, vec![], Some(57)),
            (60, vec![0], Some(59)),
        ] {
            let mut session = Session::default();
            for request in 0..150 {
                session.number(request, true);
                let prompt = (!lost.contains(&request) && late != Some(request)).then_some(request);
                for come in prompt
                    .into_iter()
                    .chain(late.filter(|late| late + 5 == request))
                {
                    let theirs = come - if come < anew { 0 } else { anew };
                    session.reply(come, theirs as u32, true);
                }
            }
            let found = session.end().unwrap();
            let case = format!("{anew} {lost:?} {late:?} {found:?}");
            let reordered = (found.reordered_there, found.reordered_back);
            assert_eq!(reordered, (0, 0), "{case}");
            assert_eq!((found.duplicated_there, found.duplicated_back), (0, 0));
            assert_eq!((found.lost_there, found.copies_lost_back), (0, 0), "{case}");
            // Of those around the restart, nobody knows what became.
            let lost = lost.len() as u64;
            assert!(
                (lost.saturating_sub(1)..=lost).contains(&found.lost_back),
                "{case}"
            );
        }
    }

    #[test]
    fn what_is_not_measured_is_not_counted() {
        let mut session = Session::default();
        for request in 0..100 {
            session.number(request, request >= 50);
            if request != 20 && request != 70 {
                let theirs = request - u64::from(request > 20) - u64::from(request > 70);
                session.reply(request, theirs as u32, true);
            }
        }
        assert_eq!(session.end().unwrap().lost_there, 1);
    }
}
