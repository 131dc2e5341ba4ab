//! A part of a specification that knows where it stands, so that an error can point at it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use echo_core::units::{Size, Timespan};

use super::Share;

/// Long enough for any test, short enough that no clock overflows.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A part of a specification, without the blanks around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    /// Where it starts in the whole, in bytes.
    pub(super) at: usize,
    pub(super) text: &'a str,
}

/// What is wrong, and where, in bytes from the start of the specification.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) at: usize,
    pub(super) cause: String,
}

impl<'a> Text<'a> {
    /// The part of the whole that starts at `at`.
    pub(super) fn new(at: usize, text: &'a str) -> Self {
        Text {
            at: at + text.len() - text.trim_start().len(),
            text: text.trim(),
        }
    }

    /// The parts before and after the first `separator`.
    pub(super) fn split(self, separator: &str) -> Option<(Text<'a>, Text<'a>)> {
        let at = self.text.find(separator)?;
        let after = at + separator.len();
        Some((
            Text::new(self.at, &self.text[..at]),
            Text::new(self.at + after, &self.text[after..]),
        ))
    }

    /// The part before `suffix`, if it ends with it.
    pub(super) fn before(self, suffix: &str) -> Option<Text<'a>> {
        let text = self.text.strip_suffix(suffix)?;
        Some(Text::new(self.at, text))
    }

    /// An error that points at the start of this part.
    pub(super) fn bad(self, cause: impl fmt::Display) -> Bad {
        Bad {
            at: self.at,
            cause: cause.to_string(),
        }
    }

    /// This part as a value. An error points behind the longest start of it that is one.
    pub(super) fn value<T: FromStr>(self, cause: impl FnOnce(T::Err) -> String) -> Result<T, Bad> {
        self.text.parse().map_err(|error| {
            let ends = self.text.char_indices().map(|(end, _)| end);
            let good = ends
                .rev()
                .find(|&end| self.text[..end].parse::<T>().is_ok());
            Bad {
                at: self.at + good.unwrap_or(0),
                cause: cause(error),
            }
        })
    }

    /// A number of bytes from `least` to `most`.
    pub(super) fn size(self, least: u64, most: u64) -> Result<u64, Bad> {
        let Size(bytes) = self.value(|error: <Size as FromStr>::Err| error.to_string())?;
        if bytes < least {
            return Err(self.bad(format_args!("write {least} byte at least")));
        }
        if bytes > most {
            return Err(self.bad(format_args!("write {} at most", Size(most))));
        }
        Ok(bytes)
    }

    /// A length of time.
    pub(super) fn time(self) -> Result<Duration, Bad> {
        let Timespan(time) = self.value(|error: <Timespan as FromStr>::Err| error.to_string())?;
        if time > LONGEST {
            return Err(self.bad("write a day at most"));
        }
        Ok(time)
    }

    /// The number of a connection or of a message.
    pub(super) fn number(self) -> Result<u64, Bad> {
        let form =
            "write a number such as 3, some such as 1..3, ..3 or 3.., or a share such as 20%";
        match self.value(|_: std::num::ParseIntError| form.to_owned())? {
            0 => Err(self.bad("they are counted from 1")),
            number => Ok(number),
        }
    }

    /// A text in which a backslash begins what cannot be typed.
    pub(super) fn unescaped(self) -> Result<Vec<u8>, Bad> {
        let mut bytes = Vec::new();
        let mut rest = self.text;
        while let Some(at) = rest.find('\\') {
            bytes.extend_from_slice(&rest.as_bytes()[..at]);
            let code = &rest[at + 1..];
            let (byte, len) = match code.as_bytes() {
                [b'n', ..] => (b'\n', 1),
                [b'r', ..] => (b'\r', 1),
                [b't', ..] => (b'\t', 1),
                [plain @ (b'\\' | b','), ..] => (*plain, 1),
                [b'x', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                    (u8::from_str_radix(&code[1..3], 16).unwrap_or(0), 3)
                }
                _ => {
                    let at = self.at + self.text.len() - rest.len() + at;
                    let cause = "write \\n, \\r, \\t, \\\\, \\, or \\x and two digits, as in \\x3b";
                    let cause = cause.to_owned();
                    return Err(Bad { at, cause });
                }
            };
            bytes.push(byte);
            rest = &code[len..];
        }
        bytes.extend_from_slice(rest.as_bytes());
        Ok(bytes)
    }

    /// A share, if it ends with `%`.
    pub(super) fn share(self) -> Option<Result<Share, Bad>> {
        let number = self.before("%")?;
        let share = number
            .value(|_: ()| "write a share from 0% to 100%, with four decimals at most".to_owned());
        Some(share.map(|Percent(share)| share))
    }
}

/// A share as the number before its `%`.
struct Percent(Share);

impl FromStr for Percent {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 4 || whole.len() > 3 {
            return Err(());
        }
        let millionths = format!("{whole}{decimals:0<4}").parse().map_err(|_| ())?;
        Share::from_millionths(millionths).map(Percent).ok_or(())
    }
}
