//! Whole numbers as people type them, within bounds that an error names.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A whole number from `MIN` to `MAX`. Configuration files know none beyond 63 bits.
///
/// ```
/// use echo_core::Whole;
///
/// assert_eq!("4".parse::<Whole<1, 8>>().unwrap(), Whole(4));
/// let error = "none".parse::<Whole<1, 8>>().unwrap_err();
/// assert_eq!(error, "write a whole number from 1 to 8");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<const MIN: u64 = 0, const MAX: u64 = { i64::MAX as u64 }>(pub u64);

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    fn within(number: u64) -> Option<Self> {
        (MIN..=MAX).contains(&number).then_some(Whole(number))
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Whole<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.parse().ok().and_then(Self::within);
        number.ok_or_else(|| format!("write a whole number from {MIN} to {MAX}"))
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Whole<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(Number)
    }
}

/// Takes a number that is within the bounds.
struct Number<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for Number<MIN, MAX> {
    type Value = Whole<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        let error = || E::invalid_value(Unexpected::Unsigned(number), &self);
        Whole::within(number).ok_or_else(error)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
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
