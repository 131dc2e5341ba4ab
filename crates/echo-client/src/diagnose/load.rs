//! Load: small datagrams beside two transfers, which show how long the queues on the way are.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use socket2::Socket;

use super::finding::Findings;
use super::path::Path;
use super::sender::{self, Plan};
use super::train::{Cell, Probe};
use super::trains::{SMALL, echo_peer, no_echo};
use super::verdict::{self, shown};
use super::{SPENT, Told};
use crate::wire::echo::{self, Pattern};

/// Streams that are transferred at once.
const STREAMS: u64 = 2;
/// How long; a queue of a second has filled by then.
const TIME: Duration = Duration::from_secs(3);
/// Of the budget that is left they take no more than this, each way.
const SHARE: u64 = 650_000;
/// What the trains after this one take, and the least that is worth a transfer.
const RESERVED: u64 = 450_000;
const LEAST: u64 = 150_000;
/// A write of a stream, so small that the pace is even.
const PIECE: usize = 4096;
/// Small datagrams beside them.
const INTERVAL: Duration = Duration::from_millis(20);

/// Transfers, and probes meanwhile.
pub fn load(path: &mut Path<'_>, findings: &mut Findings) -> Result<Told> {
    if path.settings.gentle {
        return Ok(Told::LeftOut("--gentle".to_owned()));
    }
    let Some((remote, port)) = echo_peer(path) else {
        return Ok(no_echo());
    };
    if !path.has_tcp {
        return Ok(Told::LeftOut("TCP does not connect".to_owned()));
    }
    let streams = (0..STREAMS)
        .map(|_| connect(path, remote))
        .collect::<io::Result<Vec<_>>>()?;
    let bytes = SHARE.min(path.bytes_left().saturating_sub(RESERVED)) / STREAMS;
    if bytes < LEAST / STREAMS {
        return Ok(Told::LeftOut(SPENT.to_owned()));
    }
    let pace = Duration::from_secs(1)
        .mul_f64(PIECE as f64 * 8.0 * STREAMS as f64 / path.settings.max_rate.0 as f64);
    let is_over = AtomicBool::new(false);
    let cell = Cell {
        size: SMALL,
        ..Cell::default()
    };
    let cells = [cell];
    let count = TIME.div_duration_f64(INTERVAL) as usize;
    let plan = Plan::of((remote, port), &cells, count, INTERVAL);
    let (train, moved) = std::thread::scope(|scope| {
        let transfer = |stream| {
            let is_over = &is_over;
            scope.spawn(move || transfer(stream, bytes, pace, is_over))
        };
        let under_way: Vec<_> = streams.into_iter().map(transfer).collect();
        let train = sender::send(path, &plan);
        is_over.store(true, Ordering::Relaxed);
        let moved = under_way
            .into_iter()
            .map(|one| one.join().unwrap_or_default());
        let moved = moved.fold(Moved::default(), Moved::and);
        (train, moved)
    });
    let train = train?;
    path.spent.sent_bytes += moved.sent;
    path.spent.received_bytes += moved.received;
    let until = train.probes.first().map_or(0, |first| first.sent) + moved.time.as_nanos() as u64;
    let beside = train.probes.iter().filter(|probe| probe.sent <= until);
    let loaded: Vec<u64> = beside.filter_map(Probe::rtt).collect();
    let idle = path.trains.steady.iter().flat_map(|train| &train.probes);
    let idle: Vec<u64> = idle.filter_map(Probe::rtt).collect();
    if let Some(finding) = verdict::load(&idle, &loaded) {
        findings.add(finding);
    }
    let mut sorted = loaded.clone();
    let middle = super::train::percentile(&mut sorted, 0.5).unwrap_or_default();
    Ok(Told::Seen(format!(
        "{} kB went through two streams; half of {} datagrams beside them within {}",
        moved.received / 1000,
        loaded.len(),
        shown(middle)
    )))
}

fn connect(path: &Path<'_>, remote: SocketAddr) -> io::Result<Socket> {
    let socket = path.stream(remote)?;
    socket.set_nonblocking(false)?;
    socket.connect_timeout(&remote.into(), path.connect.connect_timeout.0)?;
    // Reads and writes look up now and then.
    socket.set_read_timeout(Some(Duration::from_millis(1)))?;
    socket.set_write_timeout(Some(Duration::from_millis(1)))?;
    Ok(socket)
}

/// What a transfer has moved, and for how long it did.
#[derive(Default)]
struct Moved {
    sent: u64,
    received: u64,
    time: Duration,
}

impl Moved {
    fn and(self, other: Moved) -> Moved {
        Moved {
            sent: self.sent + other.sent,
            received: self.received + other.received,
            time: self.time.max(other.time),
        }
    }
}

/// Sends `bytes`, a piece each `pace` where the stream takes it, and reads what comes back.
fn transfer(mut stream: Socket, bytes: u64, pace: Duration, is_over: &AtomicBool) -> Moved {
    let mut moved = Moved::default();
    let start = Instant::now();
    let mut piece = [0; PIECE];
    Pattern::new(echo::token()).fill(0, 0, &mut piece);
    let mut buffer = vec![0; 1 << 16];
    let mut due = start;
    while moved.received < bytes && !is_over.load(Ordering::Relaxed) {
        if moved.sent < bytes && Instant::now() >= due {
            match stream.write(&piece) {
                Ok(written) => moved.sent += written as u64,
                Err(error) if is_for_now(&error) => {}
                Err(_) => break,
            }
            due = (due + pace).max(Instant::now() - pace);
        }
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                moved.received += read as u64;
                moved.time = start.elapsed();
            }
            Err(error) if is_for_now(&error) => {}
            Err(_) => break,
        }
    }
    moved
}

fn is_for_now(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
