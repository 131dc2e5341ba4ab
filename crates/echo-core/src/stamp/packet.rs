//! What a packet of a session begins with, each way; TLVs may follow.

use std::ops::Range;

use super::{ErrorEstimate, Stamp, TAG_LEN};

/// Which of the two layouts the packets of a session have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing shows who sent a packet.
    #[default]
    Unauthenticated,
    /// A keyed hash ends what a packet begins with.
    Authenticated,
}

/// Where a field is in each [`Mode`], in bytes from the start of a packet (RFC 8762, sections 4.2 and
/// 4.3).
type Place = [usize; 2];

/// The number, the stamp and the error estimate of whoever sends, and those of the request in a reply.
const OWN: [Place; 3] = [[0, 0], [4, 16], [12, 24]];
const THEIRS: [Place; 3] = [[24, 48], [28, 64], [36, 72]];
const SSID: Place = [14, 26];
const RECEIVED: Place = [16, 32];
const TTL: Place = [40, 80];

/// The longest of the two.
const MAX_BASE_LEN: usize = 112;

impl Mode {
    /// The bytes before the first TLV.
    pub fn base_len(self) -> usize {
        match self {
            Mode::Unauthenticated => 44,
            Mode::Authenticated => MAX_BASE_LEN,
        }
    }

    /// Where the TLVs of a packet of `len` bytes begin.
    pub fn tlvs_at(self, len: usize) -> usize {
        self.base_len().min(len)
    }

    /// The shortest packet that holds all a reply says: the last three bytes of an unauthenticated one
    /// say nothing, and senders of TWAMP Light leave them out.
    pub fn min_len(self) -> usize {
        match self {
            Mode::Unauthenticated => 41,
            Mode::Authenticated => MAX_BASE_LEN,
        }
    }

    /// Where an authenticated packet has its hash, which covers all that is before it.
    pub const TAG: Range<usize> = MAX_BASE_LEN - TAG_LEN..MAX_BASE_LEN;
}

/// What a sender writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number within the session.
    pub seq: u32,
    /// When it was sent.
    pub sent: Stamp,
    /// What the sender's clock says of itself, and how `sent` is to be read.
    pub error: ErrorEstimate,
    /// Which of the sessions of a source and destination it belongs to (RFC 8972, section 3).
    pub ssid: u16,
}

/// What a reflector makes of a [`Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reflector's own number within the session; the request's where it keeps none.
    pub seq: u32,
    /// When the reply was sent.
    pub sent: Stamp,
    /// What the reflector's clock says of itself, and how `sent` and `received` are to be read.
    pub error: ErrorEstimate,
    /// When the request arrived.
    pub received: Stamp,
    /// The request.
    pub request: Request,
    /// The TTL or hop limit that the request arrived with.
    pub ttl: u8,
}

impl Request {
    /// What `packet` says, or `None` where it is too short for one.
    pub fn decode(mode: Mode, packet: &[u8]) -> Option<Self> {
        (packet.len() >= mode.min_len()).then(|| Request::get(mode, packet, OWN))
    }

    /// Writes it over what `packet` begins with. In authenticated mode the packet is then to be
    /// [sealed](super::Key::seal).
    ///
    /// # Panics
    /// Where `packet` is shorter than [`Mode::min_len`].
    pub fn encode(&self, mode: Mode, packet: &mut [u8]) {
        let base = mode.tlvs_at(packet.len());
        packet[..base].fill(0);
        self.put(mode, packet, OWN);
    }

    fn get(mode: Mode, packet: &[u8], [seq, sent, error]: [Place; 3]) -> Self {
        Request {
            seq: u32::from_be_bytes(get(packet, mode, seq)),
            sent: Stamp(u64::from_be_bytes(get(packet, mode, sent))),
            error: ErrorEstimate(u16::from_be_bytes(get(packet, mode, error))),
            ssid: u16::from_be_bytes(get(packet, mode, SSID)),
        }
    }

    fn put(&self, mode: Mode, packet: &mut [u8], [seq, sent, error]: [Place; 3]) {
        put(packet, mode, seq, self.seq.to_be_bytes());
        put(packet, mode, sent, self.sent.0.to_be_bytes());
        put(packet, mode, error, self.error.0.to_be_bytes());
        put(packet, mode, SSID, self.ssid.to_be_bytes());
    }
}

