//! What a reflector makes of a packet, in place: its reply, of the same length.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use super::tlv::{self, ClassOfService, FollowUp, HEADER_LEN, Location};
use super::{ErrorEstimate, Key, Mode, Reply, Request, Stamp};

/// Sessions that are told apart; of more, the one that was silent for longest is forgotten. One costs
/// some 200 bytes, and whoever forges sources makes as many as there can be.
pub const MAX_SESSIONS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// How long our own stamp may have been on its way and back.
const ROUND: Duration = Duration::from_secs(60);

/// What is known of a packet besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Where it came from.
    pub source: SocketAddr,
    /// Where it was sent to.
    pub destination: SocketAddr,
    /// When it came, since the start of 1970.
    pub at: Duration,
    /// The TTL or hop limit it came with; 0 where that is not known.
    pub ttl: u8,
    /// Its type of service or traffic class: six bits of DSCP and two of ECN.
    pub tos: u8,
}

/// Why a packet gets no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is too short for a packet of a session.
    Short,
    /// Its sender does not have the key.
    Unauthentic,
    /// It is a reply to one of ours.
    Reply,
}

/// A Session-Reflector, which numbers what it returns in each session.
#[derive(Debug)]
pub struct Reflector {
    key: Option<Key>,
    /// `None` where replies have the numbers of their requests.
    sessions: Option<LruCache<Name, Session>>,
}

impl Reflector {
    /// A reflector that answers those who have `key`, or everybody.
    pub fn new(key: Option<Key>, is_stateless: bool) -> Self {
        let sessions = (!is_stateless).then(|| LruCache::new(MAX_SESSIONS));
        Reflector { key, sessions }
    }

    /// The layout of the packets.
    pub fn mode(&self) -> Mode {
        match self.key {
            Some(_) => Mode::Authenticated,
            None => Mode::Unauthenticated,
        }
    }

    /// How many sessions are remembered: at most [`MAX_SESSIONS`].
    pub fn sessions(&self) -> usize {
        self.sessions.as_ref().map_or(0, LruCache::len)
    }

    /// Makes a request its reply. The clock is off by `error` at most, if anything sets it; `now`, since
    /// the start of 1970, is asked for as late as can be.
    ///
    /// # Errors
    /// Why there is none; `packet` is then as it was.
    pub fn reflect(
        &mut self,
        packet: &mut [u8],
        arrival: &Arrival,
        error: Option<Duration>,
        now: impl FnOnce() -> Duration,
    ) -> Result<(), Refusal> {
        let (mode, key) = (self.mode(), self.key.as_ref());
        let came = Reply::decode(mode, packet).ok_or(Refusal::Short)?;
        if key.is_some_and(|key| !key.sealed(packet)) {
            return Err(Refusal::Unauthentic);
        }
        if is_reply_to_us(&came, arrival.at) {
            return Err(Refusal::Reply);
        }
        let request = Request {
            seq: came.seq,
            sent: came.sent,
            error: came.error,
            ssid: came.request.ssid,
        };
        let name = (arrival.source, arrival.destination.ip(), request.ssid);
        let sessions = self.sessions.as_mut();
        let mut session =
            sessions.map(|sessions| sessions.get_or_insert_mut(name, Session::default));
        let seq = session.as_ref().map_or(request.seq, |session| session.seq);
        let last = session
            .as_ref()
            .map_or_else(FollowUp::default, |session| session.last);
        let format = request.error.format();

        let (_, tlvs) = packet.split_at_mut(mode.tlvs_at(packet.len()));
        let hash = key.map(|key| (key, find_hash(key, request.seq, tlvs)));
        let is_intact = hash.is_none_or(|(_, hash)| hash.is_ok());
        tlv::answer_each(tlvs, |kind, value| match is_intact {
            true => answer(*kind, value, arrival, error, last, key.is_some()),
            false => tlv::NOT_INTACT,
        });
        if let Some((key, Ok(Some(at)))) = hash {
            let (before, value) = tlvs.split_at_mut(at + HEADER_LEN);
            let tag = key.tag(&[&seq.to_be_bytes(), &before[..at]]);
            value[..tag.len()].copy_from_slice(&tag);
        }
        let reply = Reply {
            seq,
            sent: Stamp::new(now(), format),
            error: ErrorEstimate::new(error, format),
            received: Stamp::new(arrival.at, format),
            request,
            ttl: arrival.ttl,
        };
        reply.encode(mode, packet);
        if let Some(key) = key {
            key.seal(packet);
        }
        if let Some(session) = &mut session {
            session.seq = seq.wrapping_add(1);
            session.last = FollowUp {
                seq,
                sent: reply.sent,
                method: tlv::SOFTWARE,
            };
        }
        Ok(())
    }
}

