//! What is in the datagrams of a train, and whose reply a datagram is.

use std::time::{SystemTime, UNIX_EPOCH};

use echo_core::stamp::tlv::Location;
use echo_core::stamp::{ErrorEstimate, Format, Request, Stamp};
use echo_core::units::ns;

use super::train::{Cell, Damage, Probe, Reflected};
use crate::wire::echo::{self, Reply};
use crate::wire::stamp::{Answer, Packets};

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
    /// STAMP requests.
    Stamp,
}

impl Payload {
    /// Makes `out` the datagram of this number, to be sent now.
    pub fn fill(self, number: usize, cell: Cell, now: SystemTime, out: &mut [u8]) {
        match self {
            Payload::Echo(token) => echo::encode(token, number as u64, out),
            Payload::Stamp => {
                let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
                let request = Request {
                    seq: FIRST + number as u32,
                    sent: Stamp::new(since_epoch, Format::Ntp),
                    error: ErrorEstimate(1),
                    ssid: 1,
                };
                Packets::new(None, cell.size, cell.tos >> 2).encode(&request, out);
            }
        }
    }

    /// The number of the probe that begins with these bytes, if they are enough to tell.
    pub fn number(self, head: &[u8]) -> Option<usize> {
        match self {
            Payload::Echo(token) => usize::try_from(echo::number_of(token, head)?).ok(),
            Payload::Stamp => None,
        }
    }

    /// Whose reply `datagram` is, which came to the socket of `flow`, once it is noted what it says;
    /// `None` of what is none of ours.
    pub fn reply<'a>(
        self,
        datagram: &[u8],
        flow: usize,
        probes: &'a mut [Probe],
    ) -> Option<&'a mut Probe> {
        match self {
            Payload::Echo(token) => {
                let (number, wrong) = match echo::decode(token, datagram.len(), datagram) {
                    Reply::Whole(number) => (usize::try_from(number).ok()?, None),
                    _ => most_like(token, datagram, flow, probes)?,
                };
                let probe = probes.get_mut(number)?;
                probe.wrong = probe.wrong.or(wrong);
                (wrong.is_some() || probe.cell.size == datagram.len()).then_some(probe)
            }
            Payload::Stamp => {
                let answer = Packets::new(None, 0, 0).decode(datagram)?;
                let number = answer.base.request.seq.checked_sub(FIRST)?;
                let probe = probes.get_mut(number as usize)?;
                probe.reflected.get_or_insert(reflected(&answer));
                Some(probe)
            }
        }
    }
}

/// Damage may hit the very bytes that say which it is: then it is the one that it is most like, of
/// those that the socket has sent and that have no reply yet. Its number, and where it is wrong.
fn most_like(
    token: u64,
    datagram: &[u8],
    flow: usize,
    probes: &[Probe],
) -> Option<(usize, Option<Damage>)> {
    let likely = probes.iter().enumerate().filter(|(_, probe)| {
        probe.is_lost() && probe.cell.flow == flow && probe.cell.size >= datagram.len()
    });
    let mut request = Vec::new();
    let alike = likely.map(|(number, probe)| {
        request.resize(probe.cell.size, 0);
        echo::encode(token, number as u64, &mut request);
        let is_right = || {
            request
                .iter()
                .zip(datagram)
                .map(|(one, other)| one == other)
        };
        let right = is_right().filter(|is_right| *is_right).count();
        let wrong = is_right().position(|is_right| !is_right);
        (
            right,
            number,
            wrong.map_or(Damage::Cut(datagram.len()), Damage::Byte),
        )
    });
    let (right, number, wrong) = alike.max_by_key(|(right, ..)| *right)?;
    (right * 4 >= datagram.len() * 3 && right > 0).then_some((number, Some(wrong)))
}

fn reflected(answer: &Answer) -> Reflected {
    let Answer { base, location, .. } = answer;
    let format = base.error.format();
    let source = |location: Location| Some((location.source?, location.source_port).into());
    Reflected {
        seq: base.seq,
        received: ns(base.received.since_epoch(format)),
        sent: ns(base.sent.since_epoch(format)),
        tos: answer.class.map(|class| class.arrived << 2 | class.ecn),
        source: location.and_then(source),
    }
}
