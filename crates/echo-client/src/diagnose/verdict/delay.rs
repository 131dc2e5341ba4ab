//! Datagrams that come back late: now and then, from some ports, from some moment on, or under load.

use super::super::chance::{binomial, fisher, rank_sum};
use super::super::finding::{Finding, Verdict};
use super::super::train::{Probe, Train, percentile};
use super::{Calm, lost, percent, shown, significant};

/// What nobody notices: an idle network and two busy machines take that much.
const UNNOTICED: u64 = 10_000_000;
/// A call is disturbed by more.
const DISTURBING: u64 = 100_000_000;
/// Datagrams on either side of a change of the way, at least.
const FEWEST: usize = 40;

/// What the round trips of calm trains say.
pub fn delays(calm: &Calm) -> Vec<Finding> {
    let step = step(calm);
    // Where the way has changed, delays differ for that.
    let (jitter, slow) = match step {
        None => (jitter(calm), calm.mixed.as_ref().and_then(flow_slow)),
        Some(_) => (None, None),
    };
    [step, jitter, slow, healed(calm)]
        .into_iter()
        .flatten()
        .collect()
}

fn trips(train: &Train) -> Vec<u64> {
    train.probes.iter().filter_map(Probe::rtt).collect()
}

/// Round trips of one train that differ by more than anybody would call the same.
fn jitter(calm: &Calm) -> Option<Finding> {
    let judged = calm.all().filter_map(|train| {
        let mut trips = trips(train);
        let (base, high) = (percentile(&mut trips, 0.1)?, percentile(&mut trips, 0.9)?);
        let limit = base + UNNOTICED.max(base / 10);
        let late = trips.len() - trips.partition_point(|trip| *trip <= limit);
        // A tenth of them may be as late, for whatever reason.
        let p = significant(binomial(late, trips.len(), 0.1), 4)?;
        Some((p, late, trips.len(), limit - base, high - base))
    });
    let (p, late, all, limit, spread) = judged.min_by(|one, other| one.0.total_cmp(&other.0))?;
    Some(
        Finding::problem(Verdict::Jitter)
            .seen(
                format!("{all} datagrams"),
                format!(
                    "{late} took {} longer than the fastest tenth, or more",
                    shown(limit)
                ),
            )
            .tested("binomial test against a tenth", p)
            .with("spread", shown(spread)),
    )
}

/// Flows that are slower than the others, however often they are asked.
fn flow_slow(mixed: &Train) -> Option<Finding> {
    let flows = mixed.probes.iter().map(|probe| probe.cell.flow + 1).max()?;
    let fastest = |flow: usize| {
        let of_flow = mixed.probes.iter().filter(|probe| probe.cell.flow == flow);
        of_flow.filter_map(Probe::rtt).min()
    };
    let fastest: Vec<Option<u64>> = (0..flows).map(fastest).collect();
    let mut known: Vec<u64> = fastest.iter().flatten().copied().collect();
    let (base, usual) = (percentile(&mut known, 0.0)?, percentile(&mut known, 0.25)?);
    let limit = usual + (UNNOTICED / 4).max(base / 10);
    let is_slow = |flow: usize| fastest[flow].is_some_and(|trip| trip > limit);
    let slow: Vec<usize> = (0..flows).filter(|flow| is_slow(*flow)).collect();
    let others = mixed
        .probes
        .iter()
        .filter(|probe| !is_slow(probe.cell.flow));
    let others: Vec<u64> = others.filter_map(Probe::rtt).collect();
    let theirs = mixed.probes.iter().filter(|probe| is_slow(probe.cell.flow));
    let mut theirs: Vec<u64> = theirs.filter_map(Probe::rtt).collect();
    if slow.is_empty() || slow.len() * 4 > flows * 3 {
        return None;
    }
    // Each datagram of a slow flow is late, of the others a few are: how often is that by chance?
    let late = others.iter().filter(|trip| **trip > limit).count() + 1;
    let share = late as f64 / (others.len() + 1) as f64;
    let of_one = mixed.probes.len() / flows;
    let p = significant(share.powi(of_one as i32), flows)?;
    let more = percentile(&mut theirs, 0.5)? - usual.min(percentile(&mut theirs, 0.5)?);
    Some(
        Finding::problem(Verdict::FlowSlow)
            .seen(
                format!("{} datagrams from {flows} ports", mixed.probes.len()),
                format!("all of {} ports took over {}", slow.len(), shown(limit)),
            )
            .tested("how often all of a port would be late by chance", p)
            .with("slow", slow.len())
            .with("flows", flows)
            .with("time", shown(more)),
    )
}

