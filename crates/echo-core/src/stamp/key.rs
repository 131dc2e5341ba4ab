//! The key that the two ends of an authenticated session share.

use std::fmt;
use std::path::Path;

use anyhow::anyhow;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Mode;
use crate::Failure;
use crate::path::{contents, shown};

/// The bytes of a hash that are sent: HMAC-SHA-256, cut (RFC 8762, section 4.4).
pub const TAG_LEN: usize = 16;

/// The most that is read of a file, in bytes: far more than makes a key better.
const MAX_FILE: u64 = 64 << 10;

/// A key. It is not shown.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// A key of any length.
    pub fn new(bytes: &[u8]) -> Self {
        Key(Hmac::new_from_slice(bytes).expect("a key may have any length"))
    }

    /// The key of `--stamp-key`: the bytes of the file at `path`, without the end of the last line.
    ///
    /// # Errors
    /// A usage [`Failure`]: why it cannot be read, or that it is shorter than a hash that is sent, and
    /// easier to guess than one.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let key = contents(path, MAX_FILE);
        let key = key.and_then(|bytes| Key::from_file(&bytes).map_err(str::to_owned));
        key.map_err(|cause| {
            Failure::usage(anyhow!(
                "--stamp-key {} cannot be used: {cause}",
                shown(path)
            ))
        })
    }

    fn from_file(contents: &[u8]) -> Result<Self, &'static str> {
        let key = contents.strip_suffix(b"\n").unwrap_or(contents);
        let key = key.strip_suffix(b"\r").unwrap_or(key);
        match key.len() < TAG_LEN {
            true => Err(
                "the key is too short; give it 16 bytes or more, as `openssl rand -hex 32` does",
            ),
            false => Ok(Key::new(key)),
        }
    }

    /// The hash of `parts`, one after the other.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; TAG_LEN] {
        let tag = self.hash(parts).finalize().into_bytes();
        std::array::from_fn(|i| tag[i])
    }

    /// Whether `tag` is the hash of `parts`; how long that takes tells nothing of the right one.
    pub fn verifies(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        tag.len() == TAG_LEN && self.hash(parts).verify_truncated_left(tag).is_ok()
    }

    /// Writes the hash into a packet that is otherwise complete but for what follows its base.
    ///
    /// # Panics
    /// Where `packet` is shorter than one in authenticated mode.
    pub fn seal(&self, packet: &mut [u8]) {
        let tag = self.tag(&[&packet[..Mode::TAG.start]]);
        packet[Mode::TAG].copy_from_slice(&tag);
    }

    /// Whether whoever sent `packet` has the key, and nobody changed its base.
    pub fn sealed(&self, packet: &[u8]) -> bool {
        let tag = packet.get(Mode::TAG);
        tag.is_some_and(|tag| self.verifies(&[&packet[..Mode::TAG.start]], tag))
    }

    fn hash(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut hash = self.0.clone();
        parts.iter().for_each(|part| hash.update(part));
        hash
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2, whose key and data are texts.
    #[test]
    fn a_tag_is_the_first_half_of_the_standard_s() {
        let key = Key::new(b"Jefe");
        let tag = 0x5bdc_c146_bf60_754e_6a04_2426_0895_75c7_u128.to_be_bytes();
        assert_eq!(key.tag(&[b"what do ya want ", b"for nothing?"]), tag);
        assert!(key.verifies(&[b"what do ya want for nothing?"], &tag));
        assert!(!key.verifies(&[b"what do ya want for nothing?"], &tag[..15]));
    }

    #[test]
    fn any_change_of_a_sealed_base_is_noticed() {
        let key = Key::new(b"key");
        let mut packet = vec![7; Mode::Authenticated.base_len() + 1];
        key.seal(&mut packet);
        assert!(key.sealed(&packet) && !Key::new(b"kez").sealed(&packet));
        for at in 0..Mode::TAG.end {
            packet[at] ^= 1;
            assert!(!key.sealed(&packet), "{at}");
            packet[at] ^= 1;
        }
        assert!(!key.sealed(&packet[..Mode::TAG.end - 1]));
    }
}
