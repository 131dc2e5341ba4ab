//! The least that a client must do: send, wait, read, and again, with blocking calls.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::{Clock, Outcome, tcp};

/// Sends one message of `size` bytes after another.
pub fn run(target: SocketAddr, size: usize, time: Duration) -> io::Result<Outcome> {
    let mut stream = tcp::connect(target)?;
    let (message, mut back) = (vec![b'e'; size], vec![0; size]);
    let mut outcome = Outcome::default();
    let mut clock = Clock::start(time);
    while !clock.is_over(&mut outcome) {
        let sent_at = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut back)?;
        let round_trip = sent_at.elapsed().as_nanos() as u64;
        outcome.round_trips.push(round_trip);
        outcome.echoes += 1;
        outcome.bytes += size as u64;
    }
    Ok(outcome)
}
