//! What may follow a packet's base: a flag, a type, a length and a value each (RFC 8972, section 4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Stamp;

/// The bytes before a value.
pub const HEADER_LEN: usize = 4;

/// The reflector did not know what it is. A sender sets it, so that a reflector which returns all that
/// follows a base as it came claims nothing.
pub const UNRECOGNISED: u8 = 0x80;
/// Its length cannot be.
pub const MALFORMED: u8 = 0x40;
/// The hash of all TLVs was wrong.
pub const NOT_INTACT: u8 = 0x20;

/// Bytes that say nothing.
pub const EXTRA_PADDING: u8 = 1;
/// A [`Location`].
pub const LOCATION: u8 = 2;
/// Four bytes: by what the reflector's clock is set and how it takes stamps, as packets arrive and as
/// they leave.
pub const TIMESTAMP_INFORMATION: u8 = 3;
/// A [`ClassOfService`].
pub const CLASS_OF_SERVICE: u8 = 4;
/// A [`FollowUp`].
pub const FOLLOW_UP: u8 = 7;
/// A [tag](super::Key::tag) of the packet's number and of all TLVs before this one.
pub const HMAC: u8 = 8;

/// A clock that is set as NTP does it, in [`TIMESTAMP_INFORMATION`].
pub const SYNC_NTP: u8 = 1;
/// A clock that nothing sets, in [`TIMESTAMP_INFORMATION`].
pub const SYNC_LOCAL: u8 = 5;
/// Software takes the stamps, in [`TIMESTAMP_INFORMATION`] and a [`FollowUp`].
pub const SOFTWARE: u8 = 2;

/// What one end tells the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// [`UNRECOGNISED`], [`MALFORMED`], [`NOT_INTACT`].
    pub flags: u8,
    /// What it is.
    pub kind: u8,
    /// What it says.
    pub value: &'a [u8],
}

/// It is longer than what there is of it; nothing that follows can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// How long the value of the first of `bytes` is. There is none where a header of zeros, which no TLV
/// has, shows that the rest is padding.
fn first_len(bytes: &[u8]) -> Option<Result<usize, Malformed>> {
    let header = &bytes[..bytes.len().min(HEADER_LEN)];
    header.iter().find(|&&byte| byte != 0)?;
    Some(match header {
        &[_, _, high, low] => {
            let len = usize::from(u16::from_be_bytes([high, low]));
            let fits = len <= bytes.len() - HEADER_LEN;
            fits.then_some(len).ok_or(Malformed)
        }
        _ => Err(Malformed),
    })
}

/// The TLVs in what follows a base; after one that is malformed there is none.
pub fn tlvs(bytes: &[u8]) -> impl Iterator<Item = Result<Tlv<'_>, Malformed>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = first_len(rest)?;
        let (first, after) = rest.split_at(len.map_or(rest.len(), |len| HEADER_LEN + len));
        rest = after;
        Some(len.map(|_| Tlv {
            flags: first[0],
            kind: first[1],
            value: &first[HEADER_LEN..],
        }))
    })
}

/// Gives each TLV's type and value to `answer`, to be changed in place, and sets its flags to those that
/// `answer` returns. After one that is malformed, as `answer` or its length says, all stays as it is.
pub fn answer_each(bytes: &mut [u8], mut answer: impl FnMut(&mut u8, &mut [u8]) -> u8) {
    let mut rest = bytes;
    while let Some(len) = first_len(rest) {
        let (first, after) = rest.split_at_mut(len.map_or(rest.len(), |len| HEADER_LEN + len));
        first[0] = match first.split_at_mut_checked(HEADER_LEN) {
            Some((header, value)) if len.is_ok() => answer(&mut header[1], value),
            _ => MALFORMED,
        };
        if first[0] & MALFORMED != 0 {
            return;
        }
        rest = after;
    }
}

/// Writes a TLV as a sender does to where `room` begins, and returns what is left of it; `None` where
/// it does not fit.
pub fn put<'a>(room: &'a mut [u8], kind: u8, value: &[u8]) -> Option<&'a mut [u8]> {
    let (tlv, rest) = room.split_at_mut_checked(HEADER_LEN + value.len())?;
    let [high, low] = u16::try_from(value.len()).ok()?.to_be_bytes();
    tlv[..HEADER_LEN].copy_from_slice(&[UNRECOGNISED, kind, high, low]);
    tlv[HEADER_LEN..].copy_from_slice(value);
    Some(rest)
}

