//! Connections that are tried side by side, and what each came to.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use socket2::{Socket, Type};

use super::answer::Answer;
use super::path::{Path, is_itself, ready};
use crate::connection::{TICK, ancillary, packets};

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
        let socket = path.socket(Type::STREAM, self.remote, 0)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(ttl) = self.ttl {
            packets::set_ttl(&socket, self.remote.is_ipv4(), ttl)?;
        }
        if let Some(segment) = self.segment {
            socket.set_tcp_mss(segment)?;
        }
        match socket.connect(&self.remote.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
            _ => Ok(socket),
        }
    }

    /// What it came to, once its socket says that it knows.
    fn answer(&self, socket: &Socket, elapsed: Duration) -> Answer {
        match socket.take_error() {
            Ok(None) if is_itself(socket, self.remote) => Answer::Refused,
            Ok(None) => Answer::Came(elapsed),
            Ok(Some(error)) | Err(error) => match ancillary::notice(socket, &mut [0; 64]) {
                Ok(notice) => Answer::told(&notice, self.remote.ip()),
                Err(_) => Answer::failed(error.kind()),
            },
        }
    }
}

/// Connects to all of them and waits for what becomes of each for as long as `patience`, or until
/// there are `enough` connections. Returns what each came to, and the connections that were made.
///
/// # Errors
/// This machine lacks what it takes to try.
pub fn dial(
    path: &mut Path<'_>,
    calls: &[Call],
    enough: usize,
    patience: Duration,
) -> io::Result<Vec<(Answer, Option<Socket>)>> {
    let start = Instant::now();
    let begin = |call: &Call| match call.begin(path) {
        Ok(socket) => Ok((None, Some(socket))),
        Err(error) => Ok((Some(Answer::asked(error, call.remote.ip())?), None)),
    };
    let mut results: Vec<(Option<Answer>, _)> =
        calls.iter().map(begin).collect::<io::Result<_>>()?;
    path.sent_bytes += SYN * calls.len() as u64;
    loop {
        let left = patience.saturating_sub(start.elapsed());
        let made = results
            .iter()
            .filter_map(|(answer, _)| answer.as_ref()?.time());
        let is_open = |at: &usize| results[*at].0.is_none();
        let open: Vec<_> = (0..calls.len()).filter(is_open).collect();
        let is_enough = made.count() >= enough || open.is_empty();
        if is_enough || left.is_zero() || path.interrupt.why().is_some() {
            break;
        }
        let sockets = open.iter().filter_map(|at| results[*at].1.as_ref());
        for at in ready(sockets, PollFlags::OUT, left.min(TICK)) {
            let (answer, socket) = &mut results[open[at]];
            let told = |socket: &Socket| calls[open[at]].answer(socket, start.elapsed());
            *answer = socket.as_ref().map(told);
            path.received_bytes += SYN;
        }
    }
    let end = |(answer, socket): (Option<Answer>, Option<Socket>)| {
        let answer = answer.unwrap_or(Answer::Silence);
        (answer, socket.filter(|_| answer.time().is_some()))
    };
    Ok(results.into_iter().map(end).collect())
}
