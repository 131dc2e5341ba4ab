//! One UDP socket: datagrams in, the same datagrams out, in batches.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use echo_core::address::End;
use echo_explain::Call;
use mio::net::UdpSocket;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use crate::event::flood::Flood;
use crate::event::stats::Counters;
use crate::event::{DropReason, Events, Kind, Mark, Origin, pieces, unmapped};
use crate::fault::{DatagramFaults, Reply};
use crate::serve::guard::Guard;

/// The largest datagram, or train of datagrams, that the system hands over at once.
const BUFFER_LEN: usize = 1 << 16;

/// Batches answered in one turn, so that a flood cannot starve the worker's connections.
const BATCHES_PER_TURN: usize = 8;

/// The longest UDP payload over IPv4. A train of datagrams sent at once may be no longer either.
const MAX_PAYLOAD: usize = 65_507;

/// Datagrams up to this size are worth copying together, to be sent with one call.
const GATHER_MAX: usize = 2048;

/// Memory for one batch of datagrams, shared by the sockets of a worker. The pages of a buffer
/// that never held a large datagram are never touched.
pub(crate) struct Batch {
    buffers: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    train: Vec<u8>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Batch {
            buffers: vec![0; BATCH_SIZE * BUFFER_LEN],
            metas: [RecvMeta::default(); BATCH_SIZE],
            train: Vec::new(),
        }
    }

    fn entry(&self, i: usize) -> &[u8] {
        &self.buffers[i * BUFFER_LEN..][..self.metas[i].len]
    }

    /// The bytes of `run` entries from `first` on, side by side.
    fn gather(&mut self, first: usize, run: usize) -> &[u8] {
        if run == 1 {
            return self.entry(first);
        }
        let mut train = std::mem::take(&mut self.train);
        train.clear();
        for i in first..first + run {
            train.extend_from_slice(self.entry(i));
        }
        self.train = train;
        &self.train
    }
}

/// A UDP socket that sends every acceptable datagram back.
pub(crate) struct UdpEcho {
    pub(crate) socket: UdpSocket,
    state: UdpSocketState,
    guard: Guard,
    /// The address it is bound to. Bound to all of them, a reply must be told which one was asked.
    local: SocketAddr,
    /// Buffers offered to the next receive: many only while many arrive, for each has its cost.
    expected: usize,
    flood: Flood,
    /// What goes wrong on purpose.
    faults: Option<Box<DatagramFaults>>,
    /// The server is stopping: no more is received.
    draining: bool,
}

/// What the worker lends for one turn.
pub(crate) struct UdpTurn<'a> {
    pub(crate) batch: &'a mut Batch,
    pub(crate) now: Instant,
    pub(crate) events: &'a Events,
    pub(crate) counters: &'a Counters,
}

