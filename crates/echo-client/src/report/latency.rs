//! Latencies: an exact minimum, maximum, mean and deviation, and a histogram for the rest.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// The longest latency the histogram tells apart from longer ones. The maximum stays exact.
const HIGHEST_NS: u64 = 3_600 * 1_000_000_000;
/// Significant decimal digits: a percentile is at most 0.1 % off.
const DIGITS: u8 = 3;
/// What the compressed form begins with; then comes its length.
const COMPRESSED: [u8; 4] = [0x1c, 0x84, 0x93, 0x14];
/// What is wrong with all that is none.
const FOREIGN: &str = "it is no whole HdrHistogram (V2, compressed)";
const VALID: &str = "bounds are valid";
/// Far more than a histogram of any bounds is encoded in, before it is compressed.
const LONGEST: u64 = 1 << 20;

/// The percentiles a report shows: as people write them, and as shares.
pub const PERCENTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// A distribution of latencies. Merged, never averaged.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    histogram: Histogram<u64>,
    min: u64,
    max: u64,
    sum: u128,
    squares: u128,
}

/// A bar of the histogram: latencies from `from_ns`, up to but not including `to_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Bar {
    /// The lower bound.
    pub from_ns: u64,
    /// The upper bound.
    pub to_ns: u64,
    /// Samples within.
    pub count: u64,
}

/// No samples yet.
impl Default for Latency {
    fn default() -> Self {
        Latency {
            // It grows with the latencies: few are so long that it needs its 264 KiB.
            histogram: Histogram::new(DIGITS).expect(VALID),
            min: u64::MAX,
            max: 0,
            sum: 0,
            squares: 0,
        }
    }
}

