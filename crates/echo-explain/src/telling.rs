//! A step in words, and the lines of code beside them.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use echo_core::Zoned;
use echo_core::address::End;
use echo_core::escape::Escaped;
use serde::Deserialize;

use super::text::{Values, fill, wrap};

use super::Step;
use crate::netstat;

/// A step in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// Its number, from 1.
    pub number: usize,
    /// The line of Python that it corresponds to.
    pub python: String,
    /// The call, with its real values.
    pub system: String,
    /// What it means.
    pub text: String,
    /// A heading, and the socket's row under it.
    pub listed: Option<(String, String)>,
}

/// The columns that a text takes at most, but for a long path.
const WIDTH: usize = 80;

/// A text as lines.
pub(super) fn paragraph(text: &str) -> String {
    wrap(text, WIDTH).join("\n") + "\n"
}

impl Telling {
    const INDENT: &'static str = "    ";

    /// As a paragraph of text, with colours or without.
    pub fn paragraph(&self, colour: bool) -> String {
        self.lines(WIDTH, colour).join("\n") + "\n"
    }

    /// As lines of at most `width` columns, as far as the words allow.
    pub fn lines(&self, width: usize, colour: bool) -> Vec<String> {
        let paint = |code: &str, text: &str| match colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        };
        let indent = Self::INDENT;
        let mut lines = vec![
            format!("{:>2}  {}", self.number, paint("1;36", &self.python)),
            format!("{indent}{}", paint("2", &self.system)),
        ];
        let text = wrap(&self.text, width - indent.len());
        lines.extend(text.iter().map(|line| format!("{indent}{line}")));
        if let Some((heading, row)) = &self.listed {
            lines.push(format!("{indent}{heading}"));
            if !row.is_empty() {
                // Less indented than the rest, to fit beside whatever leads the line.
                lines.push(format!("  {}", paint("2", netstat::HEADER)));
                lines.push(format!("  {}", paint("32", row.trim_end())));
            }
        }
        lines
    }
}

/// How calls are written, in the data file that both programs and languages share.
#[derive(Debug, Deserialize)]
pub(super) struct Forms {
    python: BTreeMap<String, String>,
    system: BTreeMap<String, String>,
    raises: BTreeMap<String, String>,
}

impl Forms {
    pub(super) fn new() -> Self {
        toml::from_str(include_str!("calls.toml")).expect("a test reads it")
    }

    /// The line of Python, and the call about as strace shows it.
    pub(super) fn of(&self, step: &Step, values: &Values, is_datagram: bool) -> (String, String) {
        let call = values.get("call").map_or("", String::as_str);
        let form = |forms: &BTreeMap<String, String>| {
            let own = forms.get(&format!("{call}-udp")).filter(|_| is_datagram);
            own.or_else(|| forms.get(call))
                .map_or("", String::as_str)
                .to_owned()
        };
        let (mut python, mut system) = (form(&self.python), form(&self.system));
        if let Some(trouble) = &step.error {
            // What it would have returned is not there.
            let call = python.split("  # ").next().unwrap_or_default();
            let raises = self.raises.get(&trouble.kind);
            let raises = raises.map_or("OSError", String::as_str);
            python = format!("{call}  # raises {raises}");
            let call = system.rsplit_once(" = ").map_or("", |(call, _)| call);
            system = format!("{call} = -1");
        }
        (fill(&python, values), fill(&system, values))
    }
}

/// An address as Python writes it.
pub(super) fn tuple(end: &End) -> String {
    match end {
        End::Inet(address) => format!("(\"{}\", {})", Zoned(*address).ip(), address.port()),
        // As a literal of bytes, where it is no text; in the abstract namespace a zero comes first.
        End::Unix(path) => match path.to_str() {
            Some(text) => format!("\"{}\"", Escaped(text.as_bytes())),
            None => format!("b\"{}\"", path.as_os_str().as_bytes().escape_ascii()),
        },
    }
}
