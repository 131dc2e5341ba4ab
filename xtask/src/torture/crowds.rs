//! Crowds and shortages: resets, churn, slow readers, stops, and limits of the system.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::Arena;
use super::victim::Victim;
use crate::random::Random;
use crate::traffic::{self, LIMIT, Pace, beside, spread};

/// Connections closed with a reset, in one run of the step.
const RESETS: u64 = 5_000;

/// Connections that come and go, in one run of the step.
const CHURN: u64 = 100_000;

/// Threads that make connections come and go.
const CHURNERS: u64 = 4;

/// A server on all addresses, so that its clients may have many.
fn server(arena: &Arena, wrapper: &str, args: &[&str]) -> Result<Victim> {
    arena.victim(wrapper, &[&["--listen=0.0.0.0:0"], args].concat())
}

/// Peers that reset at any moment, beside one that must not notice.
pub fn resets(arena: &mut Arena) -> Result<String> {
    let victim = server(arena, "", &[])?;
    let mut random = arena.random.part(1);
    let block = random.bytes(100_000);
    let ((), pings) = beside(victim.tcp, arena.random.part(2), || {
        (0..RESETS).try_for_each(|_| {
            let peer = traffic::connect(spread(victim.tcp, random.next()))?;
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
    Ok(format!(
        "{RESETS} resets; the bystander lost none of {} pings, the slowest took {:.1?}",
        pings.count, pings.longest
    ))
}

/// Connections that come, say something, and go.
pub fn churn(arena: &mut Arena) -> Result<String> {
    let victim = server(arena, "", &[])?;
    let start = Instant::now();
    thread::scope(|scope| -> Result<()> {
        let churners: Vec<_> = (0..CHURNERS)
            .map(|n| {
                scope.spawn({
                    let (random, address) = (arena.random.part(n), victim.tcp);
                    move || churner(random, address)
                })
            })
            .collect();
        churners
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no client panics"))
    })?;
    let rate = CHURN as f64 / start.elapsed().as_secs_f64();
    victim.ends_well(8 << 10)?;
    Ok(format!(
        "{CHURN} connections came and went, {rate:.0} a second, and left nothing behind"
    ))
}

fn churner(mut random: Random, address: SocketAddr) -> Result<()> {
    for n in 0..CHURN / CHURNERS {
        let peer = traffic::connect(spread(address, random.next()))?;
        traffic::echo(&peer, &random.bytes(32)).with_context(|| format!("connection {n}"))?;
    }
    Ok(())
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
    let victim = server(arena, "", &["--workers=2"])?;
    let mut random = arena.random.part(1);
    let block = random.bytes(99_991);
    let messages: Vec<Vec<u8>> = (0..SLOW).map(|_| random.bytes(2_000_000)).collect();
    let (grown, pings) = beside(victim.tcp, arena.random.part(2), || {
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
        "beside {STUCK} peers that never read ({grown} KiB) and {SLOW} slow ones none of {} pings was lost, the slowest took {:.1?}",
        pings.count, pings.longest
    ))
}

/// The server stands still at random, and goes on as if nothing had been.
pub fn stops(arena: &mut Arena) -> Result<String> {
    const STOPS: usize = 20;
    let victim = server(arena, "", &[])?;
    let mut random = arena.random.part(1);
    let messages: Vec<Vec<u8>> = (0..8).map(|_| random.bytes(10_000_000)).collect();
    let ((), pings) = beside(victim.tcp, arena.random.part(2), || {
        let stop = |_| {
            thread::sleep(Duration::from_millis(random.below(20)));
            victim.signal(Signal::SIGSTOP)?;
            thread::sleep(Duration::from_millis(random.below(60)));
            victim.signal(Signal::SIGCONT)
        };
        let stops = || (0..STOPS).try_for_each(stop);
        let ((), streams) = traffic::exchange_all(victim.tcp, &messages, Pace::default(), stops)?;
        let mut streams = streams.into_iter().zip(&messages);
        streams.try_for_each(|(stream, message)| stream?.all_of(message))
    })?;
    victim.ends_well(8 << 10)?;
    Ok(format!(
        "stopped and continued {STOPS} times: 80 MB and {} pings came back whole",
        pings.count
    ))
}

/// More peers than descriptors: it waits without work, and serves again within a second.
pub fn few_descriptors(arena: &mut Arena) -> Result<String> {
    let wrapper = "prlimit --nofile=32:32";
    let victim = server(arena, wrapper, &["--max-connections=1000", "--workers=2"])?;
    let crowd = (0..200)
        .map(|_| traffic::connect(victim.tcp))
        .collect::<Result<Vec<_>>>()?;
    let (start, before) = (Instant::now(), victim.cpu()?);
    while start.elapsed() < Duration::from_secs(2) {
        traffic::echo(&crowd[0], b"still here")?;
        thread::sleep(Duration::from_millis(50));
    }
    let used = victim.cpu()? - before;
    ensure!(
        used <= Duration::from_millis(200),
        "out of descriptors it used {used:?} of CPU in 2 s"
    );
    let complaints = victim.told().matches("Cannot accept").count();
    ensure!(
        (1..10).contains(&complaints),
        "{complaints} complaints:\n{}",
        victim.told()
    );
    drop(crowd);
    victim.serves(Duration::from_secs(1))?;
    victim.ends_well(4 << 10)?;
    Ok(format!(
        "with 32 descriptors and 200 peers: {used:?} of CPU in 2 s, {complaints} complaints, back within a second"
    ))
}

/// A ceiling over its memory, which a crowd that never reads must not reach.
pub fn little_memory(arena: &mut Arena) -> Result<String> {
    // Beyond this the system gives it nothing, and it would be aborted.
    const CEILING: &str = "prlimit --data=67108864:67108864";
    let victim = server(arena, CEILING, &["--workers=2"])?;
    let block = arena.random.bytes(99_991);
    let crowd = (0..100)
        .map(|_| traffic::connect(victim.tcp))
        .collect::<Result<Vec<_>>>()?;
    for stream in &crowd {
        traffic::fill(stream, &block)?;
    }
    let grown = victim.grown_kib()?;
    victim.serves(Duration::from_secs(1))?;
    drop(crowd);
    victim.ends_well(32 << 10)?;
    Ok(format!(
        "100 peers that never read cost {grown} KiB under a ceiling of 64 MiB"
    ))
}
