//! Sends a train, and notes what comes back.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use echo_core::splitmix::mix;
use echo_core::statistics::Dice;
use echo_core::units::unix_ns;
use rustix::event::{PollFd, PollFlags};
use socket2::Socket;

use super::SPENT;
use super::answer::Answer;
use super::path::Path;
use super::payload::{Found, Payload};
use super::train::{Cell, Probe, Train};
use crate::connection::ancillary::{self, Drops, Notice};
use crate::connection::packets::{self, Fragments};
use crate::connection::{TICK, wait};
use crate::wire::echo;

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Plan {
    /// To whom.
    pub remote: SocketAddr,
    /// The local port of the first flow; 0 lets the system choose. The others have ports of their own.
    pub port: u16,
    /// What datagrams are like. Each of these is sent before any is sent again, in a shuffled order.
    pub cells: Vec<Cell>,
    /// How many in all.
    pub count: usize,
    /// Time from one to the next.
    pub interval: Duration,
    /// What is in them.
    pub payload: Payload,
    /// What the order follows from.
    pub seed: u64,
    /// What may become of those that are too large; `None`: what the system does by itself.
    pub fragments: Option<Fragments>,
    /// How long a reply is waited for after the last that came, where round trips are short.
    pub patience: Duration,
}

impl Plan {
    /// So many datagrams that any echo server returns, `cells` by turns, a second of patience for
    /// the last.
    pub fn of(
        (remote, port): (SocketAddr, u16),
        cells: Vec<Cell>,
        count: usize,
        interval: Duration,
    ) -> Self {
        Plan {
            remote,
            port,
            cells,
            count,
            interval,
            payload: Payload::Echo(echo::token()),
            seed: 1,
            fragments: None,
            patience: Duration::from_secs(1),
        }
    }
}

impl Plan {
    /// Bytes that it sends, headers included.
    pub fn bytes(&self) -> u64 {
        let header = headers(self.remote);
        let sizes = order(self)
            .into_iter()
            .map(|cell| cell.size as u64 + header);
        sizes.sum()
    }
}

/// Behind by so much, it is no use to catch up: what follows would be sent in a burst.
const BEHIND: Duration = Duration::from_millis(10);
/// Where all have come back, one more may still come twice.
const COPIES: Duration = Duration::from_millis(30);

/// Sends a train, no faster than is allowed, and waits for the replies.
///
/// # Errors
/// There is no socket to send it from, the budget has no room for all of it, or somebody asks to stop:
/// nothing can be said of a part.
pub fn send(path: &mut Path<'_>, plan: &Plan) -> io::Result<Train> {
    let order = order(plan);
    let header = headers(plan.remote);
    if path.bytes_left() < plan.bytes() {
        return Err(io::Error::new(ErrorKind::QuotaExceeded, SPENT));
    }
    let mut sender = Sender::open(path, plan)?;
    let mut due = Instant::now();
    for cell in order {
        if path.interrupt.why().is_some() {
            break;
        }
        sender.receive_until(due);
        let late = due.elapsed();
        sender.train.stalled = sender.train.stalled.max(late);
        if late > BEHIND {
            due = Instant::now();
        }
        let bits = (cell.size as u64 + header) * 8;
        let least = Duration::from_secs_f64(bits as f64 / path.settings.max_rate.0 as f64);
        due += plan.interval.max(least);
        sender.send(cell)?;
        path.sent_bytes += cell.size as u64 + header;
    }
    let patience = path.patience(plan.patience);
    let mut last = (Instant::now(), sender.replies);
    while last.0.elapsed() < patience && path.interrupt.why().is_none() && !sender.is_complete() {
        sender.receive_until(Instant::now() + TICK);
        if sender.replies > last.1 {
            last = (Instant::now(), sender.replies);
        }
    }
    sender.receive_until(Instant::now() + COPIES);
    let train = sender.end();
    if path.interrupt.why().is_some() {
        return Err(ErrorKind::Interrupted.into());
    }
    let back = train.probes.iter().map(|probe| {
        let len = probe.cell.size as u64 + header;
        u64::from(probe.copies) * len
    });
    path.received_bytes += back.sum::<u64>();
    if path
        .remote
        .is_some_and(|remote| remote.ip() == plan.remote.ip())
    {
        path.silence = train.silence(path.silence);
    }
    if let Some(shortest) = train.percentile(0.0).map(Duration::from_nanos) {
        path.rtt = Some(path.rtt.map_or(shortest, |rtt| rtt.min(shortest)));
    }
    Ok(train)
}

/// Bytes of the headers of IP and UDP before a datagram.
pub const fn headers(remote: SocketAddr) -> u64 {
    match remote {
        SocketAddr::V4(_) => 28,
        SocketAddr::V6(_) => 48,
    }
}

/// The datagrams in the order in which they are to be sent.
pub fn order(plan: &Plan) -> Vec<Cell> {
    let mut dice = Dice(mix(plan.seed));
    let mut order = Vec::with_capacity(plan.count + plan.cells.len());
    while order.len() < plan.count && !plan.cells.is_empty() {
        let start = order.len();
        order.extend_from_slice(&plan.cells);
        let pass = &mut order[start..];
        (1..pass.len())
            .rev()
            .for_each(|i| pass.swap(i, dice.below(i + 1)));
    }
    order.truncate(plan.count);
    order
}

/// A train that is under way.
struct Sender<'a> {
    plan: &'a Plan,
    sockets: Vec<Socket>,
    /// The mark that each socket sends with.
    marks: Vec<u8>,
    train: Train,
    replies: u32,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

