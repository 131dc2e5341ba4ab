//! Figures as text and page show them: with as many digits as have a meaning.

use std::fmt;
use std::time::Duration;

/// A latency as a number that an axis takes.
pub fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// A latency to three digits.
pub fn time(duration: Duration) -> String {
    short_time(nanos(duration))
}

/// Nanoseconds to three digits.
pub fn short_time(ns: f64) -> String {
    time_to(ns, 3)
}

/// Nanoseconds to so many digits.
pub fn time_to(ns: f64, digits: i32) -> String {
    let (text, unit) = scaled(
        ns,
        &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")],
        digits,
    );
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text} {unit}")
}

/// Bytes a second to three digits.
pub fn bytes_per_s(bytes: f64) -> String {
    let units = [(1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1.0, "B/s")];
    let (text, unit) = scaled(bytes, &units, 3);
    format!("{text} {unit}")
}

/// A value in the largest of the units that it has one of, the last at least.
fn scaled(value: f64, units: &[(f64, &'static str)], digits: i32) -> (String, &'static str) {
    // What rounds up to the next unit is shown in that.
    let rounds_up = 1.0 - 0.5 * 10f64.powi(-digits);
    let mut larger = units.iter().copied();
    let fits = |(scale, _): &(f64, _)| value >= scale * rounds_up;
    let (scale, unit) = larger.find(fits).unwrap_or(units[units.len() - 1]);
    (to_digits(value / scale, digits), unit)
}

/// A value of at least 1 with so many digits, where it has fewer before the point.
fn to_digits(value: f64, digits: i32) -> String {
    let before = value.abs().max(1.0).log10().floor() as i32 + 1;
    let decimals = (digits - before).max(0) as usize;
    format!("{value:.decimals$}")
}

/// A count with its thousands set apart.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many there are, with the word for one or for several.
pub fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// A rate to three digits at least.
pub fn rate(per_s: f64) -> String {
    rate_to(per_s, 3)
}

/// A rate to so many digits at least.
pub fn rate_to(per_s: f64, digits: i32) -> String {
    match per_s.round() {
        _ if per_s == 0.0 => "0".to_owned(),
        whole if whole >= 10f64.powi(digits - 1) => thousands(whole as u64),
        _ => to_digits(per_s, digits),
    }
}

/// A quotient to three digits at least, and to a thousandth.
pub fn quotient(value: f64) -> String {
    let decimals = (2.0 - value.log10().floor()).clamp(3.0, 12.0) as usize;
    format!("{value:.decimals$}")
}

/// A round value as an axis shows it.
pub fn round(value: f64) -> String {
    match value >= 1000.0 {
        true => thousands(value as u64),
        false => significant(value).to_string(),
    }
}

/// A value to six digits: no measurement here has more.
pub fn significant(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// A share of 0 to 1 as a percentage. Only nothing is shown as 0 %, and only all as 100 %.
pub struct Share(pub f64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        let shown = match percent {
            p if p <= 0.0 => "0".to_owned(),
            p if p >= 100.0 => "100".to_owned(),
            p if p < 0.01 => "<0.01".to_owned(),
            p if p > 99.99 => ">99.99".to_owned(),
            p if (1.0..=99.0).contains(&p) => format!("{p:.1}"),
            p => format!("{p:.2}"),
        };
        write!(f, "{shown}%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_has_three_digits_and_its_unit() {
        for (ns, shown) in [
            (7, "7 ns"),
            (1_000, "1 µs"),
            (12_340, "12.3 µs"),
            (999_000, "999 µs"),
            (999_999, "1 ms"),
            (1_500_000, "1.5 ms"),
            (100_000_000, "100 ms"),
            (1_234_000_000, "1.23 s"),
        ] {
            assert_eq!(time(Duration::from_nanos(ns)), shown);
        }
    }

    #[test]
    fn a_quotient_is_as_exact_as_the_figures_beside_it() {
        for (value, shown) in [
            (1.0, "1.000"),
            (123.4567, "123.457"),
            (0.1, "0.100"),
            (0.000_617_4, "0.000617"),
        ] {
            assert_eq!(quotient(value), shown);
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        for (count, shown) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(count), shown);
        }
    }

    #[test]
    fn a_little_is_never_shown_as_nothing() {
        for (share, shown) in [
            (0.0, "0%"),
            (1e-9, "<0.01%"),
            (0.0012, "0.12%"),
            (0.5, "50.0%"),
            (0.999, "99.90%"),
            (1.0 - 1e-9, ">99.99%"),
            (1.0, "100%"),
        ] {
            assert_eq!(Share(share).to_string(), shown);
        }
    }
}
