//! A UDP socket: datagrams received and sent in batches.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use echo_core::address::End;
use echo_core::escape::excerpt;
use echo_core::stamp::{Mode, class_wanted};
use echo_explain::{Audience, Begun, Call, Watched, netstat};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

use crate::event::{Datagrams, Events, Kind, Origin, unmapped};
use crate::socket::stamped::{self, Seen};
use crate::socket::{local_address, open};

/// Of all services the one that never answers (RFC 863).
const DISCARD: u16 = 9;

/// The largest datagram, or train of datagrams, that the system hands over at once.
const BUFFER_LEN: usize = 1 << 16;

/// The longest UDP payload over IPv4. A train of datagrams sent at once may be no longer either.
const MAX_PAYLOAD: usize = 65_507;

/// Datagrams up to this size are worth copying together, to be sent with one call.
const GATHER_MAX: usize = 2048;

/// What the system is asked to hold for us: 1,000 datagrams of 1,400 bytes, which it counts as 2.3 MB,
/// arrive while a busy machine lets us wait for 100 ms. It grants `net.core.rmem_max` at most.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The most entries that one call receives.
pub(crate) const BATCH: usize = BATCH_SIZE;

/// Whether an IPv4 address is a broadcast address. Only the system knows those of its networks: it
/// refuses to connect to them. No packet is sent.
///
/// # Errors
/// The system's, where it has no answer.
pub(crate) fn is_broadcast(events: &Events, ip: IpAddr) -> io::Result<bool> {
    let probe = open(events, Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    match probe.connect(&SocketAddr::new(ip, DISCARD).into()) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::ACCESS) => Ok(true),
        outcome => outcome.map(|()| false),
    }
}

/// Memory for one batch of datagrams, shared by the sockets of a worker. The pages of a buffer
/// that never held a large datagram are never touched.
pub(crate) struct Batch {
    buffers: Vec<u8>,
    metas: [RecvMeta; BATCH],
    count: usize,
    train: Vec<u8>,
    /// What the system knows of a datagram that was received alone, to be stamped.
    pub(crate) seen: Seen,
}

/// Entries of a batch that can be answered with one call: one train that the system put together, or
/// several small datagrams of one size from one source.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    first: usize,
    /// The first entry after it.
    pub(crate) next: usize,
    /// Whence and whither all of it was sent.
    pub(crate) meta: RecvMeta,
    /// How many datagrams it is.
    pub(crate) count: u64,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Batch {
            buffers: vec![0; BATCH * BUFFER_LEN],
            metas: [RecvMeta::default(); BATCH],
            count: 0,
            train: Vec::new(),
            seen: Seen::default(),
        }
    }

    /// The entries that the last call received.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn entry(&self, i: usize) -> &[u8] {
        &self.buffers[i * BUFFER_LEN..][..self.metas[i].len]
    }

    /// The bytes of `run`, side by side.
    pub(crate) fn bytes(&mut self, run: &Run) -> &mut [u8] {
        if run.next == run.first + 1 {
            return &mut self.buffers[run.first * BUFFER_LEN..][..run.meta.len];
        }
        let mut train = std::mem::take(&mut self.train);
        train.clear();
        for i in run.first..run.next {
            train.extend_from_slice(self.entry(i));
        }
        self.train = train;
        &mut self.train
    }
}

/// What became of datagrams that were to be sent.
#[derive(Debug)]
pub(crate) struct Sent {
    /// How many of them the system took.
    pub(crate) count: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Why it did not take the others; the last one's reason.
    pub(crate) error: Option<io::ErrorKind>,
}

/// A bound UDP socket. Whatever is done with it is told.
pub(crate) struct DatagramSocket {
    socket: Watched<Events>,
    state: UdpSocketState,
    /// The address it is bound to. Bound to all of them, a reply must be told which one was asked.
    local: SocketAddr,
    /// What the system has dropped, as far as that is known.
    overflowed: u64,
    /// How packets of STAMP are laid out here, where that is what it gets.
    stamped: Option<Mode>,
}

