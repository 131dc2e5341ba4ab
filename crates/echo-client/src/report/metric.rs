//! The figures of a run that conditions and comparisons are about.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use echo_core::as_text;
use echo_core::statistics::Better;

use super::{Part, Report, Span, Unit, format};

/// A figure of a run.
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
    /// A percentile of a distribution, 0 to 100.
    Percentile(Span, f64),
    /// Requests without a reply of their own, in percent of those sent.
    Loss,
    /// Requests lost on the way there, in percent of those sent; a way that is unknown counts.
    LostThere,
    /// Replies lost on the way back, likewise.
    LostBack,
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
    /// Processor time of the server for an echo.
    ServerCpu,
}

/// The metrics that have one name.
const NAMES: [(&str, Metric); 13] = [
    ("min", Metric::Min),
    ("avg", Metric::Avg),
    ("max", Metric::Max),
    ("mdev", Metric::Mdev),
    ("loss", Metric::Loss),
    ("lost-there", Metric::LostThere),
    ("lost-back", Metric::LostBack),
    ("late", Metric::Late),
    ("rate", Metric::Rate),
    ("errors", Metric::Errors),
    ("corrupt", Metric::Corrupt),
    ("unsent", Metric::Unsent),
    ("server-cpu", Metric::ServerCpu),
];

impl Metric {
    /// Those that targets are compared by, in the order of a table.
    pub const COMPARED: [Metric; 4] = [
        Metric::Percentile(Span::Rtt, 50.0),
        Metric::Percentile(Span::Rtt, 99.0),
        Metric::Rate,
        Metric::ServerCpu,
    ];

    /// The figure of a run, in its unit; `None` where that is not known.
    pub fn of(self, report: &Report) -> Option<f64> {
        let (rtt, counts) = (&report.rtt, &report.counts);
        let latency = |value: Option<Duration>| value.map(format::nanos);
        let share = |count: u64| counts.share(count).map(|share| share * 1e2);
        match self {
            Metric::Min => latency(rtt.min()),
            Metric::Avg => latency(rtt.avg()),
            Metric::Max => latency(rtt.max()),
            Metric::Mdev => latency(rtt.mdev()),
            // Of few samples this is the maximum: the strictest reading there is.
            Metric::Percentile(span, percent) => {
                let known = report.of(span).filter(|known| !known.is_empty())?;
                Some(format::nanos(known.quantile(percent / 100.0)))
            }
            Metric::Loss => share(counts.lost_on_the_way()),
            Metric::LostThere => share(report.ways.as_ref()?.lost_there_at_most()),
            Metric::LostBack => share(report.ways.as_ref()?.lost_back_at_most()),
            Metric::Late => share(counts.late),
            Metric::Rate => report.echoes_per_s(),
            Metric::Errors => Some(report.errors_in_all() as f64),
            Metric::Corrupt => Some(report.wrong() as f64),
            Metric::Unsent => Some(counts.unsent as f64),
            Metric::ServerCpu => report.server_cpu_per_echo_ns(),
        }
    }

    /// What a round has of it. Nothing at all is no figure: it has no ratio to anything; nor has the
    /// time for which nothing came.
    pub fn of_round(self, round: &Part) -> Option<f64> {
        let figure = match self {
            Metric::Percentile(Span::Rtt, 50.0) => round.rtt_p50_ns.map(|ns| ns as f64),
            Metric::Percentile(Span::Rtt, 99.0) => round.rtt_p99_ns.map(|ns| ns as f64),
            Metric::Rate => round.echoes_per_s,
            Metric::ServerCpu => round.server_cpu_per_echo_ns,
            _ => None,
        };
        figure.filter(|figure| *figure > 0.0 && round.echoes > 0)
    }

    /// In what it is counted.
    pub const fn unit(self) -> Unit {
        match self {
            Metric::Loss | Metric::LostThere | Metric::LostBack | Metric::Late => Unit::Percent,
            Metric::Rate => Unit::Rate,
            Metric::Errors | Metric::Corrupt | Metric::Unsent => Unit::Count,
            _ => Unit::Time,
        }
    }

    /// Which way it is better.
    pub const fn better(self) -> Better {
        match self {
            Metric::Rate => Better::More,
            _ => Better::Less,
        }
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(&(_, metric)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(metric);
        }
        let (span, of_it) = match text.rsplit_once('-') {
            Some((name, of_it)) => (name.parse().ok(), of_it),
            None => (Some(Span::Rtt), text),
        };
        let metric = span.zip(percentile(of_it));
        metric
            .map(|(span, percent)| Metric::Percentile(span, percent))
            .ok_or_else(|| {
                let names = NAMES.map(|(name, _)| name).join(", ");
                let spans = Span::ALL.iter().filter(|span| **span != Span::Rtt);
                let spans: Vec<_> = spans.map(|span| format!("{span}-p99")).collect();
                format!(
                    "{text:?} is no figure of a run; name p99 or one of {names}; of what is timed \
                 besides, {}",
                    spans.join(", ")
                )
            })
    }
}

/// The percent of a percentile, as `p99` has it.
fn percentile(text: &str) -> Option<f64> {
    let percent = text.strip_prefix('p')?.parse().ok();
    percent.filter(|percent| *percent > 0.0 && *percent < 100.0)
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, NAMES.iter().find(|(_, metric)| metric == self)) {
            (_, Some((name, _))) => f.write_str(name),
            (Metric::Percentile(Span::Rtt, percent), _) => write!(f, "p{percent}"),
            (Metric::Percentile(span, percent), _) => write!(f, "{span}-p{percent}"),
            _ => Ok(()),
        }
    }
}

as_text!(Metric);
