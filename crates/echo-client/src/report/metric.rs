//! The figures of a run that conditions and comparisons are about.

use std::fmt;
use std::str::FromStr;

use echo_core::as_text;
use echo_core::statistics::Better;

use super::format::nanos;
use super::{Part, Report, Span, Unit};

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

/// A metric that has one name: in what it is counted, and what a run has of it.
type Named = (Metric, &'static str, Unit, fn(&Report) -> Option<f64>);

const NAMED: [Named; 13] = {
    use Metric::{Avg, Corrupt, Errors, Late, Loss, LostBack, LostThere};
    use Metric::{Max, Mdev, Min, Rate, ServerCpu, Unsent};
    use Unit::{Count, Percent, Time};
    [
        (Min, "min", Time, |run| run.rtt.min().map(nanos)),
        (Avg, "avg", Time, |run| run.rtt.avg().map(nanos)),
        (Max, "max", Time, |run| run.rtt.max().map(nanos)),
        (Mdev, "mdev", Time, |run| run.rtt.mdev().map(nanos)),
        (Loss, "loss", Percent, |run| {
            share(run, run.counts.lost_on_the_way())
        }),
        (LostThere, "lost-there", Percent, |run| {
            let ways = run.ways.as_ref()?;
            share(run, ways.lost_there + ways.lost_unknown)
        }),
        (LostBack, "lost-back", Percent, |run| {
            let ways = run.ways.as_ref()?;
            share(run, ways.lost_back + ways.lost_unknown)
        }),
        (Late, "late", Percent, |run| share(run, run.counts.late)),
        (Rate, "rate", Unit::Rate, Report::echoes_per_s),
        (Errors, "errors", Count, |run| figure(run.errors_in_all())),
        (Corrupt, "corrupt", Count, |run| figure(run.wrong())),
        (Unsent, "unsent", Count, |run| figure(run.counts.unsent)),
        (
            ServerCpu,
            "server-cpu",
            Time,
            Report::server_cpu_per_echo_ns,
        ),
    ]
};

fn share(run: &Report, count: u64) -> Option<f64> {
    run.counts.share(count).map(|share| share * 1e2)
}

fn figure(value: u64) -> Option<f64> {
    Some(value as f64)
}

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
        match self {
            // Of few samples this is the maximum: the strictest reading there is.
            Metric::Percentile(span, percent) => {
                let known = report.of(span).filter(|known| !known.is_empty())?;
                Some(nanos(known.quantile(percent / 100.0)))
            }
            _ => self.named().and_then(|(.., of)| of(report)),
        }
    }

    /// Whether it is a percentile for which the run has too few samples.
    pub fn is_short(self, report: &Report) -> bool {
        let Metric::Percentile(span, percent) = self else {
            return false;
        };
        let known = report.of(span).filter(|known| !known.is_empty());
        known.is_some_and(|known| known.percentile(percent / 100.0).is_none())
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
    pub fn unit(self) -> Unit {
        self.named().map_or(Unit::Time, |(_, _, unit, _)| unit)
    }

    fn named(self) -> Option<Named> {
        NAMED.into_iter().find(|(metric, ..)| *metric == self)
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
        if let Some((metric, ..)) = NAMED.iter().find(|(_, name, ..)| *name == text) {
            return Ok(*metric);
        }
        let (span, of_it) = match text.rsplit_once('-') {
            Some((name, of_it)) => (name.parse().ok(), of_it),
            None => (Some(Span::Rtt), text),
        };
        let metric = span.zip(percentile(of_it));
        metric
            .map(|(span, percent)| Metric::Percentile(span, percent))
            .ok_or_else(|| {
                let names = NAMED.map(|(_, name, ..)| name).join(", ");
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
        match (self, self.named()) {
            (_, Some((_, name, ..))) => f.write_str(name),
            (Metric::Percentile(Span::Rtt, percent), _) => write!(f, "p{percent}"),
            (Metric::Percentile(span, percent), _) => write!(f, "{span}-p{percent}"),
            _ => Ok(()),
        }
    }
}

as_text!(Metric);
