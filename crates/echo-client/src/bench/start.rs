//! A moment at which many machines begin together.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use echo_core::as_text;
use toml::value::{Date, Datetime, Offset};

/// A moment, in nanoseconds since 1970: `2026-01-31T23:59:59Z` (RFC 3339), or seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

as_text!(Moment);

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

/// TOML's dates are those of RFC 3339. A leap second is the first of the next minute.
fn rfc3339(text: &str) -> Option<u64> {
    let Datetime { date, time, offset } = text.parse().ok()?;
    let (date, time) = (date?, time?);
    let east = match offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let hours = days(date) * 24 + i64::from(time.hour);
    let minutes = u64::try_from(hours * 60 + i64::from(time.minute) - east).ok()?;
    let nanos = u64::from(time.second?) * SECOND + u64::from(time.nanosecond.unwrap_or(0));
    minutes.checked_mul(60 * SECOND)?.checked_add(nanos)
}

/// Days since 1970, counted in years that start in March, so that the leap day comes last (Hinnant,
/// "chrono-compatible low-level date algorithms").
fn days(date: Date) -> i64 {
    let [year, month, day] = [date.year, date.month.into(), date.day.into()].map(i64::from);
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
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