impl DatagramSocket {
    /// One that gets packets of STAMP, laid out as `stamped` says, or anything.
    pub(crate) fn new(socket: Watched<Events>, stamped: Option<Mode>) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = local_address(socket.socket())?;
        allow_fragments(socket.socket(), local.is_ipv6())?;
        if stamped.is_some() {
            stamped::prepare(socket.socket(), local.is_ipv6())?;
        }
        Ok(DatagramSocket {
            socket,
            state,
            local,
            overflowed: 0,
            stamped,
        })
    }

    /// The address that it is bound to.
    pub(crate) fn local(&self) -> SocketAddr {
        unmapped(self.local)
    }

    /// Receives into `most` entries of `batch` at most.
    ///
    /// # Errors
    /// The system's. An error that an earlier reply caused costs those that wait nothing.
    pub(crate) fn receive(
        &self,
        batch: &mut Batch,
        most: usize,
        events: &Events,
    ) -> io::Result<()> {
        batch.count = 0;
        if self.stamped.is_some() {
            let buffer = &mut batch.buffers[..BUFFER_LEN];
            (batch.metas[0], batch.seen) = stamped::receive(self.socket.socket(), buffer)?;
            batch.count = 1;
            self.received(batch, events);
            return Ok(());
        }
        let mut buffers = batch.buffers.chunks_exact_mut(BUFFER_LEN);
        let mut slices: [IoSliceMut<'_>; BATCH] = std::array::from_fn(|_| {
            IoSliceMut::new(buffers.next().expect("a buffer for each of the batch"))
        });
        let socket = UdpSockRef::from(&self.socket);
        batch.count = self
            .state
            .recv(socket, &mut slices[..most], &mut batch.metas)?;
        self.received(batch, events);
        Ok(())
    }

    /// Tells what `batch` has received.
    fn received(&self, batch: &Batch, events: &Events) {
        let mut next = 0;
        while let Some(run) = self.run(batch, next) {
            next = run.next;
            let lens = batch.metas[run.first..run.next].iter();
            let received_bytes = lens.map(|meta| meta.len as u64).sum();
            self.socket
                .ended(Begun::default(), &Ok(()), |()| Call::ReceiveFrom {
                    peer: End::Inet(run.meta.addr),
                    datagrams: run.count,
                    received_bytes,
                    data: excerpt(batch.entry(run.first)),
                });
            let (local, peer) = (self.asked(&run.meta), unmapped(run.meta.addr));
            for i in run.first..run.next {
                let origin = Origin::Datagram { local, peer };
                events.received(origin, batch.entry(i), run.meta.stride);
            }
        }
    }

    /// Of what the last call received, what from entry `first` on can be answered together.
    pub(crate) fn run(&self, batch: &Batch, first: usize) -> Option<Run> {
        let metas = &batch.metas[..batch.count];
        let meta = *metas.get(first)?;
        let gathers = meta.len == meta.stride && (1..=GATHER_MAX).contains(&meta.len);
        let most = match gathers {
            true => self.state.max_gso_segments().min(MAX_PAYLOAD / meta.len),
            false => 1,
        };
        let alike = |other: &&RecvMeta| {
            (other.addr, other.dst_ip, other.len, other.stride)
                == (meta.addr, meta.dst_ip, meta.len, meta.stride)
        };
        let following = metas[first..].iter().take(most.max(1));
        let entries = following.take_while(alike).count();
        let count = match entries {
            1 => meta.len.div_ceil(meta.stride.max(1)).max(1),
            entries => entries,
        };
        Some(Run {
            first,
            next: first + entries,
            meta,
            count: count as u64,
        })
    }

    /// The address that a datagram was sent to.
    pub(crate) fn asked(&self, meta: &RecvMeta) -> SocketAddr {
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

    /// Sends `contents` to where `meta` came from, cut into datagrams of `meta.stride` bytes. One that the
    /// socket has no room for is lost, as datagrams may be; the others are sent.
    pub(crate) fn send(&self, meta: &RecvMeta, contents: &[u8], events: &Events) -> Sent {
        let (stride, peer) = (meta.stride.max(1), unmapped(meta.addr));
        let count = contents.len().div_ceil(stride).max(1) as u64;
        let train = count > 1 && count <= self.state.max_gso_segments() as u64;
        let begun = events.begin();
        let mut sent = Sent {
            count,
            bytes: contents.len() as u64,
            error: None,
        };
        if !train || self.transmit(meta, contents, Some(meta.stride)).is_err() {
            for datagram in crate::event::pieces(contents, stride) {
                if let Err(error) = self.transmit(meta, datagram, None) {
                    let outcome: io::Result<()> = Err(error);
                    let call = |()| self.told(meta, 1, datagram);
                    self.socket.ended(begun, &outcome, call);
                    sent.error = outcome.err().map(|error| error.kind());
                    sent.count -= 1;
                    sent.bytes -= datagram.len() as u64;
                }
            }
        }
        if sent.count > 0 {
            let Sent { count, bytes, .. } = sent;
            self.socket.ended(begun, &Ok(()), |()| {
                self.told(meta, count, &contents[..bytes as usize])
            });
            events.trace(|| {
                let local = self.asked(meta);
                Kind::DatagramsSent(Datagrams {
                    local,
                    peer,
                    count,
                    bytes,
                })
            });
        }
        sent
    }

    fn told(&self, meta: &RecvMeta, datagrams: u64, contents: &[u8]) -> Call {
        Call::SendTo {
            peer: End::Inet(meta.addr),
            datagrams,
            sent_bytes: contents.len() as u64,
            data: excerpt(contents),
        }
    }

    fn transmit(
        &self,
        meta: &RecvMeta,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        // Bound to one address, the system can choose no other.
        let src_ip = meta.dst_ip.filter(|_| self.local.ip().is_unspecified());
        if let Some(mode) = self.stamped {
            let tos = class_wanted(mode, contents) << 2;
            return stamped::send(self.socket.socket(), meta.addr, src_ip, tos, contents);
        }
        let transmit = Transmit {
            destination: meta.addr,
            ecn: None,
            contents,
            segment_size,
            src_ip,
        };
        self.state
            .try_send(UdpSockRef::from(&self.socket), &transmit)
    }

    /// The bytes of the system's buffer for what it has not received.
    pub(crate) fn room(&self) -> u64 {
        // The system does not refuse to tell it of a socket that is open.
        sockopt::socket_recv_buffer_size(&self.socket).unwrap_or(RECEIVE_BUFFER) as u64
    }

    /// How many datagrams the system has dropped since this was last asked, because its buffer for us
    /// was full. It tells that in its list of sockets, which takes some ten microseconds to read.
    pub(crate) fn overflowed(&mut self) -> u64 {
        let row = netstat::find("udp", self.local, None);
        let all = row.map_or(self.overflowed, |row| row.drops);
        let new = all.saturating_sub(self.overflowed);
        self.overflowed += new;
        new
    }
}

impl AsRawFd for DatagramSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.socket().as_raw_fd()
    }
}

/// Asks for room for bursts, without an error where the system grants less.
pub(crate) fn ask_for_room(socket: impl AsFd) {
    if sockopt::socket_recv_buffer_size(&socket).is_ok_and(|size| size < RECEIVE_BUFFER) {
        // Whoever may set the limit may also go over it; others get what it allows.
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_ok() {
            return;
        }
        let _: rustix::io::Result<()> =
            sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER);
    }
}

/// Lets replies be cut into fragments again, which `quinn-udp` forbids for QUIC's sake: a datagram
/// longer than the path's packets must come back too.
fn allow_fragments(socket: &Socket, is_ipv6: bool) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt as option};

    sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::DONT)?;
    if is_ipv6 {
        sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::DONT)?;
        setsockopt(socket, option::Ipv6DontFrag, &false)?;
    }
    // Nobody here looks at the time stamps that it asked for.
    setsockopt(socket, option::ReceiveTimestampns, &false)?;
    Ok(())
}
