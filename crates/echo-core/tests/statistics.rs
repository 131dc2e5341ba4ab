//! Whether the verdicts on rounds are right as often as they should be, on noise as it comes.

use echo_core::splitmix::Random;
use echo_core::statistics::{Better, FEWEST_ROUNDS, Pairing, Ratio, Verdict, figure, schedule};

/// Rounds as they come on a machine at work: each has a noise of its own, rounds share a slow
/// drift, and one in twenty is disturbed by something else.
struct Bench {
    dice: Random,
    noise: f64,
}

impl Bench {
    fn uniform(&mut self) -> f64 {
        (self.dice.below(1 << 53) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        // Box and Muller's.
        let (radius, angle) = (self.uniform(), self.uniform());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// Rounds of a target, and of another that takes `slower` times as long.
    fn rounds(&mut self, rounds: usize, slower: f64) -> [Vec<f64>; 2] {
        let mut drift = 0.0;
        let sample = |bench: &mut Bench, drift: f64, factor: f64| {
            let disturbed = if bench.uniform() < 0.05 { 0.3 } else { 0.0 };
            100.0 * factor * (drift + disturbed + bench.noise * bench.normal()).exp()
        };
        let pairs = (0..rounds).map(|_| {
            drift += self.noise / 2.0 * self.normal();
            (sample(self, drift, 1.0), sample(self, drift, slower))
        });
        let (base, new) = pairs.unzip();
        [base, new]
    }

    /// How often each word is said in 200 runs; as many draws are enough for shares of them.
    fn words(&mut self, rounds: usize, slower: f64, pairing: Pairing) -> Words {
        let words = (0..200).map(|seed| {
            let [base, new] = self.rounds(rounds, slower);
            let ratio = Ratio::drawn(&new, &base, pairing, seed, 200).unwrap();
            ratio.verdict(Better::Less).word()
        });
        Words(words.collect())
    }
}

struct Words(Vec<&'static str>);

impl Words {
    fn share(&self, word: &str) -> f64 {
        let said = self.0.iter().filter(|said| **said == word).count();
        said as f64 / self.0.len() as f64
    }
}

fn bench(noise: f64) -> Bench {
    Bench {
        dice: Random(1),
        noise,
    }
}

#[test]
fn five_percent_are_found_and_the_same_is_a_tie() {
    let same = bench(0.02).words(15, 1.0, Pairing::InTurn);
    assert!(same.share("tie") >= 0.9, "{}", same.share("tie"));
    let slower = bench(0.02).words(15, 1.05, Pairing::InTurn);
    assert!(slower.share("slower") >= 0.95, "{}", slower.share("slower"));
    let faster = bench(0.02).words(15, 1.0 / 1.05, Pairing::InTurn);
    assert!(faster.share("faster") >= 0.95, "{}", faster.share("faster"));
}

#[test]
fn noise_is_called_unknown_and_hardly_ever_a_difference() {
    for (rounds, noise) in [(FEWEST_ROUNDS, 0.02), (15, 0.1)] {
        for pairing in [Pairing::InTurn, Pairing::Apart] {
            let same = bench(noise).words(rounds, 1.0, pairing);
            let wrong = same.share("faster") + same.share("slower");
            assert!(wrong <= 0.08, "{rounds} rounds {pairing:?}: {wrong}");
            let slower = bench(noise).words(rounds, 1.05, pairing);
            assert!(slower.share("tie") <= 0.05, "{}", slower.share("tie"));
            assert!(slower.share("faster") <= 0.05);
        }
    }
    let same = bench(0.1).words(15, 1.0, Pairing::InTurn);
    assert!(same.share("unknown") >= 0.9);
}

#[test]
fn as_many_rounds_as_are_said_to_be_needed_tell_five_percent() {
    let [base, new] = bench(0.04).rounds(15, 1.0);
    let ratio = Ratio::of(&new, &base, Pairing::InTurn, 1).unwrap();
    let Verdict::TooNoisy { needed } = ratio.verdict(Better::Less) else {
        panic!("{ratio:?} is no longer too noisy");
    };
    assert!((16..100).contains(&needed), "{needed}");
    let slower = bench(0.04).words(needed as usize, 1.05, Pairing::InTurn);
    let found = slower.share("slower");
    assert!(found >= 0.9, "{needed} rounds: {found}");
}

#[test]
fn what_is_unknown_needs_more_rounds_than_were_measured() {
    for (low, high) in [(0.9999, 1.0501), (0.95, 1.0001), (0.9, 1.1)] {
        let ratio = Ratio {
            ratio: f64::sqrt(low * high),
            interval: Some([low, high]),
            rounds: 15,
        };
        let verdict = ratio.verdict(Better::Less);
        let is_more = matches!(verdict, Verdict::TooNoisy { needed } if needed > 15);
        assert!(is_more, "{low} to {high}: {verdict}");
    }
}

#[test]
fn a_ratio_agrees_with_the_figures_beside_it() {
    let [base, new] = bench(0.2).rounds(9, 1.4);
    let ratio = Ratio::of(&new, &base, Pairing::InTurn, 1).unwrap();
    let beside = figure(&new).unwrap() / figure(&base).unwrap();
    assert!((ratio.ratio - beside).abs() < 1e-9);
    let [low, high] = ratio.interval.unwrap();
    assert!(low < ratio.ratio && ratio.ratio < high);
    assert_eq!(Ratio::of(&new, &base, Pairing::InTurn, 1), Some(ratio));
}

#[test]
fn what_all_rounds_have_in_common_cancels_out() {
    // Each round is twice as slow as the one before, for both.
    let base: Vec<f64> = (0..15).map(|round| 2f64.powi(round)).collect();
    let new: Vec<f64> = base.iter().map(|figure| figure * 1.01).collect();
    let ratio = Ratio::of(&new, &base, Pairing::InTurn, 1).unwrap();
    assert_eq!(ratio.verdict(Better::Less), Verdict::Slower);
    assert_eq!(ratio.verdict(Better::More), Verdict::Faster);
    let apart = Ratio::of(&new, &base, Pairing::Apart, 1).unwrap();
    assert!(matches!(
        apart.verdict(Better::Less),
        Verdict::TooNoisy { .. }
    ));
}

#[test]
fn nothing_is_said_of_too_few_rounds() {
    let one = Ratio::of(&[2.0], &[1.0], Pairing::InTurn, 1).unwrap();
    assert_eq!((one.ratio.round(), one.interval), (2.0, None));
    assert_eq!(one.verdict(Better::Less), Verdict::TooFew);
    assert_eq!(Ratio::of(&[], &[], Pairing::Apart, 1), None);
    assert_eq!(Ratio::of(&[1.0, 2.0], &[1.0], Pairing::InTurn, 1), None);
    let same = Ratio::of(&[3.0; 15], &[3.0; 15], Pairing::InTurn, 1).unwrap();
    assert_eq!(same.verdict(Better::Less), Verdict::Tie);
}

#[test]
fn each_round_has_every_target_and_pairs_of_rounds_mirror_each_other() {
    for seed in 0..20 {
        let rounds = schedule(4, 15, seed);
        assert_eq!(rounds.len(), 15);
        for pair in rounds.chunks(2) {
            let mut sorted = pair[0].clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
            if let [first, second] = pair {
                assert!(first.iter().eq(second.iter().rev()));
            }
        }
    }
}

#[test]
fn a_seed_is_an_order_and_no_target_is_always_first() {
    assert_eq!(schedule(3, 9, 5), schedule(3, 9, 5));
    assert_ne!(schedule(3, 9, 5), schedule(3, 9, 6));
    let rounds = schedule(2, 400, 1);
    // Of two, each pair of rounds begins with either by chance.
    let first = rounds
        .iter()
        .step_by(2)
        .filter(|round| round[0] == 0)
        .count();
    assert!((70..130).contains(&first), "{first}");
}
