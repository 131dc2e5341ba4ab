//! A relay between a sender and a reflector of STAMP, and what went through it compared field by field.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use echo_core::stamp::tlv::{self, ClassOfService, FollowUp, Location, Tlv};
use echo_core::stamp::{Key, Mode, Reply, Request};

/// A TLV that our reflector does not know.
const DIRECT_MEASUREMENT: u8 = 5;

/// The longest ago that a stamp may be made.
const LIMIT: Duration = Duration::from_secs(120);

/// Passes packets on between a sender and a reflector, and keeps them.
pub struct Relay {
    /// Where the sender sends to.
    pub address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Result<Passed>>,
}

/// What went each way.
pub struct Passed {
    there: Vec<Vec<u8>>,
    back: Vec<Vec<u8>>,
    /// Whence and whither requests came to the reflector.
    facing: SocketAddr,
    reflector: SocketAddr,
}

impl Relay {
    /// Passes on what comes to its address, until it is ended.
    pub fn start(reflector: SocketAddr) -> Result<Self> {
        let front = UdpSocket::bind("127.0.0.1:0")?;
        let rear = UdpSocket::bind("127.0.0.1:0")?;
        rear.connect(reflector)?;
        front.set_read_timeout(Some(Duration::from_millis(1)))?;
        rear.set_nonblocking(true)?;
        let address = front.local_addr()?;
        let ends = Arc::new(AtomicBool::new(false));
        let mut passed = Passed {
            there: Vec::new(),
            back: Vec::new(),
            facing: rear.local_addr()?,
            reflector,
        };
        let ended = ends.clone();
        let thread = thread::spawn(move || {
            let (mut sender, mut buffer) = (None, [0; 2048]);
            while !ended.load(Ordering::Relaxed) {
                if let Ok((len, from)) = front.recv_from(&mut buffer) {
                    sender = Some(from);
                    passed.there.push(buffer[..len].to_vec());
                    rear.send(&buffer[..len])?;
                }
                while let (Some(sender), Ok(len)) = (sender, rear.recv(&mut buffer)) {
                    passed.back.push(buffer[..len].to_vec());
                    front.send_to(&buffer[..len], sender)?;
                }
            }
            Ok(passed)
        });
        Ok(Relay {
            address,
            ends,
            thread,
        })
    }

    /// Ends it, and tells what went through.
    pub fn end(self) -> Result<Passed> {
        self.ends.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow::anyhow!("the relay panicked");
        self.thread.join().map_err(panicked)?
    }
}

impl Passed {
    /// Compares each reply with its request, field by field. Returns the replies, and how many TLVs
    /// there were.
    pub fn check(&self, key: Option<&Key>) -> Result<(Vec<Reply>, usize)> {
        let mode = key.map_or(Mode::Unauthenticated, |_| Mode::Authenticated);
        let (mut replies, mut tlvs): (Vec<Reply>, usize) = (Vec::new(), 0);
        ensure!(self.there.len() == self.back.len(), "not all came back");
        for (asked, answered) in self.there.iter().zip(&self.back) {
            let request = Request::decode(mode, asked).context("no request")?;
            let reply = Reply::decode(mode, answered).context("no reply")?;
            let number = replies.len() as u32;
            let is_whole = key.is_none_or(|key| key.sealed(asked) && key.sealed(answered));
            let format = reply.error.format();
            let moments = [reply.received, reply.sent].map(|stamp| stamp.since_epoch(format));
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let [came, left] = moments.map(|moment| now.checked_sub(moment).unwrap_or_default());
            for (field, is_right) in [
                ("length", asked.len() == answered.len()),
                ("sender's fields", reply.request == request),
                ("number", reply.seq == number && request.seq == number),
                ("format", format == request.error.format()),
                // RFC 4656 forbids a multiplier of zero, synchronised or not.
                ("error", reply.error.0 & 0xff != 0),
                ("stamps", left <= came && came < LIMIT),
                ("hash", is_whole),
            ] {
                ensure!(is_right, "{field}: {request:?} became {reply:?}");
            }
            let [asked, answered] = [asked, answered].map(|packet| {
                let tlvs = tlv::tlvs(&packet[mode.tlvs_at(packet.len())..]);
                tlvs.collect::<Result<Vec<Tlv<'_>>, _>>()
            });
            let (Ok(asked), Ok(answered)) = (asked, answered) else {
                bail!("a malformed TLV")
            };
            ensure!(asked.len() == answered.len(), "a TLV is missing");
            for (asked, answered) in asked.iter().zip(&answered) {
                let is_right = self.is_answer(asked, answered, replies.last());
                ensure!(is_right, "{asked:?} became {answered:?}");
            }
            tlvs += answered.len();
            replies.push(reply);
        }
        Ok((replies, tlvs))
    }

    fn is_answer(&self, asked: &Tlv<'_>, answered: &Tlv<'_>, last: Option<&Reply>) -> bool {
        let says = match asked.kind {
            tlv::CLASS_OF_SERVICE => {
                let [asked, answered] =
                    [asked, answered].map(|tlv| ClassOfService::decode(tlv.value));
                // The relay sends without a class.
                let expected = asked.map(|asked| ClassOfService {
                    arrived: 0,
                    ecn: 0,
                    ..asked
                });
                answered == expected
            }
            tlv::LOCATION => {
                let expected = Location {
                    source_port: self.facing.port(),
                    destination_port: self.reflector.port(),
                    source: Some(self.facing.ip()),
                    destination: Some(self.reflector.ip()),
                };
                Location::decode(answered.value) == Some(expected)
            }
            tlv::FOLLOW_UP => {
                let expected = last.map_or_else(FollowUp::default, |last| FollowUp {
                    seq: last.seq,
                    sent: last.sent,
                    method: tlv::SOFTWARE,
                });
                FollowUp::decode(answered.value) == Some(expected)
            }
            tlv::EXTRA_PADDING => asked.value == answered.value,
            _ => true,
        };
        let shape = |tlv: &Tlv<'_>| (tlv.kind, tlv.value.len());
        let flags = if asked.kind == DIRECT_MEASUREMENT {
            tlv::UNRECOGNISED
        } else {
            0
        };
        says && shape(asked) == shape(answered) && answered.flags == flags
    }
}
