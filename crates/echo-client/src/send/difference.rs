//! How an echo that is not what was sent is told: where, what was expected, what came.

use anyhow::anyhow;
use echo_core::Failure;
use echo_core::escape::Escaped;

use super::window::CONTEXT;

const REMEDY: &str = "is it an echo server, with the same --framing?";

/// Bytes that should not be: `expected` is what should have come at `offset`, and is empty where
/// the echo should have ended.
pub fn differs(peer: &str, offset: u64, expected: &[u8], got: &[u8]) -> Failure {
    let got = Escaped(&got[..got.len().min(CONTEXT)]);
    Failure::bad(match expected {
        [] => anyhow!(
            "{peer}: the echo has excess bytes at offset {offset}: expected the end, got \"{got}\"; {REMEDY}"
        ),
        _ => {
            let expected = Escaped(&expected[..expected.len().min(CONTEXT)]);
            anyhow!(
                "{peer}: the echo differs at offset {offset}: expected \"{expected}\", got \"{got}\"; {REMEDY}"
            )
        }
    })
}

/// An echo that ended at `offset`, too early.
pub fn short(peer: &str, offset: u64, sent: u64, expected: &[u8], how: &str) -> Failure {
    let expected = Escaped(&expected[..expected.len().min(CONTEXT)]);
    Failure::bad(anyhow!(
        "{peer}: the echo is short: {how} after {offset} of {sent} bytes had come back; \
         expected \"{expected}\" at offset {offset}, got the end; {REMEDY}"
    ))
}
