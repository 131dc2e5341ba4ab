//! Crowds: resets, churn, slow readers, and stops.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::Arena;
use super::victim::Victim;
use crate::process;
use crate::traffic::{self, LIMIT, Pace, spread};

/// Connections closed with a reset, in one run of the step.
const RESETS: u64 = 5_000;

/// Connections that come and go, in one run of the step.
const CHURN: u64 = 100_000;

/// A server on all addresses, so that its clients may have many.
fn server(arena: &Arena) -> Result<Victim> {
    arena.victim(&["--listen=0.0.0.0:0"])
}

/// Peers that reset at any moment, beside one that must not notice.
pub fn resets(arena: &mut Arena) -> Result<String> {
    let victim = server(arena)?;
    let mut random = arena.random.part(1);
    let block = random.bytes(100_000);
    let ((), pings) = arena.beside(&victim, || {
        (0..RESETS).try_for_each(|_| {
            let peer = traffic::connect(spread(victim.tcp, random.draw()))?;
            peer.set_nonblocking(true)?;
            // Before a byte, after a few, with an echo unread, with a backlog.
            let len = *random.pick(&[0, 1, 5_000, 100_000]);
            let _ = std::io::Write::write(&mut &peer, &block[..len]);
            if random.below(8) == 0 {
                peer.shutdown(std::net::Shutdown::Write)?;
            }
            traffic::reset(peer)
        })
    })?;
    victim.ends_well(8 << 10)?;
    Ok(format!("{RESETS} resets; the bystander lost {pings}"))
}

/// Connections that come, say something, and go.
pub fn churn(arena: &mut Arena) -> Result<String> {
    let victim = server(arena)?;
    let mut client = arena.programs.command("echo-client")?;
    client.args(["bench", "--new-connection", "-P4", "--warmup=0", "--quiet"]);
    client.args([format!("--count={CHURN}"), victim.tcp.to_string()]);
    let start = Instant::now();
    process::run(&mut client, 10 * LIMIT)?.success()?;
    let rate = CHURN as f64 / start.elapsed().as_secs_f64();
    victim.ends_well(8 << 10)?;
    Ok(format!(
        "{CHURN} connections came and went, {rate:.0} a second, and left nothing behind"
    ))
}

/// Peers that never read, and peers that read slowly, beside one that must lose nothing.
pub fn slow_readers(arena: &mut Arena) -> Result<String> {
    const STUCK: usize = 50;
    const SLOW: usize = 10;
    /// 2 MB in pieces of at most 64 KiB take half a second at least.
    const PACE: Pace = Pace {
        start: Duration::ZERO,
        pause: Duration::from_millis(15),
        patience: LIMIT,
    };
    let victim = server(arena)?;
    let mut random = arena.random.part(1);
    let block = random.bytes(99_991);
    let messages: Vec<Vec<u8>> = (0..SLOW).map(|_| random.bytes(2_000_000)).collect();
    let (grown, pings) = arena.beside(&victim, || {
        let stuck = (0..STUCK)
            .map(|_| traffic::connect(victim.tcp))
            .collect::<Result<Vec<TcpStream>>>()?;
        for stream in &stuck {
            traffic::fill(stream, &block)?;
        }
        let ((), slow) = traffic::exchange_all(victim.tcp, &messages, PACE, || Ok(()))?;
        for (slow, message) in slow.into_iter().zip(&messages) {
            slow?.all_of(message).context("to a slow reader")?;
        }
        victim.grown_kib()
    })?;
    ensure!(
        grown < 8 << 10,
        "{STUCK} peers that never read cost {grown} KiB"
    );
    victim.ends_well(8 << 10)?;
    Ok(format!(
        "beside {STUCK} peers that never read ({grown} KiB) and {SLOW} slow ones a bystander lost {pings}"
    ))
}

/// The server stands still at random, and goes on as if nothing had been.
pub fn stops(arena: &mut Arena) -> Result<String> {
    const STOPS: usize = 20;
    let victim = server(arena)?;
    let mut random = arena.random.part(1);
    let messages: Vec<Vec<u8>> = (0..8).map(|_| random.bytes(10_000_000)).collect();
    let ((), pings) = arena.beside(&victim, || {
        let stop = |_| {
            thread::sleep(Duration::from_millis(random.below(20)));
            victim.signal(Signal::STOP)?;
            thread::sleep(Duration::from_millis(random.below(60)));
            victim.signal(Signal::CONT)
        };
        let stops = || (0..STOPS).try_for_each(stop);
        let ((), streams) = traffic::exchange_all(victim.tcp, &messages, Pace::default(), stops)?;
        let mut streams = streams.into_iter().zip(&messages);
        streams.try_for_each(|(stream, message)| stream?.all_of(message))
    })?;
    victim.ends_well(8 << 10)?;
    Ok(format!(
        "stopped and continued {STOPS} times: 80 MB came back whole; a bystander lost {pings}"
    ))
}
