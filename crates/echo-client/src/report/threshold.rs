//! Thresholds that a run must keep: `p99>2ms,loss>0.1%`.

use std::fmt;
use std::str::FromStr;

use anyhow::bail;
use echo_core::as_text;
use echo_core::statistics::Better;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Metric, Report, Unit, significant};

/// The conditions of `--fail-if`; the run fails when any of them holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds(pub Vec<Threshold>);

/// One condition, such as `p99>2ms`. A document has it whole, for it to be read again, and taken
/// apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
pub struct Threshold {
    /// What is compared.
    pub metric: Metric,
    /// How: which of [`COMPARISONS`].
    comparison: usize,
    /// With what.
    pub limit: f64,
    /// In what that is counted: as the metric is, unless it is about how much that has changed
    /// since another run.
    pub unit: Unit,
}

/// How a figure is compared with its limit, as it is written, the longer before what it begins with.
/// Opposites are equally far from either end.
const COMPARISONS: [(&str, Holds); 4] = [
    (">=", f64::ge),
    ("<=", f64::le),
    (">", f64::gt),
    ("<", f64::lt),
];
const GREATER: usize = 2;

type Holds = fn(&f64, &f64) -> bool;

/// What holds when a comparison does not.
const fn opposite(comparison: usize) -> usize {
    COMPARISONS.len() - 1 - comparison
}

/// One condition, applied to a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The condition.
    #[serde(flatten)]
    pub threshold: Threshold,
    /// What was measured, in the unit of the limit; `None` when the run has no such figure.
    pub measured: Option<f64>,
    /// Whether the run fails for it. A figure that is not known fails: nothing shows it is good.
    pub failed: bool,
    /// Whether so few samples have no such percentile: of a run that is the longest, of rounds it is
    /// not known.
    #[serde(skip)]
    pub is_short: bool,
}

/// What was to hold, whether it did, and what was measured.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Threshold { unit, limit, .. } = self.threshold;
        let shown = |value| unit.shown(value, 3);
        let measured = match self.measured {
            None => self.unknown(),
            // What looks like the limit and is on the other side of it is shown to the last digit.
            Some(value) if shown(value) == shown(limit) => unit.typed(value),
            Some(value) => shown(value),
        };
        let measured = match self.threshold.metric {
            Metric::Percentile(_, percent) if self.is_short && self.measured.is_some() => {
                let least = least(percent);
                format!("{measured}, the longest: fewer than {least} samples have no p{percent}")
            }
            _ => measured,
        };
        let word = if self.failed { "broken" } else { "held" };
        write!(f, "{word}: {} ({measured})", self.threshold.kept())
    }
}

impl Verdict {
    /// Whether the run fails for a figure that is better than the limit: who writes so has mostly
    /// meant what is to be kept.
    pub fn is_for_good(&self) -> bool {
        let Threshold { metric, limit, .. } = self.threshold;
        let is_better = |measured: f64| match metric.better() {
            Better::Less => measured < limit,
            Better::More => measured > limit,
        };
        self.failed && self.measured.is_some_and(is_better)
    }

    /// Why its figure may not be known.
    fn unknown(&self) -> String {
        match self.threshold.metric {
            Metric::ServerCpu => {
                "not known: it takes echoes, and the server's process named with --pid".to_owned()
            }
            Metric::Percentile(_, percent) if self.is_short => too_few(percent),
            Metric::Rate if self.threshold.is_change() => "not known of all".to_owned(),
            _ => "nothing was measured".to_owned(),
        }
    }
}

impl Thresholds {
    /// The first about what only STAMP tells.
    pub fn of_ways(&self) -> Option<&Threshold> {
        let is_of_ways = |one: &&Threshold| match one.metric {
            Metric::Percentile(span, _) => span.is_of_ways(),
            metric => matches!(metric, Metric::LostBack | Metric::LostThere),
        };
        self.0.iter().find(is_of_ways)
    }

    /// Refuses a change where there is nothing that a run is held against.
    ///
    /// # Errors
    /// The first, and what helps.
    pub fn alone(&self) -> anyhow::Result<()> {
        match self.changes().next() {
            None => Ok(()),
            Some(change) => bail!(
                "{change} is about a change, and there is nothing to hold the run against; give \
                 bench another target or a saved run (--baseline), or compare two saved ones"
            ),
        }
    }

    /// What every run fails for, unless a condition names the same figure.
    pub fn unnamed(&self) -> impl Iterator<Item = Threshold> {
        use Metric::{Corrupt, Errors, Late, Loss, LostBack, LostThere, Unsent};
        let is_named = |metric: &Metric| self.0.iter().any(|own| own.metric == *metric);
        // Who names one of the two ways speaks of loss, and leaves out the other.
        let losses: &[Metric] = match is_named(&LostThere) || is_named(&LostBack) {
            true if is_named(&Loss) => &[],
            true => &[LostThere, LostBack],
            false => &[Loss],
        };
        let metrics = [Errors, Corrupt].into_iter().chain(losses.iter().copied());
        metrics
            .chain([Late, Unsent])
            .filter(move |metric| !is_named(metric))
            .map(Threshold::not_zero)
    }

