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
            f.write_str(&escape(chunk.valid(), &['\'']))?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// The start of some bytes, as a literal of Python or C has it between its quotes.
///
/// ```
/// use echo_core::escape::excerpt;
///
/// assert_eq!(excerpt(b"Hello world!\n"), r"Hello world!\n");
/// assert_eq!(excerpt(b"Hello world! This is an echo server."), "Hello world! This is an ...");
/// ```
pub fn excerpt(bytes: &[u8]) -> String {
    // What fits a line of 80 columns, beside a call and its addresses.
    const BYTES: usize = 24;
    const COLUMNS: usize = 32;
    let mut text = String::new();
    for (i, byte) in bytes.iter().enumerate() {
        let char = match byte {
            b'\'' => "'".to_owned(),
            _ => byte.escape_ascii().to_string(),
        };
        if i == BYTES || text.len() + char.len() > COLUMNS {
            text.push_str("...");
            break;
        }
        text.push_str(&char);
    }
    text
}

/// Text as [`Escaped`], but that it does not stand between quotes: those and backslashes stay.
pub fn printable(text: &str) -> String {
    escape(text, &['\'', '"', '\\'])
}

/// Escapes all but what is `plain`.
fn escape(text: &str, plain: &[char]) -> String {
    let part = |part: &str| match part.strip_suffix(plain) {
        Some(words) => format!("{}{}", words.escape_debug(), &part[words.len()..]),
        None => part.escape_debug().to_string(),
    };
    text.split_inclusive(plain).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
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
            assert_eq!(shown(text.as_bytes()), text);
        }
    }

    #[test]
    fn nothing_that_acts_on_a_terminal_passes() {
        assert_eq!(shown(b"\x1b]0;title\x07"), r"\u{1b}]0;title\u{7}");
        assert_eq!(shown(b"a\r\n\t\0"), r"a\r\n\t\0");
        assert_eq!(shown("\u{9b}2J".as_bytes()), r"\u{9b}2J");
        assert_eq!(shown("\u{202e}abc".as_bytes()), r"\u{202e}abc");
        assert_eq!(shown(b"say \"\\\""), r#"say \"\\\""#);
    }

    #[test]
    fn every_byte_alone_is_printable() {
        for byte in 0..=255u8 {
            let text = shown(&[byte]);
            assert!(
                text.chars().all(|c| !c.is_control()),
                "{byte:#x} gave {text:?}"
            );
        }
        assert_eq!(shown(b"\xc3("), r"\xc3(");
    }
}