impl Latency {
    /// Takes one sample.
    pub fn record(&mut self, latency: Duration) {
        self.record_many(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX), 1);
    }

    /// Takes `count` samples of `ns` nanoseconds each.
    #[inline]
    pub fn record_many(&mut self, ns: u64, count: u64) {
        let grown = self.histogram.record_n(ns.min(HIGHEST_NS), count);
        grown.expect("memory takes every histogram");
        self.min = self.min.min(ns);
        self.max = self.max.max(ns);
        self.sum += u128::from(ns) * u128::from(count);
        let square = u128::from(ns) * u128::from(ns);
        self.squares = self
            .squares
            .saturating_add(square.saturating_mul(count.into()));
    }

    /// Adds another distribution's samples.
    pub fn merge(&mut self, other: &Latency) {
        if other.is_empty() {
            return;
        }
        self.histogram
            .add(&other.histogram)
            .expect("memory takes every histogram");
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.squares = self.squares.saturating_add(other.squares);
    }

    /// Forgets every sample, and keeps the memory.
    pub fn clear(&mut self) {
        self.histogram.reset();
        (self.min, self.max, self.sum, self.squares) = (u64::MAX, 0, 0, 0);
    }

    /// The number of samples.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The shortest, exactly.
    pub fn min(&self) -> Option<Duration> {
        self.known(self.min)
    }

    /// The longest, exactly.
    pub fn max(&self) -> Option<Duration> {
        self.known(self.max)
    }

    /// The mean.
    pub fn avg(&self) -> Option<Duration> {
        let count = u128::from(self.count()).max(1);
        self.known((self.sum / count) as u64)
    }

    /// The standard deviation of the samples, which is what `ping` calls mdev.
    pub fn mdev(&self) -> Option<Duration> {
        let count = self.count().max(1) as f64;
        let mean = self.sum as f64 / count;
        let variance = self.squares as f64 / count - mean * mean;
        self.known(variance.max(0.0).sqrt() as u64)
    }

    /// The latency that a share `quantile` of the samples does not exceed; `None` unless at least
    /// one sample lies beyond it, for then it would only be the maximum under another name.
    pub fn percentile(&self, quantile: f64) -> Option<Duration> {
        // The product is one rounding away from a whole number: 1,000 x (1 - 0.999) < 1.
        let beyond = self.count() as f64 * (1.0 - quantile);
        (beyond > 1.0 - 1e-6).then(|| self.quantile(quantile))
    }

    /// The latency at `quantile`, whatever the number of samples; for curves.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let ns = self.histogram.value_at_quantile(quantile);
        Duration::from_nanos(ns.clamp(self.min.min(self.max), self.max))
    }

    /// The distribution in at most `rows` bars that touch, from the shortest to the longest.
    ///
    /// Bounds are round figures on a logarithmic scale, as fine as `rows` allows.
    pub fn bars(&self, rows: usize) -> Vec<Bar> {
        if self.is_empty() {
            return Vec::new();
        }
        let bounds = SCALES
            .into_iter()
            .map(|steps| bounds(steps, self.min, self.max))
            .find(|bounds| bounds.len() <= rows + 1)
            .unwrap_or_else(|| vec![self.min, self.max.saturating_add(1)]);
        let bar = |pair: &[u64]| Bar {
            from_ns: pair[0],
            to_ns: pair[1],
            count: 0,
        };
        let mut bars: Vec<Bar> = bounds.windows(2).map(bar).collect();
        for step in self.histogram.iter_recorded() {
            let at = bars.partition_point(|bar| bar.to_ns <= step.value_iterated_to());
            // A longer one than the histogram tells apart is in the last.
            let at = at.min(bars.len() - 1);
            bars[at].count += step.count_at_value();
        }
        bars
    }

    /// The sum of the samples in nanoseconds, and that of their squares.
    pub fn moments(&self) -> (u64, f64) {
        let sum = u64::try_from(self.sum).unwrap_or(u64::MAX);
        (sum, self.squares as f64)
    }

    /// The histogram as other tools read it: HdrHistogram's V2, compressed.
    pub fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.histogram(), &mut bytes)
            .expect("memory takes every histogram");
        bytes
    }

    /// What [`Latency::encoded`] and the exact figures say: range and moments.
    ///
    /// # Errors
    /// The bytes are no histogram, one of longer latencies than are told apart here, or one of
    /// other samples than the exact figures are of.
    pub fn decoded(
        bytes: &[u8],
        (min, max): (Option<u64>, Option<u64>),
        (sum, squares): (u64, f64),
    ) -> Result<Self> {
        let plain = inflated(bytes).context(FOREIGN)?;
        let read = Deserializer::new().deserialize(&mut &plain[..]);
        let read: Histogram<u64> = read.map_err(|_| anyhow!(FOREIGN))?;
        let mut latency = Latency::default();
        latency.histogram.add(bounded(&read)?)?;
        (latency.min, latency.max) = (min.unwrap_or(u64::MAX), max.unwrap_or(0));
        (latency.sum, latency.squares) = (sum.into(), squares as u128);
        ensure!(latency.agrees(), "its samples have other exact figures");
        Ok(latency)
    }

    /// Whether the exact figures can be those of the samples.
    fn agrees(&self) -> bool {
        let (histogram, count) = (&self.histogram, u128::from(self.count()));
        let longest = histogram.lowest_equivalent(HIGHEST_NS);
        let is_like =
            |exact: u64, seen| histogram.equivalent(exact, seen) || exact.min(seen) >= longest;
        let sums = u128::from(self.min) * count..=u128::from(self.max) * count;
        match count {
            0 => (self.min, self.max, self.sum) == (u64::MAX, 0, 0),
            _ => {
                is_like(self.min, histogram.min())
                    && is_like(self.max, histogram.max())
                    && (sums.contains(&self.sum) || self.sum == u64::MAX.into())
            }
        }
    }

    /// The histogram itself, for the log that other tools merge.
    pub fn histogram(&self) -> Histogram<u64> {
        bounded(&self.histogram).expect("nothing longer is recorded")
    }

    fn known(&self, ns: u64) -> Option<Duration> {
        (!self.is_empty()).then(|| Duration::from_nanos(ns))
    }
}

