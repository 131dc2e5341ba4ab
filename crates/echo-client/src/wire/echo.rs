//! What is sent to be recognised when it comes back: numbered datagrams, and patterns for streams.

use echo_core::splitmix::{GAMMA, mix};

/// The bytes that make a datagram recognisable: magic, version, length, token, number, CRC.
pub const HEADER_LEN: usize = 28;

const MAGIC: [u8; 4] = *b"ECHO";
const VERSION: u8 = 1;
/// Up to here, all of a session's datagrams of one size are alike.
const CONSTANT: usize = 16;
const NUMBER: std::ops::Range<usize> = 16..24;
const CRC: std::ops::Range<usize> = 24..HEADER_LEN;

/// Fills `out` with bytes that follow from a session's token, a message's number and an offset within
/// the message, so that none need be kept to be compared: SplitMix64 (Steele, Lea, Flood 2014), which
/// can start anywhere in its sequence.
///
/// ```
/// use echo_client::wire::echo::fill;
///
/// let (mut whole, mut part) = ([0; 10], [0; 4]);
/// fill(7, 1, 0, &mut whole);
/// fill(7, 1, 6, &mut part);
/// assert_eq!(part, whole[6..]);
/// ```
#[inline]
pub fn fill(token: u64, number: u64, offset: u64, out: &mut [u8]) {
    let seed = output(token, number);
    let mut index = offset / 8;
    let skipped = (offset % 8) as usize;
    let mut rest = out;
    if skipped > 0 {
        let word = output(seed, index).to_le_bytes();
        let head = rest.len().min(8 - skipped);
        let (first, after) = rest.split_at_mut(head);
        first.copy_from_slice(&word[skipped..skipped + head]);
        (rest, index) = (after, index + 1);
    }
    // The state goes on by steps: a multiplication a word is a third of the cost.
    let mut state = state(seed, index);
    let (words, tail) = rest.as_chunks_mut();
    for word in words {
        *word = mix(state).to_le_bytes();
        state = state.wrapping_add(GAMMA);
    }
    if !tail.is_empty() {
        tail.copy_from_slice(&mix(state).to_le_bytes()[..tail.len()]);
    }
}

/// SplitMix64's output number `index` from `seed`.
#[inline]
const fn output(seed: u64, index: u64) -> u64 {
    mix(state(seed, index))
}

/// The state that output number `index` from `seed` is made of.
#[inline]
const fn state(seed: u64, index: u64) -> u64 {
    seed.wrapping_add(index.wrapping_add(1).wrapping_mul(GAMMA))
}

/// A token for a new session, which no other session has.
pub fn token() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // std seeds its hashes from the system's random numbers, and counts on from there.
    RandomState::new().build_hasher().finish()
}

/// What a datagram is, as its bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The request of this number, byte for byte.
    Whole(u64),
    /// One of this session's, with wrong bytes.
    Corrupt,
    /// One of this session's, cut short.
    Truncated,
    /// None of this session's.
    Foreign,
}

/// Whether a datagram of `size` bytes has room for a number. One that has not is to be sent
/// alone, and its reply to be compared with [`compare`].
pub const fn is_numbered(size: usize) -> bool {
    size >= HEADER_LEN
}

/// Makes `out` the datagram `number` of the session `token`: a header as far as there is room
/// for one, and the pattern.
pub fn encode(token: u64, number: u64, out: &mut [u8]) {
    fill(token, number, 0, out);
    if !is_numbered(out.len()) {
        return;
    }
    let constant = constant(token, out.len());
    out[..CONSTANT].copy_from_slice(&constant);
    out[NUMBER].copy_from_slice(&number.to_be_bytes());
    let crc = crc(out);
    out[CRC].copy_from_slice(&crc.to_be_bytes());
}

/// Magic, version, a zero, length in 16 bits, token.
fn constant(token: u64, len: usize) -> [u8; CONSTANT] {
    let mut bytes = [0; CONSTANT];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4] = VERSION;
    // No datagram is longer than 65,535 bytes.
    bytes[6..8].copy_from_slice(&(len as u16).to_be_bytes());
    bytes[8..].copy_from_slice(&token.to_be_bytes());
    bytes
}

/// CRC-32 of everything but the CRC itself.
fn crc(datagram: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&datagram[..CRC.start]);
    hasher.update(&datagram[CRC.end..]);
    hasher.finalize()
}

