//! Datagrams that do not come back, and what they have in common.

use super::super::chance::{binomial, fisher, runs};
use super::super::finding::{Finding, Verdict, finding};
use super::super::train::{Probe, Train};
use super::{Calm, beyond, lost, percent, shown, significant};

/// On a path without a fault at most one datagram in so many is lost.
pub const HEALTHY: f64 = 1e-4;
/// A quarter of a second without anything is no burst: that is a link that was down.
const OUTAGE: u64 = 250_000_000;
/// So many in a row belong to it, however short it was.
const FEW: usize = 8;

/// Times at which nothing passed.
#[derive(Default)]
pub struct Outage {
    /// The verdict, where there is one.
    pub finding: Option<Finding>,
    /// From when to when, in nanoseconds since 1970.
    spans: Vec<(u64, u64)>,
}

impl Outage {
    /// Whether a moment was in one.
    pub fn holds(&self, at: u64) -> bool {
        self.spans
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&at))
    }
}

/// Runs of losses, each from its first to after its last.
fn groups(probes: &[&Probe]) -> Vec<(usize, usize)> {
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for at in (0..probes.len()).filter(|at| probes[*at].is_lost()) {
        match groups.last_mut() {
            Some((_, end)) if *end == at => *end = at + 1,
            _ => groups.push((at, at + 1)),
        }
    }
    groups
}

/// Finds times at which everything was lost, whatever was sent, where nearly all that is lost is lost
/// then.
pub fn outage<'a>(trains: impl Iterator<Item = &'a Train>) -> Outage {
    let mut all: Vec<&Probe> = trains.flat_map(|train| &train.probes).collect();
    all.sort_by_key(|probe| probe.sent);
    let mut spans = Vec::new();
    let (mut inside, mut longest, mut most) = (0, 0, 0);
    for (from, to) in groups(&all) {
        let group = &all[from..to];
        // Between two trains nobody has looked.
        for part in group.chunk_by(|one, other| other.sent - one.sent < OUTAGE / 2) {
            let (start, end) = (part[0].sent, part[part.len() - 1].sent);
            if part.len() >= FEW {
                inside += part.len();
                spans.push((start, end));
                longest = longest.max(end - start);
                most = most.max(part.len());
            }
        }
    }
    let passed = all.len() - lost(&all);
    let outside = lost(&all) - inside;
    // A path on which losses come in bursts has long ones too; then they are but the longest.
    if longest < OUTAGE || inside < outside * 4 || passed < inside {
        return Outage::default();
    }
    let share = inside as f64 / (inside + passed) as f64;
    let p = significant(share.powi(most as i32), all.len());
    let finding = p.map(|p| {
        finding!(Verdict::Outage;
            n: all.len(), inside, outside, time: shown(longest)
        )
        .p(p)
    });
    match finding {
        None => Outage::default(),
        finding => Outage { finding, spans },
    }
}

/// What losses have in common, each explained by the first thing that does.
pub fn losses(calm: &Calm<'_>, outage: &Outage) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut mixed: Vec<&Probe> = calm.mixed.iter().flat_map(|train| &train.probes).collect();
    mixed.retain(|probe| !outage.holds(probe.sent));
    if let Some((finding, dead)) = flow(&mixed) {
        findings.push(finding);
        mixed.retain(|probe| !dead.contains(&probe.cell.flow));
    }
    let firsts = firsts(&mixed);
    let is_first = |at: usize, _: &Probe| firsts[at];
    findings.extend(apart(Verdict::LossFirst, &mut mixed, is_first, 0.5));
    let mut slow: Vec<&Probe> = calm.slow.probes.iter().collect();
    let large = mixed.iter().map(|probe| probe.cell.size).max().unwrap_or(0);
    let is_large = |_: usize, probe: &Probe| probe.cell.size == large;
    if let Some(finding) = apart(Verdict::LossBySize, &mut mixed, is_large, 0.0) {
        findings.push(finding.with("size", large));
        slow.retain(|probe| probe.cell.size < large);
    }
    let mark = mixed.iter().map(|probe| probe.cell.tos).max().unwrap_or(0);
    let is_marked = |_: usize, probe: &Probe| probe.cell.tos == mark;
    let by_mark = apart(Verdict::LossByMark, &mut mixed, is_marked, 0.0);
    findings.extend(by_mark.map(|finding| finding.with("mark", class(mark))));
    let small = [calm.steady, calm.again].into_iter().flatten();
    let small: Vec<&Train> = small.collect();
    let mut all: Vec<&Probe> = small.iter().flat_map(|train| &train.probes).collect();
    all.retain(|probe| !outage.holds(probe.sent));
    if let Some(finding) = periodic(&all, &small) {
        findings.push(finding);
        return findings;
    }
    all.extend(mixed);
    all.extend(slow.into_iter().filter(|probe| !outage.holds(probe.sent)));
    findings.extend(at_random(&all));
    findings
}

fn at_random(all: &[&Probe]) -> Option<Finding> {
    let lost = lost(all);
    let at_random = beyond(Verdict::Loss, lost, all.len(), HEALTHY)?.with("came", all.len() - lost);
    let groups = groups(all).len();
    let bursts = significant(runs(groups, lost, all.len()), 1);
    let bursty = |p| Finding {
        verdict: Verdict::LossBursty,
        ..at_random.clone().by("loss-bursty").p(p)
    };
    let bursty = bursts.map(|p| bursty(p).with("length", lost.div_ceil(groups)));
    Some(bursty.unwrap_or(at_random))
}

