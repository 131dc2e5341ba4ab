//! Targets side by side: each figure, its ratio to that of the first, and a verdict.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use echo_core::escape::printable;
use echo_core::statistics::{self, Pairing, Ratio, Verdict};

use crate::report::{self, Metric, Outcome, Part, Report, Thresholds, held, too_few};

/// Targets side by side.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What each is called, no two of them alike.
    pub names: Vec<String>,
    /// What was measured of each; the first is what the others are held against.
    pub targets: Vec<Report>,
    /// How their rounds belong together.
    pub pairing: Pairing,
    /// Whatever all of them have, of each target after the other.
    pub figures: Vec<Figure>,
    /// How all of it ended, once it has been judged.
    pub outcome: Outcome,
}

/// One figure of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Which.
    pub metric: Metric,
    /// The place of the target among all.
    pub target: usize,
    /// The middle of the rounds.
    pub value: f64,
    /// Round by round.
    pub rounds: Vec<f64>,
    /// Against the first target, and what that says; of that itself, nothing.
    pub ratio: Option<(Ratio, Verdict)>,
}

impl Comparison {
    /// Holds each of the targets against the first.
    ///
    /// # Errors
    /// There is nothing to compare, or what was done to them differs.
    pub fn of(targets: Vec<Report>, pairing: Pairing, seed: u64) -> Result<Self> {
        let names = names(&targets);
        let [first, others @ ..] = &targets[..] else {
            bail!("there is nothing to compare");
        };
        for (name, other) in names[1..].iter().zip(others) {
            comparable((name, other), (&names[0], first))?;
        }
        let rounds: Vec<Vec<Part>> = targets.iter().map(rounds).collect();
        let figures = Metric::COMPARED.map(|metric| figures(metric, &rounds, pairing, seed));
        Ok(Comparison {
            names,
            targets,
            pairing,
            figures: figures.into_iter().flatten().flatten().collect(),
            outcome: Outcome::default(),
        })
    }

    /// Applies to every target but the first what was `asked` of that one about how much a figure
    /// may differ from the first's, and decides how all of it ended.
    pub fn judge(&mut self, asked: &[Thresholds]) {
        let compared = Metric::COMPARED.into_iter();
        let short: Vec<_> = compared.filter(|metric| self.is_short(*metric)).collect();
        let targets = self.targets.iter_mut().enumerate().zip(asked);
        for ((i, target), asked) in targets.skip(1) {
            for threshold in asked.changes() {
                let is_meant = |f: &&Figure| f.metric == threshold.metric && f.target == i;
                let figure = self.figures.iter().find(is_meant);
                let ratio = figure.and_then(|figure| figure.ratio);
                let change = ratio.map(|(ratio, _)| (ratio.ratio - 1.0) * 100.0);
                target.take(report::Verdict {
                    is_short: short.contains(&threshold.metric),
                    ..threshold.decide(change)
                });
                if let Some((_, verdict)) = ratio
                    && let Verdict::TooFew | Verdict::TooNoisy { .. } = verdict
                {
                    target.notes.push(format!(
                        "{threshold} is judged by a ratio that may be noise: whether it differs \
                         from 1 is {verdict}"
                    ));
                }
            }
        }
        // All of it ended as the target did that ended worst.
        for (name, target) in self.names.iter().zip(&self.targets) {
            self.outcome.add(target.outcome.of(name));
        }
    }

    /// Warns where the last target, which is the first once more, differs from that.
    pub fn distrust_control(&mut self) {
        let control = self.targets.len() - 1;
        for figure in self.figures.iter().filter(|f| f.target == control) {
            if let Some((_, word @ (Verdict::Faster | Verdict::Slower))) = figure.ratio {
                self.targets[control].notes.push(format!(
                    "its {} is {word}, and it is the first target once more: one interval in 20 \
                     errs, or this machine drifts; trust no difference as small as that",
                    figure.metric
                ));
            }
        }
    }

