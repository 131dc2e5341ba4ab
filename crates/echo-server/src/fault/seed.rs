//! The number from which all chance among the faults follows.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

use echo_core::as_text;

/// What `--seed` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seed {
    /// Drawn at each start.
    #[default]
    Random,
    /// This one.
    Given(u64),
}

impl Seed {
    /// The seed to use. A drawn one is short enough to be typed again.
    pub fn number(self) -> u64 {
        match self {
            Seed::Random => RandomState::new().hash_one(()) >> 32,
            Seed::Given(number) => number,
        }
    }
}

impl From<u64> for Seed {
    fn from(number: u64) -> Self {
        Seed::Given(number)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seed::Random => f.write_str("random"),
            Seed::Given(number) => write!(f, "{number}"),
        }
    }
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "random" => Ok(Seed::Random),
            text => text
                .parse()
                .map(Seed::Given)
                .map_err(|_| "write a number from 0 to 18446744073709551615, or random".to_owned()),
        }
    }
}

as_text!(Seed);

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct File {
        seed: Seed,
    }

    #[test]
    fn every_seed_survives_a_file_and_a_flag() {
        for seed in [
            Seed::Random,
            Seed::Given(0),
            Seed::Given(i64::MAX as u64),
            Seed::Given(u64::MAX),
        ] {
            let text = toml::to_string(&File { seed }).unwrap();
            assert_eq!(toml::from_str(&text), Ok(File { seed }), "{text}");
            assert_eq!(seed.to_string().parse(), Ok(seed));
        }
        assert!(toml::from_str::<File>("seed = -1").is_err());
        assert!("-1".parse::<Seed>().is_err());
    }

    #[test]
    fn a_drawn_seed_is_drawn_anew_and_short() {
        let drawn: std::collections::HashSet<u64> = (0..8).map(|_| Seed::Random.number()).collect();
        assert!(drawn.len() > 1);
        assert!(drawn.iter().all(|&seed| seed <= u32::MAX.into()));
    }
}
