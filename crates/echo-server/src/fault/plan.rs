//! Which faults apply to what: the configuration, made ready to be asked.

use std::sync::Arc;
use std::time::Instant;

use echo_core::splitmix::Random;

use super::dice::dice;
use super::hold::Hold;
use super::{Action, Corruption, Fault, Numbered, Pick, Subject};
use crate::event::{Done, Events};
use crate::name::Name;

/// All faults of a server, in the order in which they are applied.
#[derive(Debug)]
pub(crate) struct Plan {
    seed: u64,
    /// The chance of each depends on its number.
    faults: Vec<Numbered>,
}

/// The faults that apply to one connection, or to one source of datagrams.
#[derive(Debug)]
pub(super) struct Script {
    plan: Arc<Plan>,
    /// The place of each in the plan, and the messages before it came: it counts those behind.
    chosen: Vec<(usize, u64)>,
    subject: Subject,
}

/// What happens to one message.
pub(super) struct Verdict {
    /// How often it is answered.
    pub(super) copies: usize,
    /// The fault that has the next answer overtake this one, and the message's number as that counts.
    pub(super) overtaken: Option<(u64, u64)>,
    pub(super) hold: Hold,
}

impl Plan {
    /// `None` without faults: nothing then looks for any.
    pub(super) fn new(seed: u64, faults: &[Numbered]) -> Option<Arc<Self>> {
        let mut faults = faults.to_vec();
        faults.sort_by_key(|Numbered { fault, .. }| fault.action.index());
        (!faults.is_empty()).then(|| Arc::new(Plan { seed, faults }))
    }

    /// The backlog of a listener on which this connection, and all after it, are left waiting.
    pub(crate) fn backlog(&self, next: &Subject) -> Option<i32> {
        self.faults
            .iter()
            .find_map(|Numbered { fault, .. }| match fault.action {
                Action::NoAccept(backlog) if fault.place.covers(next) => Some(backlog.into()),
                _ => None,
            })
    }

    /// Whether the fault of this number is among them.
    pub(super) fn has(&self, number: u64) -> bool {
        self.faults.iter().any(|fault| fault.number == number)
    }

    /// Whether a listener is to take no TCP connection at all.
    pub(crate) fn refuses_all(&self, listener: Option<&Name>) -> bool {
        self.faults.iter().any(|Numbered { fault, .. }| {
            let Fault { action, place } = fault;
            *action == Action::Refuse
                && place.is_on(listener)
                && place.peer.is_none()
                && place.connections == Pick::default()
        })
    }

    /// Whether this connection is to be reset as soon as it is accepted, which is then told.
    pub(crate) fn refuses(&self, subject: &Subject, events: &Events) -> bool {
        let refuses = (0..self.faults.len())
            .any(|at| self.faults[at].fault.action == Action::Refuse && self.chooses(at, subject));
        if refuses {
            subject.tell(events, None, &Action::Refuse, Done::Plainly);
        }
        refuses
    }

    /// Chance follows from the place in the list of those that a server starts with, from 0.
    fn dice(&self, number: u64, subject: &Subject, message: u64) -> Random {
        dice(self.seed, number as usize - 1, subject.number, message)
    }

    fn chooses(&self, at: usize, subject: &Subject) -> bool {
        let Numbered { number, fault } = &self.faults[at];
        let Fault { action, place } = fault;
        action.sockets().contains(&subject.transport)
            && place.covers(subject)
            && place
                .connections
                .share
                .hits(&mut self.dice(*number, subject, 0))
    }
}

impl Script {
    /// The faults for a connection or source, if any.
    pub(super) fn new(plan: &Arc<Plan>, subject: Subject) -> Self {
        let acts = |at: &usize| {
            let action = &plan.faults[*at].fault.action;
            !matches!(action, Action::NoAccept(_) | Action::Refuse) && plan.chooses(*at, &subject)
        };
        let chosen = (0..plan.faults.len()).filter(acts);
        Script {
            chosen: chosen.map(|at| (at, 0)).collect(),
            plan: plan.clone(),
            subject,
        }
    }

    /// The rate of all answers together, in bytes a second, with its fault's number.
    pub(super) fn rate(&self) -> Option<(u64, u64)> {
        self.whole().find_map(|(number, action)| match action {
            Action::Rate(rate) => Some((number, *rate)),
            _ => None,
        })
    }

    /// What applies to the connection as a whole, each with its fault's number.
    pub(super) fn whole(&self) -> impl Iterator<Item = (u64, &Action)> {
        let faults = self.faults().map(|(_, fault)| fault);
        let actions = faults.map(|Numbered { number, fault }| (*number, &fault.action));
        actions.filter(|(_, action)| !action.word().per_message)
    }

