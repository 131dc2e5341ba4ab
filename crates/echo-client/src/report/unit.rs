//! In what a figure is counted, and how people type and read a value of it.

use std::time::Duration;

use echo_core::units::Timespan;

use super::format::{self, Share};

/// In what a figure is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Time,
    /// Hundredths of a whole.
    Percent,
    /// Times a second.
    Rate,
    /// Times.
    Count,
    /// Percent more than another run has.
    Change,
}

impl Unit {
    /// Its name, for a program.
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Time => "ns",
            Unit::Percent | Unit::Change => "percent",
            Unit::Rate => "per_s",
            Unit::Count => "count",
        }
    }

    /// A value as it is typed, to its last digit.
    pub fn typed(self, value: f64) -> String {
        match self {
            Unit::Time => Timespan(Duration::from_nanos(value as u64)).to_string(),
            Unit::Percent => format!("{value}%"),
            Unit::Change => format!("{value:+}%"),
            Unit::Rate | Unit::Count => value.to_string(),
        }
    }

    /// A value as people read it, with so many `digits` where there are more.
    pub fn shown(self, value: f64, digits: i32) -> String {
        match self {
            Unit::Time => format::time_to(value, digits),
            Unit::Percent => Share(value / 100.0).to_string(),
            Unit::Change => format!("{value:+.3}%"),
            Unit::Rate => format!("{}/s", format::rate_to(value, digits)),
            Unit::Count => format::thousands(value as u64),
        }
    }

    /// The limit that has been typed behind `figure`, which ends with what compares them.
    ///
    /// # Errors
    /// It is none, or does not say in what it is counted; the error says how to write one.
    pub fn limit(self, figure: &str, text: &str) -> Result<f64, String> {
        let unit = match self {
            // Bare seconds are what nobody means.
            Unit::Time => "ms",
            Unit::Percent | Unit::Change => "%",
            Unit::Rate | Unit::Count => "",
        };
        let is_signed = text.starts_with(['+', '-']);
        let is_bare = match self {
            Unit::Time => text.ends_with(|c: char| c.is_ascii_digit() || c == '.'),
            _ => text.parse().is_ok_and(f64::is_finite) && !unit.is_empty(),
        };
        if is_bare && is_signed == (self == Unit::Change) {
            return Err(format!("{text:?} has no unit; write {figure}{text}{unit}"));
        }
        let number = match self {
            Unit::Time => {
                let span: Result<Timespan, _> = text.parse();
                return span.map(|s| format::nanos(s.0)).map_err(|e| e.to_string());
            }
            Unit::Percent | Unit::Change => text.strip_suffix('%'),
            Unit::Rate | Unit::Count => Some(text),
        };
        let example = self.example();
        number
            .and_then(|number| number.parse().ok())
            .filter(|value: &f64| value.is_finite() && (*value >= 0.0 || self == Unit::Change))
            .ok_or_else(|| format!("{text:?} is no limit for it; write {figure}{example}"))
    }

    /// A limit as it is written behind a figure and what compares them.
    pub const fn example(self) -> &'static str {
        match self {
            Unit::Time => "2ms",
            Unit::Percent => "0.1%, with its percent sign",
            Unit::Change => "+10%",
            Unit::Rate => "1000",
            Unit::Count => "0",
        }
    }
}
