//! What travels: codecs of payloads that tell where they belong.

pub mod echo;
pub mod message;
pub mod stamp;

/// How many bytes are the same from the beginning on.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    match a[..len] == b[..len] {
        true => len,
        false => a.iter().zip(b).take_while(|(a, b)| a == b).count(),
    }
}
