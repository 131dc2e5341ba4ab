//! How latency grows with the rate: the steps of a search for the highest one that is kept.

use serde::{Deserialize, Serialize};

use super::format::{self, Share};
use super::{Part, Report, Table};

/// What a search has found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// What was to be kept.
    pub condition: String,
    /// The highest rate that kept it; `None` where not even the lowest did.
    pub kept_per_s: Option<f64>,
    /// Where the curve bends among the rates that were kept, if it does.
    pub knee_per_s: Option<f64>,
    /// Why it was not kept at the next higher rate, or why none was tried.
    pub limit: String,
    /// What was tried, from the lowest rate to the highest.
    pub steps: Vec<Step>,
}

/// One rate that was tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Requests that were due in a second.
    pub rate_per_s: f64,
    /// Requests without a reply of their own.
    pub loss_percent: f64,
    /// Requests that were due and never left.
    #[serde(default)]
    pub unsent: u64,
    /// Whether the condition was kept.
    pub kept: bool,
    /// What was measured.
    #[serde(flatten)]
    pub part: Part,
}

impl Step {
    /// What a run at a rate found out.
    pub fn of(rate_per_s: f64, report: &Report) -> Self {
        Step {
            rate_per_s,
            loss_percent: format::significant(report.counts.loss() * 100.0),
            unsent: report.counts.unsent,
            kept: report.outcome.exit_code == 0,
            part: Part::of(report),
        }
    }
}

impl Curve {
    /// A row for each step, the knee and the rate that was found marked. What never left has a column
    /// where there is any: mostly it is why a rate was not kept.
    pub fn table(&self) -> Table {
        let has_unsent = self.steps.iter().any(|step| step.unsent > 0);
        let unsent = has_unsent.then_some("unsent");
        let mut heads = vec!["requests/s", "p50", "p99", "max", "loss"];
        heads.extend(unsent.into_iter().chain([&*self.condition, ""]));
        let time = |ns: Option<u64>| ns.map_or("-".to_owned(), |ns| format::short_time(ns as f64));
        let row = |step: &Step| {
            let marks = [
                (self.kept_per_s, "<- the highest"),
                (self.knee_per_s, "<- the knee"),
            ];
            let marks = marks
                .into_iter()
                .filter(|(rate, _)| *rate == Some(step.rate_per_s));
            let marks: Vec<_> = marks.map(|(_, mark)| mark).collect();
            let word = if step.kept { "held" } else { "broken" };
            let mut row = vec![
                format::rate(step.rate_per_s),
                time(step.part.rtt_p50_ns),
                time(step.part.rtt_p99_ns),
                time(step.part.rtt_max_ns),
                Share(step.loss_percent / 100.0).to_string(),
            ];
            row.extend(unsent.map(|_| format::thousands(step.unsent)));
            row.extend([word.to_owned(), marks.join(" ")]);
            row
        };
        Table {
            rows: self.steps.iter().map(row).collect(),
            ..Table::new(&heads)
        }
    }

    /// What has been found, in a sentence.
    pub fn found(&self) -> String {
        match self.kept_per_s {
            _ if self.steps.is_empty() => "no rate was tried to its end".to_owned(),
            None => "not kept at any rate that was tried".to_owned(),
            Some(kept) => format!(
                "kept up to {} requests/s; {}",
                format::rate(kept),
                self.limit
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_left_has_a_column_where_there_is_any() {
        let mut curve = Curve {
            condition: "p50<1s".into(),
            steps: vec![Step::default()],
            ..Curve::default()
        };
        let heads = ["requests/s", "p50", "p99", "max", "loss", "p50<1s", ""];
        assert_eq!(curve.table().heads, heads);
        curve.steps[0].unsent = 1234;
        let table = curve.table();
        assert_eq!(table.heads[5..], ["unsent", "p50<1s", ""]);
        assert_eq!(table.rows[0][5..], ["1,234", "broken", ""]);
    }

    #[test]
    fn a_search_cut_short_in_its_first_step_does_not_say_that_nothing_was_kept() {
        assert_eq!(Curve::default().found(), "no rate was tried to its end");
    }
}