impl Reply {
    /// What `packet` says, or `None` where it is too short for one.
    pub fn decode(mode: Mode, packet: &[u8]) -> Option<Self> {
        let own = Request::decode(mode, packet)?;
        let [ttl] = get(packet, mode, TTL);
        Some(Reply {
            seq: own.seq,
            sent: own.sent,
            error: own.error,
            received: Stamp(u64::from_be_bytes(get(packet, mode, RECEIVED))),
            request: Request::get(mode, packet, THEIRS),
            ttl,
        })
    }

    /// Writes it over what `packet` begins with. In authenticated mode the packet is then to be
    /// [sealed](super::Key::seal).
    ///
    /// # Panics
    /// Where `packet` is shorter than [`Mode::min_len`].
    pub fn encode(&self, mode: Mode, packet: &mut [u8]) {
        let own = Request {
            seq: self.seq,
            sent: self.sent,
            error: self.error,
            ssid: self.request.ssid,
        };
        own.encode(mode, packet);
        self.request.put(mode, packet, THEIRS);
        put(packet, mode, RECEIVED, self.received.0.to_be_bytes());
        put(packet, mode, TTL, [self.ttl]);
    }
}

fn get<const N: usize>(packet: &[u8], mode: Mode, place: Place) -> [u8; N] {
    std::array::from_fn(|i| packet[place[mode as usize] + i])
}

fn put<const N: usize>(packet: &mut [u8], mode: Mode, place: Place, bytes: [u8; N]) {
    packet[place[mode as usize]..][..N].copy_from_slice(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Request = Request {
        seq: 0x0102_0304,
        sent: Stamp(0x1112_1314_1516_1718),
        error: ErrorEstimate(0x2122),
        ssid: 0x3132,
    };
    const REPLY: Reply = Reply {
        seq: 0x4142_4344,
        sent: Stamp(0x5152_5354_5556_5758),
        error: ErrorEstimate(0x6162),
        received: Stamp(0x7172_7374_7576_7778),
        request: REQUEST,
        ttl: 0x81,
    };

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
        let bytes = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
        bytes
            .map(|byte| u8::from_str_radix(&byte, 16).unwrap())
            .collect()
    }

    /// As the figures of RFC 8762 have it, with the identifier of RFC 8972.
    #[test]
    fn every_field_is_where_the_standard_draws_it() {
        let zeros = |count: usize| "00".repeat(count);
        let request = format!("01020304 1112131415161718 2122 3132 {}", zeros(28));
        let reply = "41424344 5152535455565758 6162 3132 7172737475767778 \
                     01020304 1112131415161718 2122 0000 81 000000";
        let (z4, z6, z8, z12) = (zeros(4), zeros(6), zeros(8), zeros(12));
        let sealed_request = format!(
            "01020304 {z12} 1112131415161718 2122 3132 {} {}",
            zeros(68),
            zeros(16)
        );
        let sealed_reply = format!(
            "41424344 {z12} 5152535455565758 6162 3132 {z4} 7172737475767778 {z8} \
             01020304 {z12} 1112131415161718 2122 {z6} 81 {} {}",
            zeros(15),
            zeros(16)
        );
        for (mode, request, reply) in [
            (Mode::Unauthenticated, hex(&request), hex(reply)),
            (
                Mode::Authenticated,
                hex(&sealed_request),
                hex(&sealed_reply),
            ),
        ] {
            let mut packet = vec![0xff; mode.base_len()];
            REQUEST.encode(mode, &mut packet);
            assert_eq!(packet, request, "{mode:?}");
            assert_eq!(Request::decode(mode, &request), Some(REQUEST));
            REPLY.encode(mode, &mut packet);
            assert_eq!(packet, reply, "{mode:?}");
            assert_eq!(Reply::decode(mode, &reply), Some(REPLY));
        }
    }

    #[test]
    fn what_follows_is_left_alone_and_a_short_packet_is_none() {
        for mode in [Mode::Unauthenticated, Mode::Authenticated] {
            for len in 0..mode.base_len() + 9 {
                let mut packet = vec![0xff; len];
                if len < mode.min_len() {
                    assert_eq!(Reply::decode(mode, &packet), None);
                    continue;
                }
                REPLY.encode(mode, &mut packet);
                assert_eq!(Reply::decode(mode, &packet), Some(REPLY), "{mode:?} {len}");
                let rest = &packet[len.min(mode.base_len())..];
                assert!(rest.iter().all(|&byte| byte == 0xff));
            }
        }
    }
}