/// A histogram with the bounds that all have outside of this program. One of longer latencies is an error.
fn bounded(histogram: &Histogram<u64>) -> Result<Histogram<u64>> {
    let mut all = Histogram::new_with_max(HIGHEST_NS, DIGITS).expect(VALID);
    all.add(histogram)?;
    Ok(all)
}

/// An encoded histogram without its compression. One that claims to be longer than it is would have
/// as much memory asked for; that is none.
fn inflated(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let packed = bytes.strip_prefix(&COMPRESSED);
    let packed = packed.and_then(|packed| packed.get(4..))?;
    let inflated = ZlibDecoder::new(packed)
        .take(LONGEST)
        .read_to_end(&mut plain);
    let claimed = u32::from_be_bytes(plain.get(4..8)?.try_into().ok()?);
    (inflated.is_ok() && (claimed as usize) < plain.len()).then_some(plain)
}

/// Steps in a decade, finest first.
const SCALES: [i32; 6] = [24, 12, 6, 3, 2, 1];

/// The bounds of the bars that cover `min` to `max`, with so many `steps` in each decade.
fn bounds(steps: i32, min: u64, max: u64) -> Vec<u64> {
    // Few steps are as far apart as one digit tells.
    let digits = if steps > 3 { 2 } else { 1 };
    // Below 100 ns no decade of two digits is whole; nothing on a network is that fast.
    let first = 2 * steps;
    let round = (first..).map(|i| {
        let unit = 10f64.powi(i.div_euclid(steps) + 1 - digits);
        let exact = 10f64.powf(f64::from(i) / f64::from(steps));
        ((exact / unit).round() * unit) as u64
    });
    let mut bounds = vec![0];
    for bound in round {
        if bound <= min && bound < u64::MAX {
            bounds.clear();
        }
        bounds.push(bound);
        if bound > max || bound == u64::MAX {
            break;
        }
    }
    bounds
}

/// The mean difference between consecutive round trips, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Jitter {
    previous: Option<u64>,
    sum: u128,
    count: u128,
}

impl Jitter {
    /// Takes the next round trip.
    pub fn record(&mut self, rtt_ns: u64) {
        if let Some(previous) = self.previous.replace(rtt_ns) {
            self.sum += u128::from(rtt_ns.abs_diff(previous));
            self.count += 1;
        }
    }

    /// The mean so far; `None` before the second round trip.
    pub fn mean(&self) -> Option<u64> {
        self.sum.checked_div(self.count)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Latencies with a long tail, the same ones on every run.
    fn samples(count: u64) -> Vec<u64> {
        let mut state = 7u64;
        (0..count)
            .map(|_| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                let uniform = (state >> 11) as f64 / (1u64 << 53) as f64;
                (20_000.0 - 60_000.0 * (1.0 - uniform).ln()) as u64
            })
            .collect()
    }

    fn latency(samples: &[u64]) -> Latency {
        let mut latency = Latency::default();
        for &ns in samples {
            latency.record(Duration::from_nanos(ns));
        }
        latency
    }

    fn ns(duration: Option<Duration>) -> f64 {
        duration.unwrap().as_nanos() as f64
    }

    #[test]
    fn the_statistics_agree_with_an_independent_computation() {
        let samples = samples(100_000);
        let latency = latency(&samples);
        let mut sorted = samples.clone();
        sorted.sort_unstable();
        assert_eq!(ns(latency.min()), sorted[0] as f64);
        assert_eq!(ns(latency.max()), sorted[sorted.len() - 1] as f64);
        // Two passes and floating point here; one pass and integers there.
        let mean = samples.iter().map(|&s| s as f64).sum::<f64>() / samples.len() as f64;
        let variance = samples
            .iter()
            .map(|&s| (s as f64 - mean).powi(2))
            .sum::<f64>()
            / samples.len() as f64;
        assert!((ns(latency.avg()) - mean).abs() <= 1.0);
        assert!((ns(latency.mdev()) - variance.sqrt()).abs() <= 1.0);
        for (name, quantile) in PERCENTILES {
            let rank = (quantile * samples.len() as f64).ceil() as usize;
            let exact = sorted[rank - 1] as f64;
            let error = (ns(latency.percentile(quantile)) - exact).abs() / exact;
            assert!(error <= 0.001, "{name} is {error} off");
        }
    }

