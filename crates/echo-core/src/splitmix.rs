//! SplitMix64 (Steele, Lea, Flood 2014): numbers that look random, from a state that can start
//! anywhere, so that any of them can be had without those before it.

/// What the state grows by: 2^64 divided by the golden ratio.
pub const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output for a state: every bit of it depends on every bit of `state`.
///
/// ```
/// use echo_core::splitmix::{GAMMA, mix};
///
/// // The first output of the reference implementation for the seed 0.
/// assert_eq!(mix(GAMMA), 0xe220_a839_7b1d_cdaf);
/// ```
#[inline]
pub const fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A sequence of numbers that look random, the same ones for the same seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// A number below `bound`, all equally likely; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// One of `items`, of which there is one at least.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Puts `items` in any order, all equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// That many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = (0..len.div_ceil(8)).flat_map(|_| self.draw().to_le_bytes());
        words.take(len).collect()
    }

    /// A sequence of its own for the `n`th of several parts, whatever the others draw.
    pub fn part(&self, n: u64) -> Self {
        let mut part = Random(self.0 ^ n.wrapping_mul(0xd1b5_4a32_d192_ed03));
        Random(part.draw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_its_parts_differ() {
        let draws = |mut random: Random| [random.draw(), random.below(10), random.draw()];
        assert_eq!(draws(Random(7)), draws(Random(7)));
        assert_ne!(draws(Random(7)), draws(Random(8)));
        let (one, two) = (Random(7).part(1), Random(7).part(2));
        assert_ne!(draws(one.clone()), draws(two));
        assert_eq!(draws(one), draws(Random(7).part(1)));
        assert_eq!(Random(1).bytes(13).len(), 13);
        assert_eq!(Random(1).below(0), 0);
    }
}
