//! What the system says when it fails, as a part of a sentence.

use std::io;

use rustix::io::Errno;

/// A system error in words: `connection refused`, without the number that std appends.
pub fn cause(error: &io::Error) -> String {
    match error.kind() {
        // "No route to host", says the system; but most often a firewall or a router far away does.
        io::ErrorKind::HostUnreachable => return "host unreachable".to_owned(),
        // Of an end that it makes up itself, std gives no sentence but a name.
        io::ErrorKind::UnexpectedEof if error.get_ref().is_none() => {
            return "the connection was closed".to_owned();
        }
        io::ErrorKind::InvalidData if error.get_ref().is_none() => {
            return "what came back is not what was sent".to_owned();
        }
        _ => {}
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    // Whoever asks for a name says so.
    let looked_up = text.strip_prefix("failed to lookup address information: ");
    let text = looked_up.unwrap_or(text);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// What to do about an error that says the system has too little of something: the same wherever it
/// shows. `None` where anything else is wrong.
pub fn remedy(error: &io::Error) -> Option<&'static str> {
    Some(match Errno::from_io_error(error)? {
        Errno::MFILE => "raise the open-file limit (ulimit -n)",
        Errno::NFILE => "raise the system's limit of open files (sysctl fs.file-max)",
        Errno::NOSPC | Errno::DQUOT => "make room for it",
        Errno::FBIG => "raise the limit of a file's size (ulimit -f)",
        Errno::NOMEM | Errno::NOBUFS => "give it more memory",
        _ => return None,
    })
}

/// An error in words and, where [`remedy`] knows one, what to do about it.
pub fn told(error: &io::Error) -> String {
    match remedy(error) {
        Some(remedy) => format!("{}; {remedy}", cause(error)),
        None => cause(error),
    }
}

/// An error in words, and what to do about it, which is `otherwise` unless [`remedy`] knows.
///
/// ```
/// let full = std::io::Error::from_raw_os_error(28);
/// let told = echo_core::remedied(&full, "choose another path");
/// assert_eq!(told, "no space left on device; make room for it");
/// ```
pub fn remedied(error: &io::Error, otherwise: &str) -> String {
    let remedy = remedy(error).unwrap_or(otherwise);
    format!("{}; {remedy}", cause(error))
}
