//! Paths as text. The system takes any bytes for one; texts and terminals do not.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Deref;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::cause;
use crate::units::Size;

/// A path, any that the system takes; an empty one stands for none.
///
/// As text, a byte that cannot be shown is `\xff`: one that is not UTF-8, or that would act on a
/// terminal. A backslash that could be read as the start of such a byte is `\x5c`. A command line
/// needs no text: it is taken as it is.
///
/// ```
/// use echo_core::FilePath;
///
/// let path = FilePath::from_text(r"run/\xff\x1b.sock");
/// assert_eq!(path.as_os_str().as_encoded_bytes(), b"run/\xff\x1b.sock");
/// assert_eq!(path.to_string(), r"run/\xff\x1b.sock");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct FilePath(pub PathBuf);

impl FilePath {
    /// The path that is shown as `text`.
    pub fn from_text(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let [first, after @ ..] = rest {
            let escaped = escape(rest);
            bytes.push(escaped.unwrap_or(*first));
            rest = if escaped.is_some() { &rest[4..] } else { after };
        }
        FilePath(OsString::from_vec(bytes).into())
    }

    /// Whether it names nothing.
    pub fn is_none(&self) -> bool {
        self.as_os_str().is_empty()
    }
}

/// The byte that is spelled out at the start of `text`, such as `\xff`.
fn escape(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(br"\x")?.first_chunk::<2>()?;
    let digit = |at: usize| char::from(digits[at]).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// As many links as the system itself follows to a file.
const LINKS: usize = 40;

/// The directory that a file is in.
pub fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Where a file of this name is, or will be: it may be a link to one that is not there yet.
pub fn linked(name: &Path) -> PathBuf {
    let mut path = name.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(link) => path = directory(&path).join(link),
            Err(_) => break,
        }
    }
    path
}

/// The bytes of a regular file, `max` at most: opening anything else must not wait, and reading it
/// could never end.
///
/// # Errors
/// Why they cannot be had.
pub fn contents(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let cause = |error: io::Error| cause(&error);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let file = File::from(opened.map_err(|error| cause(error.into()))?);
    if !file.metadata().map_err(cause)?.is_file() {
        return Err("it is no regular file; give one that is".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(cause)?;
    match bytes.len() as u64 > max {
        true => Err(format!(
            "it is larger than {}; give a smaller one",
            Size(max)
        )),
        false => Ok(bytes),
    }
}

/// A Unix socket's path from what is written: `@name` is Linux's abstract namespace, in which the
/// system has names begin with a zero byte; a file of that name is `./@name`.
pub fn of_socket(path: FilePath) -> PathBuf {
    let mut bytes = path.0.into_os_string().into_vec();
    match bytes.first_mut() {
        Some(first) if *first == b'@' => *first = 0,
        _ => {}
    }
    OsString::from_vec(bytes).into()
}

/// A path as text; see [`FilePath`]. A name of the abstract namespace begins with `@`.
pub fn shown(path: &(impl AsRef<OsStr> + ?Sized)) -> impl fmt::Display {
    let mut text = String::new();
    let mut rest = path.as_ref().as_bytes();
    if let Some(name) = rest.strip_prefix(b"\0") {
        (text, rest) = ("@".to_owned(), name);
    }
    for chunk in rest.utf8_chunks() {
        for char in chunk.valid().chars() {
            let plain = char != '\\' && (matches!(char, '\'' | '"') || prints(char));
            if plain || (char == '\\' && escape(rest).is_none()) {
                text.push(char);
            } else {
                text.extend(rest[..char.len_utf8()].iter().map(spelled));
            }
            rest = &rest[char.len_utf8()..];
        }
        text.extend(chunk.invalid().iter().map(spelled));
        rest = &rest[chunk.invalid().len()..];
    }
    text
}

pub(crate) fn prints(char: char) -> bool {
    // After a letter: an accent that stands alone would be escaped.
    char.escape_debug().len() == 1 || format!("a{char}").escape_debug().count() == 2
}

pub(crate) fn spelled(byte: &u8) -> String {
    format!("\\x{byte:02x}")
}

impl Deref for FilePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for FilePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl From<OsString> for FilePath {
    fn from(path: OsString) -> Self {
        FilePath(path.into())
    }
}

impl From<String> for FilePath {
    fn from(text: String) -> Self {
        FilePath::from_text(&text)
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.to_string()
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(&self.0).fmt(f)
    }
}
