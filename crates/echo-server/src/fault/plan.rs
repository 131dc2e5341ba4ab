//! Which faults apply to what: the configuration, made ready to be asked.

use std::sync::Arc;
use std::time::Duration;

use super::dice::Dice;
use super::grammar::ACTIONS;
use super::{Action, Corruption, Fault, Pick, Subject};
use crate::event::{Applied, Done, Events, Kind};
use crate::name::Name;

/// All faults of a server, in the order in which they are applied.
#[derive(Debug)]
pub(crate) struct Plan {
    seed: u64,
    /// Each with its place in the configuration, which its chance depends on.
    faults: Vec<(usize, Fault)>,
}

/// The faults that apply to one connection, or to one source of datagrams.
#[derive(Debug)]
pub(super) struct Script {
    plan: Arc<Plan>,
    /// Places in the plan.
    chosen: Vec<usize>,
    subject: Subject,
}

/// What happens to one message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// How often it is answered.
    pub(super) copies: usize,
    /// Whether the next answer is to overtake this one.
    pub(super) overtaken: bool,
    pub(super) delay: Duration,
    /// The pieces in which the answer is sent, in bytes.
    pub(super) split: Option<usize>,
}

impl Plan {
    /// `None` without faults: nothing then looks for any.
    pub(crate) fn new(seed: u64, faults: &[Fault]) -> Option<Arc<Self>> {
        let mut faults: Vec<(usize, Fault)> = faults.iter().cloned().enumerate().collect();
        faults.sort_by_key(|(_, fault)| {
            let name = fault.action.name();
            ACTIONS.iter().position(|(known, _)| *known == name)
        });
        (!faults.is_empty()).then(|| Arc::new(Plan { seed, faults }))
    }

    /// Tells at the start what is configured.
    pub(crate) fn announce(&self, events: &Events) {
        let (count, seed) = (self.faults.len(), self.seed);
        events.tell(|| Kind::Faults { count, seed });
    }

    /// The backlog of a listener on which this connection, and all after it, are left waiting.
    pub(crate) fn backlog(&self, next: &Subject) -> Option<i32> {
        self.faults
            .iter()
            .find_map(|(_, fault)| match fault.action {
                Action::NoAccept(backlog) if fault.place.covers(next) => Some(backlog.into()),
                _ => None,
            })
    }

    /// Whether a listener is to take no TCP connection at all.
    pub(crate) fn refuses_all(&self, listener: Option<&Name>) -> bool {
        self.faults.iter().any(|(_, Fault { action, place })| {
            *action == Action::Refuse
                && place.is_on(listener)
                && place.peer.is_none()
                && place.connections == Pick::default()
        })
    }

    /// Whether this connection is to be reset as soon as it is accepted, which is then told.
    pub(crate) fn refuses(&self, subject: &Subject, events: &Events) -> bool {
        let refuses = (0..self.faults.len())
            .any(|at| self.faults[at].1.action == Action::Refuse && self.chooses(at, subject));
        if refuses {
            tell(events, Action::Refuse.applied(Done::Plainly), subject, None);
        }
        refuses
    }

    /// The faults for a connection or source; `None` when there are none.
    pub(super) fn script(self: &Arc<Self>, subject: &Subject) -> Option<Script> {
        let acts = |at: &usize| {
            let action = &self.faults[*at].1.action;
            !matches!(action, Action::NoAccept(_) | Action::Refuse) && self.chooses(*at, subject)
        };
        let chosen: Vec<usize> = (0..self.faults.len()).filter(acts).collect();
        (!chosen.is_empty()).then(|| Script {
            plan: self.clone(),
            chosen,
            subject: subject.clone(),
        })
    }

    fn chooses(&self, at: usize, subject: &Subject) -> bool {
        let (index, Fault { action, place }) = &self.faults[at];
        action.transports().contains(&subject.transport)
            && place.covers(subject)
            && Dice::new(self.seed, *index, subject.number, 0).hits(place.connections.share)
    }
}

