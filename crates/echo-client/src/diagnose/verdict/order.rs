//! Datagrams that come back otherwise than they were sent: changed, twice, or out of turn.

use super::super::finding::{Finding, Verdict, finding};
use super::super::train::{Damage, Probe, Train, lost};
use super::{Trains, beyond};

/// On a path without a fault at most one datagram in so many is overtaken or comes twice.
const HEALTHY: f64 = 1e-3;

/// What has become of those that came.
pub fn changes(trains: &Trains) -> impl Iterator<Item = Finding> {
    let small = [&trains.steady, &trains.again].into_iter().flatten();
    // An echo server returns them as they are.
    let echoed = small.clone().chain(&trains.mixed);
    let found = [
        corruption(echoed.clone().chain(trains.turns())),
        duplication(echoed),
        reordering(small),
    ];
    found.into_iter().flatten()
}

/// Bytes that are not what was sent: no chance makes a wrong byte with a right checksum.
fn corruption<'a>(trains: impl Iterator<Item = &'a Train>) -> Option<Finding> {
    let all: Vec<&Probe> = trains.flat_map(|train| &train.probes).collect();
    let damage = all.iter().filter_map(|probe| probe.wrong);
    let (mut wrong, mut cut) = (Vec::new(), Vec::new());
    damage.for_each(|damage| match damage {
        Damage::Byte(offset) => wrong.push(offset),
        Damage::Cut(size) => cut.push(size),
    });
    let mut finding = finding!(Verdict::Corruption; n: all.len());
    if let Some(size) = cut.iter().max() {
        let evidence = match wrong[..] {
            [] => "cut-short",
            _ => "changed-and-cut",
        };
        finding = finding
            .by(evidence)
            .with("cut", cut.len())
            .with("size", size);
    }
    if let Some(offset) = wrong.iter().min() {
        finding = finding.with("wrong", wrong.len()).with("offset", offset);
    }
    (!wrong.is_empty() || !cut.is_empty()).then_some(finding)
}

/// Datagrams that come more than once.
fn duplication<'a>(trains: impl Iterator<Item = &'a Train>) -> Option<Finding> {
    let all: Vec<&Probe> = trains.flat_map(|train| &train.probes).collect();
    let twice = all.iter().filter(|probe| probe.copies > 1).count();
    beyond(Verdict::Duplication, (twice, all.len()), HEALTHY)
}

/// Datagrams that a later one of the same flow has overtaken.
fn reordering<'a>(trains: impl Iterator<Item = &'a Train> + Clone) -> Option<Finding> {
    let (lost, all) = lost(trains.clone().flat_map(|train| &train.probes));
    let late = trains.flat_map(overtaken).filter(|is_late| *is_late);
    beyond(Verdict::Reordering, (late.count(), all - lost), HEALTHY)
}

/// Which datagrams of a train came after one that was sent later.
pub fn overtaken(train: &Train) -> Vec<bool> {
    let mut first = u64::MAX;
    let is_late = |probe: &Probe| {
        let is_late = probe.came.is_some_and(|came| came > first);
        first = first.min(probe.came.unwrap_or(u64::MAX));
        is_late
    };
    let mut late: Vec<bool> = train.probes.iter().rev().map(is_late).collect();
    late.reverse();
    late
}
