//! Thresholds that a run must keep: `p99>2ms,loss>0.1%`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use echo_core::as_text;
use echo_core::units::Timespan;

use super::format::{self, Share};
use super::{Figure, Latency, Report};

/// The conditions of `--fail-if`; the run fails when any of them holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds(pub Vec<Threshold>);

/// One condition, such as `p99>2ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// What is compared.
    pub metric: Metric,
    /// How.
    pub comparison: Comparison,
    /// With what: nanoseconds, percent, echoes a second or a count, as the metric has it; of a
    /// change, percent more than another run has.
    pub limit: f64,
    /// Whether it is about how much another run is changed.
    pub is_change: bool,
}

/// A figure that a condition can be about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// The shortest round trip.
    Min,
    /// The mean round trip.
    Avg,
    /// The longest round trip.
    Max,
    /// The round trips' deviation.
    Mdev,
    /// A percentile of the round trips, 0 to 100.
    Percentile(f64),
    /// Requests without a reply of their own, in percent of those sent.
    Loss,
    /// Right replies that came after their time was up, in percent of the requests sent.
    Late,
    /// Right replies a second.
    Rate,
    /// Errors of every kind: connections that failed.
    Errors,
    /// Replies that are not what was sent.
    Corrupt,
    /// Requests that were due and never left.
    Unsent,
}

/// The metrics that have one name.
const NAMES: [(&str, Metric); 10] = [
    ("min", Metric::Min),
    ("avg", Metric::Avg),
    ("max", Metric::Max),
    ("mdev", Metric::Mdev),
    ("loss", Metric::Loss),
    ("late", Metric::Late),
    ("rate", Metric::Rate),
    ("errors", Metric::Errors),
    ("corrupt", Metric::Corrupt),
    ("unsent", Metric::Unsent),
];

/// How a figure is compared with its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
}

/// One condition, applied to a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The condition.
    pub threshold: Threshold,
    /// What was measured, in the unit of the limit; `None` when the run has no such figure.
    pub measured: Option<f64>,
    /// Whether the run fails for it. A figure that is not known fails: nothing shows it is good.
    pub failed: bool,
}

/// What was to hold, whether it did, and what was measured.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Threshold { metric, limit, .. } = self.threshold;
        let measured = match self.measured {
            None => "nothing was measured".to_owned(),
            Some(value) if self.threshold.is_change => format!("{value:+.3}%"),
            // What looks like the limit and is on the other side of it is shown to the last digit.
            Some(value) if metric.shown(value) == metric.shown(limit) => metric.typed(value),
            Some(value) => metric.shown(value),
        };
        let word = if self.failed { "broken" } else { "held" };
        write!(f, "{word}: {} ({measured})", self.threshold.kept())
    }
}

impl Thresholds {
    /// What every run fails for, unless a condition names the same figure.
    pub fn of_every_run() -> impl Iterator<Item = Threshold> {
        use Metric::{Corrupt, Errors, Late, Loss, Unsent};
        [Errors, Corrupt, Loss, Late, Unsent]
            .map(Threshold::not_zero)
            .into_iter()
    }

    /// Those of them that no condition names.
    pub fn unnamed(&self) -> impl Iterator<Item = Threshold> {
        Thresholds::of_every_run()
            .filter(|default| !self.0.iter().any(|own| own.metric == default.metric))
    }

    /// Applies to a run every condition about the run itself.
    pub fn judge(&self, report: &Report) -> Vec<Verdict> {
        self.own()
            .map(|threshold| threshold.judge(report))
            .collect()
    }

    /// The conditions about a run itself.
    pub fn own(&self) -> impl Iterator<Item = Threshold> {
        let conditions = self.0.iter().copied();
        conditions.filter(|threshold| !threshold.is_change)
    }

    /// The conditions about what has changed since another run.
    pub fn changes(&self) -> impl Iterator<Item = Threshold> {
        self.0
            .iter()
            .copied()
            .filter(|threshold| threshold.is_change)
    }
}

