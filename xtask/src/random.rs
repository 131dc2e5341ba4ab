//! Chance that repeats: the same seed makes the same choices.

use echo_core::splitmix::{GAMMA, mix};

/// A generator of numbers that look random (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The choices that belong to `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A generator of its own for the `n`th of several parts, whatever the others draw.
    pub fn part(&self, n: u64) -> Self {
        let mut part = Random(self.0 ^ n.wrapping_mul(0xd1b5_4a32_d192_ed03));
        Random(part.next())
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// That many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_its_parts_differ() {
        let draw = |mut random: Random| [random.next(), random.below(10), random.next()];
        assert_eq!(draw(Random::new(7)), draw(Random::new(7)));
        assert_ne!(draw(Random::new(7)), draw(Random::new(8)));
        let (one, two) = (Random::new(7).part(1), Random::new(7).part(2));
        assert_ne!(draw(one.clone()), draw(two));
        assert_eq!(draw(one), draw(Random::new(7).part(1)));
        assert_eq!(Random::new(1).bytes(13).len(), 13);
    }
}
