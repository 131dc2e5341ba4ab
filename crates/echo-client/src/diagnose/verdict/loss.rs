//! Datagrams that do not come back, and what they have in common.

use std::collections::HashSet;

use super::super::answer::Answer;
use super::super::chance::{Count, binomial, fisher, runs, significant};
use super::super::finding::{Finding, Verdict, finding};
use super::super::train::{Probe, Train, lost};
use super::{Calm, percent, shown};

/// On a path without a fault at most one datagram in so many is lost.
pub const HEALTHY: f64 = 1e-4;
/// A quarter of a second without anything is no burst: that is a link that was down.
const OUTAGE: u64 = 250_000_000;
/// So many in a row belong to it, however short it was.
const FEW: usize = 8;
/// Bursts are looked for among so many that were sent one after another.
const TOGETHER: usize = 100;

/// Times at which nothing passed.
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

/// Runs of losses.
pub fn groups<'a>(probes: &'a [&'a Probe]) -> impl Iterator<Item = &'a [&'a Probe]> {
    let groups = probes.chunk_by(|one, other| one.is_lost() == other.is_lost());
    groups.filter(|group| group[0].is_lost())
}

/// What is too large for a link, as somebody says, is not lost: what follows is smaller.
fn fits(probe: &&Probe) -> bool {
    !matches!(probe.said, Some((Answer::TooLarge(..), _)))
}

/// Finds times at which everything was lost, whatever was sent, where nearly all that is lost is lost
/// then. Some trains have `asked` whether one still went on.
pub fn outage<'a>(trains: impl Iterator<Item = &'a Train>, asked: &'a [Train]) -> Outage {
    let trains = trains.chain(asked);
    let all = trains.flat_map(|train| &train.probes);
    let mut all: Vec<&Probe> = all.filter(fits).collect();
    all.sort_by_key(|probe| probe.sent);
    let asked = asked.iter().flat_map(|train| &train.probes);
    let asked: HashSet<u64> = asked.map(|probe| probe.sent).collect();
    // Between two trains nobody has looked.
    let is_seen = |one: &&Probe, other: &&Probe| {
        other.sent - one.sent < OUTAGE / 2 || asked.contains(&other.sent)
    };
    let (mut spans, mut edges) = (Vec::new(), Vec::new());
    let (mut inside, mut longest, mut most) = (0, 0, 0);
    let ends = |part: &[&Probe]| (part[0].sent, part[part.len() - 1].sent);
    let looked = all.chunk_by(is_seen);
    for (part, seen) in looked.flat_map(|all| groups(all).map(move |part| (part, ends(all)))) {
        let (start, end) = ends(part);
        if part.len() < FEW && (start == seen.0 || end == seen.1) {
            // Nobody has looked how long it took.
            edges.push((start, end));
        }
        if part.len() >= FEW {
            spans.push((start, end));
            inside += part.len();
            longest = longest.max(end - start);
            most = most.max(part.len());
        }
    }
    let (lost, n) = lost(all.iter().copied());
    let (passed, outside) = (n - lost, lost - inside);
    let share = inside as f64 / (inside + passed) as f64;
    let p = significant(share.powi(most as i32), n);
    // A path on which losses come in bursts has long ones too; then they are but the longest.
    let is_one = longest >= OUTAGE && inside >= outside * 4 && passed >= inside;
    let finding = p.filter(|_| is_one).map(|p| {
        let time = shown(longest);
        finding!(Verdict::Outage, p; n, inside, outside, time)
    });
    match finding {
        Some(_) => spans.append(&mut edges),
        None => spans.clear(),
    }
    Outage { finding, spans }
}

/// What losses have in common, each explained by the first thing that does.
pub fn losses(calm: &Calm<'_>, outage: &Outage) -> Vec<Finding> {
    let mut findings = Vec::new();
    let outside = |probe: &&Probe| !outage.holds(probe.sent);
    let mixed = calm.mixed.iter().flat_map(|train| &train.probes);
    let mut mixed: Vec<&Probe> = mixed.filter(fits).filter(outside).collect();
    let slow = calm.slow.probes.iter().filter(fits);
    let mut slow: Vec<&Probe> = slow.filter(outside).collect();
    if let Some((finding, dead)) = flow(&mixed) {
        findings.push(finding);
        mixed.retain(|probe| !dead.contains(&probe.cell.flow));
    }
    let mut known = HashSet::new();
    let firsts = mixed.iter().filter(|probe| known.insert(probe.cell.flow));
    let firsts: Vec<u64> = firsts.map(|probe| probe.sent).collect();
    let is_first = |probe: &Probe| firsts.contains(&probe.sent);
    findings.extend(apart(Verdict::LossFirst, &mut mixed, 0.5, is_first));
    let large = mixed.iter().map(|probe| probe.cell.size).max().unwrap_or(0);
    let is_large = |probe: &Probe| probe.cell.size == large;
    if let Some(finding) = apart(Verdict::LossBySize, &mut mixed, 0.0, is_large) {
        findings.push(finding.with("size", large));
        slow.retain(|probe| probe.cell.size < large);
    }
    let mark = mixed.iter().map(|probe| probe.cell.tos).max().unwrap_or(0);
    let is_marked = |probe: &Probe| probe.cell.tos == mark;
    let by_mark = apart(Verdict::LossByMark, &mut mixed, 0.0, is_marked);
    findings.extend(by_mark.map(|finding| finding.with("mark", class(mark))));
    let small: Vec<&Train> = [calm.steady, calm.again].into_iter().flatten().collect();
    let trains = small.iter();
    let trains = trains.map(|train| train.probes.iter().filter(outside).collect());
    let mut trains: Vec<Vec<&Probe>> = trains.collect();
    let finding = periodic(&trains.concat(), &small);
    trains.extend([mixed, slow]);
    findings.extend(finding.or_else(|| at_random(&trains)));
    findings
}