/// The class (six bits) that a reply is to be sent with, as its request asked.
pub fn class_wanted(mode: Mode, reply: &[u8]) -> u8 {
    let tlvs = tlv::tlvs(&reply[mode.tlvs_at(reply.len())..]);
    let mut classes = tlvs
        .flatten()
        .filter(|tlv| (tlv.kind, tlv.flags) == (tlv::CLASS_OF_SERVICE, 0));
    let class = classes.find_map(|tlv| ClassOfService::decode(tlv.value));
    class.map_or(0, |class| class.wanted)
}

/// Whether a packet has, where a reply tells of its request, a stamp of just now: senders write zeros
/// there. Nothing else ends a round of two reflectors that are set on each other.
fn is_reply_to_us(came: &Reply, now: Duration) -> bool {
    let Request { sent, error, .. } = came.request;
    sent.since_epoch(error.format()).abs_diff(now) < ROUND
}

/// Where the TLV is that holds a hash of those before it, if there is one.
///
/// # Errors
/// It is wrong, is followed by more than padding, or is missing (RFC 8972, section 4.8).
fn find_hash(key: &Key, seq: u32, bytes: &[u8]) -> Result<Option<usize>, ()> {
    let (mut at, mut found, mut says_something) = (0, None, false);
    for tlv in tlv::tlvs(bytes) {
        let tlv = tlv.map_err(drop)?;
        match (tlv.kind, found) {
            (tlv::EXTRA_PADDING, _) => {}
            (tlv::HMAC, None) => {
                let is_right = key.verifies(&[&seq.to_be_bytes(), &bytes[..at]], tlv.value);
                found = Some(is_right.then_some(at).ok_or(())?);
            }
            (_, Some(_)) => return Err(()),
            (_, None) => says_something = true,
        }
        at += HEADER_LEN + tlv.value.len();
    }
    match (found, says_something) {
        (None, true) => Err(()),
        _ => Ok(found),
    }
}

/// Answers one TLV in place, and returns its flags.
fn answer(
    kind: u8,
    value: &mut [u8],
    arrival: &Arrival,
    error: Option<Duration>,
    last: FollowUp,
    has_key: bool,
) -> u8 {
    let told: &[u8] = match kind {
        tlv::EXTRA_PADDING => return 0,
        tlv::LOCATION => return Location::answer(value, arrival.source, arrival.destination),
        tlv::HMAC if has_key => return 0,
        tlv::TIMESTAMP_INFORMATION => {
            let source = error.map_or(tlv::SYNC_LOCAL, |_| tlv::SYNC_NTP);
            &[source, tlv::SOFTWARE].repeat(2)
        }
        tlv::CLASS_OF_SERVICE => {
            let Some(class) = ClassOfService::decode(value) else {
                return tlv::MALFORMED;
            };
            let class = ClassOfService {
                arrived: arrival.tos >> 2,
                ecn: arrival.tos & 3,
                is_refused: false,
                ..class
            };
            &class.encode()
        }
        tlv::FOLLOW_UP => &last.encode(),
        _ => return tlv::UNRECOGNISED,
    };
    if value.len() != told.len() {
        if kind == tlv::FOLLOW_UP {
            // Nothing of it may be taken for an answer (RFC 8972, erratum 8339).
            value.fill(0);
        }
        return tlv::MALFORMED;
    }
    value.copy_from_slice(told);
    0
}

/// What a session is known by: its source, the address it asks, and its identifier.
type Name = (SocketAddr, IpAddr, u16);

#[derive(Debug, Default)]
struct Session {
    /// The number of the next reply.
    seq: u32,
    /// The reply before that; of none, all zeros.
    last: FollowUp,
}

#[cfg(test)]
mod tests;