/// Fills `room` with zeros as padding, in a TLV where there is room for its header.
pub fn pad(room: &mut [u8]) {
    room.fill(0);
    if let Some(len) = room.len().checked_sub(HEADER_LEN) {
        let [high, low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
        room[..HEADER_LEN].copy_from_slice(&[UNRECOGNISED, EXTRA_PADDING, high, low]);
    }
}

/// Which class of traffic the two packets were, and were to be (section 4.4). Values of the DS field
/// have 6 bits, those of ECN 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassOfService {
    /// The class that the reply is to have.
    pub wanted: u8,
    /// The class that the request arrived with.
    pub arrived: u8,
    /// The congestion mark that the request arrived with.
    pub ecn: u8,
    /// Whether the reflector may not send replies of the class that is wanted.
    pub is_refused: bool,
}

impl ClassOfService {
    /// What a value says.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let bits = u32::from_be_bytes(value.try_into().ok()?);
        Some(ClassOfService {
            wanted: (bits >> 26) as u8,
            arrived: (bits >> 20 & 0x3f) as u8,
            ecn: (bits >> 18 & 3) as u8,
            is_refused: bits >> 16 & 3 != 0,
        })
    }

    /// The value that says it.
    pub fn encode(self) -> [u8; 4] {
        let bits = u32::from(self.wanted & 0x3f) << 26
            | u32::from(self.arrived & 0x3f) << 20
            | u32::from(self.ecn & 3) << 18
            | u32::from(self.is_refused) << 16;
        bits.to_be_bytes()
    }
}

/// What a reflector says, later, of a reply it sent before (section 4.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowUp {
    /// That reply's number.
    pub seq: u32,
    /// When it was really sent; in the format of the reply that says so.
    pub sent: Stamp,
    /// How that is known: [`SOFTWARE`], or 1: hardware.
    pub method: u8,
}

impl FollowUp {
    /// What a value says.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let bits = u128::from_be_bytes(value.try_into().ok()?);
        Some(FollowUp {
            seq: (bits >> 96) as u32,
            sent: Stamp((bits >> 32) as u64),
            method: (bits >> 24) as u8,
        })
    }

    /// The value that says it.
    pub fn encode(self) -> [u8; 16] {
        let bits = u128::from(self.seq) << 96
            | u128::from(self.sent.0) << 32
            | u128::from(self.method) << 24;
        bits.to_be_bytes()
    }
}

/// From where to where a request came, as the reflector saw it (section 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The port it came from.
    pub source_port: u16,
    /// The port it came to.
    pub destination_port: u16,
    /// The address it came from.
    pub source: Option<IpAddr>,
    /// The address it came to.
    pub destination: Option<IpAddr>,
}

/// The addresses within a location: what a sender asks for, and what it gets as IPv4 or IPv6.
const DESTINATION: [u8; 3] = [4, 5, 6];
const SOURCE: [u8; 3] = [7, 8, 9];

impl Location {
    /// A value that asks for the ports and for both addresses.
    pub fn question() -> [u8; 44] {
        let mut value = [0; 44];
        let rest = put(&mut value[4..], SOURCE[0], &[0; 16]);
        rest.and_then(|rest| put(rest, DESTINATION[0], &[0; 16]));
        value
    }

