//! What STAMP tells beyond an echo: on which way it was, as a reflector numbers and stamps what it
//! returns.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is known of the two ways. Its JSON has these keys; their
/// distributions are among those of the report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ways {
    /// Whose numbers replies have: only a reflector's own tell the ways of what was lost apart.
    pub numbering: Numbering,
    /// Requests that did not reach the reflector.
    pub lost_there: u64,
    /// Requests whose replies did not come back.
    pub lost_back: u64,
    /// Requests lost on nobody knows which way: those behind the last reply, and all where the
    /// reflector does not count.
    pub lost_unknown: u64,
    /// Requests that reached the reflector after later ones.
    pub reordered_there: u64,
    /// Replies that came after later ones.
    pub reordered_back: u64,
    /// Copies of requests that reached the reflector, too.
    pub duplicated_there: u64,
    /// Copies of replies that came.
    pub duplicated_back: u64,
    /// Replies to copies of requests that did not come back: no request is lost by that.
    pub copies_lost_back: u64,
    /// What the distributions of the two ways are.
    pub one_way: OneWay,
    /// By how much the reflector's clock was ahead of ours when measuring began.
    pub offset_ns: Option<i64>,
    /// By how much more or less that may be.
    pub offset_error_ns: Option<u64>,
    /// How many nanoseconds the reflector's clock gains in a second of ours.
    pub drift_ns_per_s: Option<f64>,
    /// The class of service (DSCP) that packets were sent with.
    pub sent_dscp: u8,
    /// In which state packets came, and how many did so.
    pub states: Vec<State>,
}

/// Whose numbers replies have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbering {
    /// The reflector's own: it counts what it returns.
    Stateful,
    /// Ours: it copies them.
    Stateless,
    /// Nothing has shown a difference.
    #[default]
    Unknown,
}

/// What is known of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OneWay {
    /// How long it took: both clocks are right to less than half a round trip.
    Delay,
    /// By how much longer it took than at its shortest.
    Variation,
    /// Nothing: a clock was set meanwhile, or nothing was stamped.
    #[default]
    Unknown,
}

/// In which state a request reached the reflector, and its reply this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct State {
    /// The request's class of service there, where the reflector tells.
    pub there_dscp: Option<u8>,
    /// Its congestion mark.
    pub there_ecn: Option<u8>,
    /// The routers it passed.
    pub there_hops: Option<u8>,
    /// The address and port that it was sent from.
    pub sent_from: Option<SocketAddr>,
    /// Those that the reflector saw.
    pub seen_from: Option<SocketAddr>,
    /// The reply's class of service here.
    pub back_dscp: Option<u8>,
    /// Its congestion mark.
    pub back_ecn: Option<u8>,
    /// How many were so.
    pub count: u64,
}

impl State {
    /// The most that are told apart.
    pub const MOST: usize = 256;

    /// Whether it is the same state, however often it was met.
    pub fn is_like(&self, other: &State) -> bool {
        let count = self.count;
        *self == State { count, ..*other }
    }
}

impl Ways {
    /// Adds what was found on another session, or by another run that means the same.
    pub fn add(&mut self, other: &Ways) {
        self.numbering = match (self.numbering, other.numbering) {
            (own, Numbering::Unknown) => own,
            (Numbering::Unknown, other) => other,
            (own, other) if own == other => own,
            _ => Numbering::Unknown,
        };
        if self.one_way == OneWay::Unknown {
            self.one_way = other.one_way;
        }
        self.lost_there += other.lost_there;
        self.lost_back += other.lost_back;
        self.lost_unknown += other.lost_unknown;
        self.reordered_there += other.reordered_there;
        self.reordered_back += other.reordered_back;
        self.duplicated_there += other.duplicated_there;
        self.duplicated_back += other.duplicated_back;
        self.copies_lost_back += other.copies_lost_back;
        // Each run has its own clocks.
        (self.offset_ns, self.offset_error_ns, self.drift_ns_per_s) = (None, None, None);
        other.states.iter().for_each(|state| self.enter(state));
    }

    /// Enters packets that came in a state.
    pub fn enter(&mut self, state: &State) {
        let known = self.states.iter().position(|known| known.is_like(state));
        match known {
            Some(at) => self.states[at].count += state.count,
            None if self.states.len() < State::MOST => self.states.push(*state),
            None => {}
        }
    }

