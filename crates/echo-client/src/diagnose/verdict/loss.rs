//! Datagrams that do not come back, and what they have in common.

use super::super::chance::{binomial, fisher, runs};
use super::super::finding::{Finding, Verdict};
use super::super::train::{Probe, Train};
use super::{Calm, came, lost, percent, sent, shown, significant};

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
        Finding::problem(Verdict::Outage)
            .seen(
                format!("{} datagrams", inside + outside + passed),
                format!("{inside} were lost one after another, and {outside} besides"),
            )
            .tested("how often so many in a row would be lost by chance", p)
            .with("time", shown(longest))
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
    if let Some(finding) = first(&mixed) {
        findings.push(finding);
        let firsts = firsts(&mixed);
        mixed = mixed
            .iter()
            .zip(firsts)
            .filter(|(_, is)| !is)
            .map(|(probe, _)| *probe)
            .collect();
    }
    let mut slow: Vec<&Probe> = calm.slow.probes.iter().collect();
    let large = mixed.iter().map(|probe| probe.cell.size).max().unwrap_or(0);
    if let Some(finding) = by_size(&mixed, large) {
        findings.push(finding);
        mixed.retain(|probe| probe.cell.size < large);
        slow.retain(|probe| probe.cell.size < large);
    }
    if let Some((finding, mark)) = by_mark(&mixed) {
        findings.push(finding);
        mixed.retain(|probe| probe.cell.tos != mark);
    }
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
    let p = significant(binomial(lost, all.len(), HEALTHY), 1)?;
    let groups = groups(all);
    let seen = (format!("{} datagrams", all.len()), came(all.len(), lost));
    let bursts = significant(runs(groups.len(), lost, all.len()), 1);
    let finding = match bursts {
        Some(p) => Finding::problem(Verdict::LossBursty)
            .tested("runs test", p)
            .with("length", lost.div_ceil(groups.len())),
        None => Finding::problem(Verdict::Loss).tested("binomial test against 1 in 10,000", p),
    };
    Some(
        finding
            .seen(seen.0, seen.1)
            .with("percent", percent(lost, all.len())),
    )
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
        Finding::problem(Verdict::LossPeriodic)
            .seen(
                sent(all.len(), interval),
                format!(
                    "{lost} were lost, and {} of {} gaps are alike",
                    near(beat),
                    gaps.len()
                ),
            )
            .tested("binomial test of the gaps between losses", p)
            .with("period", format!("{beat} ({time})")),
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
    let finding = Finding::problem(Verdict::Flow)
        .seen(
            format!("{} datagrams from {flows} ports", mixed.len()),
            format!(
                "{lost} from {} of these ports were lost, {} from others",
                dead.len(),
                all - lost
            ),
        )
        .tested("Fisher's exact test of the worst port", p)
        .with("dead", dead.len())
        .with("flows", flows);
    Some((finding, dead))
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

fn first(mixed: &[&Probe]) -> Option<Finding> {
    let firsts = firsts(mixed);
    let (hits, n, rest, m) = split(mixed, &firsts);
    let p = significant(fisher((hits, n), (rest, m)), 1)?;
    (hits * 2 > n && hits * m > rest * n).then(|| {
        Finding::problem(Verdict::LossFirst)
            .seen(
                format!("{n} first datagrams of a flow, {m} later ones"),
                format!("{hits} and {rest} were lost"),
            )
            .tested("Fisher's exact test", p)
    })
}

/// Losses and number of those that are meant, and of the rest.
fn split(probes: &[&Probe], is_meant: &[bool]) -> (usize, usize, usize, usize) {
    let mut counts = (0, 0, 0, 0);
    for (probe, is_meant) in probes.iter().zip(is_meant) {
        let is_lost = usize::from(probe.is_lost());
        match is_meant {
            true => (counts.0, counts.1) = (counts.0 + is_lost, counts.1 + 1),
            false => (counts.2, counts.3) = (counts.2 + is_lost, counts.3 + 1),
        }
    }
    counts
}

fn by_size(mixed: &[&Probe], large: usize) -> Option<Finding> {
    let is_large: Vec<bool> = mixed.iter().map(|probe| probe.cell.size == large).collect();
    let (hits, n, rest, m) = split(mixed, &is_large);
    let p = significant(fisher((hits, n), (rest, m)), 1)?;
    (hits * m > rest * n).then(|| {
        Finding::problem(Verdict::LossBySize)
            .seen(
                format!("{n} datagrams of {large} bytes, {m} small ones"),
                format!("{hits} and {rest} were lost"),
            )
            .tested("Fisher's exact test", p)
            .with("size", large)
            .with("large", percent(hits, n))
            .with("small", percent(rest, m))
    })
}

fn by_mark(mixed: &[&Probe]) -> Option<(Finding, u8)> {
    let mark = mixed.iter().map(|probe| probe.cell.tos).max()?;
    let is_marked: Vec<bool> = mixed.iter().map(|probe| probe.cell.tos == mark).collect();
    let (hits, n, rest, m) = split(mixed, &is_marked);
    let p = significant(fisher((hits, n), (rest, m)), 1)?;
    (hits * m > rest * n).then(|| {
        let finding = Finding::problem(Verdict::LossByMark)
            .seen(
                format!("{n} datagrams marked {}, {m} unmarked ones", class(mark)),
                format!("{hits} and {rest} were lost"),
            )
            .tested("Fisher's exact test", p)
            .with("mark", class(mark))
            .with("marked", percent(hits, n))
            .with("plain", percent(rest, m));
        (finding, mark)
    })
}

/// A class of service as it is called.
pub fn class(tos: u8) -> String {
    match tos >> 2 {
        46 => "EF".to_owned(),
        class => format!("CS{}/{class}", class >> 3),
    }
}