/// A moment from which on every round trip is longer, or shorter, than any before it was.
fn step(calm: &Calm) -> Option<Finding> {
    let mut timed: Vec<(u64, u64)> = calm
        .all()
        .flat_map(|train| &train.probes)
        .filter_map(|probe| Some((probe.sent, probe.rtt()?)))
        .collect();
    timed.sort_unstable();
    let trips: Vec<u64> = timed.iter().map(|(_, trip)| *trip).collect();
    let splits = (FEWEST..trips.len().saturating_sub(FEWEST)).step_by(FEWEST / 2);
    let gap = |at: usize| {
        let (mut before, mut after) = (trips[..at].to_vec(), trips[at..].to_vec());
        let mut range = |share| {
            Some((
                percentile(&mut before, share)?,
                percentile(&mut after, share)?,
            ))
        };
        let ((low, low_after), (high, high_after)) = (range(0.1)?, range(0.9)?);
        let up = low_after.saturating_sub(high);
        Some(up.max(low.saturating_sub(high_after)))
    };
    let (gap, at) = splits.clone().filter_map(|at| Some((gap(at)?, at))).max()?;
    let (before, after) = trips.split_at(at);
    let p = rank_sum(before, after).min(rank_sum(after, before)) * 2.0;
    let p = significant(p, splits.count())?;
    let middle = |part: &[u64]| percentile(&mut part.to_vec(), 0.5);
    let (before_it, after_it) = (middle(before)?, middle(after)?);
    (gap > (UNNOTICED / 4).max(before_it.min(after_it) / 10)).then(|| {
        Finding::problem(Verdict::Step)
            .seen(
                format!("{} datagrams", trips.len()),
                format!(
                    "the first {at} took {}, the others {}",
                    shown(before_it),
                    shown(after_it)
                ),
            )
            .tested("rank-sum test, and the two do not overlap", p)
            .with("before", shown(before_it))
            .with("after", shown(after_it))
    })
}

/// Losses at the beginning that are gone at the end.
fn healed(calm: &Calm) -> Option<Finding> {
    let (steady, again) = (calm.steady.as_ref()?, calm.again.as_ref()?);
    let all = |train: &Train| {
        let probes: Vec<&Probe> = train.probes.iter().collect();
        (lost(&probes), probes.len())
    };
    let (before, after) = (all(steady), all(again));
    let p = significant(fisher(before, after), 1)?;
    (before.0 * after.1 > after.0 * before.1).then(|| {
        Finding::fact(Verdict::Healed)
            .seen(
                format!("{} datagrams, and {} later", before.1, after.1),
                format!("{} and {} were lost", before.0, after.0),
            )
            .tested("Fisher's exact test", p)
            .with("before", percent(before.0, before.1))
            .with("after", percent(after.0, after.1))
    })
}

/// Round trips while something is transferred against those while nothing is: in round trips a
/// minute, as draft-ietf-ippm-responsiveness counts.
pub fn load(idle: &[u64], loaded: &[u64]) -> Option<Finding> {
    let p = significant(rank_sum(idle, loaded), 1)?;
    let middle = |part: &[u64]| percentile(&mut part.to_vec(), 0.5);
    let (before, under) = (middle(idle)?, middle(loaded)?);
    let rpm = 60_000_000_000 / under.max(1);
    (under > before + DISTURBING).then(|| {
        Finding::problem(Verdict::Bufferbloat)
            .seen(
                format!("{} datagrams beside two transfers", loaded.len()),
                format!("half of them took {} or more", shown(under)),
            )
            .tested("rank-sum test against an idle path", p)
            .with("idle", shown(before))
            .with("loaded", shown(under))
            .with("rpm", rpm)
    })
}
