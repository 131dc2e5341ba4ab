//! Sends a train, and notes what comes back.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use echo_core::splitmix::{Random, mix};
use echo_core::units::unix_ns;
use rustix::event::PollFlags;
use socket2::Socket;

use super::SPENT;
use super::answer::Answer;
use super::path::{LONGEST, Path, To, ready};
use super::payload::Payload;
use super::train::{Cell, Probe, Train, trips};
use crate::connection::ancillary::{self, Notice};
use crate::connection::packets::{self, Fragments};
use crate::connection::{ErrorKind as Cause, TICK};
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
    /// What may become of those that are too large; `None`: what the system does by itself.
    pub fragments: Option<Fragments>,
    /// How long a reply is waited for after the last that came, where round trips are short.
    pub patience: Duration,
}

impl Plan {
    /// So many datagrams that any echo server returns, `cells` by turns, a second of patience for
    /// the last.
    pub fn of((remote, port): To, cells: Vec<Cell>, count: usize, interval: Duration) -> Self {
        Plan {
            remote,
            port,
            cells,
            count,
            interval,
            payload: Payload::Echo(echo::token()),
            fragments: None,
            patience: Duration::from_secs(1),
        }
    }

    /// The datagrams in the order in which they are to be sent, always the same.
    pub fn order(&self) -> Vec<Cell> {
        let mut random = Random(mix(1));
        let mut order = Vec::with_capacity(self.count + self.cells.len());
        while order.len() < self.count && !self.cells.is_empty() {
            let mut pass = self.cells.clone();
            random.shuffle(&mut pass);
            order.append(&mut pass);
        }
        order.truncate(self.count);
        order
    }

    /// Bytes that it sends, headers included.
    pub fn bytes(&self) -> u64 {
        let order = self.order().into_iter();
        order.map(|cell| self.bytes_of(cell)).sum()
    }

    fn bytes_of(&self, cell: Cell) -> u64 {
        cell.size as u64 + headers(self.remote)
    }
}

/// Bytes of the headers of IP and UDP before a datagram.
pub const fn headers(remote: SocketAddr) -> u64 {
    match remote {
        SocketAddr::V4(_) => 28,
        SocketAddr::V6(_) => 48,
    }
}

/// Behind by so much, it is no use to catch up: what follows would be sent in a burst.
const BEHIND: Duration = Duration::from_millis(10);
/// So many datagrams are taken before it is looked at the time.
const PART: usize = 256;
/// Where all have come back, one more may still come twice.
const COPIES: Duration = Duration::from_millis(30);

/// Sends a train, no faster than is allowed, and waits for the replies.
///
/// # Errors
/// There is no socket to send it from, the budget has no room for all of it, or somebody asks to stop:
/// nothing can be said of a part.
pub fn send(path: &mut Path<'_>, plan: &Plan) -> io::Result<Train> {
    if path.bytes_left() < plan.bytes() {
        return Err(io::Error::new(ErrorKind::QuotaExceeded, SPENT));
    }
    let mut sender = Sender::open(path, plan)?;
    let damaged = ancillary::damaged();
    let begun = Instant::now();
    let mut due = begun;
    for cell in plan.order() {
        if path.interrupt.why().is_some() {
            break;
        }
        sender.receive_until(due);
        let late = due.elapsed();
        sender.train.stalled = sender.train.stalled.max(late);
        if late > BEHIND {
            due = Instant::now();
        }
        let bytes = plan.bytes_of(cell);
        let least = bytes as f64 * 8.0 / path.settings.max_rate.0 as f64;
        due += plan.interval.max(Duration::from_secs_f64(least));
        sender.send(cell)?;
        path.sent_bytes += bytes;
    }
    let patience = path.patience(plan.patience);
    sender.last = Instant::now();
    while !sender.is_complete()
        && sender.last.elapsed() < patience
        && begun.elapsed() < LONGEST
        && path.interrupt.why().is_none()
    {
        sender.receive_until(Instant::now() + TICK);
    }
    sender.receive_until(Instant::now() + COPIES);
    if path.interrupt.why().is_some() {
        return Err(ErrorKind::Interrupted.into());
    }
    let mut train = sender.train;
    let drops = sender.sockets.iter().filter_map(ancillary::drops);
    let damaged = ancillary::damaged().saturating_sub(damaged);
    train.overflowed = drops.map(u64::from).sum::<u64>().saturating_sub(damaged);
    let back = |probe: &Probe| u64::from(probe.copies) * plan.bytes_of(probe.cell);
    path.received_bytes += train.probes.iter().map(back).sum::<u64>();
    if path.remote.map(|remote| remote.ip()) == Some(plan.remote.ip()) {
        path.silence = train.silence(path.silence);
    }
    let shortest = trips(&train.probes).at(0.0).map(Duration::from_nanos);
    path.rtt = path.rtt.into_iter().chain(shortest).min();
    Ok(train)
}

