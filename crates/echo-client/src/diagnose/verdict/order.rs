//! Datagrams that come back otherwise than they were sent: changed, twice, or out of turn.

use super::super::finding::{Finding, Verdict, finding};
use super::super::train::{Probe, Train};
use super::{Trains, beyond};

/// On a path without a fault at most one datagram in so many is overtaken or comes twice.
const HEALTHY: f64 = 1e-3;

/// The trains whose datagrams an echo server returns as they are.
fn echoed(trains: &Trains) -> impl Iterator<Item = &Train> {
    let trains = [&trains.steady, &trains.mixed, &trains.again];
    trains.into_iter().flatten()
}

/// Bytes that are not what was sent: no chance makes a wrong byte with a right checksum.
pub fn corruption(trains: &Trains) -> Option<Finding> {
    let turns = trains.ladder.iter();
    let ladder = turns.flat_map(|turn| [&turn.slow, &turn.fast]);
    let probes = echoed(trains).chain(ladder).flat_map(|train| &train.probes);
    let all: Vec<&Probe> = probes.collect();
    let wrong: Vec<usize> = all.iter().filter_map(|probe| probe.wrong).collect();
    let offset = wrong.iter().min()?;
    let (n, wrong) = (all.len(), wrong.len());
    Some(finding!(Verdict::Corruption; n, wrong, offset))
}

/// Datagrams that come more than once.
pub fn duplication(trains: &Trains) -> Option<Finding> {
    let all: Vec<&Probe> = echoed(trains).flat_map(|train| &train.probes).collect();
    let twice = all.iter().filter(|probe| probe.copies > 1).count();
    beyond(Verdict::Duplication, twice, all.len(), HEALTHY)
}

/// Datagrams that a later one of the same flow has overtaken.
pub fn reordering(trains: &Trains) -> Option<Finding> {
    let trains = [&trains.steady, &trains.again].into_iter().flatten();
    let came: usize = trains
        .clone()
        .map(|train| train.probes.len() - train.lost())
        .sum();
    let late = trains.flat_map(overtaken).filter(|is_late| *is_late);
    beyond(Verdict::Reordering, late.count(), came, HEALTHY)
}

/// Which datagrams of a train came after one that was sent later.
pub fn overtaken(train: &Train) -> Vec<bool> {
    let mut first = u32::MAX;
    let is_late = |probe: &Probe| {
        let is_late = !probe.is_lost() && probe.order > first;
        if !probe.is_lost() {
            first = first.min(probe.order);
        }
        is_late
    };
    let mut late: Vec<bool> = train.probes.iter().rev().map(is_late).collect();
    late.reverse();
    late
}
