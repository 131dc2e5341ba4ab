//! What two clocks say together: each of four stamps is of one of them, and no packet arrives before it
//! has left.

use std::time::Duration;

use crate::report::{Latencies, OneWay, Span, Ways};

/// Packets that are kept to look at; of more than twice as many, every second one goes.
const KEPT: usize = 1 << 16;
/// The clocks are compared where the way was short, once in each of so many parts of the run.
const PARTS: usize = 32;
/// What may be wrong with the stamps of one clock among themselves.
const GRAIN_NS: i64 = 20_000;
/// No clock that is worth the name gains or loses more in a second.
const MOST_DRIFT: f64 = 500e-6;

/// A packet's ways in nanoseconds, each from a stamp of one clock to a stamp of the other.
#[derive(Clone, Copy, Debug)]
pub struct Passage {
    /// When it left, since the run began.
    pub at: u64,
    /// From our clock to the reflector's.
    pub there: i64,
    /// From the reflector's clock to ours.
    pub back: i64,
}

/// All of them, or as many as are needed to know.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    passages: Vec<Passage>,
    /// How often every second one has gone.
    thinned: u32,
    seen: usize,
    /// By how much both clocks may be off together, at their worst: without end where one of them was
    /// not synchronised.
    error: Duration,
}

impl Clocks {
    /// Enters a packet, and by how much each clock is off at most, where it is synchronised.
    pub fn enter(&mut self, passage: Passage, [own, theirs]: [Option<Duration>; 2]) {
        if self.seen.is_multiple_of(1 << self.thinned) {
            self.passages.push(passage);
        }
        self.seen += 1;
        if self.passages.len() >= 2 * KEPT {
            let mut at = 0;
            self.passages.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.thinned += 1;
        }
        let error = own
            .zip(theirs)
            .map(|(own, theirs)| own.saturating_add(theirs));
        self.error = self.error.max(error.unwrap_or(Duration::MAX));
    }

    /// Adds what another worker has entered.
    pub fn merge(&mut self, other: Clocks) {
        self.passages.extend(other.passages);
        self.error = self.error.max(other.error);
    }

    /// Tells of the two ways what the clocks allow.
    pub fn conclude(mut self, ways: &mut Ways, found: &mut Latencies) {
        self.passages.sort_unstable_by_key(|passage| passage.at);
        let drift = drift(&self.passages);
        let start = self.passages.first().map_or(0, |first| first.at);
        for passage in &mut self.passages {
            let gained = (drift * (passage.at - start) as f64) as i64;
            passage.there = passage.there.saturating_sub(gained);
            passage.back = passage.back.saturating_add(gained);
        }
        // Neither way takes less than no time: the offset lies between these.
        let most = self.passages.iter().map(|passage| passage.there).min();
        let least = self.passages.iter().map(|passage| passage.back).min();
        let Some((most, least)) = most.zip(least.map(i64::saturating_neg)) else {
            return;
        };
        let width = most.saturating_sub(least);
        if width < -GRAIN_NS {
            // No offset fits all: a clock was set.
            return;
        }
        let (width, offset) = (width.max(0), least.midpoint(most));
        ways.offset_ns = Some(offset);
        ways.offset_error_ns = Some(width as u64 / 2);
        ways.drift_ns_per_s = (drift != 0.0).then_some(drift * 1e9);
        let error = i64::try_from(self.error.as_nanos()).unwrap_or(i64::MAX);
        // Who says that its clock is right, and is off by more, is not believed.
        let is_right = error < width / 2 && least <= error && most >= -error;
        ways.one_way = if is_right {
            OneWay::Delay
        } else {
            OneWay::Variation
        };
        let shortest = if is_right { [0; 2] } else { [most, -least] };
        for passage in &self.passages {
            for (span, way, shortest) in [
                (Span::There, passage.there, shortest[0]),
                (Span::Back, passage.back, shortest[1]),
            ] {
                let ns = way.saturating_sub(shortest).max(0);
                found.of(span).record(Duration::from_nanos(ns as u64));
            }
        }
    }
}

