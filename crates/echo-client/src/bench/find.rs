//! `--find`: the highest rate that keeps a condition.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use echo_core::Exit;
use echo_core::as_text;
use echo_core::units::Timespan;

use super::search::{Search, knee};
use super::{Bench, Job, known};
use crate::connection::{Connect, ErrorKind};
use crate::report::{
    Curve, Fault, Metric, Outcome, Report, Step, Threshold, Thresholds, format, significant,
};

/// What a search begins with, unless `--rate` says so.
const START: f64 = 1000.0;
/// Nobody awaits a step for longer. Of too few samples a percentile is the longest: that is strict.
const LONGEST_S: f64 = 3_600.0;
/// Samples beyond a percentile that make it worth believing.
const BEYOND: f64 = 10.0;

/// What has to be kept, such as `p99<5ms,loss=0`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    text: String,
    /// The same, said as what must not be.
    pub broken: Thresholds,
}

impl Conditions {
    /// How many samples its percentiles need; a loss is a share as well.
    fn samples(&self) -> f64 {
        let beyond = |metric| match metric {
            Metric::Percentile(_, percent) => 1.0 - percent / 100.0,
            Metric::Loss | Metric::Late => 0.1,
            _ => 0.5,
        };
        let least = self
            .broken
            .0
            .iter()
            .map(|threshold| beyond(threshold.metric));
        BEYOND / least.fold(0.5, f64::min)
    }
}

impl FromStr for Conditions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let broken: Result<_, String> = text.split(',').map(broken).collect();
        Ok(Conditions {
            broken: Thresholds(broken?),
            text: text.to_owned(),
        })
    }
}

/// The opposite of a condition, which is what a run fails for.
fn broken(condition: &str) -> Result<Threshold, String> {
    match condition.split_once('=') {
        Some((figure, limit)) if !figure.ends_with(['<', '>']) => match limit.trim() {
            "0" | "0%" => figure.trim().parse().map(Threshold::not_zero),
            _ => Err(format!(
                "{condition:?}: nothing but 0 is met exactly; write < or >"
            )),
        },
        _ => condition.trim().parse().map(Threshold::negated),
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

as_text!(Conditions);

/// Searches, and reports the run at the highest rate that kept the condition, with the curve; where
/// none did, the first one.
pub fn run(job: &Job<'_>, connect: &Connect, conditions: &Conditions) -> Report {
    let (config, begun) = (job.config, Instant::now());
    let start = if config.rate > 0.0 {
        config.rate
    } else {
        START
    };
    let mut search = Search::from(start);
    let mut steps: Vec<Step> = Vec::new();
    let mut best: Option<Report> = None;
    let (mut cut, mut cut_for) = (None, None);
    let pid = config.pid.first().copied();
    while let (Some(rate), None) = (search.next().map(significant), &cut) {
        let mut config = Bench {
            rate,
            ..config.clone()
        };
        let enough = Duration::from_secs_f64((conditions.samples() / rate).min(LONGEST_S));
        config.duration = Some(Timespan(
            config.span().map_or(enough, |span| span.max(enough)),
        ));
        job.watch.say(format!("{rate:.0} requests/s: "));
        let mut report = job.measure(connect, pid, &config);
        // A step that is cut short neither keeps a condition nor breaks it.
        let why = job.interrupt.why();
        let thresholds = Some(&conditions.broken).filter(|_| why.is_none());
        report.conclude(thresholds, why);
        let is_only_cut = |reason: &Fault| reason.kind == ErrorKind::Interrupted;
        let was_warming_up = best.is_some() && report.outcome.reasons.iter().all(is_only_cut);
        if let Some(why) = why.filter(|_| report.counts.received > 0 || was_warming_up) {
            report.outcome = Outcome::default();
            report.outcome.cut(why, begun.elapsed());
        }
        let kept = report.outcome.exit_code == 0 && why.is_none();
        let against = (!kept).then(|| {
            let reasons = report.outcome.reasons.iter();
            let reasons: Vec<_> = reasons.map(|reason| reason.message.as_str()).collect();
            let mut limit = reasons.join("; ").replace("--fail-if: ", "");
            // Whoever spins has no time left at any rate.
            if why.is_none() && report.is_generator_full() && !config.busy {
                limit = format!("the generator is the limit, not the server: {limit}");
            }
            format!("at {}/s {limit}", format::rate(rate))
        });
        // A rate at which nothing comes back any more is too high, unless nothing ever came, or
        // nobody is there any more.
        let is_gone = report.outcome.exit_code == Exit::Unreachable.code();
        if why.is_some() || is_gone || (report.counts.received == 0 && best.is_none()) {
            (cut, cut_for) = (Some(report.outcome.clone()), against);
        } else if search.learn(rate, against, may_be_own_doing(&report)) {
            steps.push(Step::of(rate, &report));
        }
        if kept || best.is_none() {
            best = Some(report);
        }
    }
    let limit = cut_for.or(search.limit);
    let limit = limit.unwrap_or_else(|| "a higher one has no meaning".to_owned());
    steps.sort_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s));
    let mut report = best.unwrap_or_default();
    if search.kept.is_none() {
        // That of a step which only stands for all of them.
        report.verdicts.clear();
    }
    // What ended the search ended the run.
    report.outcome = match (cut, search.kept) {
        (Some(cut), _) => cut,
        (None, Some(_)) => report.outcome,
        (None, None) => {
            let mut outcome = Outcome::default();
            let message = format!("--find: {conditions} is kept at no rate; {limit}");
            outcome.fail(Fault::new(ErrorKind::Threshold, message));
            outcome
        }
    };
    // Whoever types it again begins where this one began.
    report.command = known(connect, config).command;
    report.curve = Some(Curve {
        condition: conditions.to_string(),
        kept_per_s: search.kept,
        knee_per_s: knee_of(&steps),
        limit,
        steps,
    });
    report
}

/// Whether what was measured may be this side's own doing, who stood still: that delays replies, and
/// does not keep every one of them away.
fn may_be_own_doing(report: &Report) -> bool {
    let generator = report.generator.as_ref();
    report.counts.received > 0 && generator.is_some_and(|generator| generator.paused_ns > 0)
}

/// The rate from which on latency grows out of proportion, though it is kept.
fn knee_of(steps: &[Step]) -> Option<f64> {
    let points = steps
        .iter()
        .filter(|step| step.kept)
        .filter_map(|step| Some((step.rate_per_s, step.part.rtt_p50_ns? as f64)));
    let points: Vec<(f64, f64)> = points.collect();
    knee(&points).map(|at| points[at].0)
}