    /// What a value says; `None` where it is too short for ports.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let (&[to_high, to_low, from_high, from_low], addresses) = value.split_first_chunk()?;
        let mut location = Location {
            source_port: u16::from_be_bytes([from_high, from_low]),
            destination_port: u16::from_be_bytes([to_high, to_low]),
            ..Location::default()
        };
        for Tlv { kind, value, .. } in tlvs(addresses).flatten() {
            let Ok(bytes) = <[u8; 16]>::try_from(value) else {
                continue;
            };
            let [v4 @ .., _, _, _, _, _, _, _, _, _, _, _, _] = bytes;
            let (v4, v6) = (Ipv4Addr::from(v4).into(), Ipv6Addr::from(bytes).into());
            match kind {
                _ if kind == DESTINATION[1] => location.destination = Some(v4),
                _ if kind == DESTINATION[2] => location.destination = Some(v6),
                _ if kind == SOURCE[1] => location.source = Some(v4),
                _ if kind == SOURCE[2] => location.source = Some(v6),
                _ => {}
            }
        }
        Some(location)
    }

    /// Answers the question that `value` is, in place, and returns the flags of its TLV.
    pub fn answer(value: &mut [u8], source: SocketAddr, destination: SocketAddr) -> u8 {
        let Some((ports, addresses)) = value.split_at_mut_checked(4) else {
            return MALFORMED;
        };
        ports[..2].copy_from_slice(&destination.port().to_be_bytes());
        ports[2..].copy_from_slice(&source.port().to_be_bytes());
        answer_each(addresses, |kind, value| {
            let asked = [(DESTINATION, destination), (SOURCE, source)];
            let Some((kinds, address)) = asked.iter().find(|(kinds, _)| kinds[0] == *kind) else {
                return UNRECOGNISED;
            };
            if value.len() != 16 {
                return MALFORMED;
            }
            value.fill(0);
            match address.ip().to_canonical() {
                IpAddr::V4(ip) => {
                    *kind = kinds[1];
                    value[..4].copy_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    *kind = kinds[2];
                    value.copy_from_slice(&ip.octets());
                }
            }
            0
        });
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_with_its_bytes_or_with_zeros_or_with_what_is_malformed() {
        let padding = Tlv {
            flags: UNRECOGNISED,
            kind: EXTRA_PADDING,
            value: b"xy",
        };
        let whole: &[u8] = &[0x80, 1, 0, 2, b'x', b'y'];
        for (rest, end) in [
            (&[][..], None),
            (&[0, 0], None),
            (&[0, 0, 0, 0, 7, 7], None),
            (&[0, 1], Some(Err(Malformed))),
            (&[0x80, 2, 0, 1], Some(Err(Malformed))),
            (&[0x80, 2, 0xff, 0xff, 0, 0], Some(Err(Malformed))),
        ] {
            let bytes = [whole, rest].concat();
            let found: Vec<_> = tlvs(&bytes).collect();
            let expected: Vec<_> = [Ok(padding)].into_iter().chain(end).collect();
            assert_eq!(found, expected, "{rest:?}");
            let mut answered = bytes.clone();
            answer_each(&mut answered, |_, _| 0);
            let flags = [[0].as_slice(), &whole[1..]].concat();
            assert_eq!(answered[..6], flags);
            match end {
                None => assert_eq!(&answered[6..], rest),
                Some(_) => assert_eq!((answered[6], &answered[7..]), (MALFORMED, &rest[1..])),
            }
        }
    }

    #[test]
    fn what_is_put_is_found_and_the_rest_is_padding() {
        let mut room = [0xff; 20];
        let rest = put(&mut room, CLASS_OF_SERVICE, &[1, 2, 3, 4]).unwrap();
        assert!(put(rest, LOCATION, &[0; 9]).is_none());
        let rest = put(&mut room[8..], FOLLOW_UP, &[5]).unwrap();
        pad(rest);
        let expected = [
            0x80, 4, 0, 4, 1, 2, 3, 4, 0x80, 7, 0, 1, 5, 0x80, 1, 0, 3, 0, 0, 0,
        ];
        assert_eq!(room, expected);
        let mut short = [0xff; 3];
        pad(&mut short);
        assert_eq!(short, [0; 3]);
    }

    #[test]
    fn a_class_is_written_as_the_standard_draws_it() {
        // EF is wanted, AF11 and CE arrived: 101110 001010 11 01, and 16 bits of zeros.
        let class = ClassOfService {
            wanted: 46,
            arrived: 10,
            ecn: 3,
            is_refused: true,
        };
        assert_eq!(class.encode(), [0b1011_1000, 0b1010_1101, 0, 0]);
        assert_eq!(ClassOfService::decode(&class.encode()), Some(class));
        assert_eq!(ClassOfService::decode(&[0; 3]), None);
    }

    #[test]
    fn a_follow_up_is_written_as_the_standard_draws_it() {
        let follow_up = FollowUp {
            seq: 0x0102_0304,
            sent: Stamp(0x1112_1314_1516_1718),
            method: SOFTWARE,
        };
        let value = [
            1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 2, 0, 0, 0,
        ];
        assert_eq!(follow_up.encode(), value);
        assert_eq!(FollowUp::decode(&value), Some(follow_up));
    }

    #[test]
    fn where_it_came_from_is_told_with_addresses_of_either_kind() {
        let question = Location::question();
        let source = "[::ffff:192.0.2.1]:258".parse().unwrap();
        let destination = "[2001:db8::1]:862".parse().unwrap();
        let mut value = question;
        assert_eq!(Location::answer(&mut value, source, destination), 0);
        let drawn = [&[3, 0x5e, 1, 2, 0, 8, 0, 16, 192, 0, 2, 1][..], &[0; 12]].concat();
        assert_eq!(value[..24], drawn);
        assert_eq!(value[24..32], [0, 6, 0, 16, 0x20, 0x01, 0x0d, 0xb8]);
        let location = Location {
            source_port: 258,
            destination_port: 862,
            source: Some("192.0.2.1".parse().unwrap()),
            destination: Some("2001:db8::1".parse().unwrap()),
        };
        assert_eq!(Location::decode(&value), Some(location));
        // One that is not known, one of a wrong length, and no room for ports.
        let mut odd = [0, 0, 0, 0, 0x80, 99, 0, 1, 7, 0x80, 7, 0, 1, 7];
        assert_eq!(Location::answer(&mut odd, source, destination), 0);
        assert_eq!((odd[4], odd[9]), (UNRECOGNISED, MALFORMED));
        assert_eq!(
            Location::answer(&mut [0; 3], source, destination),
            MALFORMED
        );
    }
}
