//! How an echo that is not what was sent is told: where, what was expected, what came.

use echo_core::escape::Escaped;

use super::window::CONTEXT;
use crate::connection::{ErrorKind, Fault, whether_it_is_there};

const REMEDY: &str = whether_it_is_there(false, false);

/// Bytes that should not be: `expected` is what should have come at `offset`, and is empty where
/// the echo should have ended.
pub fn differs(peer: &str, offset: u64, expected: &[u8], got: &[u8]) -> Fault {
    let got = Escaped(&got[..got.len().min(CONTEXT)]);
    let told = match expected {
        [] => format!("has excess bytes at offset {offset}: expected the end"),
        _ => {
            let expected = Escaped(&expected[..expected.len().min(CONTEXT)]);
            format!("differs at offset {offset}: expected \"{expected}\"")
        }
    };
    let message = format!("{peer}: the echo {told}, got \"{got}\"; {REMEDY}");
    Fault::new(ErrorKind::Mismatch, message)
}

/// A connection that ended, as `how` tells, when all of the `sent` bytes were back and more was to
/// come: whoever types is slow, and many a server ends what is idle.
pub fn ended(peer: &str, sent: u64, how: &Fault) -> Fault {
    let (kind, how) = (how.kind, &how.message);
    let message = match sent {
        0 => format!(
            "{peer}: {how} before anything was sent; does it end connections that are idle?"
        ),
        _ => format!(
            "{peer}: {how} when all {sent} bytes sent so far had come back; does it end connections \
             that are idle?"
        ),
    };
    Fault::new(kind, message)
}

/// An echo that ended at `offset` of `sent`, too early, as `how` tells.
pub fn short(peer: &str, offset: u64, sent: u64, expected: &[u8], how: &Fault) -> Fault {
    let expected = Escaped(&expected[..expected.len().min(CONTEXT)]);
    let (kind, how) = (how.kind, &how.message);
    let message = format!(
        "{peer}: the echo is short: {how} after {offset} of {sent} bytes had come back; \
         expected \"{expected}\" at offset {offset}, got the end; {REMEDY}"
    );
    Fault::new(kind, message)
}
