//! A moment at which many machines begin together.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment, in nanoseconds since 1970: `2026-01-31T23:59:59Z` (RFC 3339), or seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Moment(u64);

impl Moment {
    /// As the system's clock has it.
    pub fn time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.0)
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        seconds(text)
            .or_else(|| rfc3339(text))
            .map(Moment)
            .ok_or_else(|| {
                format!(
                    "{text:?} is no moment from 1970 on; write 2026-01-31T23:59:59Z, or seconds \
                     since 1970 as `date +%s` does"
                )
            })
    }
}

/// As seconds since 1970, which every clock agrees on.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:09}", self.0 / SECOND, self.0 % SECOND);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

const SECOND: u64 = 1_000_000_000;

/// `seconds` and perhaps a fraction, in nanoseconds.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let nanos = format!("{:0<9}", digits(fraction)?);
    let nanos: u64 = nanos.get(..9)?.parse().ok()?;
    let whole: u64 = digits(whole)?.parse().ok()?;
    whole.checked_mul(SECOND)?.checked_add(nanos)
}

/// A text of nothing but digits: numbers may have signs where none belongs.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

fn rfc3339(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| digits(text.get(range)?)?.parse::<i64>().ok();
    let separators = [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")];
    let is_separated = |&(at, any): &(usize, &str)| {
        text.get(at..at + 1)
            .is_some_and(|found| any.contains(found))
    };
    if !separators.iter().all(is_separated) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute) = (number(11..13)?, number(14..16)?);
    let zone_at = 17 + text.get(17..)?.find(['Z', 'z', '+', '-'])?;
    let (second, zone) = text.get(17..)?.split_at(zone_at - 17);
    let east = match zone {
        "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let (hours, minutes) = (digits(hours)?, digits(minutes)?);
            let east = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            if zone.starts_with('-') { -east } else { east }
        }
    };
    // A leap second is the last of its minute.
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && east.abs() < 24 * 60
        && second.find('.').unwrap_or(second.len()) == 2
        && second < "61";
    if !in_range {
        return None;
    }
    let minutes = (days(year, month, day) * 24 + hour) * 60 + minute - east;
    let minutes = u64::try_from(minutes).ok()?;
    seconds(second)?.checked_add(minutes.checked_mul(60 * SECOND)?)
}

fn days_in(year: i64, month: i64) -> i64 {
    let (next_year, next) = if month == 12 {
        (year + 1, 1)
    } else {
        (year, month + 1)
    };
    days(next_year, next, 1) - days(year, month, 1)
}

/// Days since 1970, counted in years that start in March, so that the leap day comes last (Hinnant,
/// "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_seconds_or_a_date() {
        for (text, shown) in [
            ("0", "0"),
            ("1764060000", "1764060000"),
            ("1764060000.250", "1764060000.25"),
            ("1764060000.0000000019", "1764060000.000000001"),
            ("1970-01-01T00:00:00Z", "0"),
            ("2000-02-29T00:00:00z", "951782400"),
            ("2024-12-31T23:59:59.5Z", "1735689599.5"),
            ("2100-03-01 00:00:00+00:00", "4107542400"),
            ("2024-03-01T01:00:00+01:00", "1709251200"),
            ("2024-02-29T18:30:00-05:30", "1709251200"),
        ] {
            let moment: Moment = text.parse().unwrap();
            assert_eq!(moment.to_string(), shown, "{text}");
            assert_eq!(shown.parse(), Ok(moment));
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "soon",
            "-1",
            "+1",
            "1.",
            ".5",
            "1e9",
            "99999999999999999999",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:5Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00+1",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T+1:00:00Z",
            "1969-12-31T23:59:59Z",
            "2024-01-01Té0:00:00Z",
        ] {
            let error = text.parse::<Moment>().unwrap_err();
            assert!(error.contains("date +%s"), "{text}: {error}");
        }
    }
}