fn at_random(trains: &[Vec<&Probe>]) -> Option<Finding> {
    let count @ (lost_of_all, n) = lost(trains.iter().flatten().copied());
    let p = significant(binomial(count, HEALTHY), 1)?;
    // What changes in the course of a diagnosis is no burst: it is asked about moments.
    let moments = trains.iter().flat_map(|train| train.chunks(TOGETHER));
    let groups = moments.clone().map(|moment| groups(moment).count()).sum();
    let lost_of = moments.map(|moment| lost(moment.iter().copied()));
    let (came, percent) = (n - lost_of_all, percent(count));
    Some(match significant(runs(groups, lost_of), 1) {
        None => finding!(Verdict::Loss, p; n, came, percent),
        Some(p) => {
            let length = lost_of_all.div_ceil(groups);
            finding!(Verdict::LossBursty, p; n, came, percent, length)
        }
    })
}

/// Losses that come at a beat: most gaps between them are the same.
fn periodic(all: &[&Probe], trains: &[&Train]) -> Option<Finding> {
    let mut gaps = Vec::new();
    for Train { probes, .. } in trains {
        let is_lost = |at: usize| probes[at].is_lost();
        let is_start = |at: &usize| is_lost(*at) && (*at == 0 || !is_lost(at - 1));
        let starts: Vec<usize> = (0..probes.len()).filter(is_start).collect();
        gaps.extend(starts.windows(2).map(|pair| pair[1] - pair[0]));
    }
    let near = |gap: usize| gaps.iter().filter(|one| one.abs_diff(gap) <= 1).count();
    let beat = gaps.iter().copied().max_by_key(|gap| near(*gap))?;
    let (alike, n) = (near(beat), all.len());
    // How likely a gap at random is to be as long, one more or one less.
    let share = (gaps.len() + 1) as f64 / n as f64;
    let at = |gap: usize| share * (1.0 - share).powi(gap as i32 - 1);
    let chance: f64 = (beat.saturating_sub(1).max(1)..=beat + 1).map(at).sum();
    let p = binomial((alike, gaps.len()), chance.min(0.999));
    let p = significant(p, gaps.len())?;
    // Where most gaps are something else, there is no beat.
    if alike * 3 < gaps.len() * 2 || beat < 4 {
        return None;
    }
    let interval = trains.first()?.interval;
    let (lost, _) = lost(all.iter().copied());
    Some(finding!(Verdict::LossPeriodic, p;
        n, per_s: (1.0 / interval.as_secs_f64()).round(), lost, alike, gaps: gaps.len(),
        beat, period: shown(interval.as_nanos() as u64 * beat as u64)
    ))
}

/// The flows that lose what others do not.
fn flow(mixed: &[&Probe]) -> Option<(Finding, Vec<usize>)> {
    let flows = mixed.iter().map(|probe| probe.cell.flow + 1).max()?;
    let of_flow = |flow| {
        mixed
            .iter()
            .copied()
            .filter(move |probe| probe.cell.flow == flow)
    };
    let counts: Vec<Count> = (0..flows).map(|flow| lost(of_flow(flow))).collect();
    let share = |(lost, sent): Count| lost as f64 / sent.max(1) as f64;
    let by_share = |one: &Count, other: &Count| share(*one).total_cmp(&share(*other));
    let worst = counts.iter().copied().max_by(by_share)?;
    let is_dead = |count: Count| count.0 > 0 && share(count) >= share(worst) / 2.0;
    let dead: Vec<usize> = (0..flows).filter(|flow| is_dead(counts[*flow])).collect();
    // The worst of them against all the others together. Chance does not lose all of several ports:
    // where it happens, they are no others to compare with.
    let others = counts.iter().filter(|(lost, sent)| lost < sent);
    let mut rest = others.fold((0, 0), |(all, of), (lost, sent)| (all + lost, of + sent));
    if worst.0 < worst.1 {
        rest = (rest.0 - worst.0, rest.1 - worst.1);
    }
    let p = significant(fisher(worst, rest), flows)?;
    if share(worst) < 0.5 {
        return None;
    }
    let (all, n) = lost(mixed.iter().copied());
    let lost: usize = dead.iter().map(|flow| counts[*flow].0).sum();
    let finding = finding!(Verdict::Flow, p; n, lost, others: all - lost, dead: dead.len(), flows);
    Some((finding, dead))
}

/// Whether those that are meant are lost more often than the rest, and more than a share of them.
/// If so, they are taken out of what is asked about next.
fn apart(
    verdict: Verdict,
    mixed: &mut Vec<&Probe>,
    share: f64,
    is_meant: impl Fn(&Probe) -> bool,
) -> Option<Finding> {
    let (meant, rest): (Vec<&Probe>, Vec<&Probe>) =
        mixed.iter().copied().partition(|probe| is_meant(probe));
    let (meant, others) = (lost(meant), lost(rest.iter().copied()));
    let p = significant(fisher(meant, others), 1)?;
    let [often, seldom] = [meant, others].map(|(lost, n)| lost as f64 / n as f64);
    (often > seldom.max(share)).then(|| {
        *mixed = rest;
        finding!(verdict, p;
            n: meant.1, m: others.1, hits: meant.0, others: others.0, share: percent(meant),
            rest: percent(others)
        )
    })
}

/// A class of service as it is called.
pub fn class(tos: u8) -> String {
    match tos >> 2 {
        46 => "EF".to_owned(),
        class if class % 8 == 0 => format!("CS{}", class / 8),
        class => format!("DSCP {class}"),
    }
}