    /// What a reader should know, with whom it is about.
    pub fn notes(&self) -> Vec<String> {
        let has = |metric| self.figures.iter().any(|figure| figure.metric == metric);
        let missing = |metric| match metric {
            Metric::Percentile(_, percent) if !has(metric) && self.is_short(metric) => {
                Some(too_few(percent))
            }
            _ => None,
        };
        let is_silent = |target: &Report| rounds(target).iter().all(|round| round.echoes == 0);
        let silent = self.names.iter().zip(&self.targets);
        let silent = silent.filter(|(_, target)| is_silent(target));
        let missing = Metric::COMPARED.into_iter().filter_map(missing);
        missing
            .chain(silent.map(|(name, _)| format!("nothing came back from {name}")))
            .chain(self.said(|target| target.notes.clone()))
            .collect()
    }

    /// Whether something came back in a round, and too little for this figure.
    fn is_short(&self, metric: Metric) -> bool {
        let mut rounds = self.targets.iter().flat_map(rounds);
        rounds.any(|round| round.echoes > 0 && metric.of_round(&round).is_none())
    }

    /// The conditions that held, with whom they are about.
    pub fn held(&self) -> Vec<String> {
        self.said(|target| held(&target.verdicts))
    }

    fn said(&self, of: impl Fn(&Report) -> Vec<String>) -> Vec<String> {
        let targets = self.names.iter().zip(&self.targets);
        let said = targets.map(|(name, target)| (name, of(target)));
        said.flat_map(|(name, said)| said.into_iter().map(move |line| format!("{name}: {line}")))
            .collect()
    }
}

/// Refuses two runs, each with its name, whose figures do not mean the same.
///
/// # Errors
/// What was done otherwise.
pub fn comparable((name, run): (&str, &Report), (base_name, base): (&str, &Report)) -> Result<()> {
    if let Some(difference) = run.difference(base) {
        let [name, base] = [name, base_name].map(printable);
        bail!("{name} cannot be compared with {base}: {difference}");
    }
    Ok(())
}

/// The rounds of a target, which may be one.
fn rounds(target: &Report) -> Vec<Part> {
    target.in_parts(&target.rounds)
}

/// One figure of every target; `None` where one of them does not have it.
fn figures(
    metric: Metric,
    rounds: &[Vec<Part>],
    pairing: Pairing,
    seed: u64,
) -> Option<Vec<Figure>> {
    // A round in turn that lacks the figure of one target says nothing of the others either.
    let is_whole = |i: usize| {
        let mut of_all = rounds.iter().map(|rounds| rounds.get(i));
        of_all.all(|round| round.and_then(|round| metric.of_round(round)).is_some())
    };
    let series = |rounds: &[Part]| -> Vec<f64> {
        let rounds = rounds.iter().enumerate();
        let known = rounds.filter(|(i, _)| pairing == Pairing::Apart || is_whole(*i));
        known
            .filter_map(|(_, round)| metric.of_round(round))
            .collect()
    };
    let base = series(rounds.first()?);
    let figure = |(target, of_target): (usize, &Vec<Part>)| {
        let rounds = series(of_target);
        let ratio = match target {
            0 => None,
            _ => Some(Ratio::of(&rounds, &base, pairing, seed)?),
        };
        Some(Figure {
            metric,
            target,
            value: statistics::figure(&rounds)?,
            rounds,
            ratio: ratio.map(|ratio| (ratio, ratio.verdict(metric.better()))),
        })
    };
    rounds.iter().enumerate().map(figure).collect()
}

/// What the targets are called: a label, else the target, by which transport where that differs;
/// numbered where two are called alike.
fn names(targets: &[Report]) -> Vec<String> {
    let transport = |report: &Report| report.target.transport;
    let differ = (targets.iter()).any(|report| transport(report) != transport(&targets[0]));
    let mut seen = BTreeMap::<String, u32>::new();
    let name = |report: &Report| {
        let name = match &report.label {
            None if differ => format!("{} {}", transport(report), report.target.name),
            _ => report.name().to_owned(),
        };
        let times = seen.entry(name.clone()).or_default();
        *times += 1;
        match *times {
            1 => name,
            times => format!("{name} ({times})"),
        }
    };
    targets.iter().map(name).collect()
}