/// Losses that come at a beat: most gaps between them are the same.
fn periodic(all: &[&Probe], trains: &[&Train]) -> Option<Finding> {
    let mut gaps = Vec::new();
    for train in trains {
        let probes: Vec<&Probe> = train.probes.iter().collect();
        let starts: Vec<usize> = groups(&probes).iter().map(|(from, _)| *from).collect();
        gaps.extend(starts.windows(2).map(|pair| pair[1] - pair[0]));
    }
    let lost = lost(all);
    let near = |gap: usize| {
        gaps.iter()
            .filter(move |one| one.abs_diff(gap) <= 1)
            .count()
    };
    let beat = gaps.iter().copied().max_by_key(|gap| near(*gap))?;
    // How likely a gap at random is to be as long, one more or one less.
    let share = (gaps.len() + 1) as f64 / all.len() as f64;
    let at = |gap: usize| share * (1.0 - share).powi(gap as i32 - 1);
    let chance: f64 = (beat.saturating_sub(1).max(1)..=beat + 1).map(at).sum();
    let p = significant(
        binomial(near(beat), gaps.len(), chance.min(0.999)),
        gaps.len(),
    )?;
    // Where most gaps are something else, there is no beat.
    if near(beat) * 3 < gaps.len() * 2 || beat < 4 {
        return None;
    }
    let interval = trains.first()?.interval;
    let time = shown(interval.as_nanos() as u64 * beat as u64);
    Some(
        finding!(Verdict::LossPeriodic;
            n: all.len(), per_s: (1.0 / interval.as_secs_f64()).round(), lost, alike: near(beat),
            gaps: gaps.len(), period: format!("{beat} ({time})")
        )
        .p(p),
    )
}

/// The flows that lose what others do not.
fn flow(mixed: &[&Probe]) -> Option<(Finding, Vec<usize>)> {
    let flows = mixed.iter().map(|probe| probe.cell.flow + 1).max()?;
    let mut counts = vec![(0, 0); flows];
    for probe in mixed {
        let (lost, sent) = &mut counts[probe.cell.flow];
        *lost += usize::from(probe.is_lost());
        *sent += 1;
    }
    let all = lost(mixed);
    let shares = counts
        .iter()
        .map(|(lost, sent)| *lost as f64 / f64::from(*sent as u32).max(1.0));
    let worst = shares.clone().fold(0.0, f64::max);
    let dead = shares
        .enumerate()
        .filter(|(_, share)| *share > 0.0 && *share >= worst / 2.0);
    let dead: Vec<usize> = dead.map(|(flow, _)| flow).collect();
    // The worst of them against all the others together. Chance does not lose all of several ports:
    // where it happens, they are no others to compare with.
    let (hits, n) = *counts
        .iter()
        .max_by_key(|(lost, sent)| lost * 1000 / sent.max(&1))?;
    let others = counts.iter().filter(|(lost, sent)| lost < sent);
    let (other_hits, others) =
        others.fold((0, 0), |(all, of), (lost, sent)| (all + lost, of + sent));
    let rest = match hits < n {
        true => (other_hits - hits, others - n),
        false => (other_hits, others),
    };
    let p = significant(fisher((hits, n), rest), flows)?;
    if worst < 0.5 || dead.len() * 2 > flows {
        return None;
    }
    let lost: usize = dead.iter().map(|flow| counts[*flow].0).sum();
    Some((
        finding!(Verdict::Flow;
            n: mixed.len(), lost, others: all - lost, dead: dead.len(), flows
        )
        .p(p),
        dead,
    ))
}

/// Which are the first of their flow.
fn firsts(mixed: &[&Probe]) -> Vec<bool> {
    let mut known = Vec::new();
    let is_first = |probe: &&Probe| {
        let is_first = !known.contains(&probe.cell.flow);
        if is_first {
            known.push(probe.cell.flow);
        }
        is_first
    };
    mixed.iter().map(is_first).collect()
}

/// Whether those that are meant are lost more often than the rest, and more than a share of them.
/// If so, they are taken out of what is asked about next.
fn apart(
    verdict: Verdict,
    mixed: &mut Vec<&Probe>,
    is_meant: impl Fn(usize, &Probe) -> bool,
    share: f64,
) -> Option<Finding> {
    let probes = mixed.iter().enumerate();
    let (meant, rest): (Vec<_>, Vec<_>) = probes.partition(|(at, probe)| is_meant(*at, probe));
    let [meant, rest] = [meant, rest].map(|part| part.into_iter().map(|(_, probe)| *probe));
    let [meant, rest]: [Vec<&Probe>; 2] = [meant.collect(), rest.collect()];
    let [(hits, n), (others, m)] = [&meant, &rest].map(|part| (lost(part), part.len()));
    let p = significant(fisher((hits, n), (others, m)), 1)?;
    let (often, seldom) = (hits as f64 / n as f64, others as f64 / m as f64);
    if often <= seldom.max(share) {
        return None;
    }
    *mixed = rest;
    Some(
        finding!(verdict;
            n, m, hits, others, share: percent(hits, n), rest: percent(others, m)
        )
        .p(p),
    )
}

/// A class of service as it is called.
pub fn class(tos: u8) -> String {
    match tos >> 2 {
        46 => "EF".to_owned(),
        class => format!("CS{}/{class}", class >> 3),
    }
}