    /// The faults that apply, each behind the number of messages before it came.
    fn faults(&self) -> impl Iterator<Item = (u64, &Numbered)> {
        let chosen = self.chosen.iter();
        chosen.map(|(at, since)| (*since, &self.plan.faults[*at]))
    }

    /// Has the faults of `plan` apply from now on, after `messages` messages; those that did
    /// before go on counting.
    pub(super) fn revise(&mut self, plan: Option<&Arc<Plan>>, messages: u64) {
        let Some(plan) = plan else {
            self.chosen.clear();
            return;
        };
        let mut new = Script::new(plan, self.subject.clone());
        for (at, since) in &mut new.chosen {
            let number = new.plan.faults[*at].number;
            *since = self.since(number).unwrap_or(messages);
        }
        *self = new;
    }

    /// How many messages came before a fault; `None` where it does not apply.
    fn since(&self, number: u64) -> Option<u64> {
        let mut faults = self.faults();
        let fault = faults.find(|(_, fault)| fault.number == number);
        fault.map(|(since, _)| since)
    }

    /// The numbers of the faults that apply.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.faults().map(|(_, fault)| fault.number)
    }

    /// Whether no fault applies any more.
    pub(super) fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// Decides about one message, changes its bytes, and tells what was done. At most one of
    /// drop, corrupt, truncate, duplicate and reorder happens to it: the first that chooses it.
    /// That a message is overtaken is told by the caller, once it is.
    pub(super) fn judge(
        &self,
        message: u64,
        bytes: &mut Vec<u8>,
        now: Instant,
        may_be_overtaken: bool,
        events: &Events,
    ) -> Verdict {
        let mut verdict = Verdict {
            copies: 1,
            overtaken: None,
            hold: Hold::none(now),
        };
        let mut intact = true;
        for (fault, message, action, mut dice) in self.choosing(message) {
            let done = match *action {
                Action::Drop => {
                    self.tell(events, Some(message), action, Done::Plainly);
                    verdict.copies = 0;
                    return verdict;
                }
                Action::Corrupt(corruption) if intact && !bytes.is_empty() => {
                    intact = false;
                    corrupt(bytes, corruption, &mut dice)
                }
                Action::Truncate(to) if intact && bytes.len() as u64 > to => {
                    intact = false;
                    bytes.truncate(to as usize);
                    Done::Truncated { to: bytes.len() }
                }
                Action::Duplicate if intact => {
                    intact = false;
                    verdict.copies = 2;
                    Done::Plainly
                }
                Action::Reorder if intact && may_be_overtaken => {
                    intact = false;
                    verdict.overtaken = Some((fault, message));
                    continue;
                }
                Action::Delay(delay) => {
                    let by = delay.drawn(&mut dice);
                    verdict.hold.delay(fault, by);
                    Done::Delayed { by }
                }
                Action::Split(size) if verdict.hold.split.is_none() && bytes.len() > size => {
                    verdict.hold.split = Some((fault, size));
                    let pieces = bytes.len().div_ceil(size);
                    Done::Split { pieces }
                }
                _ => continue,
            };
            self.tell(events, Some(message), action, done);
        }
        verdict
    }

    /// The actions that choose this message, each with its fault's number, the message's number as
    /// that counts, and the dice for its details.
    fn choosing(&self, message: u64) -> impl Iterator<Item = (u64, u64, &Action, Random)> {
        self.faults()
            .filter_map(move |(since, Numbered { number, fault })| {
                let Fault { action, place } = fault;
                let message = message.checked_sub(since)?;
                if !action.word().per_message || !place.messages.bounds(message) {
                    return None;
                }
                let mut dice = self.plan.dice(*number, &self.subject, message);
                let hits = place.messages.share.hits(&mut dice);
                hits.then_some((*number, message, action, dice))
            })
    }

    /// Tells that a fault was applied to a message, or to the connection.
    pub(super) fn tell(&self, events: &Events, message: Option<u64>, action: &Action, done: Done) {
        self.subject.tell(events, message, action, done);
    }
}

