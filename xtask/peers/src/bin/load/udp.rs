//! Datagrams in trains that the system cuts up (GSO).

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use crate::Outcome;

/// What has not come back after this is lost: on a loopback an echo takes microseconds.
const LOST_AFTER: Duration = Duration::from_millis(50);

/// Keeps `trains` trains under way until `end`, each as many datagrams as one system call can send.
pub fn trains(target: SocketAddr, size: usize, trains: usize, end: Instant) -> io::Result<Outcome> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    let segments = state.max_gso_segments();
    let contents = vec![b'e'; size * segments];
    let train = Transmit {
        destination: target,
        ecn: None,
        contents: &contents,
        segment_size: Some(size),
        src_ip: None,
    };
    let mut poll = Poll::new()?;
    let mut watched = mio::net::UdpSocket::from_std(socket.try_clone()?);
    poll.registry()
        .register(&mut watched, Token(0), Interest::READABLE)?;

    let mut receiver = Receiver::new();
    let mut outcome = Outcome::default();
    let mut events = Events::with_capacity(4);
    let mut under_way = 0;
    while Instant::now() < end {
        while under_way + segments <= trains * segments {
            match state.try_send(UdpSockRef::from(&socket), &train) {
                Ok(()) => under_way += segments,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        match receiver.receive(&state, &socket) {
            Ok(datagrams) => {
                outcome.unique += datagrams as u64;
                under_way = under_way.saturating_sub(datagrams);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll.poll(&mut events, Some(LOST_AFTER))?;
                if events.is_empty() {
                    outcome.lost += under_way as u64;
                    under_way = 0;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(outcome)
}

/// Buffers for one batch of trains.
struct Receiver {
    buffers: Vec<Vec<u8>>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Receiver {
    fn new() -> Self {
        Receiver {
            buffers: vec![vec![0; 64 << 10]; BATCH_SIZE],
            metas: [RecvMeta::default(); BATCH_SIZE],
        }
    }

    /// How many datagrams one call received.
    fn receive(&mut self, state: &UdpSocketState, socket: &UdpSocket) -> io::Result<usize> {
        let mut slices: Vec<_> = self
            .buffers
            .iter_mut()
            .map(|b| IoSliceMut::new(b))
            .collect();
        let count = state.recv(UdpSockRef::from(socket), &mut slices, &mut self.metas)?;
        let metas = self.metas[..count].iter();
        Ok(metas
            .map(|meta| meta.len.div_ceil(meta.stride.max(1)))
            .sum())
    }
}
