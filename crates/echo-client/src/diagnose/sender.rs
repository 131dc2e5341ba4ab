//! Sends a train, and notes what comes back.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use echo_core::splitmix::mix;
use echo_core::statistics::Dice;
use echo_core::units::unix_ns;
use rustix::event::{PollFd, PollFlags};
use socket2::Socket;

use super::path::Path;
use super::payload::{Found, Payload};
use super::train::{Cell, Probe, Train};
use crate::connection::{TICK, ancillary, packets, wait};

/// What is to be sent.
pub struct Plan<'a> {
    /// To whom.
    pub remote: SocketAddr,
    /// The local port of the first flow; 0 lets the system choose. The others have ports of their own.
    pub port: u16,
    /// What datagrams are like. Each of these is sent before any is sent again, in a shuffled order.
    pub cells: &'a [Cell],
    /// How many in all.
    pub count: usize,
    /// Time from one to the next.
    pub interval: Duration,
    /// What is in them.
    pub payload: Payload,
    /// What the order follows from.
    pub seed: u64,
}

/// Behind by so much, it is no use to catch up: what follows would be sent in a burst.
const BEHIND: Duration = Duration::from_millis(10);
/// Where all have come back, one more may still come twice.
const COPIES: Duration = Duration::from_millis(30);
/// How long a reply is waited for, where round trips are short.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends a train, as far as the budget allows and nobody asks to stop, and waits for the replies.
///
/// # Errors
/// There is no socket to send it from.
pub fn send(path: &mut Path<'_>, plan: &Plan<'_>) -> io::Result<Train> {
    let mut sender = Sender::open(path, plan)?;
    let order = order(plan);
    let mut due = Instant::now();
    for cell in order {
        let header = if plan.remote.is_ipv4() { 28 } else { 48 };
        if path.interrupt.why().is_some() || path.bytes_left() < cell.size as u64 + header {
            break;
        }
        sender.receive_until(due);
        let late = due.elapsed();
        sender.train.stalled = sender.train.stalled.max(late);
        if late > BEHIND {
            due = Instant::now();
        }
        due += plan.interval;
        sender.send(cell)?;
        path.spent.sent_bytes += cell.size as u64 + header;
    }
    let end = Instant::now() + path.patience(PATIENCE);
    while Instant::now() < end && path.interrupt.why().is_none() && !sender.is_complete() {
        sender.receive_until(end.min(Instant::now() + TICK));
    }
    sender.receive_until(Instant::now() + COPIES);
    let train = sender.end();
    let replies = train.probes.iter().map(|probe| u64::from(probe.copies));
    path.spent.received_bytes += train
        .probes
        .iter()
        .zip(replies)
        .map(|(probe, copies)| copies * (probe.cell.size as u64 + 28))
        .sum::<u64>();
    if let Some(shortest) = train.percentile(0.0).map(Duration::from_nanos) {
        path.rtt = Some(path.rtt.map_or(shortest, |rtt| rtt.min(shortest)));
    }
    Ok(train)
}

/// The datagrams in the order in which they are to be sent.
fn order(plan: &Plan<'_>) -> Vec<Cell> {
    let mut dice = Dice(mix(plan.seed));
    let mut order = Vec::with_capacity(plan.count + plan.cells.len());
    while order.len() < plan.count && !plan.cells.is_empty() {
        let start = order.len();
        order.extend_from_slice(plan.cells);
        let pass = &mut order[start..];
        (1..pass.len())
            .rev()
            .for_each(|i| pass.swap(i, dice.below(i + 1)));
    }
    order.truncate(plan.count);
    order
}

/// A train that is under way.
struct Sender {
    sockets: Vec<Socket>,
    /// The mark that each socket sends with.
    marks: Vec<u8>,
    is_ipv4: bool,
    payload: Payload,
    train: Train,
    replies: u32,
    answered: usize,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

impl Sender {
    fn open(path: &Path<'_>, plan: &Plan<'_>) -> io::Result<Self> {
        let flows = plan
            .cells
            .iter()
            .map(|cell| cell.flow + 1)
            .max()
            .unwrap_or(0);
        let port = |flow| if flow == 0 { plan.port } else { 0 };
        let sockets = (0..flows).map(|flow| path.datagrams(plan.remote, port(flow)));
        let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
        let local = sockets.first().and_then(|socket| socket.local_addr().ok());
        Ok(Sender {
            marks: vec![0; flows],
            sockets,
            is_ipv4: plan.remote.is_ipv4(),
            payload: plan.payload,
            train: Train {
                interval: plan.interval,
                local: local.and_then(|local| local.as_socket()),
                ..Train::default()
            },
            replies: 0,
            answered: 0,
            out: Vec::new(),
            buffer: vec![0; 1 << 16],
        })
    }

    fn send(&mut self, cell: Cell) -> io::Result<()> {
        let socket = &self.sockets[cell.flow];
        if self.marks[cell.flow] != cell.tos {
            packets::set_tos(socket, self.is_ipv4, cell.tos)?;
            self.marks[cell.flow] = cell.tos;
        }
        self.out.resize(cell.size, 0);
        let now = SystemTime::now();
        self.payload
            .fill(self.train.probes.len(), cell, now, &mut self.out);
        let probe = Probe {
            cell,
            sent: unix_ns(now),
            ..Probe::default()
        };
        self.train.probes.push(probe);
        // An error that an earlier one has met comes first, and only once.
        if socket.send(&self.out).is_err() {
            while ancillary::notice(socket, &mut self.buffer).is_ok() {}
            // One that cannot be sent at all is lost, as it would be a step further.
            let _: io::Result<usize> = socket.send(&self.out);
        }
        Ok(())
    }

    /// Takes what comes until `end`.
    fn receive_until(&mut self, end: Instant) {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let events = PollFlags::IN;
            let polled = self
                .sockets
                .iter()
                .map(|socket| PollFd::new(socket, events));
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
                    if let Some(found) = self.payload.find(datagram, flow, probes) {
                        self.note(&found, at, &arrival);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    while ancillary::notice(socket, &mut self.buffer).is_ok() {}
                    return;
                }
                Err(_) if ancillary::notice(socket, &mut self.buffer).is_ok() => {}
                Err(_) => return,
            }
        }
    }

    fn note(&mut self, found: &Found, at: u64, arrival: &ancillary::Arrival) {
        let probe = &mut self.train.probes[found.number];
        probe.copies += 1;
        probe.wrong = probe.wrong.or(found.wrong);
        if probe.came.is_none() {
            (probe.came, probe.order) = (Some(at), self.replies);
            (probe.ttl, probe.tos) = (arrival.ttl, arrival.tos);
            probe.reflected = found.reflected;
            self.replies += 1;
            self.answered += 1;
        }
    }

    fn is_complete(&self) -> bool {
        self.answered == self.train.probes.len()
    }

    fn end(mut self) -> Train {
        let dropped = self.sockets.iter().map(ancillary::overflowed);
        self.train.overflowed = dropped.sum();
        self.train
    }
}