impl<'a> Sender<'a> {
    fn open(path: &Path<'_>, plan: &'a Plan) -> io::Result<Self> {
        let flows = plan.cells.iter().map(|cell| cell.flow + 1);
        let flows = flows.max().unwrap_or(0);
        let port = |flow| if flow == 0 { plan.port } else { 0 };
        let sockets = (0..flows).map(|flow| path.datagrams(plan.remote, port(flow)));
        let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
        if let Some(fragments) = plan.fragments {
            for socket in &sockets {
                packets::set_fragments(socket, plan.remote.is_ipv4(), fragments)?;
            }
        }
        let locals = sockets.iter().filter_map(|socket| socket.local_addr().ok());
        let locals = locals.filter_map(|local| local.as_socket()).collect();
        Ok(Sender {
            marks: vec![0; flows],
            sockets,
            plan,
            train: Train {
                interval: plan.interval,
                locals,
                ..Train::default()
            },
            replies: 0,
            out: Vec::new(),
            buffer: vec![0; 1 << 16],
        })
    }

    fn send(&mut self, cell: Cell) -> io::Result<()> {
        let socket = &self.sockets[cell.flow];
        if self.marks[cell.flow] != cell.tos {
            packets::set_tos(socket, self.plan.remote.is_ipv4(), cell.tos)?;
            self.marks[cell.flow] = cell.tos;
        }
        if let Some(ttl) = cell.ttl {
            packets::set_ttl(socket, self.plan.remote.is_ipv4(), ttl)?;
        }
        self.out.resize(cell.size, 0);
        let now = SystemTime::now();
        self.plan
            .payload
            .fill(self.train.probes.len(), cell, now, &mut self.out);
        let probe = Probe {
            cell,
            sent: unix_ns(now),
            ..Probe::default()
        };
        self.train.probes.push(probe);
        // An error that an earlier one has met comes first, and only once.
        let mut sent = socket.send(&self.out);
        if sent.is_err() {
            self.receive(cell.flow);
            sent = self.sockets[cell.flow].send(&self.out);
        }
        if let Err(error) = sent {
            // What the system knows beyond the error itself: which size fits.
            self.receive(cell.flow);
            let number = self.train.probes.len() - 1;
            self.say(number, Answer::failed(error.kind()));
        }
        Ok(())
    }

    /// Takes what comes until `end`.
    fn receive_until(&mut self, end: Instant) {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let sockets = self.sockets.iter();
            let polled = sockets.map(|socket| PollFd::new(socket, PollFlags::IN));
            let mut polled: Vec<_> = polled.collect();
            wait(&mut polled, left);
            let ready: Vec<_> = polled.iter().map(|one| !one.revents().is_empty()).collect();
            for flow in (0..ready.len()).filter(|flow| ready[*flow]) {
                self.receive(flow);
            }
            if left.is_zero() {
                return;
            }
        }
    }

    /// Takes all that one socket has.
    fn receive(&mut self, flow: usize) {
        loop {
            let socket = &self.sockets[flow];
            match ancillary::receive(socket, &mut self.buffer) {
                Ok(arrival) => {
                    let at = unix_ns(arrival.stamp.unwrap_or_else(SystemTime::now));
                    let datagram = &self.buffer[..arrival.len];
                    let probes = &self.train.probes;
                    if let Some(found) = self.plan.payload.find(datagram, flow, probes) {
                        self.note(&found, at);
                    }
                }
                // Errors are told apart from replies, and may come first.
                Err(_) => match ancillary::notice(socket, &mut self.buffer) {
                    Ok(notice) => self.notice(flow, &notice),
                    Err(_) => return,
                },
            }
        }
    }

    /// Takes what somebody says of a datagram, of which the buffer has what was quoted.
    fn notice(&mut self, flow: usize, notice: &Notice) {
        let quoted = &self.buffer[..notice.len];
        let probes = &self.train.probes;
        // Some quote no more than the header of UDP: then it is the oldest of which nothing is known.
        let is_oldest =
            |probe: &Probe| probe.cell.flow == flow && probe.is_lost() && probe.said.is_none();
        let number = self.plan.payload.number(quoted);
        let number = number.or_else(|| probes.iter().position(is_oldest));
        if let Some(number) = number.filter(|number| *number < probes.len()) {
            self.say(number, Answer::told(notice, self.plan.remote.ip()));
        }
    }

    fn say(&mut self, number: usize, answer: Answer) {
        let probe = &mut self.train.probes[number];
        if probe.said.is_none() {
            probe.said = Some((answer, unix_ns(SystemTime::now())));
        }
    }

    fn note(&mut self, found: &Found, at: u64) {
        let probe = &mut self.train.probes[found.number];
        probe.copies += 1;
        probe.wrong = probe.wrong.or(found.wrong);
        if probe.came.is_none() {
            (probe.came, probe.order) = (Some(at), self.replies);
            probe.reflected = found.reflected;
            self.replies += 1;
        }
    }

    /// Whether each has a reply, or something was said of it.
    fn is_complete(&self) -> bool {
        let mut probes = self.train.probes.iter();
        probes.all(|probe| !probe.is_lost() || probe.said.is_some())
    }

    fn end(mut self) -> Train {
        let drops = Drops::default();
        let dropped = self.sockets.iter().map(|socket| drops.of(socket));
        self.train.overflowed = dropped.sum();
        self.train
    }
}
