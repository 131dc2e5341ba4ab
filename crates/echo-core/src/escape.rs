//! Untrusted bytes as text that is safe to print.

use std::fmt;

use crate::path::{prints, spelled};

/// Shows bytes as text in which no byte can act on a terminal or forge a line of a log.
///
/// Printable UTF-8 stays as it is. Ends of lines and tabs become `\n` and `\t`, the bytes of other
/// characters that do not print, and those that are not UTF-8, become `\x1b` or `\xff` as in Python,
/// and `"` and `\` get a backslash, so that the text can stand between quotes.
///
/// ```
/// use echo_core::escape::Escaped;
///
/// assert_eq!(Escaped("¡Hola!".as_bytes()).to_string(), "¡Hola!");
/// assert_eq!(Escaped(b"\x1b[2J\xff").to_string(), r"\x1b[2J\xff");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            // Single quotes are safe, and common in text.
            f.write_str(&escape(chunk.valid(), &['\'']))?;
            f.write_str(&chunk.invalid().iter().map(spelled).collect::<String>())?;
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
    let mut shown = String::new();
    for char in text.chars() {
        match char {
            _ if plain.contains(&char) || prints(char) => shown.push(char),
            '\n' | '\r' | '\t' | '\'' | '"' | '\\' => shown.extend(char.escape_debug()),
            _ => shown.extend(char.encode_utf8(&mut [0; 4]).as_bytes().iter().map(spelled)),
        }
    }
    shown
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
        assert_eq!(shown(b"\x1b]0;title\x07"), r"\x1b]0;title\x07");
        assert_eq!(shown(b"a\r\n\t\0"), r"a\r\n\t\x00");
        assert_eq!(shown("\u{9b}2J".as_bytes()), r"\xc2\x9b2J");
        assert_eq!(shown("\u{202e}abc".as_bytes()), r"\xe2\x80\xaeabc");
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
