//! Datagrams that come back late: now and then, from some ports, from some moment on, or under load.

use echo_core::units::ns;

use super::super::chance::{binomial, fisher, rank_sum, significant};
use super::super::finding::{Finding, Verdict, finding};
use super::super::train::{MOMENT, Probe, STALL, Sorted, Train, lost, trips};
use super::super::trains::SMALL;
use super::loss::groups;
use super::order::overtaken;
use super::{Calm, percent, shown};

/// What nobody notices: an idle network and two busy machines take that much.
const UNNOTICED: u64 = 10_000_000;
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

/// Round trips that differ by more than anybody would call the same, all the time: once in a while
/// everything waits for somebody, and all that waits then counts as one.
fn jitter(calm: &Calm<'_>, slow: &[usize]) -> Option<Finding> {
    let (mut moments, mut late, mut spread) = (0, 0, 0);
    for train in calm.all().filter(|train| !train.is_disturbed()) {
        let trips = trips(&train.probes);
        let (Some(base), Some(high)) = (trips.at(0.1), trips.at(0.9)) else {
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
    let p = significant(binomial((late, moments), 0.25), 1)?;
    let (limit, spread) = (shown(UNNOTICED), shown(spread));
    Some(finding!(Verdict::Jitter, p; moments, late, limit, spread))
}

/// Flows that are slower than the others, however often they are asked.
fn flow_slow(mixed: &Train) -> Option<(Finding, Vec<usize>)> {
    let probes = &mixed.probes;
    let flows = probes.iter().map(|probe| probe.cell.flow + 1).max()?;
    let of_flow = |flow| probes.iter().filter(move |probe| probe.cell.flow == flow);
    let fastest: Vec<Option<u64>> = (0..flows)
        .map(|flow| trips(of_flow(flow)).at(0.0))
        .collect();
    let known = Sorted::of(fastest.iter().copied().flatten());
    let usual = known.at(0.25)?;
    let least = usual + (UNNOTICED / 4).max(usual / 10);
    let next = known.0.iter().find(|trip| **trip > least)?;
    // Half way to the slow ones, where few of the others are.
    let limit = (usual + next) / 2;
    let is_late = |trip: Option<u64>| trip.is_some_and(|trip| trip > limit);
    let slow: Vec<usize> = (0..flows).filter(|flow| is_late(fastest[*flow])).collect();
    let is_slow = |probe: &&Probe| slow.contains(&probe.cell.flow);
    let (theirs, others): (Vec<&Probe>, Vec<&Probe>) = probes.iter().partition(is_slow);
    // Each datagram of a slow flow is late, of the others a few are: how often is that by chance?
    let late = others.iter().filter(|probe| is_late(probe.rtt())).count();
    let share = (late + 1) as f64 / (others.len() + 1) as f64;
    let p = significant(share.powi((probes.len() / flows) as i32), flows)?;
    let more = trips(theirs).at(0.5)?.saturating_sub(usual);
    let finding = finding!(Verdict::FlowSlow, p;
        n: probes.len(), limit: shown(limit), slow: slow.len(), flows, time: shown(more)
    );
    (slow.len() * 4 <= flows * 3).then_some((finding, slow))
}

/// A moment from which on, and for all of the last train, every round trip is longer, or shorter, than
/// any before it was.
fn step(calm: &Calm<'_>) -> Option<Finding> {
    // What disturbs a train for a moment makes a few of it late, which are left out below: that a machine
    // was late once is no reason to see nothing of a whole train.
    let calm: Vec<&Train> = calm.all().collect();
    let late = calm
        .iter()
        .map(|train| ns(train.stalled.min(STALL)))
        .max()?;
    // Large ones take longer on any narrow link.
    let timed = |train: &&Train| {
        let small = train.probes.iter().filter(|probe| probe.cell.size == SMALL);
        let timed = small.filter_map(|probe| Some((probe.sent, probe.rtt()?)));
        timed.collect::<Vec<(u64, u64)>>()
    };
    let trains: Vec<_> = calm.iter().map(timed).collect();
    let last = trains.iter().filter_map(|train| train.first()).max()?.0;
    let mut timed = trains.concat();
    timed.sort_unstable();
    let few: Vec<_> = timed.chunks(FEW).filter(|few| !is_held(few)).collect();
    let sorted = |part: &[u64]| Sorted::of(part.iter().copied());
    let middle = |part: &[u64]| sorted(part).at(0.5).unwrap_or_default();
    let trips = |few: &[&[(u64, u64)]]| few.concat().iter().map(|one| one.1).collect::<Vec<_>>();
    // What waits once in a while does not move the middle of a few.
    let middles: Vec<u64> = few.iter().map(|few| middle(&trips(&[few]))).collect();
    let gap = |at: usize| {
        let (before, after) = (sorted(&middles[..at]), sorted(&middles[at..]));
        let low = before.at(0.1)?.checked_sub(after.at(0.9)?);
        let high = after.at(0.1)?.checked_sub(before.at(0.9)?);
        low.or(high)
    };
    let splits = FEWEST..few.len().saturating_sub(FEWEST - 1);
    let splits = splits.filter(|at| few[*at][0].0 <= last);
    let (gap, at) = splits.clone().filter_map(|at| Some((gap(at)?, at))).max()?;
    let [before, after] = [&few[..at], &few[at..]].map(trips);
    let p = rank_sum(&before, &after).min(rank_sum(&after, &before)) * 2.0;
    let p = significant(p, splits.count())?;
    let (n, first) = (before.len() + after.len(), before.len());
    let (before, after) = (middle(&before), middle(&after));
    // A machine with more to do than before makes every way longer.
    let least = (UNNOTICED / 4).max(before.min(after) / 10).max(late / 2);
    let (before, after) = (shown(before), shown(after));
    (gap > least).then(|| finding!(Verdict::Step, p; n, first, before, after))
}

/// Those that were sent within a moment of one another, of some in the order of sending, of which it is
/// known when: by a clock that may have been set.
pub fn bunches(some: &[(u64, u64)]) -> impl Iterator<Item = &[(u64, u64)]> {
    some.chunk_by(|one, other| other.0.abs_diff(one.0) < MOMENT)
}

/// Whether some, of which it is known when they were sent and how long they took, have come nearly at
/// once: then they have waited for somebody who had stopped.
fn is_held(some: &[(u64, u64)]) -> bool {
    let span = |at: fn(&(u64, u64)) -> u64| {
        let all = some.iter().map(at);
        all.clone().max().unwrap_or_default() - all.min().unwrap_or_default()
    };
    span(|(sent, trip)| sent + trip) * 2 < span(|(sent, _)| *sent)
}

/// Losses at the beginning that are gone at the end.
fn healed(calm: &Calm<'_>) -> Option<Finding> {
    let trains = [calm.steady?, calm.again?];
    let [before, after] = trains.map(|train| lost(&train.probes));
    // What is lost together is lost to one thing.
    let [one, other] = trains.map(|train| groups(&train.probes.iter().collect::<Vec<_>>()).count());
    let p = significant(fisher((one, before.1), (other, after.1)), 1)?;
    (before.0 * after.1 > after.0 * before.1).then(|| {
        finding!(Verdict::Healed, p;
            n: before.1, m: after.1, lost: before.0, later: after.0,
            before: percent(before), after: percent(after)
        )
    })
}

/// Round trips while something is transferred against those while nothing is: in round trips a
/// minute, as draft-ietf-ippm-responsiveness counts.
pub fn load(idle: &Sorted, probes: &[&Probe]) -> Option<Finding> {
    let loaded = trips(probes.iter().copied());
    let p = significant(rank_sum(&idle.0, &loaded.0), 1)?;
    let (before, under) = (idle.at(0.5)?, loaded.at(0.5)?);
    let timed = probes.iter().filter_map(|one| Some((one.sent, one.rtt()?)));
    let late: Vec<_> = timed
        .filter(|(_, trip)| *trip > before + DISTURBING)
        .collect();
    // What has waited for somebody who had stopped was in no queue.
    let queued = bunches(&late).filter(|few| !is_held(few));
    let queued: usize = queued.map(<[_]>::len).sum();
    (queued * 2 > loaded.0.len()).then(|| {
        finding!(Verdict::Bufferbloat, p;
            n: loaded.0.len(), idle: shown(before), loaded: shown(under),
            rpm: 60_000_000_000 / under
        )
    })
}
