//! What is in the datagrams of a train, and whose reply a datagram is.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use echo_core::stamp::{ErrorEstimate, Format, Mode, Reply as Reflection, Request, Stamp, tlv};
use echo_core::units::ns;

use super::train::{Cell, Probe, Reflected};
use crate::wire::echo::{self, Reply};

/// The shortest datagram that has room for all that is asked of a reflector.
pub const STAMP_LEN: usize = 44 + 8 + 48;

/// The number of the first STAMP packet: a reflector that keeps a count of its own begins with 0, one
/// that keeps none returns this.
pub const FIRST: u32 = 1_000_000;

/// What datagrams carry.
#[derive(Clone, Copy, Debug)]
pub enum Payload {
    /// Numbered bytes that any echo server returns; this session's token.
    Echo(u64),
    /// STAMP requests, of this session.
    Stamp(u16),
}

/// Whose reply a datagram is.
pub struct Found {
    /// The number of the probe.
    pub number: usize,
    /// Where its first wrong byte is.
    pub wrong: Option<usize>,
    /// What the reflector says.
    pub reflected: Option<Reflected>,
}

impl Payload {
    /// Makes `out` the datagram of this number, to be sent now.
    pub fn fill(self, number: usize, cell: Cell, now: SystemTime, out: &mut [u8]) {
        match self {
            Payload::Echo(token) => echo::encode(token, number as u64, out),
            Payload::Stamp(ssid) => {
                out.fill(0);
                let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
                let request = Request {
                    seq: FIRST + number as u32,
                    sent: Stamp::new(since_epoch, Format::Ntp),
                    error: ErrorEstimate(1),
                    ssid,
                };
                request.encode(Mode::Unauthenticated, out);
                let class = tlv::ClassOfService {
                    wanted: cell.tos >> 2,
                    ..tlv::ClassOfService::default()
                };
                let rest = &mut out[Mode::Unauthenticated.base_len()..];
                let rest = tlv::put(rest, tlv::CLASS_OF_SERVICE, &class.encode());
                rest.and_then(|rest| tlv::put(rest, tlv::LOCATION, &tlv::Location::question()))
                    .into_iter()
                    .for_each(tlv::pad);
            }
        }
    }

    /// The number of the probe that begins with these bytes, if they are enough to tell.
    pub fn number(self, head: &[u8]) -> Option<usize> {
        match self {
            Payload::Echo(token) => usize::try_from(echo::number_of(token, head)?).ok(),
            Payload::Stamp(_) => None,
        }
    }

    /// Whose reply `datagram` is, which came to the socket of `flow`; `None` of what is none of ours.
    pub fn find(self, datagram: &[u8], flow: usize, probes: &[Probe]) -> Option<Found> {
        match self {
            Payload::Echo(token) => find_echo(token, datagram, flow, probes),
            Payload::Stamp(_) => {
                let reply = Reflection::decode(Mode::Unauthenticated, datagram)?;
                let number = reply.request.seq.checked_sub(FIRST)? as usize;
                (number < probes.len()).then(|| Found {
                    number,
                    wrong: None,
                    reflected: Some(reflected(&reply, datagram)),
                })
            }
        }
    }
}

/// Damage may hit the very bytes that say which it is: then it is the one that it is most like, of
/// those that the socket has sent and that have no reply yet.
fn find_echo(token: u64, datagram: &[u8], flow: usize, probes: &[Probe]) -> Option<Found> {
    if let Reply::Whole(number) = echo::decode(token, datagram.len(), datagram) {
        let number = usize::try_from(number).ok()?;
        let is_ours = probes.get(number)?.cell.size == datagram.len();
        return is_ours.then_some(Found {
            number,
            wrong: None,
            reflected: None,
        });
    }
    let likely = probes.iter().enumerate().filter(|(_, probe)| {
        probe.is_lost() && probe.cell.flow == flow && probe.cell.size >= datagram.len()
    });
    let mut request = Vec::new();
    let alike = likely.map(|(number, probe)| {
        request.resize(probe.cell.size, 0);
        echo::encode(token, number as u64, &mut request);
        let pairs = || request.iter().zip(datagram);
        let right = pairs().filter(|(one, other)| one == other).count();
        let wrong = pairs().position(|(one, other)| one != other);
        (right, number, wrong.unwrap_or(datagram.len()))
    });
    let (right, number, wrong) = alike.max_by_key(|(right, _, _)| *right)?;
    (right * 4 >= datagram.len() * 3 && right > 0).then_some(Found {
        number,
        wrong: Some(wrong),
        reflected: None,
    })
}

fn reflected(reply: &Reflection, datagram: &[u8]) -> Reflected {
    let format = reply.error.format();
    let rest = datagram.get(Mode::Unauthenticated.base_len()..);
    let (mut tos, mut source) = (None, None);
    for answer in tlv::tlvs(rest.unwrap_or_default()).flatten() {
        match answer.kind {
            _ if answer.flags & tlv::UNRECOGNISED != 0 => {}
            tlv::CLASS_OF_SERVICE => {
                let class = tlv::ClassOfService::decode(answer.value);
                tos = class.map(|class| class.arrived << 2 | class.ecn);
            }
            tlv::LOCATION => {
                let location = tlv::Location::decode(answer.value);
                source = location.and_then(|location| {
                    Some(SocketAddr::new(location.source?, location.source_port))
                });
            }
            _ => {}
        }
    }
    Reflected {
        seq: reply.seq,
        received: ns(reply.received.since_epoch(format)),
        sent: ns(reply.sent.since_epoch(format)),
        tos,
        source,
    }
}
