//! Whole numbers as people type them, within bounds that an error names.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::text;

/// A whole number from `MIN` to `MAX`. Configuration files know none beyond 63 bits.
///
/// ```
/// use echo_core::Whole;
///
/// assert_eq!("4".parse::<Whole<1, 8>>().unwrap(), Whole(4));
/// let error = "none".parse::<Whole<1, 8>>().unwrap_err();
/// assert_eq!(error, "write a whole number from 1 to 8");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Whole<const MIN: u64 = 0, const MAX: u64 = { i64::MAX as u64 }>(pub u64);

impl<const MIN: u64, const MAX: u64> FromStr for Whole<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.parse().ok();
        let number = number.filter(|number| (MIN..=MAX).contains(number));
        let bounds = || format!("write a whole number from {MIN} to {MAX}");
        number.map(Whole).ok_or_else(bounds)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct File {
        number: Whole<1, 8>,
    }

    #[test]
    fn a_number_within_its_bounds_is_taken_as_it_was_given() {
        for number in [1, 8] {
            let file = File {
                number: Whole(number),
            };
            let text = toml::to_string(&file).unwrap();
            assert_eq!(text, format!("number = {number}\n"));
            assert_eq!(toml::from_str::<File>(&text).unwrap(), file);
            assert_eq!(number.to_string().parse(), Ok(file.number));
        }
    }

    #[test]
    fn whatever_else_is_refused_with_the_bounds() {
        let bounds = "a whole number from 1 to 8";
        for text in ["0", "9", "-1", "1.5", "99999999999999999999999"] {
            let typed = text.parse::<Whole<1, 8>>().unwrap_err();
            assert!(typed.contains(bounds), "{text}: {typed}");
            let file = toml::from_str::<File>(&format!("number = {text}"));
            let error = file.unwrap_err().to_string();
            assert!(error.contains(bounds), "{text}: {error}");
        }
        for text in ["", "x", " 1"] {
            assert!(text.parse::<Whole<1, 8>>().is_err(), "{text:?}");
        }
        // What a configuration file cannot hold is refused where it is typed.
        assert!("9223372036854775808".parse::<Whole>().is_err());
    }
}
