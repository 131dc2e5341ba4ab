//! Durations and sizes as people type them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::as_text;

/// A length of time: `200ms`, `1m30s`, `1.5s`, or bare seconds.
///
/// Units are `ns`, `us` (or `µs`), `ms`, `s`, `m`, `h` and `d`. The finest step is a nanosecond.
///
/// ```
/// use echo_core::units::Timespan;
///
/// assert_eq!("1m30s".parse::<Timespan>().unwrap(), "90".parse().unwrap());
/// assert_eq!("1500ms".parse::<Timespan>().unwrap().to_string(), "1.5s");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespan(pub Duration);

/// A number of bytes: `64k`, `1KiB`, `1.5MiB`, or bare bytes.
///
/// `k`, `K` and `KiB` are 1,024 bytes, `kB` and `KB` are 1,000; `M` and `G` likewise.
///
/// ```
/// use echo_core::units::Size;
///
/// assert_eq!("64k".parse::<Size>().unwrap(), Size(65_536));
/// assert_eq!(Size(1 << 20).to_string(), "1MiB");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Timespan {
    /// A whole number of seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Timespan(Duration::from_secs(secs))
    }
}

impl From<Timespan> for Duration {
    fn from(span: Timespan) -> Self {
        span.0
    }
}

/// Nanoseconds since 1970, as events are stamped; until the year 2554 they fit.
pub fn unix_ns(time: SystemTime) -> u64 {
    ns(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A length of time in nanoseconds: up to 584 years.
pub fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

const SECOND: u128 = 1_000_000_000;

/// A unit's name, and what it stands for.
type Unit = (&'static str, u128);

/// Those that a duration is shown in, the longest first; then other names for them.
const TIMES: [Unit; 10] = [
    ("d", 86_400 * SECOND),
    ("h", 3_600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("min", 60 * SECOND),
    ("µs", 1_000),
    ("μs", 1_000),
];

/// Those that a size is shown in, the largest first; then the others.
const SIZES: [Unit; 16] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
    ("B", 1),
    ("k", 1 << 10),
    ("K", 1 << 10),
    ("Ki", 1 << 10),
    ("M", 1 << 20),
    ("Mi", 1 << 20),
    ("G", 1 << 30),
    ("Gi", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

fn scale(units: &[Unit], name: &str) -> Option<u128> {
    let unit = units.iter().find(|unit| unit.0 == name);
    unit.map(|unit| unit.1)
}

impl FromStr for Timespan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let remedy = |why| format!("{why}; write a duration as 200ms, 1m30s or bare seconds");
        duration(text).map(Timespan).map_err(remedy)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let (mut rest, mut nanos) = (text, 0_u128);
    loop {
        let (number, after) = Decimal::split(rest)?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, next) = after.split_at(end.unwrap_or(after.len()));
        let scale = match unit {
            "" if rest == text => Some(SECOND),
            "" => return Err("the last number has no unit".to_owned()),
            unit => scale(&TIMES, unit),
        };
        let part = number.times(scale.ok_or_else(|| format!("{unit:?} is no unit of time"))?);
        let sum = part.and_then(|part| nanos.checked_add(part));
        nanos = sum.ok_or("it is too long or too fine")?;
        if next.is_empty() {
            let nanos = u64::try_from(nanos).map_err(|_| "it is longer than 584 years")?;
            return Ok(Duration::from_nanos(nanos));
        }
        rest = next;
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let remedy = |why| format!("{why}; write a size as 64k, 1KiB, 10MB or bare bytes");
        bytes(text).map(Size).map_err(remedy)
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = Decimal::split(text)?;
    let scale = scale(&SIZES, unit).ok_or_else(|| {
        let meant = if unit == "m" { ", M is" } else { "" };
        format!("{unit:?} is no unit of size{meant}")
    })?;
    let bytes = number
        .times(scale)
        .and_then(|bytes| u64::try_from(bytes).ok());
    bytes.ok_or_else(|| "it is too large, or not a whole number of bytes".to_owned())
}

/// A decimal number, kept exact: `digits / 10^places`.
struct Decimal {
    digits: u128,
    places: u32,
}

impl Decimal {
    /// The number a text starts with, and what follows it; or why there is none.
    fn split(text: &str) -> Result<(Decimal, &str), &'static str> {
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(match text.starts_with('-') {
                true => "it cannot be negative",
                false => "a number is missing",
            });
        }
        // 20 digits hold any u64, and keep the arithmetic below far from overflow.
        if whole.len() + fraction.len() > 20 {
            return Err("it has too many digits");
        }
        let digits = format!("{whole}{fraction}").parse();
        let digits = digits.map_err(|_| "its number has more than one point")?;
        Ok((
            Decimal {
                digits,
                places: fraction.len() as u32,
            },
            rest,
        ))
    }

    /// This number of units of `scale`, or `None` when that is no whole number.
    fn times(&self, scale: u128) -> Option<u128> {
        let product = self.digits.checked_mul(scale)?;
        let divisor = 10u128.pow(self.places);
        product.is_multiple_of(divisor).then_some(product / divisor)
    }
}

impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nanos = self.0.as_nanos();
        if nanos >= 60 * SECOND && nanos.is_multiple_of(SECOND) {
            for (unit, scale) in &TIMES[..4] {
                if nanos >= *scale {
                    write!(f, "{}{unit}", nanos / scale)?;
                    nanos %= scale;
                }
            }
            return Ok(());
        }
        let unit = TIMES[3..7].iter().find(|(_, scale)| nanos >= *scale);
        let (unit, scale) = unit.unwrap_or(&("s", SECOND));
        write!(f, "{}", nanos / scale)?;
        if !nanos.is_multiple_of(*scale) {
            let width = scale.ilog10() as usize;
            let fraction = format!("{:0width$}", nanos % scale);
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str(unit)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = u128::from(self.0);
        let is_whole = |unit: &&Unit| bytes > 0 && bytes.is_multiple_of(unit.1);
        let (unit, scale) = SIZES[..3].iter().find(is_whole).unwrap_or(&("", 1));
        write!(f, "{}{unit}", bytes / scale)
    }
}

as_text!(Timespan);
as_text!(Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_type_them() {
        for (text, nanos) in [
            ("0", 0),
            ("2", 2_000_000_000),
            ("0.5", 500_000_000),
            (".5s", 500_000_000),
            ("200ms", 200_000_000),
            ("50us", 50_000),
            ("50µs", 50_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("7ns", 7),
        ] {
            assert_eq!(
                text.parse(),
                Ok(Timespan(Duration::from_nanos(nanos))),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_a_remedy() {
        for text in [
            "",
            "s",
            "1x",
            "1m30",
            "-1",
            "+1s",
            "1 s",
            "1..5s",
            "0.5ns",
            "99999999999d",
            "1e3",
            "nan",
            "١s",
        ] {
            let error = text.parse::<Timespan>().unwrap_err();
            assert!(error.contains("200ms"), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn durations_are_shown_as_they_are_read() {
        for text in [
            "0s",
            "7ns",
            "50us",
            "1.5ms",
            "200ms",
            "10s",
            "1.000000001s",
            "1m30s",
            "1h",
            "1d1s",
            "59.5s",
        ] {
            assert_eq!(text.parse::<Timespan>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("0", 0, "0"),
            ("1500", 1500, "1500"),
            ("64k", 65_536, "64KiB"),
            ("1.5K", 1_536, "1536"),
            ("10MB", 10_000_000, "10000000"),
            ("1GiB", 1 << 30, "1GiB"),
            ("18446744073709551615", u64::MAX, "18446744073709551615"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_a_remedy() {
        for text in [
            "",
            "k",
            "-1",
            "1.5",
            "0.3k",
            "1x",
            "18446744073709551616",
            "99999999999999999999G",
        ] {
            let error = text.parse::<Size>().unwrap_err();
            assert!(error.contains("64k"), "{text:?} gave {error:?}");
        }
        let minutes = "64m".parse::<Size>().unwrap_err();
        assert!(minutes.contains("M is"), "{minutes:?}");
    }
}
