//! Requests that a STAMP reflector numbers and stamps, and what its replies tell of both ways.

use std::net::SocketAddr;
use std::time::Duration;

use echo_core::Discipline;
use echo_core::stamp::{ErrorEstimate, Format, Request as Base, Stamp};

use super::clock::{self, Clock};
use super::datagrams::Codec;
use super::flow::Context;
use super::ledger::{Entry, Ledger, Request};
use super::offset::Passage;
use super::socket::{Ends, Received, Socket};
use super::ways::Session;
use crate::connection::NO_REFLECTOR;
use crate::report::{Span, State, Ways};
use crate::wire::echo::{Reply, token};
use crate::wire::stamp::{Answer, Packets};

/// The requests of one connection: a session on each of its sockets.
#[derive(Debug)]
pub struct Stamped {
    packets: Packets,
    /// The system's time when the run began, since 1970.
    began: Duration,
    ssid: u16,
    /// The number of the first request of this session.
    first: u64,
    session: Session,
    /// Of this end's clock.
    discipline: Discipline,
    ends: Ends,
    /// The reply that has been recognised.
    answer: Option<Answer>,
}

impl Stamped {
    /// Requests that look like `packets`.
    pub fn new(packets: Packets) -> Self {
        Stamped {
            packets,
            began: Duration::ZERO,
            ssid: 0,
            first: 1,
            session: Session::default(),
            discipline: Discipline::default(),
            ends: Ends::default(),
            answer: None,
        }
    }

    /// A moment of the run as packets have it.
    fn stamp(&self, at: u64) -> Stamp {
        Stamp::new(self.began + Duration::from_nanos(at), Format::Ntp)
    }

    /// What the four stamps say, where there are four; and how long the reflector held the request.
    fn passage(&self, answer: &Answer, request: Request, at: u64) -> Option<(Passage, u64)> {
        let base = &answer.base;
        if base.received.0 == 0 || base.sent.0 == 0 {
            return None;
        }
        let theirs = |stamp: Stamp| ns(stamp.since_epoch(base.error.format()));
        let ours = |at: u64| ns(self.began).saturating_add_unsigned(at);
        let (received, sent) = (theirs(base.received), theirs(base.sent));
        let held = u64::try_from(sent.saturating_sub(received)).ok()?;
        let departed = request.departed();
        // Its clock was set while it held the request.
        (held <= at.saturating_sub(departed)).then_some(())?;
        let passage = Passage {
            at: departed,
            there: received.saturating_sub(ours(departed)),
            back: ours(at).saturating_sub(sent),
        };
        Some((passage, held))
    }

    /// In which state a packet came, there and back.
    fn state(&self, answer: &Answer, received: &Received) -> State {
        let Ends { local, ttl } = self.ends;
        let theirs = Some(answer.base.ttl).filter(|ttl| *ttl > 0);
        let location = answer.location;
        State {
            there_dscp: answer.class.map(|class| class.arrived),
            there_ecn: answer.class.map(|class| class.ecn),
            there_hops: theirs.and_then(|theirs| ttl.checked_sub(theirs)),
            sent_from: local,
            seen_from: location.and_then(|at| Some(SocketAddr::new(at.source?, at.source_port))),
            back_dscp: received.tos.map(|tos| tos >> 2),
            back_ecn: received.tos.map(|tos| tos & 3),
            count: 1,
        }
    }
}

impl Codec for Stamped {
    const WRONG: &str = "a reply is none to a packet of this session; look whether a STAMP reflector is \
                         there, and has the same --stamp-key";
    const ABSENT: Option<&str> = Some(NO_REFLECTOR);
    const COUNTS: bool = true;

    fn size(&self) -> usize {
        self.packets.size()
    }

    fn begin(&mut self, first: u64, socket: &Socket, clock: Clock) {
        self.began = clock::began(clock);
        self.first = first;
        self.ssid = (token() as u16).max(1);
        self.ends = socket.ends();
    }

    fn encode(&mut self, number: u64, request: Request, is_measured: bool, out: &mut [u8]) {
        let base = Base {
            seq: self.session.number(number - self.first, is_measured),
            sent: self.stamp(request.sent),
            error: ErrorEstimate::new(self.discipline.error(), Format::Ntp),
            ssid: self.ssid,
        };
        self.packets.encode(&base, out);
    }

    fn recognise(&mut self, datagram: &[u8], ledger: &Ledger, _: &mut [u8]) -> Reply {
        self.answer = self.packets.decode(datagram);
        let Some(answer) = &self.answer else {
            return Reply::Foreign;
        };
        let Some(request) = self.session.request(answer.base.request.seq) else {
            return Reply::Foreign;
        };
        let number = self.first + request;
        // Whoever returns another time than was sent has not seen the request.
        match ledger.request(number) {
            Some(request) if self.stamp(request.sent) != answer.base.request.sent => Reply::Corrupt,
            _ => Reply::Whole(number),
        }
    }

    fn learn(&mut self, entry: &Entry, number: u64, came: &Received, context: &mut Context<'_>) {
        let Some(answer) = self.answer.take() else {
            return;
        };
        let is_right = entry.class.is_right();
        let request = number.saturating_sub(self.first);
        self.session.reply(request, answer.base.seq, is_right);
        context.told.theirs = Some(answer.base.seq);
        let Some((_, request)) = entry.answers.filter(|_| is_right) else {
            return;
        };
        let at = came.at.unwrap_or(came.read);
        let passage = self.passage(&answer, request, at);
        context.told.residence_ns = passage.map(|(_, held)| held);
        if !context.recorder.measures(request) {
            return;
        }
        if let Some((passage, held)) = passage {
            let network = (at - passage.at).saturating_sub(held);
            let latencies = &mut context.recorder.books.others;
            latencies.of(Span::Residence).record_many(held, 1);
            latencies.of(Span::Network).record_many(network, 1);
            let errors = [self.discipline.error(), answer.base.error.error()];
            context.found.clocks.enter(passage, errors);
        }
        context.found.ways.enter(&self.state(&answer, came));
    }

    fn forget(&mut self, oldest: u64) {
        self.session.forget(oldest.saturating_sub(self.first));
    }

    fn end(&mut self, ways: &mut Ways) {
        if let Some(found) = self.session.end() {
            ways.add(&found);
        }
    }
}

fn ns(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