impl Threshold {
    /// A value as it is typed.
    fn typed(&self, value: f64) -> String {
        match self.is_change {
            true => format!("{value:+}%"),
            false => self.metric.typed(value),
        }
    }

    const fn not_zero(metric: Metric) -> Self {
        Threshold {
            metric,
            comparison: Comparison::Above,
            limit: 0.0,
            is_change: false,
        }
    }

    /// What a run that keeps it fulfils.
    pub fn kept(self) -> impl fmt::Display {
        let symbol = self.comparison.negated().symbol();
        format!("{} {symbol} {}", self.metric, self.typed(self.limit))
    }

    /// Applies it to a run.
    pub fn judge(self, report: &Report) -> Verdict {
        self.decide(self.metric.of(report))
    }

    /// Applies it to a figure; `None` where that is not known.
    pub fn decide(self, measured: Option<f64>) -> Verdict {
        let holds = |measured: f64| match self.comparison {
            Comparison::Above => measured > self.limit,
            Comparison::AtLeast => measured >= self.limit,
            Comparison::Below => measured < self.limit,
            Comparison::AtMost => measured <= self.limit,
        };
        Verdict {
            threshold: self,
            measured: measured.map(format::significant),
            failed: measured.is_none_or(holds),
        }
    }
}

impl Metric {
    /// The figure of a run, in nanoseconds, percent, echoes a second or a count.
    pub fn of(self, report: &Report) -> Option<f64> {
        let (rtt, counts) = (&report.rtt, &report.counts);
        let latency = |value: Option<Duration>| value.map(format::nanos);
        let share = |count: u64| (counts.sent > 0).then(|| count as f64 / counts.sent as f64 * 1e2);
        match self {
            Metric::Min => latency(rtt.min()),
            Metric::Avg => latency(rtt.avg()),
            Metric::Max => latency(rtt.max()),
            Metric::Mdev => latency(rtt.mdev()),
            // Of few samples this is the maximum: the strictest reading there is.
            Metric::Percentile(percent) => {
                let quantile = |rtt: &Latency| rtt.quantile(percent / 100.0);
                latency((!rtt.is_empty()).then(|| quantile(rtt)))
            }
            Metric::Loss => share(counts.lost_on_the_way()),
            Metric::Late => share(counts.late),
            Metric::Rate => report.echoes_per_s(),
            Metric::Errors => Some(report.errors_in_all() as f64),
            Metric::Corrupt => Some(report.wrong() as f64),
            Metric::Unsent => Some(counts.unsent as f64),
        }
    }

    /// The unit of its values, for a program.
    pub const fn unit(self) -> &'static str {
        match self {
            Metric::Loss | Metric::Late => "percent",
            Metric::Rate => "per_s",
            Metric::Errors | Metric::Corrupt | Metric::Unsent => "count",
            _ => "ns",
        }
    }

    /// A value as it is typed, to its last digit.
    fn typed(self, value: f64) -> String {
        match self.unit() {
            "percent" => format!("{value}%"),
            "ns" => Timespan(Duration::from_nanos(value as u64)).to_string(),
            _ => value.to_string(),
        }
    }

    /// A value as people read it.
    fn shown(self, value: f64) -> String {
        match self.unit() {
            "percent" => Share(value / 100.0).to_string(),
            "per_s" => format!("{}/s", format::rate(value)),
            "count" => format::thousands(value as u64),
            _ => format::short_time(value),
        }
    }

    /// The figure that a change can be about, which every round has.
    pub fn figure(self) -> Option<Figure> {
        match self {
            Metric::Percentile(50.0) => Some(Figure::P50),
            Metric::Percentile(99.0) => Some(Figure::P99),
            Metric::Rate => Some(Figure::Rate),
            _ => None,
        }
    }

    fn change(self, text: &str) -> Result<f64, String> {
        if self.figure().is_none() {
            return Err(format!(
                "{text} is a change, and those are of p50, p99 or rate; write {self}>0.1%"
            ));
        }
        let percent = text.trim_end_matches('%').parse::<f64>().ok();
        percent
            .filter(|percent| percent.is_finite())
            .ok_or_else(|| format!("{text:?} is no change; write {self}>+10%"))
    }

    fn limit(self, text: &str) -> Result<f64, String> {
        let number = |text: &str, example: &str| {
            text.parse::<f64>()
                .ok()
                .filter(|value| value.is_finite() && *value >= 0.0)
                .ok_or_else(|| format!("{text:?} is no limit for it; write {example}"))
        };
        match self.unit() {
            "percent" => match text.strip_suffix('%') {
                Some(percent) => number(percent, &format!("{self}>0.1%")),
                None => Err(format!("{text:?} has no percent sign; write {self}>0.1%")),
            },
            "per_s" => number(text, "rate<1000 (echoes a second)"),
            "count" => number(text, &format!("{self}>0")),
            // Bare seconds are what nobody means.
            _ if text.ends_with(|c: char| c.is_ascii_digit() || c == '.') => {
                Err(format!("{text:?} has no unit; write {self}>{text}ms"))
            }
            _ => text
                .parse::<Timespan>()
                .map(|span| format::nanos(span.0))
                .map_err(|error| error.to_string()),
        }
    }
}