    /// What a person reads of it, in lines.
    pub fn told(&self) -> Vec<String> {
        let numbering = match self.numbering {
            Numbering::Stateful => "",
            Numbering::Stateless => " (the reflector keeps no state: its numbers are ours)",
            Numbering::Unknown if self.lost_unknown > 0 => {
                " (nothing showed whether the reflector counts)"
            }
            Numbering::Unknown => "",
        };
        let mut lines = vec![format!(
            "lost: {} on the way there, {} on the way back, {} on an unknown way{numbering}",
            self.lost_there, self.lost_back, self.lost_unknown
        )];
        let others = [
            ("reordered there", self.reordered_there),
            ("reordered back", self.reordered_back),
            ("duplicated there", self.duplicated_there),
            ("duplicated back", self.duplicated_back),
            ("replies to duplicates lost", self.copies_lost_back),
        ];
        let others = others.into_iter().filter(|(_, count)| *count > 0);
        let others: Vec<_> = others.map(|(name, n)| format!("{n} {name}")).collect();
        lines.extend((!others.is_empty()).then(|| others.join(", ")));
        lines.extend(self.clock());
        lines.extend(self.classes());
        let hops = shown(self.distinct(|state| Some(state.there_hops?.to_string())));
        lines.extend(hops.map(|hops| format!("routers on the way there: {hops}")));
        let translated = self.distinct(|state| {
            let (from, seen) = (state.sent_from, state.seen_from?);
            // Whether an address or a port was another one there.
            (from != Some(seen)).then(|| match from {
                Some(from) => format!("{from} is seen as {seen}"),
                None => format!("an unknown address is seen as {seen}"),
            })
        });
        lines.extend(shown(translated).map(|translated| format!("NAT: {translated}")));
        lines
    }

    fn clock(&self) -> Option<String> {
        let offset = self.offset_ns?;
        let which = if offset < 0 { "behind" } else { "ahead of" };
        let [offset, error] = [offset.unsigned_abs(), self.offset_error_ns.unwrap_or(0)]
            .map(|ns| Duration::from_nanos(ns).as_secs_f64() * 1e3);
        let drift = self.drift_ns_per_s.filter(|drift| *drift != 0.0);
        let drift = drift.map(|drift| format!(", gaining {:.1} us/s", drift / 1e3));
        Some(format!(
            "clock: the reflector's is {offset:.3} ms {which} this one, to within {error:.3} ms{}",
            drift.unwrap_or_default()
        ))
    }

    /// What became of the marks that packets had.
    fn classes(&self) -> Vec<String> {
        let sent = self.sent_dscp;
        let there = self.distinct(|state| Some(mark(state.there_dscp?, state.there_ecn?)));
        // Of a reflector that was not asked, nobody knows which mark its replies had.
        let asked = |state: &State| state.there_dscp.and(state.back_dscp);
        let back = self.distinct(|state| Some(mark(asked(state)?, state.back_ecn?)));
        let sent_mark = mark(sent, 0);
        let told = |(way, marks): (&str, Vec<(String, u64)>)| {
            let differs = marks.iter().any(|(is, _)| *is != sent_mark);
            let kept = if differs { "changed" } else { "kept" };
            // A packet without a mark that keeps it is no news.
            let shown = shown(marks).filter(|_| differs || sent > 0)?;
            Some(format!(
                "mark {kept} on the way {way}: sent {sent_mark}, came {shown}"
            ))
        };
        let both = [("there", there), ("back", back)];
        both.into_iter().filter_map(told).collect()
    }

    /// Each different thing that `of` says of packets, and how many it is said of.
    fn distinct(&self, of: impl Fn(&State) -> Option<String>) -> Vec<(String, u64)> {
        let mut found: Vec<(String, u64)> = Vec::new();
        for state in &self.states {
            let Some(text) = of(state) else { continue };
            match found.iter_mut().find(|(known, _)| *known == text) {
                Some((_, count)) => *count += state.count,
                None => found.push((text, state.count)),
            }
        }
        found
    }
}

/// Of so many different things a line shows the first.
const SHOWN: usize = 4;

fn mark(dscp: u8, ecn: u8) -> String {
    match ecn {
        0 => format!("DSCP {dscp}"),
        ecn => format!("DSCP {dscp} with ECN {ecn}"),
    }
}

/// One thing, or several with how often each was; `None` of none.
fn shown(found: Vec<(String, u64)>) -> Option<String> {
    match &found[..] {
        [] => None,
        [(only, _)] => Some(only.clone()),
        several => {
            let shown = several.iter().take(SHOWN);
            let mut shown: Vec<_> = shown.map(|(text, n)| format!("{text} ({n})")).collect();
            shown.extend((several.len() > SHOWN).then(|| "others".to_owned()));
            Some(shown.join(", "))
        }
    }
}

/// What the distributions of the two ways are called.
impl fmt::Display for OneWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OneWay::Delay => "one-way delay",
            OneWay::Variation => "longer than at its shortest",
            OneWay::Unknown => "unknown",
        })
    }
}
