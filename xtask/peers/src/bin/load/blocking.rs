//! The least that a client must do: send, wait, read, and again, with blocking calls.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use crate::{Outcome, tcp};

/// Sends one message of `size` bytes after another, until `end`.
pub fn run(target: SocketAddr, size: usize, end: Instant) -> io::Result<Outcome> {
    let mut stream = tcp::connect(target)?;
    let (message, mut back) = (vec![b'e'; size], vec![0; size]);
    let mut outcome = Outcome::default();
    while Instant::now() < end {
        let sent_at = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut back)?;
        let round_trip = sent_at.elapsed().as_nanos() as u64;
        outcome.round_trips.push(round_trip);
        outcome.unique += 1;
    }
    Ok(outcome)
}
