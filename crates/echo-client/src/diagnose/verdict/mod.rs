//! What trains say of a path. Pure: the same trains give the same findings.
//!
//! What one verdict explains is taken out before the next is looked for: a limit of rate before losses
//! at random, a dead flow before losses by size. Each question that is asked costs certainty, and is
//! counted ([`among`](super::chance::among)).

mod delay;
mod loss;
mod order;
mod rate;
mod reflected;

use std::time::Duration;

use super::chance::{LEVEL, among};
use super::finding::Finding;
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
    let outage = loss::outage(trains);
    let limit = rate::limit(&trains.ladder);
    findings.extend(outage.finding.clone());
    findings.extend(limit.iter().map(|limit| limit.finding.clone()));
    // What was sent near the limit, or above it, is lost or late for that alone.
    let is_innocent = |train: &&Train| limit.iter().all(|limit| !limit.explains(train));
    let innocent = |train: &'_ Option<Train>| train.clone().filter(|train| is_innocent(&train));
    let calm = Calm {
        steady: innocent(&trains.steady),
        mixed: innocent(&trains.mixed),
        slow: slow(&trains.ladder),
        again: innocent(&trains.again),
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
struct Calm {
    steady: Option<Train>,
    mixed: Option<Train>,
    /// The slow turns of the ladder, end to end.
    slow: Train,
    again: Option<Train>,
}

impl Calm {
    /// Those that there are.
    fn all(&self) -> impl Iterator<Item = &Train> {
        let trains = [self.steady.as_ref(), self.mixed.as_ref(), Some(&self.slow)];
        let trains = trains.into_iter().chain([self.again.as_ref()]).flatten();
        trains.filter(|train| !train.probes.is_empty())
    }
}

fn slow(ladder: &[Turn]) -> Train {
    Train {
        interval: ladder
            .first()
            .map(|turn| turn.slow.interval)
            .unwrap_or_default(),
        probes: ladder
            .iter()
            .flat_map(|turn| turn.slow.probes.clone())
            .collect(),
        ..Train::default()
    }
}

/// The p of a finding, where it is one.
fn significant(p: f64, places: usize) -> Option<f64> {
    let p = among(p, places);
    (p < LEVEL).then_some(p)
}

/// What was sent, in words.
fn sent(probes: usize, interval: Duration) -> String {
    match interval.is_zero() {
        true => format!("{probes} datagrams"),
        false => format!(
            "{probes} datagrams, {:.0} a second",
            1.0 / interval.as_secs_f64()
        ),
    }
}

fn came(probes: usize, lost: usize) -> String {
    format!("{} came back", probes - lost)
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
