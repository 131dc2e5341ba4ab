//! What trains say of a path. Pure: the same trains give the same findings.
//!
//! What one verdict explains is taken out before the next is looked for: a limit of rate before losses
//! at random, a dead flow before losses by size. Each question that is asked costs certainty, and is
//! counted (`significant`).

mod delay;
mod loss;
mod order;
mod rate;
mod reflected;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;

use super::chance::{Count, binomial, significant};
use super::finding::{Finding, Verdict, finding};
use super::train::Train;
use crate::report::format::{Share, short_time};

pub use delay::load;
pub use rate::{HEADER, TURNS, highest, is_limited, is_queued};

/// All the trains of a diagnosis; of those that were not sent, nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Trains {
    /// Small datagrams at a steady rate, from one port.
    pub steady: Option<Train>,
    /// Small and large ones, marked and unmarked, from many ports.
    pub mixed: Option<Train>,
    /// Fast ones between slow ones.
    pub ladder: Vec<Turn>,
    /// STAMP packets.
    pub stamp: Option<Train>,
    /// The steady train once more, at the end.
    pub again: Option<Train>,
    /// What asked whether anybody was there, while nobody answered.
    pub asked: Vec<Train>,
}

impl Trains {
    /// Those of the ladder.
    fn turns(&self) -> impl Iterator<Item = &Train> {
        let turns = self.ladder.iter();
        turns.flat_map(|turn| [&turn.slow, &turn.fast])
    }

    /// Leaves out what was sent from `end` on, in nanoseconds since 1970: nobody was there to answer.
    pub fn cut(&mut self, end: u64) {
        for kept in [
            &mut self.steady,
            &mut self.mixed,
            &mut self.stamp,
            &mut self.again,
        ] {
            kept.take_if(|train| {
                train.probes.retain(|probe| probe.sent < end);
                train.probes.is_empty()
            });
        }
        // Half a turn has nothing to be held against.
        let is_before = |train: &Train| train.probes.iter().all(|probe| probe.sent < end);
        self.ladder
            .retain(|turn| is_before(&turn.slow) && is_before(&turn.fast));
        self.asked.retain(is_before);
    }
}

/// A fast train and a slow one of datagrams of one size, right after one another.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// The slow one, which came first.
    pub slow: Train,
    /// The fast one.
    pub fast: Train,
}

impl Turn {
    /// Bytes of payload of each.
    fn size(&self) -> usize {
        self.fast.probes.first().map_or(0, |probe| probe.cell.size)
    }

    /// Whether this machine has sent the fast ones nearly as fast as was meant.
    pub fn is_reached(&self) -> bool {
        self.fast.per_s() * self.fast.interval.as_secs_f64() > 0.7
    }

    /// When the last was sent, in nanoseconds since 1970.
    fn end(&self) -> u64 {
        self.fast.probes.last().map_or(0, |probe| probe.sent)
    }
}

/// What the trains say.
pub fn judge(trains: &Trains) -> Vec<Finding> {
    let limit = rate::limit(&trains.ladder);
    // What was sent near the limit, or above it, is lost or late for that alone.
    let is_innocent = |train: &&Train| limit.iter().all(|limit| !limit.explains(train));
    let single = [&trains.steady, &trains.mixed, &trains.stamp, &trains.again];
    let all = single.into_iter().flatten().chain(trains.turns());
    let outage = loss::outage(all.filter(is_innocent), &trains.asked);
    let slow_turns = trains.ladder.iter().map(|turn| &turn.slow);
    let calm = Calm {
        steady: trains.steady.as_ref().filter(is_innocent),
        mixed: trains.mixed.as_ref().filter(is_innocent),
        slow: slow(slow_turns.filter(is_innocent)),
        again: trains.again.as_ref().filter(is_innocent),
    };
    let stamp = trains.stamp.as_ref().filter(is_innocent);
    let reflected = stamp.map(|train| reflected::reflected(train, &outage));
    let losses = loss::losses(&calm, &outage);
    let mut findings: Vec<Finding> = outage.finding.into_iter().collect();
    findings.extend(match limit {
        Some(limit) => Some(limit.finding),
        None => rate::unreached(&trains.ladder),
    });
    findings.extend(order::changes(trains));
    findings.extend(losses);
    findings.extend(delay::delays(&calm));
    findings.extend(reflected.into_iter().flatten());
    findings
}

/// Trains that nothing but the path itself disturbs.
struct Calm<'a> {
    steady: Option<&'a Train>,
    mixed: Option<&'a Train>,
    /// The slow turns of the ladder, end to end.
    slow: Train,
    again: Option<&'a Train>,
}

impl Calm<'_> {
    /// Those that there are.
    fn all(&self) -> impl Iterator<Item = &Train> {
        let trains = [self.steady, self.mixed, Some(&self.slow), self.again];
        let trains = trains.into_iter().flatten();
        trains.filter(|train| !train.probes.is_empty())
    }
}

fn slow<'a>(trains: impl Iterator<Item = &'a Train>) -> Train {
    let mut all = Train::default();
    for slow in trains {
        all.stalled = all.stalled.max(slow.stalled);
        all.overflowed += slow.overflowed;
        all.probes.extend_from_slice(&slow.probes);
    }
    all
}

/// A finding, where so many are more than a path without a fault has, which has a `share`.
fn beyond(verdict: Verdict, (count, n): Count, share: f64) -> Option<Finding> {
    let p = significant(binomial((count, n), share), 1)?;
    Some(finding!(verdict, p; n, count, percent: percent((count, n))))
}

/// A share of the whole.
pub fn percent((part, whole): Count) -> Share {
    Share(part as f64 / whole.max(1) as f64)
}

/// Nanoseconds as people read them.
pub fn shown(ns: u64) -> String {
    short_time(ns as f64)
}
