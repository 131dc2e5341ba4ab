//! Datagrams that come back late: now and then, from some ports, from some moment on, or under load.

use echo_core::units::ns;

use super::super::chance::{binomial, fisher, rank_sum};
use super::super::finding::{Finding, Verdict, finding};
use super::super::train::{Probe, Train, percentile};
use super::order::overtaken;
use super::{Calm, lost, percent, shown, significant};

/// What nobody notices: an idle network and two busy machines take that much.
const UNNOTICED: u64 = 10_000_000;
/// What waits at the same time waits for the same.
const MOMENT: u64 = 100_000_000;
/// A call is disturbed by more.
const DISTURBING: u64 = 100_000_000;
/// Datagrams of which the middle counts where the way may have changed, and how many such there are
/// on either side, at least.
const FEW: usize = 20;
const FEWEST: usize = 3;

/// What the round trips of calm trains say.
pub fn delays(calm: &Calm<'_>) -> Vec<Finding> {
    let (slow, flows) = calm.mixed.and_then(flow_slow).unzip();
    let step = step(calm);
    // Where the way has changed, or ways differ, so do delays.
    let jitter = match step {
        None => jitter(calm, &flows.unwrap_or_default()),
        Some(_) => None,
    };
    let found = [step, jitter, slow, healed(calm), unjudged(calm)];
    found.into_iter().flatten().collect()
}

/// This machine has disturbed all trains that tell of delays.
fn unjudged(calm: &Calm<'_>) -> Option<Finding> {
    let trains = [calm.steady, calm.mixed, calm.again].into_iter().flatten();
    let stalled = trains.clone().map(|train| train.stalled).max()?;
    let why = format!("this machine was late by {} itself", shown(ns(stalled)));
    let is_spoiled = trains.clone().all(Train::is_disturbed);
    is_spoiled.then(|| finding!(Verdict::Unjudged; what: "delays", why))
}

fn trips(train: &Train) -> Vec<u64> {
    train.probes.iter().filter_map(Probe::rtt).collect()
}

/// Round trips that differ by more than anybody would call the same, all the time: once in a while
/// everything waits for somebody, and all that waits then counts as one.
fn jitter(calm: &Calm<'_>, slow: &[usize]) -> Option<Finding> {
    let (mut moments, mut late, mut spread) = (0, 0, 0);
    for train in calm.all().filter(|train| !train.is_disturbed()) {
        let mut trips = trips(train);
        let (Some(base), Some(high)) = (percentile(&mut trips, 0.1), percentile(&mut trips, 0.9))
        else {
            continue;
        };
        spread = spread.max(high - base);
        // What this machine was late by itself, others on it may be as well.
        let limit = base + UNNOTICED.max(base / 10).max(ns(train.stalled));
        // A few that are held and overtaken are out of turn; where most are, all vary.
        let mut held = overtaken(train);
        if held.iter().filter(|is_held| **is_held).count() * 4 > held.len() {
            held.fill(false);
        }
        let is_late = |(probe, is_held): &(&Probe, bool)| {
            let is_late = probe.rtt().is_some_and(|trip| trip > limit);
            is_late && !is_held && !slow.contains(&probe.cell.flow)
        };
        let probes: Vec<(&Probe, bool)> = train.probes.iter().zip(held).collect();
        let moment = |(probe, _): &(&Probe, bool)| probe.sent / MOMENT;
        for together in probes.chunk_by(|one, other| moment(one) == moment(other)) {
            moments += 1;
            late += usize::from(together.iter().any(is_late));
        }
    }
    // A quarter of them may be, for whatever reason.
    let p = significant(binomial(late, moments, 0.25), 1)?;
    Some(
        finding!(Verdict::Jitter;
            moments, late, limit: shown(UNNOTICED), spread: shown(spread)
        )
        .p(p),
    )
}

