//! Who is measured when: each round asks every target once, in an order that favours none.

use super::statistics::Dice;

/// The order of the targets, round by round: a shuffled order and then its reverse, so that within
/// two rounds a drift weighs as much on each (ABBA); then a fresh shuffle.
pub fn schedule(targets: usize, rounds: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut dice = Dice(seed);
    let mut order: Vec<usize> = (0..targets).collect();
    (0..rounds)
        .map(|round| {
            match round % 2 {
                // Fisher and Yates's.
                0 => (1..targets)
                    .rev()
                    .for_each(|i| order.swap(i, dice.below(i + 1))),
                _ => order.reverse(),
            }
            order.clone()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
