//! Whether a difference is real: a ratio, how sure it is, and one word.
//!
//! A figure of several rounds is their middle: the mean of the logarithms of the fifth in the
//! middle, which a few disturbed rounds cannot move. A ratio is the quotient of two such figures, so
//! it always agrees with the figures beside it. Its 95 % interval comes from drawing the rounds
//! again, with replacement, 10,000 times (Efron's percentile bootstrap). Rounds that were measured
//! in turn are drawn in pairs, so that what a round has in common cancels out.
//!
//! The word follows from the interval alone. It leaves 1 out: `faster` or `slower`. It holds 1, and
//! 5 % to neither side: `tie`. It holds 1 and 5 % as well: `unknown`. Noise at which a difference
//! of 5 % is found in 19 runs of 20 is noise at which no difference is a tie in 18 of 20.

use std::fmt;

use crate::splitmix::{Random, mix};

/// Times that the rounds are drawn again.
const RESAMPLES: usize = 10_000;
/// The share of the rounds left out at each end. A fifth would do on a quiet machine; where one
/// round in twenty is disturbed, fifteen drawn again hold too many of those too often.
const TRIMMED: f64 = 0.4;
/// From so many rounds on there is an interval: the extremes of five enclose the middle only 94
/// times in 100 (1 - 2/2^5), and drawing them again knows no more than they do.
pub const FEWEST_ROUNDS: usize = 6;
/// The difference that must be told from none.
const MATTERS: f64 = 1.05;
/// Half an interval's width in standard errors, and how far a measured ratio strays at most in 19
/// runs of 20: a difference as large as both together is found so often.
const HALF_WIDTH: f64 = 1.96;
const STRAY: f64 = 1.645;

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// A time, or a cost.
    Less,
    /// A rate.
    More,
}

/// How the rounds of two targets belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// They were measured in turn: the first of one beside the first of the other.
    InTurn,
    /// They were measured at different times.
    Apart,
}

/// One figure of a target against the same figure of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The quotient of the two.
    pub ratio: f64,
    /// Where it lies, with 95 % confidence; `None` of too few rounds.
    pub interval: Option<[f64; 2]>,
    /// Rounds it rests on.
    pub rounds: usize,
}

/// What a ratio says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is better, and not by chance.
    Faster,
    /// It is worse, and not by chance.
    Slower,
    /// There is no difference of 5 %.
    Tie,
    /// The rounds differ too much among themselves to say.
    TooNoisy {
        /// So many rounds would find a difference of 5 % in 19 runs of 20.
        needed: u64,
    },
    /// There are too few rounds to know how much they differ.
    TooFew,
}

/// The middle of the rounds; `None` of none.
pub fn figure(rounds: &[f64]) -> Option<f64> {
    let mut logs = logs(rounds);
    (!logs.is_empty()).then(|| middle(&mut logs).exp())
}

impl Ratio {
    /// The figures `new` against the figures `base`, a figure a round; `None` where there are none
    /// or, of rounds in turn, not as many of each.
    pub fn of(new: &[f64], base: &[f64], pairing: Pairing, seed: u64) -> Option<Self> {
        Ratio::drawn(new, base, pairing, seed, RESAMPLES)
    }

    /// The same, with so many draws instead of 10,000: for tests that ask many times.
    pub fn drawn(
        new: &[f64],
        base: &[f64],
        pairing: Pairing,
        seed: u64,
        resamples: usize,
    ) -> Option<Self> {
        let (new, base) = (logs(new), logs(base));
        let rounds = new.len().min(base.len());
        if rounds == 0 || (pairing == Pairing::InTurn && new.len() != base.len()) {
            return None;
        }
        let mut random = Random(mix(seed));
        let (mut again, mut base_again) = (new.clone(), base.clone());
        let ratio = (middle(&mut again) - middle(&mut base_again)).exp();
        let mut redraw = || {
            for slot in 0..new.len() {
                let drawn = random.below(new.len() as u64) as usize;
                again[slot] = new[drawn];
                if pairing == Pairing::InTurn {
                    base_again[slot] = base[drawn];
                }
            }
            if pairing == Pairing::Apart {
                base_again.fill_with(|| *random.pick(&base));
            }
            middle(&mut again) - middle(&mut base_again)
        };
        let interval = (rounds >= FEWEST_ROUNDS).then(|| {
            let mut ratios: Vec<f64> = (0..resamples).map(|_| redraw()).collect();
            ratios.sort_by(f64::total_cmp);
            [0.025, 0.975].map(|share| ratios[(share * (resamples - 1) as f64) as usize].exp())
        });
        Some(Ratio {
            ratio,
            interval,
            rounds,
        })
    }

    /// What it says of the target whose figures are above the line.
    pub fn verdict(&self, better: Better) -> Verdict {
        let Some([low, high]) = self.interval else {
            return Verdict::TooFew;
        };
        let (less, more) = match better {
            Better::Less => (Verdict::Faster, Verdict::Slower),
            Better::More => (Verdict::Slower, Verdict::Faster),
        };
        match () {
            () if high < 1.0 => less,
            () if low > 1.0 => more,
            () if low > 1.0 / MATTERS && high < MATTERS => Verdict::Tie,
            () => Verdict::TooNoisy {
                needed: self.needed(low, high),
            },
        }
    }

    /// An interval shrinks with the root of the number of rounds; one that is narrow enough and
    /// lies between a tie and a difference takes more of them, too.
    fn needed(&self, low: f64, high: f64) -> u64 {
        let half = (high / low).ln() / 2.0;
        let wanted = MATTERS.ln() * HALF_WIDTH / (HALF_WIDTH + STRAY);
        let needed = (self.rounds as f64 * (half / wanted).powi(2)).ceil() as u64;
        needed.max(self.rounds as u64 + 1)
    }
}

impl Verdict {
    /// The one word.
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::Tie => "tie",
            Verdict::TooNoisy { .. } | Verdict::TooFew => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Verdict::TooNoisy { needed } => write!(f, " ({needed} rounds would tell 5 %)"),
            Verdict::TooFew => write!(f, " (at least {FEWEST_ROUNDS} rounds can tell)"),
            Verdict::Faster | Verdict::Slower | Verdict::Tie => Ok(()),
        }
    }
}

/// The order of the targets, round by round: a shuffled order and then its reverse, so that within
/// two rounds a drift weighs as much on each (ABBA); then a fresh shuffle.
pub fn schedule(targets: usize, rounds: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut random = Random(seed);
    let mut order: Vec<usize> = (0..targets).collect();
    (0..rounds)
        .map(|round| {
            match round % 2 {
                0 => random.shuffle(&mut order),
                _ => order.reverse(),
            }
            order.clone()
        })
        .collect()
}

fn logs(figures: &[f64]) -> Vec<f64> {
    figures.iter().map(|figure| figure.ln()).collect()
}

/// The trimmed mean of at least one value, which are left sorted.
fn middle(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let trimmed = (values.len() as f64 * TRIMMED) as usize;
    let kept = &values[trimmed..values.len() - trimmed];
    kept.iter().sum::<f64>() / kept.len() as f64
}