/// Flows that are slower than the others, however often they are asked.
fn flow_slow(mixed: &Train) -> Option<(Finding, Vec<usize>)> {
    let flows = mixed.probes.iter().map(|probe| probe.cell.flow + 1).max()?;
    let mut fastest = vec![u64::MAX; flows];
    for probe in &mixed.probes {
        let known = &mut fastest[probe.cell.flow];
        *known = probe.rtt().unwrap_or(u64::MAX).min(*known);
    }
    let mut known: Vec<u64> = fastest
        .iter()
        .copied()
        .filter(|trip| *trip < u64::MAX)
        .collect();
    let usual = percentile(&mut known, 0.25)?;
    let next = known
        .iter()
        .find(|trip| **trip > usual + (UNNOTICED / 4).max(usual / 10))?;
    // Half way to the slow ones, where few of the others are.
    let limit = (usual + next) / 2;
    let is_slow = |flow: usize| fastest[flow] > limit && fastest[flow] < u64::MAX;
    let slow: Vec<usize> = (0..flows).filter(|flow| is_slow(*flow)).collect();
    let (theirs, others): (Vec<&Probe>, Vec<&Probe>) = mixed
        .probes
        .iter()
        .partition(|probe| is_slow(probe.cell.flow));
    // Each datagram of a slow flow is late, of the others a few are: how often is that by chance?
    let late = others
        .iter()
        .filter(|probe| probe.rtt().is_some_and(|trip| trip > limit))
        .count();
    let share = (late + 1) as f64 / (others.len() + 1) as f64;
    let of_one = mixed.probes.len() / flows;
    let p = significant(share.powi(of_one as i32), flows)?;
    let mut trips: Vec<u64> = theirs.iter().filter_map(|probe| probe.rtt()).collect();
    let more = percentile(&mut trips, 0.5)?.saturating_sub(usual);
    let finding = finding!(Verdict::FlowSlow;
        n: mixed.probes.len(), limit: shown(limit), slow: slow.len(), flows,
        time: shown(more)
    )
    .p(p);
    (slow.len() * 4 <= flows * 3).then_some((finding, slow))
}

/// A moment from which on every round trip is longer, or shorter, than any before it was.
fn step(calm: &Calm<'_>) -> Option<Finding> {
    let calm: Vec<&Train> = calm.all().filter(|train| !train.is_disturbed()).collect();
    let late = calm.iter().map(|train| ns(train.stalled)).max()?;
    let probes = calm.iter().flat_map(|train| &train.probes);
    let mut timed: Vec<(u64, u64)> = probes
        .filter_map(|probe| Some((probe.sent, probe.rtt()?)))
        .collect();
    timed.sort_unstable();
    let trips: Vec<u64> = timed.into_iter().map(|(_, trip)| trip).collect();
    let middle = |part: &[u64]| percentile(&mut part.to_vec(), 0.5).unwrap_or_default();
    // What waits once in a while does not move the middle of a few.
    let middles: Vec<u64> = trips.chunks(FEW).map(middle).collect();
    let gap = |at: usize| {
        let (mut before, mut after) = (middles[..at].to_vec(), middles[at..].to_vec());
        let low = percentile(&mut before, 0.1)?.checked_sub(percentile(&mut after, 0.9)?);
        let high = percentile(&mut after, 0.1)?.checked_sub(percentile(&mut before, 0.9)?);
        low.or(high)
    };
    let splits = FEWEST..middles.len().saturating_sub(FEWEST - 1);
    let (gap, at) = splits.clone().filter_map(|at| Some((gap(at)?, at))).max()?;
    let (before, after) = trips.split_at(at * FEW);
    let p = rank_sum(before, after).min(rank_sum(after, before)) * 2.0;
    let p = significant(p, splits.count())?;
    let (before_it, after_it) = (middle(before), middle(after));
    // A machine with more to do than before makes every way longer.
    let is_much = gap
        > (UNNOTICED / 4)
            .max(before_it.min(after_it) / 10)
            .max(late / 2);
    is_much.then(|| {
        finding!(Verdict::Step;
            n: trips.len(), first: before.len(), before: shown(before_it), after: shown(after_it)
        )
        .p(p)
    })
}

/// Losses at the beginning that are gone at the end.
fn healed(calm: &Calm<'_>) -> Option<Finding> {
    let (steady, again) = (calm.steady?, calm.again?);
    let all = |train: &Train| {
        let probes: Vec<&Probe> = train.probes.iter().collect();
        (lost(&probes), probes.len())
    };
    let (before, after) = (all(steady), all(again));
    let p = significant(fisher(before, after), 1)?;
    let is_better = before.0 * after.1 > after.0 * before.1;
    is_better.then(|| {
        finding!(Verdict::Healed;
            n: before.1, m: after.1, lost: before.0, later: after.0,
            before: percent(before.0, before.1), after: percent(after.0, after.1)
        )
        .p(p)
    })
}

/// Round trips while something is transferred against those while nothing is: in round trips a
/// minute, as draft-ietf-ippm-responsiveness counts.
pub fn load(idle: &[u64], loaded: &[u64]) -> Option<Finding> {
    let p = significant(rank_sum(idle, loaded), 1)?;
    let middle = |part: &[u64]| percentile(&mut part.to_vec(), 0.5);
    let (before, under) = (middle(idle)?, middle(loaded)?);
    let is_long = under > before + DISTURBING;
    is_long.then(|| {
        finding!(Verdict::Bufferbloat;
            n: loaded.len(), idle: shown(before), loaded: shown(under),
            rpm: 60_000_000_000 / under.max(1)
        )
        .p(p)
    })
}