/// A train that is under way.
struct Sender<'a> {
    plan: &'a Plan,
    sockets: Vec<Socket>,
    train: Train,
    /// When the last that was awaited came, or the last datagram was sent.
    last: Instant,
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
            sockets,
            plan,
            train: Train {
                interval: plan.interval,
                locals,
                ..Train::default()
            },
            last: Instant::now(),
            out: Vec::new(),
            buffer: vec![0; 1 << 16],
        })
    }

    fn send(&mut self, cell: Cell) -> io::Result<()> {
        let (socket, is_ipv4) = (&self.sockets[cell.flow], self.plan.remote.is_ipv4());
        // Where none is marked, that is left to the options of the command.
        if self.plan.cells.iter().any(|cell| cell.tos > 0) {
            packets::set_tos(socket, is_ipv4, cell.tos)?;
        }
        if let Some(ttl) = cell.ttl {
            packets::set_ttl(socket, is_ipv4, ttl)?;
        }
        self.out.resize(cell.size, 0);
        let (number, now) = (self.train.probes.len(), SystemTime::now());
        self.plan.payload.fill(number, cell, now, &mut self.out);
        self.train.probes.push(Probe {
            cell,
            sent: unix_ns(now),
            ..Probe::default()
        });
        // An error that an earlier one has met comes first, and only once.
        for is_last in [false, true] {
            match self.sockets[cell.flow].send(&self.out) {
                Err(error) if Cause::of(&error) != Cause::Exhausted => {
                    // What the system knows beyond the error itself: which size fits.
                    self.receive(cell.flow);
                    if is_last {
                        self.say(number, Answer::failed(error.kind()));
                    }
                }
                // What a queue of this machine drops (ip(7), `IP_RECVERR`) is lost, as in any other.
                _ => break,
            }
        }
        Ok(())
    }

    /// Takes what comes until `end`.
    fn receive_until(&mut self, end: Instant) {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            for flow in ready(&self.sockets, PollFlags::IN, left) {
                self.receive(flow);
            }
            if left.is_zero() {
                return;
            }
        }
    }

    /// Takes what one socket has, of a flood but a part.
    fn receive(&mut self, flow: usize) {
        for _ in 0..PART {
            let socket = &self.sockets[flow];
            match ancillary::receive(socket, &mut self.buffer) {
                Ok(arrival) => {
                    let datagram = &self.buffer[..arrival.len];
                    let probes = &mut self.train.probes;
                    let Some(probe) = self.plan.payload.reply(datagram, flow, probes) else {
                        continue;
                    };
                    let at = arrival.stamp.unwrap_or_else(SystemTime::now);
                    if probe.came.is_none() {
                        // Copies may come for ever.
                        self.last = Instant::now();
                        probe.came = Some(unix_ns(at));
                    }
                    probe.copies += 1;
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
        // Some quote no more than the header of UDP: then it is the oldest of which nothing is known.
        let is_oldest =
            |probe: &Probe| probe.cell.flow == flow && probe.is_lost() && probe.said.is_none();
        let number = self.plan.payload.number(quoted);
        let number = number.or_else(|| self.train.probes.iter().position(is_oldest));
        if let Some(number) = number {
            self.say(number, Answer::told(notice, self.plan.remote.ip()));
        }
    }

    fn say(&mut self, number: usize, answer: Answer) {
        let told = (answer, unix_ns(SystemTime::now()));
        if let Some(probe) = self.train.probes.get_mut(number) {
            probe.said.get_or_insert(told);
        }
    }

    /// Whether each has a reply, or something was said of it.
    fn is_complete(&self) -> bool {
        let mut probes = self.train.probes.iter();
        probes.all(|probe| !probe.is_lost() || probe.said.is_some())
    }
}
