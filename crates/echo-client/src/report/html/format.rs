//! Figures as a page shows them.

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
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    let (scale, unit) = units
        .into_iter()
        .find(|(scale, _)| ns >= *scale)
        .unwrap_or((1.0, "ns"));
    let value = ns / scale;
    let decimals = match value {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text} {unit}")
}

/// A figure whose unit stands back.
pub fn unit(text: &str) -> String {
    match text.split_once(' ') {
        Some((value, unit)) => format!("{value} <small>{unit}</small>"),
        None => text.to_owned(),
    }
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
            (1_500_000, "1.5 ms"),
            (100_000_000, "100 ms"),
            (1_234_000_000, "1.23 s"),
        ] {
            assert_eq!(time(Duration::from_nanos(ns)), shown);
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
}
