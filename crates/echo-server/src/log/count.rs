//! A number of things in words.

use std::fmt;

/// A number of things: "1 byte", "2 bytes".
pub(super) struct Count(pub(super) u64, pub(super) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count(count, noun) = self;
        write!(f, "{count} {noun}{}", if *count == 1 { "" } else { "s" })
    }
}

pub(super) fn bytes(count: u64) -> Count {
    Count(count, "byte")
}
