//! How often chance alone does what was seen: exact tests where there are few, so that a verdict
//! needs no impression.

/// A verdict is given where chance would say so less often than this, all questions counted.
const LEVEL: f64 = 1e-3;
/// Questions that a diagnosis asks of its trains. Each may be wrong once in so many (Bonferroni).
const QUESTIONS: f64 = 32.0;

/// How many of how many.
pub type Count = (usize, usize);

/// The p of a verdict, where it is one: how often one of all the questions would be answered so by
/// chance, where this one would be with `p` and was asked of `places`.
pub fn significant(p: f64, places: usize) -> Option<f64> {
    let p = p * QUESTIONS * places.max(1) as f64;
    (p < LEVEL).then_some(p)
}

/// The logarithm of the factorial of `n`, by Stirling's series: ten digits where the first terms
/// are left to multiplication.
fn ln_factorial(n: usize) -> f64 {
    if n < 16 {
        return (2..=n).map(|k| k as f64).product::<f64>().ln();
    }
    let x = n as f64;
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    x * x.ln() - x + (2.0 * std::f64::consts::PI * x).ln() / 2.0 + series
}

/// The logarithm of the number of ways to choose `k` of `n`; none where there are fewer.
fn ln_choose(n: usize, k: usize) -> f64 {
    match k > n {
        true => f64::NEG_INFINITY,
        false => ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k),
    }
}

/// Fisher's exact test, both sides: how often two groups of which `a` of `n` and `b` of `m` have
/// something differ at least as much when all of them have it equally often.
pub fn fisher((a, n): Count, (b, m): Count) -> f64 {
    let hits = a + b;
    let probability = |x: usize| ln_choose(n, x) + ln_choose(m, hits - x) - ln_choose(n + m, hits);
    // As probable as what was seen, rounding aside.
    let seen = probability(a) + 1e-7;
    let all = hits.saturating_sub(m)..=hits.min(n);
    let at_least = all.map(probability).filter(|p| *p <= seen);
    at_least.map(f64::exp).sum::<f64>().min(1.0)
}

/// How often at least `k` of `n` have what each has with probability `share`.
pub fn binomial((k, n): Count, share: f64) -> f64 {
    let (ln_yes, ln_no) = (share.ln(), (1.0 - share).ln());
    let probability = |x: usize| ln_choose(n, x) + x as f64 * ln_yes + (n - x) as f64 * ln_no;
    (k..=n).map(|x| probability(x).exp()).sum::<f64>().min(1.0)
}

/// The runs test (Wald and Wolfowitz), exact and of one side: how often the hits of some rows, so many
/// of so many each, fall into at most `runs` groups without a gap, counted row by row.
pub fn runs(runs: usize, rows: impl IntoIterator<Item = Count>) -> f64 {
    // How often there are so many groups in the rows so far.
    let mut so_far = vec![1.0];
    for (hits, n) in rows.into_iter().filter(|(hits, _)| *hits > 0) {
        let all = ln_choose(n, hits);
        let mut next = vec![0.0; (so_far.len() + hits).min(runs + 1)];
        for groups in 1..=hits {
            let ways = ln_choose(hits - 1, groups - 1) + ln_choose(n - hits + 1, groups);
            let share = (ways - all).exp();
            for (sum, before) in next.iter_mut().skip(groups).zip(&so_far) {
                *sum += before * share;
            }
        }
        so_far = next;
    }
    so_far.iter().sum::<f64>().min(1.0)
}

/// The rank-sum test (Mann and Whitney), by the normal distribution that it tends to: how often all
/// of `high` would rank so far above `low` when they are alike.
pub fn rank_sum(low: &[u64], high: &[u64]) -> f64 {
    let (n, m) = (low.len() as f64, high.len() as f64);
    if low.is_empty() || high.is_empty() {
        return 1.0;
    }
    let mut sorted = low.to_vec();
    sorted.sort_unstable();
    let below = |value: &u64| {
        let less = sorted.partition_point(|one| one < value);
        let equal = sorted.partition_point(|one| one <= value) - less;
        less as f64 + equal as f64 / 2.0
    };
    let u: f64 = high.iter().map(below).sum();
    let z = (u - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt();
    upper_normal(z)
}

/// How often a normal variable exceeds `z`, by Laplace's continued fraction; below one half of its
/// deviation, which no verdict rests on, the fraction has no end, and half stands for it.
fn upper_normal(z: f64) -> f64 {
    if z < 0.5 {
        return 0.5;
    }
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let fraction = (1..=200).rev().fold(z, |rest, k| z + f64::from(k) / rest);
    density / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64) {
        assert!(
            (value / expected - 1.0).abs() < 1e-3,
            "{value} is not {expected}"
        );
    }

    #[test]
    fn the_tests_give_what_tables_and_other_programs_give() {
        // R: fisher.test(matrix(c(1, 9, 11, 3), 2)), the tea-tasting lady, and a large one.
        near(fisher((1, 10), (11, 14)), 0.002_759_456);
        near(fisher((3, 4), (1, 4)), 0.485_714_3);
        assert!(fisher((250, 256), (0, 256)) < 1e-100);
        // R: pbinom(4, 600, 0.01, lower.tail = FALSE), and certainty.
        near(binomial((5, 600), 0.01), 0.716_2);
        near(binomial((0, 10), 0.5), 1.0);
        // By hand: 2 of 4 in one run: 3 ways of 6.
        near(runs(1, [(2, 4)]), 0.5);
        near(runs(2, [(2, 4)]), 1.0);
        near(runs(2, [(2, 4), (0, 9), (2, 4)]), 0.25);
        near(runs(3, [(2, 4), (2, 4)]), 0.75);
        near(upper_normal(1.96), 0.024_998);
        near(upper_normal(8.0), 6.221e-16);
    }

    #[test]
    fn ranks_tell_what_is_larger_and_nothing_of_equals() {
        let low: Vec<u64> = (0..40).collect();
        let high: Vec<u64> = (100..140).collect();
        assert!(rank_sum(&low, &high) < 1e-10);
        near(rank_sum(&[5; 40], &[5; 40]), 0.5);
        near(rank_sum(&high, &low), 0.5);
    }
}
