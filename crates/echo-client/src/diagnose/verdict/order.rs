//! Datagrams that come back otherwise than they were sent: changed, twice, or out of turn.

use super::super::chance::binomial;
use super::super::finding::{Finding, Verdict};
use super::super::train::{Probe, Train};
use super::{Trains, percent, significant};

/// On a path without a fault at most one datagram in so many is overtaken or comes twice.
const HEALTHY: f64 = 1e-3;

/// The trains whose datagrams an echo server returns as they are.
fn echoed(trains: &Trains) -> impl Iterator<Item = &Train> {
    let trains = [&trains.steady, &trains.mixed, &trains.again];
    trains.into_iter().flatten()
}

/// Bytes that are not what was sent: no chance makes a wrong byte with a right checksum.
pub fn corruption(trains: &Trains) -> Option<Finding> {
    let ladder = trains
        .ladder
        .iter()
        .flat_map(|turn| [&turn.slow, &turn.fast]);
    let all: Vec<&Probe> = echoed(trains)
        .chain(ladder)
        .flat_map(|train| &train.probes)
        .collect();
    let wrong: Vec<usize> = all.iter().filter_map(|probe| probe.wrong).collect();
    let offset = wrong.iter().min()?;
    Some(
        Finding::problem(Verdict::Corruption)
            .seen(
                format!("{} datagrams", all.len()),
                format!("{} have wrong bytes", wrong.len()),
            )
            .tested("every byte was compared", None)
            .with("offset", offset),
    )
}

/// Datagrams that come more than once.
pub fn duplication(trains: &Trains) -> Option<Finding> {
    let all: Vec<&Probe> = echoed(trains).flat_map(|train| &train.probes).collect();
    let twice = all.iter().filter(|probe| probe.copies > 1).count();
    let p = significant(binomial(twice, all.len(), HEALTHY), 1)?;
    Some(
        Finding::problem(Verdict::Duplication)
            .seen(
                format!("{} datagrams", all.len()),
                format!("{twice} came more than once"),
            )
            .tested("binomial test against 1 in 1,000", p)
            .with("percent", percent(twice, all.len())),
    )
}

/// Datagrams that a later one of the same flow has overtaken.
pub fn reordering(trains: &Trains) -> Option<Finding> {
    let (mut late, mut all) = (0, 0);
    for train in [&trains.steady, &trains.again].into_iter().flatten() {
        let mut first = u32::MAX;
        for probe in train.probes.iter().rev().filter(|probe| !probe.is_lost()) {
            late += usize::from(probe.order > first);
            all += 1;
            first = first.min(probe.order);
        }
    }
    let p = significant(binomial(late, all, HEALTHY), 1)?;
    Some(
        Finding::problem(Verdict::Reordering)
            .seen(
                format!("{all} datagrams of one flow"),
                format!("{late} were overtaken"),
            )
            .tested("binomial test against 1 in 1,000", p)
            .with("percent", percent(late, all)),
    )
}
