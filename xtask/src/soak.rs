//! `cargo xtask soak`: a long day's work in little, and whether anything grows meanwhile.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::cargo::{Profile, Programs, root};
use crate::process;
use crate::random::Random;
use crate::terminal::{Style, Terminal};
use crate::torture::victim::{self, Victim};
use crate::traffic::{self, spread};

/// Connections that are held all the while, if the system allows as many.
const HELD: u64 = 10_000;

/// Memory that may come and go: allocators return it in pieces of this order.
const DRIFT_KIB: u64 = 1 << 10;

/// When memory is expected to have settled, unless the run is shorter than twice that.
const SETTLED: Duration = Duration::from_secs(120);

/// What is asked for.
#[derive(Args)]
pub struct Options {
    /// How long the work goes on
    #[arg(long, value_name = "M", default_value_t = 5.0)]
    minutes: f64,
}

/// The work that has been done, counted by those who do it.
#[derive(Default)]
struct Work {
    over: AtomicBool,
    pings: AtomicU64,
    churned: AtomicU64,
    bytes: AtomicU64,
    datagrams: AtomicU64,
    lost: AtomicU64,
}

/// Holds, churns, transfers and asks until the time is up, and fails when something is wrong,
/// missing or has grown.
pub fn run(options: &Options) -> Result<()> {
    let limit = Duration::try_from_secs_f64(options.minutes * 60.0)?;
    let manifest = root().join("Cargo.toml");
    let programs = Programs::build(&manifest, &["echo-server"], Profile::Release)?;
    let held = HELD.min(raise_open_files()?.saturating_sub(200));
    let args = ["--listen=0.0.0.0:0"];
    let victim = Victim::start(&mut victim::command(
        programs.path("echo-server")?,
        "",
        &args,
    ))?;
    let out = Terminal::stdout();
    let start = Instant::now();
    let random = Random::new(0);
    let streams = (0..held)
        .map(|n| traffic::connect(spread(victim.tcp, n)))
        .collect::<Result<Vec<_>>>()
        .context("holding connections")?;
    let held_kib = victim.grown_kib()?;
    out.line(format!(
        "{held} connections are held, for {held_kib} KiB of memory"
    ))?;

    let work = Work::default();
    let drift = thread::scope(|scope| -> Result<u64> {
        let workers = [
            scope.spawn(|| ping(&work, &streams, random.part(1))),
            scope.spawn(|| churn(&work, &victim, random.part(2))),
            scope.spawn(|| transfer(&work, &victim, random.part(3))),
            scope.spawn(|| ask(&work, &victim, random.part(4))),
        ];
        let drift = watch(&work, &victim, limit, out);
        work.over.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("no client panics")?;
        }
        drift
    })?;
    drop(streams);
    let cpu = victim.cpu()?;
    victim.balances(held_kib + DRIFT_KIB)?;
    victim.stop()?;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let summary = format!(
        "{:.0} s: {held} connections held, {} pings on them, {} that came and went, {} MB in bulk and {} of {} datagrams \
         came back exact; {drift} KiB of drift, {:.0} s of CPU",
        start.elapsed().as_secs_f64(),
        count(&work.pings),
        count(&work.churned),
        count(&work.bytes) / 1_000_000,
        count(&work.datagrams) - count(&work.lost),
        count(&work.datagrams),
        cpu.as_secs_f64(),
    );
    out.line(out.paint(Style::Bold, summary))?;
    ensure!(
        drift < DRIFT_KIB,
        "memory grew by {drift} KiB after it had settled"
    );
    Ok(())
}

/// Lets this process have all the files it may, and returns how many.
fn raise_open_files() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// Samples the server's memory until the time is up. Returns by how many KiB it has grown since
/// it had settled.
fn watch(work: &Work, victim: &Victim, limit: Duration, out: Terminal) -> Result<u64> {
    let start = Instant::now();
    let settled = SETTLED.min(limit / 2);
    let (mut base, mut most, mut told) = (None, 0, Duration::ZERO);
    while start.elapsed() < limit && !work.over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(500).min(limit / 10));
        ensure!(!process::is_interrupted(), "interrupted");
        let grown = victim.grown_kib()?;
        if start.elapsed() >= settled {
            most = most.max(grown);
            base.get_or_insert(grown);
        }
        if start.elapsed() >= told + Duration::from_secs(30) {
            told = start.elapsed();
            out.line(format!(
                "{:>5.0} s: {grown} KiB over the start",
                told.as_secs_f64()
            ))?;
        }
    }
    Ok(most.saturating_sub(base.unwrap_or(most)))
}

impl Work {
    /// Repeats `job` until all is over. The first that fails ends the others.
    fn repeat(&self, mut job: impl FnMut() -> Result<()>) -> Result<()> {
        while !self.over.load(Ordering::Relaxed) {
            if let Err(error) = job() {
                self.over.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }
}

fn ping(work: &Work, streams: &[TcpStream], mut random: Random) -> Result<()> {
    work.repeat(|| {
        let len = 1 + random.below(500) as usize;
        traffic::echo(random.pick(streams), &random.clone().bytes(len))
            .context("a held connection")?;
        work.pings.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}

fn churn(work: &Work, victim: &Victim, mut random: Random) -> Result<()> {
    work.repeat(|| {
        let stream = traffic::connect(spread(victim.tcp, random.next()))?;
        traffic::echo(&stream, &random.bytes(64)).context("a short connection")?;
        work.churned.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}

fn transfer(work: &Work, victim: &Victim, mut random: Random) -> Result<()> {
    let block = random.bytes(16_000_000);
    work.repeat(|| {
        let bytes = &block[random.below(6_000_000) as usize..][..10_000_000];
        let exchange = traffic::exchange(victim.tcp, bytes)?;
        ensure!(
            exchange.whole,
            "a transfer of 10 MB ended after {} bytes",
            exchange.back
        );
        work.bytes
            .fetch_add(exchange.back as u64, Ordering::Relaxed);
        Ok(())
    })
}

fn ask(work: &Work, victim: &Victim, mut random: Random) -> Result<()> {
    work.repeat(|| {
        let len = random.below(3000) as usize;
        let came_back = traffic::ask(victim.udp, &random.bytes(len), Duration::from_secs(1))?;
        work.datagrams.fetch_add(1, Ordering::Relaxed);
        work.lost
            .fetch_add(u64::from(!came_back), Ordering::Relaxed);
        Ok(())
    })
}
