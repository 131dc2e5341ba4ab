//! What trains say of a path. Pure: the same trains give the same findings.
//!
//! What one verdict explains is taken out before the next is looked for: a limit of rate before losses
//! at random, a dead flow before losses by size. Each question that is asked costs certainty, and is
//! counted (`among`).

mod delay;
mod loss;
mod order;
mod rate;
mod reflected;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::chance::{LEVEL, among, binomial};
use super::finding::{Finding, Verdict, finding};
use super::train::{Probe, Train};

pub use delay::load;
pub use rate::{TURNS, is_limited};

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
}

impl Trains {
    /// Leaves out what was sent from `end` on, in nanoseconds since 1970: nobody was there to answer.
    pub fn cut(&mut self, end: u64) {
        let single = [
            &mut self.steady,
            &mut self.mixed,
            &mut self.stamp,
            &mut self.again,
        ];
        for kept in single {
            if let Some(train) = kept {
                train.probes.retain(|probe| probe.sent < end);
            }
            *kept = kept.take().filter(|train| !train.probes.is_empty());
        }
        // Half a turn has nothing to be held against.
        let is_before = |train: &Train| train.probes.iter().all(|probe| probe.sent < end);
        self.ladder
            .retain(|turn| is_before(&turn.slow) && is_before(&turn.fast));
    }
}

/// A fast train and a slow one of datagrams of one size, right after one another.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// Bytes of payload.
    pub size: usize,
    /// The slow one, which came first.
    pub slow: Train,
    /// The fast one.
    pub fast: Train,
}

/// What the trains say.
pub fn judge(trains: &Trains) -> Vec<Finding> {
    let mut findings = Vec::new();
    let limit = rate::limit(&trains.ladder);
    // What was sent near the limit, or above it, is lost or late for that alone.
    let is_innocent = |train: &&Train| limit.iter().all(|limit| !limit.explains(train));
    let ladder = trains
        .ladder
        .iter()
        .flat_map(|turn| [&turn.slow, &turn.fast]);
    let single = [&trains.steady, &trains.mixed, &trains.stamp, &trains.again];
    let all = single
        .into_iter()
        .flatten()
        .chain(ladder)
        .filter(is_innocent);
    let outage = loss::outage(all);
    findings.extend(outage.finding.clone());
    findings.extend(limit.iter().map(|limit| limit.finding.clone()));
    let calm = Calm {
        steady: trains.steady.as_ref().filter(is_innocent),
        mixed: trains.mixed.as_ref().filter(is_innocent),
        slow: slow(&trains.ladder),
        again: trains.again.as_ref().filter(is_innocent),
    };
    findings.extend(order::corruption(trains));
    findings.extend(order::duplication(trains));
    findings.extend(order::reordering(trains));
    findings.extend(loss::losses(&calm, &outage));
    findings.extend(delay::delays(&calm));
    if let Some(train) = trains.stamp.as_ref().filter(is_innocent) {
        findings.extend(reflected::reflected(train, &outage));
    }
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
        let trains = [self.steady, self.mixed, Some(&self.slow)];
        let trains = trains.into_iter().chain([self.again]).flatten();
        trains.filter(|train| !train.probes.is_empty())
    }
}

fn slow(ladder: &[Turn]) -> Train {
    let slow = ladder.iter().map(|turn| &turn.slow);
    let intervals = slow.clone().map(|train| train.interval);
    Train {
        interval: intervals.max().unwrap_or_default(),
        stalled: slow
            .clone()
            .map(|train| train.stalled)
            .max()
            .unwrap_or_default(),
        probes: slow.flat_map(|train| train.probes.clone()).collect(),
        ..Train::default()
    }
}

/// The p of a finding, where it is one.
fn significant(p: f64, places: usize) -> Option<f64> {
    let p = among(p, places);
    (p < LEVEL).then_some(p)
}

/// A finding, where `count` of `n` are more than a path without a fault has, which has a `share`.
fn beyond(verdict: Verdict, count: usize, n: usize, share: f64) -> Option<Finding> {
    let p = significant(binomial(count, n, share), 1)?;
    let found = finding!(verdict; n, count, percent: percent(count, n));
    Some(found.p(p))
}

fn lost(probes: &[&Probe]) -> usize {
    probes.iter().filter(|probe| probe.is_lost()).count()
}

/// A share of the whole, to two digits.
fn percent(part: usize, whole: usize) -> String {
    let share = part as f64 * 100.0 / whole.max(1) as f64;
    match share {
        share if share < 10.0 => format!("{share:.1} %"),
        share => format!("{share:.0} %"),
    }
}

/// Nanoseconds as people read them.
pub fn shown(ns: u64) -> String {
    crate::report::format::time(Duration::from_nanos(ns))
}
