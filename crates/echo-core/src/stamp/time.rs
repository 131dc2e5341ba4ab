//! Moments as packets carry them, and by how much they may be wrong.

use std::time::Duration;

/// Seconds from NTP's epoch, 1900, to Unix's, 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// The error of a clock that nothing sets, as the kernel has it (adjtimex(2)).
const UNSET: Duration = Duration::from_secs(16);

/// How the 64 bits of a stamp are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Seconds since 1900 and their fraction in 32 bits each (RFC 5905).
    #[default]
    Ntp,
    /// Seconds since 1970 and nanoseconds in 32 bits each (IEEE 1588, truncated).
    Ptp,
}

/// A moment of the sender's wall clock, as it is on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The moment that is `since_epoch` after the start of 1970. A nanosecond survives; the seconds
    /// wrap as their 32 bits do: in 2036, or 2106.
    pub fn new(since_epoch: Duration, format: Format) -> Self {
        let nanos = u64::from(since_epoch.subsec_nanos());
        let (seconds, part) = match format {
            // Rounded up, so that rounding down gives the same nanosecond again.
            Format::Ntp => (
                since_epoch.as_secs().wrapping_add(NTP_TO_UNIX),
                (nanos << 32).div_ceil(1_000_000_000),
            ),
            Format::Ptp => (since_epoch.as_secs(), nanos),
        };
        Stamp(seconds << 32 | part)
    }

    /// How long after the start of 1970 it is, between 1970 and 2106. An NTP second whose highest bit is
    /// not set is one after 2036 (RFC 4330, section 3).
    pub fn since_epoch(self, format: Format) -> Duration {
        let (seconds, part) = (self.0 >> 32, self.0 & u64::from(u32::MAX));
        match format {
            Format::Ntp => {
                let era = if seconds < 1 << 31 { 1 << 32 } else { 0 };
                let seconds = (seconds + era).saturating_sub(NTP_TO_UNIX);
                Duration::new(seconds, ((part * 1_000_000_000) >> 32) as u32)
            }
            Format::Ptp => Duration::new(seconds, part as u32),
        }
    }
}

/// What a clock says of itself (RFC 4656, section 4.1.2, and RFC 8186), as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorEstimate(pub u16);

impl ErrorEstimate {
    const SYNCHRONISED: u16 = 1 << 15;
    const PTP: u16 = 1 << 14;

    /// That a clock is off by `error` at most, rounded up, or is one that nothing sets. More than 2^32
    /// seconds are not told.
    pub fn new(error: Option<Duration>, format: Format) -> Self {
        let synchronised = error.map_or(0, |_| Self::SYNCHRONISED);
        let error = error.unwrap_or(UNSET).min(Duration::from_secs(1 << 32));
        let mut multiplier = (error.as_nanos() << 32).div_ceil(1_000_000_000);
        let mut scale = 0;
        while multiplier > 255 {
            multiplier = multiplier.div_ceil(2);
            scale += 1;
        }
        let format = match format {
            Format::Ntp => 0,
            Format::Ptp => Self::PTP,
        };
        // A multiplier of 0 is not allowed.
        ErrorEstimate(synchronised | format | scale << 8 | multiplier.max(1) as u16)
    }

    /// How the stamp beside it is to be read.
    pub fn format(self) -> Format {
        match self.0 & Self::PTP {
            0 => Format::Ntp,
            _ => Format::Ptp,
        }
    }

    /// By how much the clock is off at most; `None` where it follows no source outside, and where it
    /// claims to be right, which no clock is.
    pub fn error(self) -> Option<Duration> {
        let (scale, multiplier) = (self.0 >> 8 & 0x3f, u128::from(self.0 & 0xff));
        let nanos = ((multiplier << scale) * 1_000_000_000) >> 32;
        let is_known = self.0 & Self::SYNCHRONISED != 0 && multiplier > 0;
        is_known.then(|| Duration::from_nanos_u128(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_the_standards_have_it() {
        // 2021-05-01 00:00:00.25 UTC.
        let moment = Duration::new(1_619_827_200, 250_000_000);
        for (format, bits) in [
            (Format::Ntp, 0xe437_1880_4000_0000),
            (Format::Ptp, 0x608c_9a00_0ee6_b280),
        ] {
            assert_eq!(Stamp::new(moment, format), Stamp(bits), "{format:?}");
            assert_eq!(Stamp(bits).since_epoch(format), moment, "{format:?}");
        }
    }

    #[test]
    fn a_stamp_after_2036_is_not_taken_for_one_of_1900() {
        let first = Duration::from_secs((1 << 32) - NTP_TO_UNIX);
        assert_eq!(Stamp::new(first, Format::Ntp), Stamp(0));
        assert_eq!(Stamp(0).since_epoch(Format::Ntp), first);
        // Nothing is before 1970.
        assert_eq!(Stamp(1 << 63).since_epoch(Format::Ntp), Duration::ZERO);
    }

    #[test]
    fn an_estimate_is_never_less_than_the_error() {
        for (error, bits) in [
            (Some(Duration::ZERO), 0x8001),
            (Some(Duration::from_nanos(1)), 0x8005),
            // 2^-32 s x 2^26 x 64 = 1 s, which is 255 at most: 2^25 x 128.
            (Some(Duration::from_secs(1)), 0x9980),
            // The system gives up at 16 s: 2^29 x 128.
            (None, 0x1d80),
        ] {
            let estimate = ErrorEstimate::new(error, Format::Ntp);
            assert_eq!(estimate, ErrorEstimate(bits), "{error:?}");
            assert!(estimate.error() >= error, "{error:?}");
            assert_eq!(estimate.error().is_some(), error.is_some());
        }
        let ptp = ErrorEstimate::new(Some(Duration::MAX), Format::Ptp);
        assert!(ptp.format() == Format::Ptp);
        assert!(ptp.error().unwrap() >= Duration::from_secs(1 << 32));
        assert_eq!(ErrorEstimate(0xff00).error(), None);
    }
}
