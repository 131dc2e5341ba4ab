//! A figure beside another's, round by round, and the ratio that the two must reach.

use echo_core::statistics::{self, Better, Pairing, Ratio};

/// What the rounds are shuffled and drawn again by: the same rounds give the same interval.
pub const SEED: u64 = 1;

/// A ratio that must be reached.
#[derive(Clone, Copy)]
pub struct Goal {
    /// What is done.
    pub work: &'static str,
    /// What is measured.
    pub measure: Measure,
    /// Who has to reach it.
    pub ours: &'static str,
    /// Whom it is held against.
    pub against: &'static str,
    /// The most that the ratio may be.
    pub at_most: f64,
}

/// A figure's name and unit.
#[derive(Clone, Copy)]
pub struct Measure {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
}

/// A goal, with what was reached.
pub struct Comparison {
    goal: Goal,
    /// The figure of each.
    figures: [f64; 2],
    ratio: Ratio,
}

impl Measure {
    /// The middle of several rounds, to as many digits as the noise leaves.
    pub fn shown(self, rounds: &[f64]) -> Option<String> {
        let value = statistics::figure(rounds)?;
        let places = if value < 10.0 { 2 } else { 1 };
        Some(format!("{value:.places$} {}", self.unit))
    }
}

impl Comparison {
    /// Holds rounds against those that were measured in turn with them; `None` of no rounds.
    pub fn of(goal: Goal, ours: &[f64], against: &[f64]) -> Option<Self> {
        Some(Comparison {
            goal,
            figures: [statistics::figure(ours)?, statistics::figure(against)?],
            ratio: Ratio::of(ours, against, Pairing::InTurn, SEED)?,
        })
    }

    /// What [`Comparison::cells`] are.
    pub const HEADING: [&str; 8] = [
        "work", "measure", "of", " is at", "against", "ratio", " target", "verdict",
    ];

    /// A row of a table.
    pub fn cells(&self) -> [String; 8] {
        let goal = &self.goal;
        let [ours, against] = self
            .figures
            .map(|figure| goal.measure.shown(&[figure]).unwrap_or_default());
        let ratio = match self.ratio.interval {
            Some([low, high]) => format!("{:.2}x ({low:.2} to {high:.2})", self.ratio.ratio),
            None => format!("{:.2}x", self.ratio.ratio),
        };
        [
            goal.work.to_owned(),
            goal.measure.name.to_owned(),
            goal.ours.to_owned(),
            ours,
            format!("{}, {against}", goal.against),
            ratio,
            format!("{:.2}x", goal.at_most),
            self.verdict(),
        ]
    }

    /// Whether the goal was reached, and what the ratio says by itself.
    fn verdict(&self) -> String {
        let (ratio, most) = (self.ratio, self.goal.at_most);
        let reached = if ratio.ratio <= most { "pass" } else { "miss" };
        let is_sure = ratio
            .interval
            .is_some_and(|[low, high]| high <= most || low > most);
        let noise = if is_sure { "" } else { " within noise" };
        format!("{reached}{noise}, {}", ratio.verdict(Better::Less).word())
    }
}