impl UdpEcho {
    pub(crate) fn new(
        socket: std::net::UdpSocket,
        guard: Guard,
        faults: Option<Box<DatagramFaults>>,
    ) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        allow_fragments(&socket)?;
        let local = socket.local_addr()?;
        Ok(UdpEcho {
            socket: UdpSocket::from_std(socket),
            state,
            guard,
            local,
            expected: 1,
            flood: Flood::new(unmapped(local)),
            faults,
            draining: false,
        })
    }

    /// Answers what has arrived. Returns whether there may be more.
    pub(crate) fn advance(&mut self, turn: &mut UdpTurn<'_>) -> bool {
        let mut failing = false;
        for _ in 0..BATCHES_PER_TURN {
            if (self.faults.is_some() && !self.release(turn)) || self.draining {
                return false;
            }
            let received = {
                let mut buffers = turn.batch.buffers.chunks_exact_mut(BUFFER_LEN);
                let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| {
                    IoSliceMut::new(buffers.next().expect("a buffer for each of the batch"))
                });
                self.state.recv(
                    UdpSockRef::from(&self.socket),
                    &mut slices[..self.expected],
                    &mut turn.batch.metas,
                )
            };
            match received {
                Ok(count) => {
                    failing = false;
                    self.answer(turn, count);
                    self.expected = match count == self.expected {
                        // What the faults hold back is bounded but for what is received at once.
                        _ if self.faults.is_some() => 1,
                        true => (count * 4).min(BATCH_SIZE),
                        false => count.max(1),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An error that an earlier reply caused, or an interruption: the datagrams that
                // wait are none the worse for it. If it lasts, the next arrival tries again.
                Err(_) => failing = true,
            }
        }
        !failing
    }

    /// When what was held back must be told.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.flood.deadline()
    }

    /// Tells what was held back so far.
    pub(crate) fn tell(&mut self, now: Instant, events: &Events) {
        self.flood.flush(now, events);
    }

    /// Receives no more from now on.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether replies that a fault holds back are still to be sent.
    pub(crate) fn owes(&self) -> bool {
        self.faults.as_ref().is_some_and(|faults| faults.held() > 0)
    }

    /// Tells what is still untold, and closes the socket. What is owed is lost.
    pub(crate) fn close(mut self, now: Instant, events: &Events, counters: &Counters) {
        let lost = self.faults.as_ref().map_or(0, |faults| faults.held());
        counters.datagrams_dropped.add(lost);
        // All that a sum holds is due within a second.
        self.tell(now + Duration::from_secs(1), events);
        events.close(self.socket);
    }

    /// When the faults have something to do.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.faults.as_ref()?.wake()
    }

    /// Gives the faults what was received, one datagram at a time.
    fn distort(&mut self, faults: &mut DatagramFaults, turn: &mut UdpTurn<'_>, count: usize) {
        // Later than the turn's start: what came meanwhile must not leave too early.
        let now = Instant::now();
        for i in 0..count {
            let meta = turn.batch.metas[i];
            let bytes = turn.batch.entry(i);
            let (local, peer) = (self.asked(&meta), unmapped(meta.addr));
            let origin = Origin::Datagram { local, peer };
            turn.events.received(origin, bytes, meta.stride);
            for datagram in pieces(bytes, meta.stride) {
                turn.counters.datagrams.add(1);
                let admitted = self.guard.admit(meta.addr, meta.dst_ip, 1, turn.now);
                if let Err(why) = admitted {
                    self.dropped(turn, &meta, why, 1);
                } else if !faults.push(meta, datagram, now, turn.events) {
                    turn.counters.datagrams_dropped.add(1);
                }
            }
        }
    }

    /// Sends what the faults have due. Returns whether they have room for more.
    fn release(&mut self, turn: &UdpTurn<'_>) -> bool {
        let Some(mut faults) = self.faults.take() else {
            return true;
        };
        let now = Instant::now();
        while let Some(Reply { meta, bytes, .. }) = faults.pop(now, turn.events) {
            let count = pieces(&bytes, meta.stride).count() as u64;
            let sent = self.send(turn.events, &meta, &bytes, count);
            self.replied(turn, &meta, sent, count, bytes.len() as u64);
        }
        let room = faults.has_room();
        self.faults = Some(faults);
        room
    }

    fn answer(&mut self, turn: &mut UdpTurn<'_>, count: usize) {
        if let Some(mut faults) = self.faults.take() {
            self.distort(&mut faults, turn, count);
            self.faults = Some(faults);
            return;
        }
        let mut next = 0;
        while next < count {
            let run = self.run(&turn.batch.metas[next..count]);
            self.answer_run(turn, next, run);
            next += run;
        }
    }

    /// How many of the batch's next entries can be answered with one call: one train that the
    /// system put together, or several small datagrams of one size from one source.
    fn run(&self, metas: &[RecvMeta]) -> usize {
        let first = &metas[0];
        if first.len != first.stride || first.len == 0 || first.len > GATHER_MAX {
            return 1;
        }
        let most = self.state.max_gso_segments().min(MAX_PAYLOAD / first.len);
        let alike = |meta: &&RecvMeta| {
            (meta.addr, meta.dst_ip, meta.len, meta.stride)
                == (first.addr, first.dst_ip, first.len, first.stride)
        };
        metas.iter().take(most.max(1)).take_while(alike).count()
    }

    fn answer_run(&mut self, turn: &mut UdpTurn<'_>, first: usize, run: usize) {
        let meta = turn.batch.metas[first];
        let datagrams = match run {
            1 => meta.len.div_ceil(meta.stride.max(1)).max(1) as u64,
            run => run as u64,
        };
        turn.counters.datagrams.add(datagrams);
        let local = self.asked(&meta);
        let peer = unmapped(meta.addr);
        let bytes = (first..first + run)
            .map(|i| turn.batch.metas[i].len)
            .sum::<usize>();
        turn.events
            .call(Mark::default(), self.socket.as_raw_fd(), || {
                Call::ReceiveFrom {
                    peer: End::Inet(meta.addr),
                    datagrams,
                    received_bytes: bytes as u64,
                }
            });
        for i in first..first + run {
            let origin = Origin::Datagram { local, peer };
            turn.events
                .received(origin, turn.batch.entry(i), meta.stride);
        }
        let admitted = self
            .guard
            .admit(meta.addr, meta.dst_ip, datagrams, turn.now);
        let allowed = *admitted.as_ref().unwrap_or(&0);
        if let Err(why) = admitted {
            self.dropped(turn, &meta, why, datagrams);
            return;
        }
        let replies = turn.batch.gather(first, run);
        #[cfg(test)]
        crate::serve::defect::strike(replies);
        let replies = &replies[..replies.len().min(allowed as usize * meta.stride)];
        let (sent, bytes) = (
            self.send(turn.events, &meta, replies, allowed),
            replies.len() as u64,
        );
        self.replied(turn, &meta, sent, allowed, bytes);
        if allowed < datagrams {
            self.dropped(turn, &meta, DropReason::Rate, datagrams - allowed);
        }
    }

    /// Tells of `count` datagrams that were sent, or not.
    fn replied(
        &mut self,
        turn: &UdpTurn<'_>,
        meta: &RecvMeta,
        sent: io::Result<()>,
        count: u64,
        bytes: u64,
    ) {
        let (local, peer) = (self.asked(meta), unmapped(meta.addr));
        if sent.is_ok() {
            turn.events.trace(|| Kind::DatagramsSent {
                local,
                peer,
                count,
                bytes,
            });
        }
        self.flood
            .answered(turn.now, turn.events, peer, count, bytes);
        if let Err(error) = sent {
            self.dropped(turn, meta, DropReason::Failed(error.kind()), count);
        }
    }

    /// The address that a datagram was sent to.
    fn asked(&self, meta: &RecvMeta) -> SocketAddr {
        let ip = meta.dst_ip.unwrap_or(self.local.ip());
        let mut address = unmapped(SocketAddr::new(ip, self.local.port()));
        // It came in where its sender is.
        if let (SocketAddr::V6(asked), SocketAddr::V6(peer)) = (&mut address, meta.addr)
            && asked.ip().is_unicast_link_local()
        {
            asked.set_scope_id(peer.scope_id());
        }
        address
    }

    /// Sends `contents`, cut into `count` datagrams of the size in which they came. A datagram that the
    /// socket has no room for is lost, as datagrams may be.
    fn send(
        &self,
        events: &Events,
        meta: &RecvMeta,
        contents: &[u8],
        count: u64,
    ) -> io::Result<()> {
        let mark = events.mark();
        let outcome = self.send_all(meta, contents, count);
        events.outcome(mark, &self.socket, &outcome, |()| Call::SendTo {
            peer: End::Inet(meta.addr),
            datagrams: count,
            sent_bytes: contents.len() as u64,
        });
        outcome
    }

    fn send_all(&self, meta: &RecvMeta, contents: &[u8], count: u64) -> io::Result<()> {
        let transmit = |contents, segment_size| {
            let transmit = Transmit {
                destination: meta.addr,
                ecn: None,
                contents,
                segment_size,
                // Bound to one address, the system can choose no other.
                src_ip: meta.dst_ip.filter(|_| self.local.ip().is_unspecified()),
            };
            self.state
                .try_send(UdpSockRef::from(&self.socket), &transmit)
        };
        if contents.len() <= meta.stride {
            return transmit(contents, None);
        }
        let train = count <= self.state.max_gso_segments() as u64;
        if train && transmit(contents, Some(meta.stride)).is_ok() {
            return Ok(());
        }
        contents
            .chunks(meta.stride)
            .try_for_each(|datagram| transmit(datagram, None))
    }

    fn dropped(&mut self, turn: &UdpTurn<'_>, meta: &RecvMeta, why: DropReason, count: u64) {
        turn.counters.datagrams_dropped.add(count);
        self.flood
            .dropped(turn.now, turn.events, meta.addr, why, count);
    }
}

/// Lets replies be cut into fragments again, which `quinn-udp` forbids for QUIC's sake: a datagram
/// longer than the path's packets must come back too.
fn allow_fragments(socket: &std::net::UdpSocket) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt as option};
        use rustix::net::sockopt;

        sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::DONT)?;
        if socket.local_addr()?.is_ipv6() {
            sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::DONT)?;
            setsockopt(socket, option::Ipv6DontFrag, &false)?;
        }
        // Nobody here looks at the time stamps that it asked for.
        setsockopt(socket, option::ReceiveTimestampns, &false)?;
    }
    Ok(())
}