    /// Applies to a run every condition about the run itself.
    pub fn judge(&self, report: &Report) -> Vec<Verdict> {
        let decide = |own: &Threshold| Verdict {
            is_short: own.metric.is_short(report),
            ..own.decide(own.metric.of(report))
        };
        let own = self.0.iter().filter(|own| !own.is_change());
        own.map(decide).collect()
    }

    /// The conditions about what has changed since another run.
    pub fn changes(&self) -> impl Iterator<Item = Threshold> {
        self.0.iter().copied().filter(Threshold::is_change)
    }
}

impl Threshold {
    /// Any at all is too much.
    pub fn not_zero(metric: Metric) -> Self {
        Threshold {
            metric,
            comparison: GREATER,
            limit: 0.0,
            unit: metric.unit(),
        }
    }

    /// The one that is broken where this is kept.
    pub fn negated(self) -> Self {
        let comparison = opposite(self.comparison);
        Threshold { comparison, ..self }
    }

    /// What a run that keeps it fulfils.
    pub fn kept(self) -> impl fmt::Display {
        let (kept, _) = COMPARISONS[opposite(self.comparison)];
        format!("{} {kept} {}", self.metric, self.unit.typed(self.limit))
    }

    /// Applies it to a figure; `None` where that is not known.
    pub fn decide(self, measured: Option<f64>) -> Verdict {
        let (_, holds) = COMPARISONS[self.comparison];
        Verdict {
            threshold: self,
            measured: measured.map(significant),
            failed: measured.is_none_or(|measured| holds(&measured, &self.limit)),
            is_short: false,
        }
    }

    fn is_change(&self) -> bool {
        self.unit == Unit::Change
    }
}

/// Why rounds may have no such percentile.
pub fn too_few(percent: f64) -> String {
    let least = least(percent);
    format!("a round has fewer than {least} samples: no p{percent}; make --duration longer")
}

/// The fewest samples that have such a percentile.
fn least(percent: f64) -> f64 {
    // The quotient is one rounding away from a whole number: 100 / (100 - 99.9) > 1,000.
    (100.0 / (100.0 - percent) - 1e-6).ceil()
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (metric, rest) = text.split_at(text.find(['<', '>']).unwrap_or(text.len()));
        let mut known = COMPARISONS.iter().enumerate();
        let (comparison, limit) = known
            .find_map(|(i, (name, _))| Some((i, rest.strip_prefix(name)?)))
            .ok_or_else(|| {
                format!("{text:?} compares nothing; write FIGURE>LIMIT, for example p99>2ms")
            })?;
        let metric: Metric = metric.trim().parse()?;
        let limit = limit.trim();
        let figure = format!("{metric}{}", COMPARISONS[comparison].0);
        let is_compared = Metric::COMPARED.contains(&metric);
        let is_change = limit.starts_with(['+', '-']) && (is_compared || limit.ends_with('%'));
        if is_change && !is_compared {
            let compared = Metric::COMPARED.map(|metric| metric.to_string()).join(", ");
            let example = metric.unit().example();
            return Err(format!(
                "{limit} is a change, and those are of {compared}; write {figure}{example}"
            ));
        }
        let unit = if is_change {
            Unit::Change
        } else {
            metric.unit()
        };
        Ok(Threshold {
            metric,
            comparison,
            limit: unit.limit(&figure, limit)?,
            unit,
        })
    }
}

impl FromStr for Thresholds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let conditions = text.split(',').map(|condition| condition.trim().parse());
        conditions.collect::<Result<_, _>>().map(Thresholds)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.unit.typed(self.limit);
        let (comparison, _) = COMPARISONS[self.comparison];
        write!(f, "{}{comparison}{limit}", self.metric)
    }
}

impl fmt::Display for Thresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conditions: Vec<_> = self.0.iter().map(Threshold::to_string).collect();
        f.write_str(&conditions.join(","))
    }
}

as_text!(Thresholds);

impl From<Threshold> for Value {
    fn from(threshold: Threshold) -> Self {
        json!({
            "condition": threshold.to_string(),
            "figure": threshold.metric,
            "unit": threshold.unit.name(),
            "limit": threshold.limit,
        })
    }
}

impl TryFrom<Value> for Threshold {
    type Error = String;

    fn try_from(keys: Value) -> Result<Self, Self::Error> {
        keys["condition"].as_str().unwrap_or_default().parse()
    }
}