fn corrupt(bytes: &mut [u8], corruption: Corruption, dice: &mut Random) -> Done {
    let len = bytes.len() as u64;
    let count = match corruption {
        Corruption::Bit => {
            let bit = dice.below(len * 8);
            let offset = (bit / 8) as usize;
            bytes[offset] ^= 1 << (bit % 8);
            return Done::Corrupted { offset, bytes: 1 };
        }
        Corruption::Bytes(count) => count.min(len),
    };
    // Each byte with the probability that leaves all choices of `count` bytes equally likely.
    let mut left = count;
    let mut first = None;
    for (offset, byte) in bytes.iter_mut().enumerate() {
        if dice.below(len - offset as u64) < left {
            *byte ^= 1 + dice.below(255) as u8;
            first.get_or_insert(offset);
            left -= 1;
        }
    }
    Done::Corrupted {
        offset: first.unwrap_or(0),
        bytes: count as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PeerAddress;
    use crate::fault::{Faults, dice};
    use echo_core::Transport;

    fn plan(specs: &[&str]) -> Arc<Plan> {
        let faults = specs.iter().map(|spec| spec.parse().unwrap()).collect();
        Faults::new(7, faults).plan().unwrap()
    }

    fn peer(text: &str) -> PeerAddress {
        PeerAddress::Inet(text.parse().unwrap())
    }

    #[test]
    fn without_faults_there_is_no_plan_and_without_a_hit_no_script() {
        assert!(Faults::new(7, Vec::new()).plan().is_none());
        let plan = plan(&[
            "drop,udp",
            "delay=1s,conn=3",
            "stall,peer=192.0.2.1",
            "refuse,conn=2",
        ]);
        let subject =
            |transport, number, from| Subject::new(transport, None, number, Some(peer(from)));
        let script = |transport, number, from| {
            !Script::new(&plan, subject(transport, number, from)).is_empty()
        };
        assert!(!script(Transport::Tcp, 2, "127.0.0.1:9"));
        assert!(script(Transport::Udp, 2, "127.0.0.1:9"));
        assert!(script(Transport::Tcp, 3, "127.0.0.1:9"));
        assert!(script(Transport::Tcp, 2, "[::ffff:192.0.2.1]:9"));
        assert!(!script(Transport::Tcp, 2, "192.0.2.2:9"));
        let off = &Events::off();
        assert!(plan.refuses(&subject(Transport::Tcp, 2, "127.0.0.1:9"), off));
        assert!(!plan.refuses(&subject(Transport::Unix, 2, "127.0.0.1:9"), off));
    }

    #[test]
    fn the_order_of_application_is_not_the_order_of_writing() {
        let fates = |specs: &[&str]| {
            let subject = Subject::new(Transport::Tcp, None, 1, Some(PeerAddress::Unix));
            let script = Script::new(&plan(specs), subject);
            let mut bytes = b"message".to_vec();
            script.judge(1, &mut bytes, Instant::now(), false, &Events::off());
            bytes
        };
        assert_eq!(
            fates(&["truncate=3", "corrupt=7"]).len(),
            7,
            "corrupt comes before truncate"
        );
        assert_eq!(
            fates(&["truncate=3", "truncate=2"]),
            b"mes",
            "of two, the first one"
        );
        assert_eq!(fates(&["drop,msg=2", "truncate=2"]), b"me");
    }

    #[test]
    fn a_fault_that_is_added_changes_nothing_of_those_before_it() {
        let drops = |specs: &[&str]| -> Vec<u64> {
            let subject = Subject::new(Transport::Udp, None, 1, Some(PeerAddress::Unix));
            let script = Script::new(&plan(specs), subject);
            let (now, off) = (Instant::now(), Events::off());
            let verdict = |message| script.judge(message, &mut b"x".to_vec(), now, false, &off);
            (1..=1000)
                .filter(|&message| verdict(message).copies == 0)
                .collect()
        };
        assert_eq!(
            drops(&["drop=20%"]),
            drops(&["drop=20%", "corrupt=50%", "delay=5ms±1ms"])
        );
        assert_ne!(drops(&["drop=20%"]), drops(&["corrupt=50%", "drop=20%"]));
    }

    #[test]
    fn as_many_bytes_are_corrupted_as_were_asked_for_and_they_all_differ() {
        for round in 0..1_000 {
            let mut dice = dice(5, 0, 0, round);
            let bytes: Vec<u8> = (0..1 + dice.below(40)).map(|i| i as u8).collect();
            let count = 1 + dice.below(50);
            let mut changed = bytes.clone();
            let applied = corrupt(&mut changed, Corruption::Bytes(count), &mut dice);
            let differing: Vec<usize> = (0..bytes.len())
                .filter(|&i| bytes[i] != changed[i])
                .collect();
            let (offset, count) = (differing[0], (count as usize).min(bytes.len()));
            assert_eq!(differing.len(), count);
            assert_eq!(
                applied,
                Done::Corrupted {
                    offset,
                    bytes: count
                }
            );
        }
    }
}