/// By how much the reflector's clock gains on ours in each nanosecond; 0 where that is not steady. A
/// path that changes looks like a clock that jumps, and not like one that drifts.
fn drift(passages: &[Passage]) -> f64 {
    let part = passages.len().div_ceil(PARTS).max(1);
    let points: Vec<(f64, f64)> = passages
        .chunks(part)
        .filter_map(|part| {
            let shortest = |p: &&Passage| p.there.saturating_add(p.back);
            let best = part.iter().min_by_key(shortest)?;
            let ahead = (best.there as f64 - best.back as f64) / 2.0;
            Some((best.at as f64, ahead))
        })
        .collect();
    let Some(&(_, origin)) = points.first() else {
        return 0.0;
    };
    // The middle one of all the slopes between two (Theil and Sen): a few bad points do not bend it.
    let pairs = points.iter().enumerate().flat_map(|(i, a)| {
        points[i + 1..]
            .iter()
            .map(move |b| (b.1 - a.1) / (b.0 - a.0))
    });
    let mut slopes: Vec<f64> = pairs.filter(|slope| slope.is_finite()).collect();
    let Some(slope) = median(&mut slopes).filter(|slope| slope.abs() <= MOST_DRIFT) else {
        return 0.0;
    };
    // It must explain nearly all of how the points lie apart.
    let left = |slope: f64| {
        let rests = points
            .iter()
            .map(|point| point.1 - origin - slope * (point.0 - points[0].0));
        let (low, high) = rests.fold((f64::MAX, f64::MIN), |(low, high), rest| {
            (low.min(rest), high.max(rest))
        });
        high - low
    };
    match left(slope) < left(0.0) / 4.0 {
        true => slope,
        false => 0.0,
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use echo_core::splitmix::mix;

    const MS: i64 = 1_000_000;
    const FINE: Option<Duration> = Some(Duration::from_micros(100));

    /// A thousand packets, ten a second, over 10 ms each way and up to 2 ms more, and what `change`
    /// makes of each; the clocks say of themselves what `errors` are.
    fn ways(errors: [Option<Duration>; 2], change: impl Fn(&mut Passage)) -> (Ways, Latencies) {
        let mut clocks = Clocks::default();
        for n in 0..1000 {
            let mut passage = Passage {
                at: n * 100 * MS as u64,
                there: 10 * MS + (mix(n) % 2_000_000) as i64,
                back: 10 * MS + (mix(n + 9999) % 2_000_000) as i64,
            };
            change(&mut passage);
            clocks.enter(passage, errors);
        }
        let (mut ways, mut found) = <(Ways, Latencies)>::default();
        clocks.conclude(&mut ways, &mut found);
        (ways, found)
    }

    fn ms(found: &Latencies, span: Span, quantile: f64) -> f64 {
        found.get(span).unwrap().quantile(quantile).as_secs_f64() * 1e3
    }

    #[test]
    fn an_offset_is_found_and_only_the_variation_is_known() {
        let (ways, found) = ways([None; 2], |passage| {
            passage.there += 1700 * MS;
            passage.back -= 1700 * MS;
        });
        let (offset, error) = (
            ways.offset_ns.unwrap(),
            ways.offset_error_ns.unwrap() as i64,
        );
        assert!(
            (offset - 1700 * MS).abs() <= error && error < 11 * MS,
            "{offset}"
        );
        assert_eq!(ways.one_way, OneWay::Variation);
        assert_eq!(ways.drift_ns_per_s, None);
        for way in [Span::There, Span::Back] {
            let ms = |quantile| ms(&found, way, quantile);
            assert!(ms(0.5) < 1.2 && ms(1.0) > 1.8 && ms(1.0) < 2.01);
        }
    }

    #[test]
    fn clocks_that_are_right_tell_how_long_each_way_is() {
        let (right, found) = ways([FINE; 2], |passage| passage.back += 30 * MS);
        assert_eq!(right.one_way, OneWay::Delay);
        assert!((10.9..11.1).contains(&ms(&found, Span::There, 0.5)));
        assert!((40.9..41.1).contains(&ms(&found, Span::Back, 0.5)));
        // One that claims to be right and cannot be is not believed.
        let (wrong, _) = ways([FINE; 2], |passage| {
            passage.there += 1700 * MS;
            passage.back -= 1700 * MS;
        });
        assert_eq!(wrong.one_way, OneWay::Variation);
    }

    #[test]
    fn one_way_delays_are_told_where_both_clocks_are_right_to_half_a_round_trip() {
        // It takes 20 ms.
        let ms = |ms| Some(Duration::from_millis(ms));
        for (errors, told) in [
            ([ms(4), ms(5)], OneWay::Delay),
            ([ms(6), ms(5)], OneWay::Variation),
            ([None, ms(1)], OneWay::Variation),
            ([ms(1), None], OneWay::Variation),
            ([Some(Duration::MAX), ms(1)], OneWay::Variation),
        ] {
            assert_eq!(ways(errors, |_| {}).0.one_way, told, "{errors:?}");
        }
        // One that was not synchronised all the while was not.
        let mut clocks = Clocks::default();
        for (at, own) in [(0, FINE), (1, None), (2, FINE)] {
            let (there, back) = (10 * MS, 10 * MS);
            clocks.enter(Passage { at, there, back }, [own, FINE]);
        }
        let (mut ways, mut found) = <(Ways, Latencies)>::default();
        clocks.conclude(&mut ways, &mut found);
        assert_eq!(ways.one_way, OneWay::Variation);
    }

    #[test]
    fn a_drift_is_no_variation_and_a_step_of_the_path_is_no_drift() {
        for per_million in [-200, -30, 50, 300] {
            let (ways, found) = ways([None; 2], |passage| {
                let gained = passage.at as i64 / 1_000_000 * per_million;
                passage.there += gained;
                passage.back -= gained;
            });
            let drift = ways.drift_ns_per_s.unwrap();
            assert!((drift / 1e3 - per_million as f64).abs() < 8.0, "{drift}");
            let p99 = ms(&found, Span::There, 0.99);
            assert!(p99 < 3.0, "{p99}");
        }
        let (moved, found) = ways([None; 2], |passage| {
            if passage.at > 50_000 * MS as u64 {
                passage.there += 15 * MS;
            }
        });
        assert_eq!(moved.drift_ns_per_s, None);
        assert!((15.0..17.1).contains(&ms(&found, Span::There, 0.99)));
        assert!(ms(&found, Span::Back, 0.99) < 2.1);
    }

    #[test]
    fn of_a_clock_that_is_set_meanwhile_nothing_is_told() {
        let (set, found) = ways([FINE; 2], |passage| {
            if passage.at > 50_000 * MS as u64 {
                passage.there -= 5_000 * MS;
                passage.back += 5_000 * MS;
            }
        });
        assert_eq!((set.one_way, set.offset_ns), (OneWay::Unknown, None));
        assert!(found.get(Span::There).is_none());
        let (mut none, mut found) = <(Ways, Latencies)>::default();
        Clocks::default().conclude(&mut none, &mut found);
        assert_eq!(none.one_way, OneWay::Unknown);
    }

    #[test]
    fn a_long_run_is_thinned_evenly() {
        let mut clocks = Clocks::default();
        for at in 0..10 * KEPT as u64 {
            let (there, back) = (1, 1);
            clocks.enter(Passage { at, there, back }, [None; 2]);
        }
        assert!((KEPT..2 * KEPT).contains(&clocks.passages.len()));
        let steps = clocks.passages.windows(2).map(|two| two[1].at - two[0].at);
        assert!(steps.max() <= Some(2 << clocks.thinned));
    }
}
