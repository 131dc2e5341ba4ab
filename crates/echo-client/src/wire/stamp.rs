//! Packets of STAMP as a sender writes and reads them: the number and the time of each request, and
//! questions about how it arrived (RFC 8762, RFC 8972).

use std::ops::Range;
use std::time::Duration;

use echo_core::stamp::tlv::{self, ClassOfService, HEADER_LEN, Location, Tlv};
use echo_core::stamp::{ErrorEstimate, Format, Key, Mode, Reply, Request, Stamp, TAG_LEN};

/// What one end asks the other in every packet: its class, its addresses.
const QUESTIONS: usize = 2 * HEADER_LEN + 4 + 44;

/// How the packets of a session look.
#[derive(Clone, Debug)]
pub struct Packets {
    key: Option<Key>,
    /// The bytes of each.
    size: usize,
    /// The class that replies are to have: six bits of DSCP.
    class: u8,
}

/// What a reply says beside the packet's base.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The base.
    pub base: Reply,
    /// With which class the request arrived, if the reflector tells.
    pub class: Option<ClassOfService>,
    /// From where it came, as the reflector saw it, if it tells.
    pub location: Option<Location>,
}

impl Packets {
    /// Packets of `size` bytes, or as many as the questions need; those that `key` signs, or any.
    pub fn new(key: Option<Key>, size: usize, class: u8) -> Self {
        let hash = key.as_ref().map_or(0, |_| HEADER_LEN + TAG_LEN);
        let least = mode(key.as_ref()).base_len() + QUESTIONS + hash;
        let size = size.max(least);
        Packets { key, size, class }
    }

    /// A request of a session of its own, which only asks whether anybody is there.
    pub fn question() -> Request {
        Request {
            seq: 0,
            sent: Stamp::new(Duration::ZERO, Format::Ntp),
            error: ErrorEstimate::new(None, Format::Ntp),
            ssid: 0,
        }
    }

    /// The bytes of each.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Makes `packet`, of the right size, what is sent as `request`.
    pub fn encode(&self, request: &Request, packet: &mut [u8]) {
        packet.fill(0);
        request.encode(mode(self.key.as_ref()), packet);
        let tlvs = &mut packet[self.tlvs()];
        let class = ClassOfService {
            wanted: self.class,
            ..ClassOfService::default()
        };
        let rest = tlv::put(tlvs, tlv::CLASS_OF_SERVICE, &class.encode());
        let rest = rest.and_then(|rest| tlv::put(rest, tlv::LOCATION, &Location::question()));
        if let Some(rest) = rest {
            tlv::pad(rest);
        }
        if let Some(key) = &self.key {
            let tag = key.tag(&[&request.seq.to_be_bytes(), &packet[self.tlvs()]]);
            tlv::put(&mut packet[self.tlvs().end..], tlv::HMAC, &tag);
            key.seal(packet);
        }
    }

    /// What a reply says; `None` where it is none, or is not signed as it should be.
    pub fn decode(&self, packet: &[u8]) -> Option<Answer> {
        let mode = mode(self.key.as_ref());
        let base = Reply::decode(mode, packet)?;
        if self.key.as_ref().is_some_and(|key| !key.sealed(packet)) {
            return None;
        }
        let mut answer = Answer {
            base,
            class: None,
            location: None,
        };
        let tlvs = &packet[mode.tlvs_at(packet.len())..];
        // What the reflector has not looked at is as we sent it.
        for Tlv { kind, value, .. } in tlv::tlvs(tlvs).flatten().filter(|tlv| tlv.flags == 0) {
            match kind {
                tlv::CLASS_OF_SERVICE => answer.class = ClassOfService::decode(value),
                tlv::LOCATION => answer.location = Location::decode(value),
                _ => {}
            }
        }
        Some(answer)
    }

    /// Where the TLVs are that a hash covers.
    fn tlvs(&self) -> Range<usize> {
        let hash = self.key.as_ref().map_or(0, |_| HEADER_LEN + TAG_LEN);
        mode(self.key.as_ref()).base_len()..self.size - hash
    }
}

fn mode(key: Option<&Key>) -> Mode {
    match key {
        Some(_) => Mode::Authenticated,
        None => Mode::Unauthenticated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Request = Request {
        seq: 7,
        sent: Stamp(0x0102_0304_0506_0708),
        error: ErrorEstimate(1),
        ssid: 9,
    };

    #[test]
    fn what_no_reflector_has_looked_at_says_nothing() {
        for key in [None, Some(Key::new(b"0123456789abcdef"))] {
            let packets = Packets::new(key, 300, 46);
            let mut packet = vec![0xff; packets.size()];
            packets.encode(&REQUEST, &mut packet);
            let answer = packets.decode(&packet).unwrap();
            assert_eq!(answer.base.seq, 7);
            assert!(answer.class.is_none() && answer.location.is_none());
            // Nothing but TLVs follows the base, to the last byte.
            let at = mode(packets.key.as_ref()).base_len();
            let lens = tlv::tlvs(&packet[at..]).map(|tlv| HEADER_LEN + tlv.unwrap().value.len());
            assert_eq!(at + lens.sum::<usize>(), 300);
        }
    }

    #[test]
    fn a_reply_without_the_key_is_none() {
        let packets = Packets::new(Some(Key::new(b"0123456789abcdef")), 0, 0);
        let mut packet = vec![0; packets.size()];
        packets.encode(&REQUEST, &mut packet);
        assert!(packets.decode(&packet).is_some());
        packet[0] ^= 1;
        assert!(packets.decode(&packet).is_none());
        assert!(packets.decode(&packet[..44]).is_none());
    }

    #[test]
    fn a_reply_of_twamp_light_is_one() {
        let packets = Packets::new(None, 0, 0);
        for len in [41, 44, 100] {
            assert!(packets.decode(&vec![0; len]).is_some(), "{len}");
        }
        assert!(packets.decode(&[0; 40]).is_none());
    }
}
