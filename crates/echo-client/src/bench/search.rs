//! The search for the highest rate that keeps a condition, and where the curve on the way bends.

/// A rate is found when the next one that is too high is at most this much higher.
const FINE: f64 = 1.05;
/// So many times slower than what was asked for is no answer any more.
const SLOWEST: f64 = 64.0;
/// No faster rate has a meaning.
const FASTEST: f64 = 1e9;

/// What is known so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    start: f64,
    /// The highest rate that kept the condition.
    pub kept: Option<f64>,
    /// The lowest that did not.
    pub broken: Option<f64>,
    /// What stood against that one.
    pub limit: Option<String>,
    /// Whether the rate that is tried was not kept once already, and that proves nothing.
    is_doubted: bool,
}

impl Search {
    /// Nothing is known; `start` is tried first.
    pub fn from(start: f64) -> Self {
        Search {
            start,
            kept: None,
            broken: None,
            limit: None,
            is_doubted: false,
        }
    }

    /// The rate to try next: twice or half the last one until it is between two, then the one in
    /// the middle of them. `None`: nothing is left to learn.
    pub fn next(&self) -> Option<f64> {
        let next = match (self.kept, self.broken) {
            (None, None) => self.start,
            (Some(kept), None) => kept * 2.0,
            (None, Some(broken)) => broken / 2.0,
            (Some(kept), Some(broken)) if broken / kept <= FINE => return None,
            (Some(kept), Some(broken)) => (kept * broken).sqrt(),
        };
        (self.start / SLOWEST..=FASTEST)
            .contains(&next)
            .then_some(next)
    }

    /// Takes what came of a rate: what stood against it, if it was not kept. When that may be this
    /// side's own doing (`is_doubtful`) it is tried once more. Of two that contradict each other the
    /// lower one counts: one that was not kept is not one to promise. Returns whether it counts.
    pub fn learn(&mut self, rate: f64, against: Option<String>, is_doubtful: bool) -> bool {
        self.is_doubted = against.is_some() && is_doubtful && !self.is_doubted;
        match against {
            _ if self.is_doubted => {}
            None => self.kept = Some(rate),
            against => (self.broken, self.limit) = (Some(rate), against),
        }
        !self.is_doubted
    }
}

/// Where a rising curve bends: the point that lies farthest below the straight line from its first
/// to its last (Satopaa and others, "Finding a kneedle in a haystack"). `None` where none does.
pub fn knee(points: &[(f64, f64)]) -> Option<usize> {
    let (&first, &last) = (points.first()?, points.last()?);
    let share = |value: f64, from: f64, to: f64| (value - from) / (to - from);
    let below = |&(x, y): &(f64, f64)| share(x, first.0, last.0) - share(y, first.1, last.1);
    let (at, depth) = points
        .iter()
        .map(below)
        .enumerate()
        .filter(|(_, depth)| depth.is_finite())
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    // A line that hardly bends has no knee, and what does not double is not worth one.
    (depth > 0.1 && last.1 >= 2.0 * first.1).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(start: f64, limit: f64) -> (Search, u32) {
        let mut search = Search::from(start);
        let mut steps = 0;
        while let Some(rate) = search.next() {
            search.learn(rate, (rate > limit).then(String::new), false);
            steps += 1;
        }
        (search, steps)
    }

    #[test]
    fn the_limit_is_found_to_five_percent_in_few_steps() {
        for limit in [40.0, 99.0, 1000.0, 1234.5, 7e4, 3.3e6] {
            for start in [1.0, 1000.0] {
                let (search, steps) = found(start, limit);
                let (kept, broken) = (search.kept.unwrap(), search.broken.unwrap());
                assert!(kept <= limit && limit < broken, "{search:?}");
                assert!(broken / kept <= FINE, "{search:?}");
                assert!(steps <= 30, "{steps} steps to {limit} from {start}");
            }
        }
    }

    #[test]
    fn a_rate_that_was_not_kept_while_this_side_stood_still_is_tried_once_more() {
        let mut search = Search::from(1000.0);
        let against = |why: &str| Some(why.to_owned());
        assert!(!search.learn(1000.0, against("a pause"), true));
        assert_eq!(search.next(), Some(1000.0));
        assert!(search.learn(1000.0, None, true));
        assert_eq!(search.next(), Some(2000.0));
        assert_eq!(
            search.limit, None,
            "what stood against a rate that was kept"
        );
        assert!(!search.learn(2000.0, against("a pause"), true));
        assert_eq!(search.next(), Some(2000.0));
        assert!(search.learn(2000.0, against("too much"), true));
        assert_eq!((search.kept, search.broken), (Some(1000.0), Some(2000.0)));
        search.learn(1400.0, against("another pause"), true);
        search.learn(1400.0, None, true);
        assert_eq!(search.limit.as_deref(), Some("too much"));
    }

    #[test]
    fn a_search_ends_where_there_is_no_limit_and_where_nothing_is_kept() {
        let (search, _) = found(1000.0, f64::INFINITY);
        assert!(search.kept.unwrap() > 5e8 && search.broken.is_none());
        let (search, steps) = found(1000.0, 0.0);
        assert_eq!((search.kept, steps), (None, 7));
    }

    #[test]
    fn a_curve_bends_where_a_person_would_say_so() {
        // A queue of one server at one a second: 1 / (1 - load).
        let queue: Vec<_> = (0..20)
            .map(|i| f64::from(i) / 20.0)
            .map(|x| (x, 1.0 / (1.0 - x)))
            .collect();
        let at = queue[knee(&queue).unwrap()].0;
        assert!((0.7..0.9).contains(&at), "{at}");
        let line: Vec<_> = (0..9).map(|i| (f64::from(i), f64::from(i))).collect();
        assert_eq!(knee(&line), None);
        for flat in [
            vec![],
            vec![(1.0, 1.0)],
            vec![(1.0, 2.0), (2.0, 2.0), (3.0, 2.0)],
        ] {
            assert_eq!(knee(&flat), None);
        }
    }
}
