//! Thresholds that a run must keep: `p99>2ms,loss>0.1%`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use echo_core::units::Timespan;
use serde::{Deserialize, Serialize};

use super::Report;

/// The conditions of `--fail-if`; the run fails when any of them holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Thresholds(pub Vec<Threshold>);

/// One condition, such as `p99>2ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// What is compared.
    pub metric: Metric,
    /// How.
    pub comparison: Comparison,
    /// With what: nanoseconds, percent, echoes a second or a count, as the metric has it.
    pub limit: f64,
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
    /// Requests without a reply of their own, in percent.
    Loss,
    /// Right replies a second.
    Rate,
    /// Errors of every kind.
    Errors,
    /// Requests that were due and never left.
    Unsent,
}

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
}

impl Verdict {
    /// Whether the run fails for it. A figure that is not known fails: nothing shows it is good.
    pub fn failed(&self) -> bool {
        self.measured
            .is_none_or(|measured| self.threshold.holds(measured))
    }

    /// What was measured, with its unit.
    pub fn measured_text(&self) -> String {
        self.measured.map_or("nothing".into(), |measured| {
            self.threshold.metric.with_unit(measured)
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, measured {}", self.threshold, self.measured_text())
    }
}

impl Thresholds {
    /// Applies every condition to a run.
    pub fn judge(&self, report: &Report) -> Vec<Verdict> {
        self.0
            .iter()
            .map(|&threshold| Verdict {
                threshold,
                measured: threshold.metric.of(report),
            })
            .collect()
    }
}

impl Threshold {
    fn holds(&self, measured: f64) -> bool {
        match self.comparison {
            Comparison::Above => measured > self.limit,
            Comparison::AtLeast => measured >= self.limit,
            Comparison::Below => measured < self.limit,
            Comparison::AtMost => measured <= self.limit,
        }
    }
}

impl Metric {
    fn of(self, report: &Report) -> Option<f64> {
        let rtt = &report.rtt;
        let latency = |value: Option<Duration>| value.map(|value| value.as_nanos() as f64);
        match self {
            Metric::Min => latency(rtt.min()),
            Metric::Avg => latency(rtt.avg()),
            Metric::Max => latency(rtt.max()),
            Metric::Mdev => latency(rtt.mdev()),
            // Of few samples this is the maximum: the strictest reading there is.
            Metric::Percentile(percent) => {
                latency((!rtt.is_empty()).then(|| rtt.quantile(percent / 100.0)))
            }
            Metric::Loss => (report.counts.sent > 0).then(|| report.counts.loss() * 100.0),
            Metric::Rate => Some(report.echoes_per_s()),
            Metric::Errors => Some(report.errors.values().sum::<u64>() as f64),
            Metric::Unsent => Some(report.counts.unsent as f64),
        }
    }

    fn with_unit(self, value: f64) -> String {
        match self {
            Metric::Loss => format!("{value}%"),
            Metric::Rate | Metric::Errors | Metric::Unsent => value.to_string(),
            _ => Timespan(Duration::from_nanos(value as u64)).to_string(),
        }
    }

    fn limit(self, text: &str) -> Result<f64, String> {
        let number = |text: &str, example: &str| {
            text.parse::<f64>()
                .ok()
                .filter(|value| value.is_finite() && *value >= 0.0)
                .ok_or_else(|| format!("{text:?} is no limit for it; write {example}"))
        };
        match self {
            Metric::Loss => {
                let percent = text
                    .strip_suffix('%')
                    .ok_or_else(|| format!("{text:?} has no percent sign; write loss>0.1%"))?;
                number(percent, "loss>0.1%")
            }
            Metric::Rate => number(text, "rate<1000 (echoes a second)"),
            Metric::Errors => number(text, "errors>0"),
            Metric::Unsent => number(text, "unsent>0"),
            _ => text
                .parse::<Timespan>()
                .map(|span| span.0.as_nanos() as f64)
                .map_err(|error| error.to_string()),
        }
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "min" => Metric::Min,
            "avg" => Metric::Avg,
            "max" => Metric::Max,
            "mdev" => Metric::Mdev,
            "loss" => Metric::Loss,
            "rate" => Metric::Rate,
            "errors" => Metric::Errors,
            "unsent" => Metric::Unsent,
            _ => text
                .strip_prefix('p')
                .and_then(|percent| percent.parse().ok())
                .filter(|percent| *percent > 0.0 && *percent < 100.0)
                .map(Metric::Percentile)
                .ok_or_else(|| {
                    format!(
                        "{text:?} is no figure of a run; \
                         name min, avg, max, mdev, p99, loss, rate, errors or unsent"
                    )
                })?,
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
        let (above, rest) = match rest.strip_prefix('>') {
            Some(rest) => (true, rest),
            None => (false, &rest[1..]),
        };
        let (equal, limit) = match rest.strip_prefix('=') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let metric: Metric = metric.trim().parse()?;
        Ok(Threshold {
            metric,
            comparison: match (above, equal) {
                (true, false) => Comparison::Above,
                (true, true) => Comparison::AtLeast,
                (false, false) => Comparison::Below,
                (false, true) => Comparison::AtMost,
            },
            limit: metric.limit(limit.trim())?,
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
        f.write_str(match self {
            Metric::Min => "min",
            Metric::Avg => "avg",
            Metric::Max => "max",
            Metric::Mdev => "mdev",
            Metric::Percentile(percent) => return write!(f, "p{percent}"),
            Metric::Loss => "loss",
            Metric::Rate => "rate",
            Metric::Errors => "errors",
            Metric::Unsent => "unsent",
        })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comparison = match self.comparison {
            Comparison::Above => ">",
            Comparison::AtLeast => ">=",
            Comparison::Below => "<",
            Comparison::AtMost => "<=",
        };
        let limit = self.metric.with_unit(self.limit);
        write!(f, "{}{comparison}{limit}", self.metric)
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

impl From<Thresholds> for String {
    fn from(thresholds: Thresholds) -> Self {
        thresholds.to_string()
    }
}

impl TryFrom<String> for Thresholds {
    type Error = String;

    /// In a file, an empty text is no condition: so is the default shown.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "" => Ok(Thresholds::default()),
            text => text.parse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Counts;

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in [
            "p99>2ms",
            "p99.9>=1.5s,loss>0.1%",
            "max>1s,rate<50000,errors>0,unsent>0",
            "min<=10us,avg>1ms,mdev>1ms",
        ] {
            assert_eq!(text.parse::<Thresholds>().unwrap().to_string(), text);
        }
        assert_eq!(
            " p99 > 2ms , loss > 1% "
                .parse::<Thresholds>()
                .unwrap()
                .to_string(),
            "p99>2ms,loss>1%"
        );
    }

    #[test]
    fn an_error_says_what_to_write_instead() {
        for (text, remedy) in [
            ("", "FIGURE>LIMIT"),
            (",", "FIGURE>LIMIT"),
            ("p99", "FIGURE>LIMIT"),
            ("p99>2ms,", "FIGURE>LIMIT"),
            ("p100>2ms", "no figure of a run"),
            ("latency>2ms", "no figure of a run"),
            ("p99>2", ""),
            ("p99>fast", "200ms"),
            ("p99>", "200ms"),
            ("loss>0.1", "percent sign"),
            ("loss>-1%", "loss>0.1%"),
            ("loss>x%", "loss>0.1%"),
            ("rate<NaN", "rate<1000"),
            ("errors>many", "errors>0"),
        ] {
            match text.parse::<Thresholds>() {
                Ok(_) => assert_eq!(remedy, "", "{text:?} was taken"),
                Err(error) => assert!(
                    !remedy.is_empty() && error.contains(remedy),
                    "{text:?}: {error}"
                ),
            }
        }
    }

    fn failing(text: &str, report: &Report) -> Vec<String> {
        let thresholds: Thresholds = text.parse().unwrap();
        thresholds
            .judge(report)
            .into_iter()
            .filter(Verdict::failed)
            .map(|verdict| verdict.to_string())
            .collect()
    }

    #[test]
    fn a_condition_that_holds_fails_the_run() {
        let mut report = Report {
            elapsed: Duration::from_secs(1),
            counts: Counts {
                sent: 1000,
                received: 998,
                unique: 998,
                lost: 2,
                ..Counts::default()
            },
            ..Report::default()
        };
        for us in 1..=998 {
            report.rtt.record(Duration::from_micros(us));
        }
        assert_eq!(failing("loss>0.1%", &report), ["loss>0.1%, measured 0.2%"]);
        assert_eq!(failing("loss>0.2%,loss>=0.3%", &report), [""; 0]);
        assert_eq!(
            failing("rate<999,max>998us", &report),
            ["rate<999, measured 998"]
        );
        assert_eq!(failing("p50>1ms,p99>900us", &report).len(), 1);
    }

    #[test]
    fn a_figure_that_is_not_known_fails() {
        let silent = Report::default();
        assert_eq!(
            failing("p99>2ms,loss>1%", &silent),
            ["p99>2ms, measured nothing", "loss>1%, measured nothing"]
        );
    }
}