impl Comparison {
    const ALL: [Comparison; 4] = [
        Comparison::AtLeast,
        Comparison::AtMost,
        Comparison::Above,
        Comparison::Below,
    ];

    /// As it is typed.
    pub const fn symbol(self) -> &'static str {
        match self {
            Comparison::Above => ">",
            Comparison::AtLeast => ">=",
            Comparison::Below => "<",
            Comparison::AtMost => "<=",
        }
    }

    /// What holds when this does not.
    pub const fn negated(self) -> Self {
        match self {
            Comparison::Above => Comparison::AtMost,
            Comparison::AtLeast => Comparison::Below,
            Comparison::Below => Comparison::AtLeast,
            Comparison::AtMost => Comparison::Above,
        }
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(&(_, metric)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(metric);
        }
        text.strip_prefix('p')
            .and_then(|percent| percent.parse().ok())
            .filter(|percent| *percent > 0.0 && *percent < 100.0)
            .map(Metric::Percentile)
            .ok_or_else(|| {
                let names = NAMES.map(|(name, _)| name).join(", ");
                format!("{text:?} is no figure of a run; name p99 or one of {names}")
            })
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = text.find(['<', '>']).ok_or_else(|| {
            format!("{text:?} compares nothing; write FIGURE>LIMIT, for example p99>2ms")
        })?;
        let (metric, rest) = text.split_at(at);
        let (comparison, limit) = Comparison::ALL
            .into_iter()
            .find_map(|comparison| Some((comparison, rest.strip_prefix(comparison.symbol())?)))
            .expect("it starts with one of them");
        let metric: Metric = metric.trim().parse()?;
        let limit = limit.trim();
        let is_change = limit.starts_with(['+', '-']) && limit.ends_with('%');
        let limit = match is_change {
            true => metric.change(limit)?,
            false => metric.limit(limit)?,
        };
        Ok(Threshold {
            metric,
            comparison,
            limit,
            is_change,
        })
    }
}

impl FromStr for Thresholds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err(
                "nothing would be checked; write FIGURE>LIMIT, for example p99>2ms".to_owned(),
            );
        }
        text.split(',')
            .map(|condition| condition.trim().parse())
            .collect::<Result<_, _>>()
            .map(Thresholds)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, NAMES.iter().find(|(_, metric)| metric == self)) {
            (_, Some((name, _))) => f.write_str(name),
            (Metric::Percentile(percent), _) => write!(f, "p{percent}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.typed(self.limit);
        write!(f, "{}{}{limit}", self.metric, self.comparison.symbol())
    }
}

impl fmt::Display for Thresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, threshold) in self.0.iter().enumerate() {
            write!(f, "{}{threshold}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

as_text!(Thresholds);