impl Script {
    /// What applies to the connection as a whole.
    pub(super) fn whole(&self) -> impl Iterator<Item = &Action> {
        let actions = self.chosen.iter().map(|&at| &self.plan.faults[at].1.action);
        actions.filter(|action| !action.is_per_message())
    }

    /// Decides about one message, changes its bytes, and tells what was done. At most one of
    /// drop, corrupt, truncate, duplicate and reorder happens to it: the first that chooses it.
    /// That a message is overtaken is told by the caller, once it is.
    pub(super) fn judge(
        &self,
        message: u64,
        bytes: &mut Vec<u8>,
        may_be_overtaken: bool,
        events: &Events,
    ) -> Verdict {
        let mut verdict = Verdict {
            copies: 1,
            ..Verdict::default()
        };
        let mut intact = true;
        for (action, mut dice) in self.choosing(message) {
            let done = match *action {
                Action::Drop => {
                    self.tell(events, Some(message), action, Done::Plainly);
                    return Verdict::default();
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
                    verdict.overtaken = true;
                    continue;
                }
                Action::Delay(delay) => {
                    let by = dice.delay(delay);
                    verdict.delay += by;
                    Done::Delayed { by }
                }
                Action::Split(size) if verdict.split.is_none() && bytes.len() > size => {
                    verdict.split = Some(size);
                    let pieces = bytes.len().div_ceil(size);
                    Done::Split { pieces }
                }
                _ => continue,
            };
            self.tell(events, Some(message), action, done);
        }
        verdict
    }

    /// The actions that choose this message, each with the dice for its details.
    fn choosing(&self, message: u64) -> impl Iterator<Item = (&Action, Dice)> {
        self.chosen.iter().filter_map(move |&at| {
            let (index, Fault { action, place }) = &self.plan.faults[at];
            if !action.is_per_message() || !place.messages.bounds(message) {
                return None;
            }
            let mut dice = Dice::new(self.plan.seed, *index, self.subject.number, message);
            dice.hits(place.messages.share).then_some((action, dice))
        })
    }

    /// Tells that a fault was applied to a message, or to the connection.
    pub(super) fn tell(&self, events: &Events, message: Option<u64>, action: &Action, done: Done) {
        tell(events, action.applied(done), &self.subject, message);
    }
}

/// Tells that a fault is applied to a connection and, where its peer is not known yet, to all after it.
pub(crate) fn tell(events: &Events, what: Applied, subject: &Subject, message: Option<u64>) {
    events.fault(|| Kind::Fault {
        what,
        transport: subject.transport,
        connection: subject.number,
        peer: subject.peer,
        message,
    });
}

fn corrupt(bytes: &mut [u8], corruption: Corruption, dice: &mut Dice) -> Done {
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
    use crate::fault::dice;
    use echo_core::Transport;

    fn plan(specs: &[&str]) -> Arc<Plan> {
        let faults: Vec<Fault> = specs.iter().map(|spec| spec.parse().unwrap()).collect();
        Plan::new(7, &faults).unwrap()
    }

    fn peer(text: &str) -> PeerAddress {
        PeerAddress::Inet(text.parse().unwrap())
    }

    #[test]
    fn without_faults_there_is_no_plan_and_without_a_hit_no_script() {
        assert!(Plan::new(7, &[]).is_none());
        let plan = plan(&[
            "drop,udp",
            "delay=1s,conn=3",
            "stall,peer=192.0.2.1",
            "refuse,conn=2",
        ]);
        let subject = |transport, number, from| Subject::new(transport, number, peer(from));
        let script =
            |transport, number, from| plan.script(&subject(transport, number, from)).is_some();
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
            let subject = Subject::new(Transport::Tcp, 1, PeerAddress::Unix);
            let script = plan(specs).script(&subject).unwrap();
            let mut bytes = b"message".to_vec();
            script.judge(1, &mut bytes, false, &Events::off());
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
            let subject = Subject::new(Transport::Udp, 1, PeerAddress::Unix);
            let script = plan(specs).script(&subject).unwrap();
            let verdict =
                |message| script.judge(message, &mut b"x".to_vec(), false, &Events::off());
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
            let mut dice = dice::Dice::new(5, 0, 0, round);
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
