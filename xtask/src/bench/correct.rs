//! Whether a server is one at all: two cases that fast loops break.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::contender::{Contender, STREAM};
use super::lab::Lab;

/// The longest that a server may be silent while it owes bytes.
const SILENCE: Duration = Duration::from_secs(5);

/// What a server passed.
pub struct Checked {
    /// The server.
    pub contender: Contender,
    /// 10 MB, the sending half closed, read slowly: whether every byte came back, then the end.
    pub half_close: Result<(), String>,
    /// A peer that sends and never reads: whether another is still served.
    pub stalled_neighbour: Result<(), String>,
}

impl Checked {
    /// What it did wrong, in words.
    pub fn faults(&self) -> Vec<String> {
        let name = self.contender.name();
        let cases = [
            ("half-close", &self.half_close),
            ("stalled peer", &self.stalled_neighbour),
        ];
        let failed = cases.into_iter().filter_map(|(case, result)| {
            let error = result.as_ref().err()?;
            Some(format!("{name}, {case}: {error}"))
        });
        failed.collect()
    }
}

/// Checks every server that is on this machine.
pub fn check_all(lab: &Lab) -> Vec<Checked> {
    let found = STREAM
        .iter()
        .filter(|contender| contender.version().is_ok());
    found.map(|&contender| check(lab, contender)).collect()
}

fn check(lab: &Lab, contender: Contender) -> Checked {
    let on_own = |case: fn(SocketAddr) -> Result<()>| {
        let server = lab.start(contender)?;
        case(server.address)
    };
    let told = |result: Result<()>| result.map_err(|error| format!("{error:#}"));
    Checked {
        contender,
        half_close: told((0..3).try_for_each(|_| on_own(half_close))),
        stalled_neighbour: told(on_own(stalled_neighbour)),
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, SILENCE)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    Ok(stream)
}

/// Ten megabytes in which no two places look alike.
fn message() -> Vec<u8> {
    (0..2_500_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect()
}

fn half_close(address: SocketAddr) -> Result<()> {
    let mut stream = connect(address)?;
    let mut sender = stream.try_clone()?;
    let sent = message();
    let sending = thread::spawn(move || -> std::io::Result<Vec<u8>> {
        sender.write_all(&sent)?;
        sender.shutdown(Shutdown::Write)?;
        Ok(sent)
    });
    // By now every buffer on the way is full, and the server has had to hold something back.
    thread::sleep(Duration::from_millis(100));
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let ended = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(read) => received.extend_from_slice(&buffer[..read]),
            Err(error) => break Err(error),
        }
        thread::sleep(Duration::from_millis(1));
    };
    let sent = match sending.join() {
        Ok(sent) => {
            sent.with_context(|| format!("cannot send after {} bytes came back", received.len()))?
        }
        Err(_) => bail!("the sender panicked"),
    };
    if let Some(at) = sent.iter().zip(&received).position(|(a, b)| a != b) {
        bail!("byte {at} came back wrong");
    }
    ensure!(received.len() <= sent.len(), "more came back than was sent");
    let missing = sent.len() - received.len();
    ensure!(
        missing == 0,
        "{missing} of {} bytes never came back",
        sent.len()
    );
    ended.context("no end of the stream after the last byte")
}

fn stalled_neighbour(address: SocketAddr) -> Result<()> {
    let stalled = connect(address)?;
    stalled.set_nonblocking(true)?;
    let message = message();
    // Until nothing goes any more: 100 tries over 100 ms, none of which waits.
    for _ in 0..100 {
        while (&stalled).write(&message).is_ok_and(|sent| sent > 0) {}
        thread::sleep(Duration::from_millis(1));
    }
    let mut other = connect(address)?;
    for round in 0..100 {
        let mut back = [0; 5];
        other.write_all(b"hello")?;
        other
            .read_exact(&mut back)
            .with_context(|| format!("no echo in round {round}"))?;
        ensure!(&back == b"hello", "a wrong echo in round {round}");
    }
    Ok(())
}
