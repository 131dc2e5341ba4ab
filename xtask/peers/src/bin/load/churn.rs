//! Connect, one echo, close; over and over.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::{Clock, Outcome};

const MESSAGE: [u8; 64] = [b'e'; 64];

/// A connection that takes longer is an error.
const LIMIT: Duration = Duration::from_secs(5);

/// Churns with `threads` connections at a time. An echo is a whole connection.
pub fn run(target: SocketAddr, threads: usize, time: Duration) -> io::Result<Outcome> {
    let runs: Vec<_> = (0..threads)
        .map(|_| thread::spawn(move || churn(target, time)))
        .collect();
    let mut total = Outcome::default();
    for run in runs {
        let outcome = run.join().expect("churn does not panic")?;
        total.echoes += outcome.echoes;
        total.bytes += outcome.bytes;
        // They start within microseconds of one another.
        total.from_ns = outcome.from_ns;
        total.to_ns = outcome.to_ns;
    }
    Ok(total)
}

fn churn(target: SocketAddr, time: Duration) -> io::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut clock = Clock::start(time);
    let mut back = [0; MESSAGE.len()];
    while !clock.is_over(&mut outcome) {
        let mut stream = TcpStream::connect_timeout(&target, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(&MESSAGE)?;
        stream.read_exact(&mut back)?;
        outcome.echoes += 1;
        outcome.bytes += back.len() as u64;
    }
    Ok(outcome)
}
