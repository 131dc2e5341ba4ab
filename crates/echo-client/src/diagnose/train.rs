//! A train: datagrams sent at exact times, and what became of each.

use std::net::SocketAddr;
use std::time::Duration;

use super::answer::Answer;
use super::chance::Count;

/// A tenth of a second: what waits at the same time waits for the same.
pub const MOMENT: u64 = 100_000_000;
/// A scheduler with other things to do takes up to a tenth of that.
pub const STALL: Duration = Duration::from_millis(30);

/// What one datagram is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Which of the train's sockets sends it: each has a local port of its own.
    pub flow: usize,
    /// Bytes of payload.
    pub size: usize,
    /// Its mark: class of service and notice of congestion.
    pub tos: u8,
    /// The routers that it may pass; `None`: as many as usual. All cells of a train say, or none.
    pub ttl: Option<u8>,
}

impl Cell {
    /// An unmarked datagram of the first socket.
    pub fn of(size: usize) -> Self {
        Cell {
            size,
            ..Cell::default()
        }
    }

    /// The same of another socket.
    pub fn over(self, flow: usize) -> Self {
        Cell { flow, ..self }
    }

    /// The same with a mark.
    pub fn marked(self, tos: u8) -> Self {
        Cell { tos, ..self }
    }
}

/// One datagram, and what became of it. Times are in nanoseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probe {
    /// What it was like.
    pub cell: Cell,
    /// When it was sent.
    pub sent: u64,
    /// When its first reply came, by the system's stamp.
    pub came: Option<u64>,
    /// How many replies came.
    pub copies: u32,
    /// What is wrong with its reply.
    pub wrong: Option<Damage>,
    /// What a STAMP reflector says of it.
    pub reflected: Option<Reflected>,
    /// What was said of it instead of a reply, and when.
    pub said: Option<(Answer, u64)>,
}

/// What is wrong with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Where the first wrong byte is.
    Byte(usize),
    /// So many bytes have come, which are right, and the rest has not.
    Cut(usize),
}

/// What a STAMP reflector says of a packet. Times are by its clock, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reflected {
    /// How many packets of the session the reflector received before this one.
    pub seq: u32,
    /// When the packet arrived.
    pub received: u64,
    /// When the reply was sent.
    pub sent: u64,
    /// The mark that the packet arrived with, where the reflector tells.
    pub tos: Option<u8>,
    /// Where the packet came from, as the reflector saw it.
    pub source: Option<SocketAddr>,
}

/// Datagrams in the order in which they were sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Train {
    /// Each of them.
    pub probes: Vec<Probe>,
    /// The time from one to the next, as it was meant.
    pub interval: Duration,
    /// By how much this machine was late at worst, by its own fault.
    pub stalled: Duration,
    /// Replies that came and that this machine's sockets had no room for.
    pub overflowed: u64,
    /// The local address of each flow.
    pub locals: Vec<SocketAddr>,
}

/// Since when nothing is answered, in nanoseconds since 1970, and how many datagrams are not.
pub type Silence = (u64, usize);

impl Probe {
    /// Whether no reply came.
    pub fn is_lost(&self) -> bool {
        self.came.is_none()
    }

    /// What it came to.
    pub fn answer(&self) -> Answer {
        match (self.rtt(), self.said) {
            (Some(rtt), _) => Answer::Came(Duration::from_nanos(rtt)),
            (None, Some((answer, _))) => answer,
            (None, None) => Answer::Silence,
        }
    }

    /// From sending to the first reply, in nanoseconds.
    pub fn rtt(&self) -> Option<u64> {
        Some(self.came?.saturating_sub(self.sent))
    }
}

impl Train {
    /// How many have no reply.
    pub fn lost(&self) -> usize {
        lost(&self.probes).0
    }

    /// How many a second this machine has sent; a train of one has no rate.
    pub fn per_s(&self) -> f64 {
        let others = self.probes.len().saturating_sub(1);
        others as f64 / (self.span().max(1) as f64 / 1e9)
    }

    /// From the first that was sent to the last, in nanoseconds.
    pub fn span(&self) -> u64 {
        let ends = self.probes.first().zip(self.probes.last());
        ends.map_or(0, |(first, last)| last.sent.saturating_sub(first.sent))
    }

    /// What those that are meant came to.
    pub fn answers(&self, is_meant: impl Fn(Cell) -> bool) -> Vec<Answer> {
        let meant = self.probes.iter().filter(|probe| is_meant(probe.cell));
        meant.map(Probe::answer).collect()
    }

    /// The silence at its end, which may have begun `before` it.
    pub fn silence(&self, before: Option<Silence>) -> Option<Silence> {
        let longer = |silence: Option<Silence>, probe: &Probe| match probe.answer() {
            Answer::Came(_) => None,
            // Of this packet, and of others like it only.
            Answer::UsedUp(_) | Answer::TooLarge(..) => silence,
            _ => Some(silence.map_or((probe.sent, 1), |(since, lost)| (since, lost + 1))),
        };
        self.probes.iter().fold(before, longer)
    }

    /// Whether this machine itself disturbed it: what was late here looks like a late network.
    pub fn is_disturbed(&self) -> bool {
        self.stalled > STALL || self.overflowed > 0
    }
}

/// How many of them have no reply.
pub fn lost<'a>(probes: impl IntoIterator<Item = &'a Probe>) -> Count {
    let probes = probes.into_iter();
    probes.fold((0, 0), |(lost, all), probe| {
        (lost + usize::from(probe.is_lost()), all + 1)
    })
}

/// The round trips of those that came back.
pub fn trips<'a>(probes: impl IntoIterator<Item = &'a Probe>) -> Sorted {
    Sorted::of(probes.into_iter().filter_map(Probe::rtt))
}

/// Values, the least first: nanoseconds mostly.
pub struct Sorted(pub Vec<u64>);

impl Sorted {
    /// These values.
    pub fn of(values: impl IntoIterator<Item = u64>) -> Self {
        let mut values = Vec::from_iter(values);
        values.sort_unstable();
        Sorted(values)
    }

    /// The value that a `share` of them do not exceed; `None` of none.
    pub fn at(&self, share: f64) -> Option<u64> {
        let last = self.0.len().checked_sub(1)?;
        Some(self.0[(last as f64 * share).round() as usize])
    }
}