    #[test]
    fn merged_parts_are_the_whole() {
        let samples = samples(10_000);
        let whole = latency(&samples);
        let mut merged = Latency::default();
        for part in samples.chunks(1_234) {
            merged.merge(&latency(part));
        }
        assert!(merged == whole);
    }

    #[test]
    fn what_is_encoded_is_decoded_without_loss() {
        for count in [0, 1, 10_000] {
            let whole = latency(&samples(count));
            let range = [whole.min(), whole.max()].map(|v| v.map(|v| v.as_nanos() as u64));
            let read = Latency::decoded(&whole.encoded(), range.into(), whole.moments());
            let read = read.unwrap();
            assert!(read.histogram == whole.histogram && read.moments() == whole.moments());
            assert_eq!((read.min(), read.max()), (whole.min(), whole.max()));
            assert_eq!(read.mdev(), whole.mdev());
        }
        for damaged in [
            &b""[..],
            b"no histogram",
            &latency(&samples(9)).encoded()[..20],
        ] {
            assert!(Latency::decoded(damaged, (None, None), (0, 0.0)).is_err());
        }
    }

    #[test]
    fn a_percentile_needs_a_sample_beyond_it() {
        let shown = |count: u64| -> Vec<&str> {
            let latency = latency(&samples(count));
            PERCENTILES
                .iter()
                .filter(|(_, quantile)| latency.percentile(*quantile).is_some())
                .map(|(name, _)| *name)
                .collect()
        };
        assert_eq!(shown(0), Vec::<&str>::new());
        assert_eq!(shown(1), Vec::<&str>::new());
        assert_eq!(shown(2), ["p50"]);
        assert_eq!(shown(9), ["p50"]);
        assert_eq!(shown(10), ["p50", "p90"]);
        assert_eq!(shown(99), ["p50", "p90"]);
        assert_eq!(shown(100), ["p50", "p90", "p99"]);
        assert_eq!(shown(999), ["p50", "p90", "p99"]);
        assert_eq!(shown(1000), ["p50", "p90", "p99", "p99.9"]);
    }

    #[test]
    fn nothing_is_known_of_no_samples() {
        let none = Latency::default();
        assert_eq!([none.min(), none.max(), none.avg(), none.mdev()], [None; 4]);
        assert_eq!(none.bars(10), []);
    }

    #[test]
    fn the_maximum_is_exact_beyond_the_histogram() {
        let day = Duration::from_secs(86_400);
        let mut latency = Latency::default();
        latency.record(day);
        latency.record(Duration::from_nanos(1));
        assert_eq!(latency.max(), Some(day));
        assert_eq!(latency.bars(5).iter().map(|bar| bar.count).sum::<u64>(), 2);
    }

    #[test]
    fn bars_touch_and_hold_every_sample() {
        for samples in [
            samples(1),
            samples(10_000),
            vec![0, 1, 99],
            vec![1_000_000; 3],
            vec![5, 3_000_000_000],
            vec![u64::MAX],
        ] {
            let latency = latency(&samples);
            for rows in [1, 5, 12] {
                let bars = latency.bars(rows);
                assert!((1..=rows).contains(&bars.len()), "{bars:?}");
                assert!(bars.windows(2).all(|pair| pair[0].to_ns == pair[1].from_ns));
                assert!(bars[0].from_ns <= *samples.iter().min().unwrap());
                let total: u64 = bars.iter().map(|bar| bar.count).sum();
                assert_eq!(total, samples.len() as u64, "{bars:?}");
            }
        }
    }

    #[test]
    fn jitter_is_the_mean_step_from_one_round_trip_to_the_next() {
        let mut jitter = Jitter::default();
        assert_eq!(jitter.mean(), None);
        for ms in [10, 14, 12] {
            jitter.record(ms);
        }
        assert_eq!(jitter.mean(), Some(3));
    }
}
