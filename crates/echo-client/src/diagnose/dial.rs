//! Connections that are tried side by side, and what each came to.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use socket2::Socket;

use super::answer::Answer;
use super::path::Path;
use crate::connection::{TICK, ancillary, packets, wait};

/// Bytes of a packet that opens a connection or answers one, with all usual options.
const SYN: u64 = 60;

/// One connection to be tried.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// To where.
    pub remote: SocketAddr,
    /// The routers that its packets may pass; `None`: as many as usual.
    pub ttl: Option<u8>,
    /// The largest segment in either direction, in bytes; `None`: what the system thinks best.
    pub segment: Option<u32>,
}

impl Call {
    /// An ordinary connection.
    pub fn to(remote: SocketAddr) -> Self {
        Call {
            remote,
            ttl: None,
            segment: None,
        }
    }

    /// Begins to connect.
    fn begin(&self, path: &Path<'_>) -> io::Result<Socket> {
        let socket = path.stream(self.remote)?;
        let is_ipv4 = self.remote.is_ipv4();
        ancillary::note_all(&socket, is_ipv4)?;
        if let Some(ttl) = self.ttl {
            packets::set_ttl(&socket, is_ipv4, ttl)?;
        }
        if let Some(segment) = self.segment {
            socket.set_tcp_mss(segment)?;
        }
        match socket.connect(&self.remote.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
            _ => Ok(socket),
        }
    }
}

/// Connects to all of them and waits for what becomes of each for as long as `patience`, or until
/// there are `enough` connections. Returns what each came to, and the connections that were made.
pub fn dial(
    path: &mut Path<'_>,
    calls: &[Call],
    enough: usize,
    patience: Duration,
) -> Vec<(Answer, Option<Socket>)> {
    let start = Instant::now();
    let begin = |call: &Call| match call.begin(path) {
        Ok(socket) => (Answer::Silence, Some(socket)),
        Err(error) => (Answer::failed(error.kind()), None),
    };
    let mut results: Vec<_> = calls.iter().map(begin).collect();
    path.sent_bytes += SYN * calls.len() as u64;
    while path.interrupt.why().is_none() {
        let left = patience.saturating_sub(start.elapsed());
        let made = results.iter().filter(|(answer, _)| answer.time().is_some());
        let is_open = |n: &usize| results[*n].0 == Answer::Silence && results[*n].1.is_some();
        let open: Vec<_> = (0..calls.len()).filter(is_open).collect();
        if made.count() >= enough || open.is_empty() || left.is_zero() {
            break;
        }
        let sockets = open.iter().filter_map(|n| results[*n].1.as_ref());
        let polled = sockets.map(|socket| PollFd::new(socket, PollFlags::OUT));
        let mut polled: Vec<_> = polled.collect();
        wait(&mut polled, left.min(TICK));
        let is_ready = polled.iter().map(|polled| !polled.revents().is_empty());
        let is_ready: Vec<_> = is_ready.collect();
        for (number, _) in open.iter().zip(is_ready).filter(|(_, is_ready)| *is_ready) {
            let (answer, socket) = &mut results[*number];
            *answer = ended(socket, calls[*number].remote, start.elapsed());
            path.received_bytes += SYN;
        }
    }
    results
}

/// What a connection came to whose socket says that it knows. The socket is dropped unless it is
/// connected.
fn ended(socket: &mut Option<Socket>, remote: SocketAddr, elapsed: Duration) -> Answer {
    let Some(tried) = socket.take() else {
        return Answer::Silence;
    };
    match tried.take_error() {
        Ok(None) => {
            *socket = Some(tried);
            Answer::Came(elapsed)
        }
        Ok(Some(error)) | Err(error) => match ancillary::notice(&tried, &mut [0; 64]) {
            Ok(notice) => Answer::told(&notice, remote.ip()),
            Err(_) => Answer::failed(error.kind()),
        },
    }
}