/// What `datagram` is to a session whose datagrams have `size` bytes and are numbered.
///
/// Damage may hit the very bytes that say whose it is. So it counts as this session's when three
/// quarters of the bytes that all of them share are right: another session's has half of them.
pub fn decode(token: u64, size: usize, datagram: &[u8]) -> Reply {
    let expected = constant(token, size);
    let shared = datagram.len().min(CONSTANT);
    let right = (0..shared)
        .filter(|&at| datagram[at] == expected[at])
        .count();
    if is_numbered(datagram.len()) && crc(datagram).to_be_bytes() == datagram[CRC] {
        return if datagram.len() == size && right == CONSTANT {
            Reply::Whole(number(datagram))
        } else {
            Reply::Foreign
        };
    }
    if right * 4 < shared * 3 {
        Reply::Foreign
    } else if datagram.len() < size {
        Reply::Truncated
    } else {
        Reply::Corrupt
    }
}

/// The number of this session's datagram that begins with `head`, if that is enough to tell: an
/// ICMP message quotes no more.
pub fn number_of(token: u64, head: &[u8]) -> Option<u64> {
    let is_ours = head.get(8..CONSTANT) == Some(&token.to_be_bytes()[..]);
    (is_ours && head.len() >= NUMBER.end).then(|| number(head))
}

fn number(datagram: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&datagram[NUMBER]);
    u64::from_be_bytes(bytes)
}

/// What `datagram` is as the reply to `request`, the only one that is under way.
pub fn compare(number: u64, request: &[u8], datagram: &[u8]) -> Reply {
    if datagram == request {
        Reply::Whole(number)
    } else if request.starts_with(datagram) {
        Reply::Truncated
    } else if datagram.len() == request.len() {
        Reply::Corrupt
    } else {
        Reply::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: u64 = 0x0123_4567_89ab_cdef;

    fn datagram(token: u64, number: u64, size: usize) -> Vec<u8> {
        let mut out = vec![0; size];
        encode(token, number, &mut out);
        out
    }

    #[test]
    fn the_pattern_is_splitmix64() {
        // The first outputs of the reference implementation for the seed 1234567.
        assert_eq!(output(1_234_567, 0), 6_457_827_717_110_365_317);
        assert_eq!(output(1_234_567, 1), 3_203_168_211_198_807_973);
        assert_eq!(output(1_234_567, 2), 9_817_491_932_198_370_423);
    }

    #[test]
    fn what_was_sent_is_recognised() {
        for size in [HEADER_LEN, 56, 1472, 65_507] {
            for number in [0, 1, u64::MAX] {
                let reply = decode(TOKEN, size, &datagram(TOKEN, number, size));
                assert_eq!(reply, Reply::Whole(number), "{size}");
            }
        }
    }

    #[test]
    fn every_single_wrong_bit_is_corruption() {
        let right = datagram(TOKEN, 9, 56);
        for bit in 0..right.len() * 8 {
            let mut wrong = right.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(TOKEN, 56, &wrong), Reply::Corrupt, "bit {bit}");
        }
    }

    #[test]
    fn every_cut_is_truncation_and_every_excess_corruption() {
        let right = datagram(TOKEN, 9, 56);
        for len in 0..right.len() {
            assert_eq!(decode(TOKEN, 56, &right[..len]), Reply::Truncated, "{len}");
        }
        let excess = [&right[..], b"x"].concat();
        assert_eq!(decode(TOKEN, 56, &excess), Reply::Corrupt);
    }

    #[test]
    fn another_sessions_datagram_is_foreign_and_so_is_garbage() {
        for size in [HEADER_LEN, 56, 100] {
            let other = datagram(TOKEN ^ u64::MAX, 9, size);
            assert_eq!(decode(TOKEN, 56, &other), Reply::Foreign);
        }
        let mut seed = 1;
        for len in 1..200 {
            seed = output(seed, 0);
            let mut garbage = vec![0; len];
            fill(seed, 0, 0, &mut garbage);
            assert_eq!(decode(TOKEN, 56, &garbage), Reply::Foreign, "{len}");
        }
    }

    #[test]
    fn what_is_too_small_for_a_number_is_compared_whole() {
        for size in 1..HEADER_LEN {
            let request = datagram(TOKEN, 5, size);
            assert_eq!(compare(5, &request, &request), Reply::Whole(5));
            assert_eq!(
                compare(5, &request, &[&b"x"[..], &request].concat()),
                Reply::Foreign
            );
            assert_eq!(compare(5, &request, &request[..size - 1]), Reply::Truncated);
            let mut wrong = request.clone();
            wrong[size - 1] ^= 1;
            assert_eq!(compare(5, &request, &wrong), Reply::Corrupt);
        }
        assert_eq!(compare(5, b"", b""), Reply::Whole(5));
    }
}
