//! A moment at which many machines begin together.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use echo_core::as_text;
use jiff::Timestamp;

/// A moment from 1970 on: `2026-01-31T23:59:59Z` (RFC 3339), or seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Timestamp);

impl Moment {
    /// How long it is until then by the system's clock, which may be set meanwhile; `None` where
    /// it is over.
    pub fn left(self) -> Option<Duration> {
        Timestamp::now().duration_until(self.0).try_into().ok()
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment = seconds(text).or_else(|| text.parse().ok());
        let moment = moment.filter(|moment| *moment >= Timestamp::UNIX_EPOCH);
        moment.map(Moment).ok_or_else(|| {
            format!(
                "{text:?} is no moment from 1970 on; write 2026-01-31T23:59:59Z, or seconds since \
                 1970 as `date +%s` does"
            )
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

as_text!(Moment);

/// Whole seconds since 1970, and perhaps a fraction.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    // Numbers may have signs where none belongs.
    let is_whole = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let nanos = format!("{fraction:0<9}");
    let moment = Timestamp::new(whole.parse().ok()?, nanos.get(..9)?.parse().ok()?);
    moment
        .ok()
        .filter(|_| is_whole(whole) && is_whole(fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_seconds_or_a_date() {
        for (text, shown) in [
            ("0", "1970-01-01T00:00:00Z"),
            ("1764060000", "2025-11-25T08:40:00Z"),
            ("1764060000.250", "2025-11-25T08:40:00.25Z"),
            ("1764060000.0000000019", "2025-11-25T08:40:00.000000001Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("2000-02-29T00:00:00z", "2000-02-29T00:00:00Z"),
            ("2024-12-31T23:59:59.5Z", "2024-12-31T23:59:59.5Z"),
            ("2100-03-01 00:00:00+00:00", "2100-03-01T00:00:00Z"),
            ("2024-03-01T01:00:00+01:00", "2024-03-01T00:00:00Z"),
            ("2024-02-29T18:30:00-05:30", "2024-03-01T00:00:00Z"),
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
            "2024-01-01T00:00:00+26:00",
            "2024-01-01T+1:00:00Z",
            "1969-12-31T23:59:59Z",
            "2024-01-01Té0:00:00Z",
        ] {
            let error = text.parse::<Moment>().unwrap_err();
            assert!(error.contains("date +%s"), "{text}: {error}");
        }
    }
}
