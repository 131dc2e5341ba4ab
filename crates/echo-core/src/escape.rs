//! Untrusted bytes as text that is safe to print.

use std::fmt;

/// Shows bytes as text in which no byte can act on a terminal or forge a line of a log.
///
/// Printable UTF-8 stays as it is. Control and other unprintable characters become `\n`, `\t`,
/// `\u{1b}` and the like, bytes that are not UTF-8 become `\xff`, and `"` and `\` get a backslash,
/// so that the text can stand between quotes.
///
/// ```
/// use echo_core::escape::Escaped;
///
/// assert_eq!(Escaped("¡Hola!".as_bytes()).to_string(), "¡Hola!");
/// assert_eq!(Escaped(b"\x1b[2J\xff").to_string(), r"\u{1b}[2J\xff");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            // `escape_debug` escapes single quotes too, which are safe and common in text.
            for (i, part) in chunk.valid().split('\'').enumerate() {
                let quote = if i == 0 { "" } else { "'" };
                write!(f, "{quote}{}", part.escape_debug())?;
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Text as [`Escaped`], but that it does not stand between quotes: those and backslashes stay.
pub fn printable(text: &str) -> String {
    let plain = |char| matches!(char, '\'' | '"' | '\\');
    text.split_inclusive(plain)
        .map(|part| {
            let quote = part.ends_with(plain);
            let (words, last) = part.split_at(part.len() - usize::from(quote));
            format!("{}{last}", words.escape_debug())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escape(bytes: &[u8]) -> String {
        Escaped(bytes).to_string()
    }

    #[test]
    fn text_stays_as_it_is() {
        for text in [
            "¡Hola!",
            "日本語",
            "it's",
            "e\u{301}te\u{301}",
            "☂ ❤\u{fe0f}",
            "नमस्ते",
        ] {
            assert_eq!(escape(text.as_bytes()), text);
        }
    }

    #[test]
    fn nothing_that_acts_on_a_terminal_passes() {
        assert_eq!(escape(b"\x1b]0;title\x07"), r"\u{1b}]0;title\u{7}");
        assert_eq!(escape(b"a\r\n\t\0"), r"a\r\n\t\0");
        assert_eq!(escape("\u{9b}2J".as_bytes()), r"\u{9b}2J");
        assert_eq!(escape("\u{202e}abc".as_bytes()), r"\u{202e}abc");
        assert_eq!(escape(b"say \"\\\""), r#"say \"\\\""#);
    }

    #[test]
    fn every_byte_alone_is_printable() {
        for byte in 0..=255u8 {
            let text = escape(&[byte]);
            assert!(
                text.chars().all(|c| !c.is_control()),
                "{byte:#x} gave {text:?}"
            );
        }
        assert_eq!(escape(b"\xc3("), r"\xc3(");
    }
}
