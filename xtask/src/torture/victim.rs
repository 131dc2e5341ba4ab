//! The server under torture, and what must hold of it whatever happens.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::traffic;
use crate::process::{self, Finished, Process};

/// The longest that any one wait may take: far more than any takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(20);

/// The most workers that a server here has.
const WORKERS: usize = 4;

/// A running server.
pub struct Victim {
    process: Process,
    /// Its TCP address.
    pub tcp: SocketAddr,
    /// Its UDP address, with the same port.
    pub udp: SocketAddr,
    base: Holding,
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Holding {
    descriptors: usize,
    threads: u64,
    memory_kib: u64,
}

impl Victim {
    /// Starts a server, which `command` runs as this task's own child, and has it serve once.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut process = Process::start(command)?;
        let lines = process.lines_before("ready", LIMIT)?;
        let address = |kind: &str| -> Result<SocketAddr> {
            let address = lines.iter().find_map(|line| line.strip_prefix(kind));
            Ok(address
                .with_context(|| format!("no {kind:?} in {lines:?}"))?
                .parse()?)
        };
        let (tcp, udp) = (address("listening tcp ")?, address("listening udp ")?);
        let (tcp, udp) = (reachable(tcp), reachable(udp));
        let base = Holding::between_connections(process.id(), tcp)?;
        Ok(Victim {
            process,
            tcp,
            udp,
            base,
        })
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// What it has told so far.
    pub fn told(&self) -> String {
        self.process.stderr()
    }

    /// KiB of memory it holds beyond what it held at first.
    pub fn grown_kib(&self) -> Result<u64> {
        let now = Holding::of(self.id())?;
        Ok(now.memory_kib.saturating_sub(self.base.memory_kib))
    }

    /// Processor time it has used so far.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // The name, in parentheses, may hold spaces; user and system time are fields 14 and 15,
        // in hundredths of a second.
        let after = stat.rfind(')').context("/proc/PID/stat has no name")?;
        let fields = stat[after..].split(' ').skip(12).take(2);
        let ticks: u64 = fields.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Checks that nothing is left of what happened: descriptors and threads are what they were,
    /// memory is within `kib` of it, and a fresh client is served within a second.
    pub fn balances(&self, kib: u64) -> Result<()> {
        let now = self.quiet()?;
        ensure!(
            now.threads == self.base.threads,
            "threads: {now:?}, at first {:?}",
            self.base
        );
        let grown = now.memory_kib.saturating_sub(self.base.memory_kib);
        ensure!(
            grown <= kib,
            "{grown} KiB of memory are kept, {kib} allowed"
        );
        self.serves(Duration::from_secs(1))
    }

    /// Checks that a fresh client has its echo before `limit` is over.
    pub fn serves(&self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        drop(traffic::greet(self.tcp).context("a fresh client")?);
        let took = start.elapsed();
        ensure!(
            took <= limit,
            "a fresh client waited {took:?}, {limit:?} allowed"
        );
        Ok(())
    }

    /// Waits until it holds as many descriptors as at first.
    fn quiet(&self) -> Result<Holding> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let now = Holding::of(self.id())?;
            if now.descriptors == self.base.descriptors {
                return Ok(now);
            }
            let base = self.base;
            ensure!(
                Instant::now() < deadline,
                "descriptors: {now:?}, at first {base:?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to stop and checks that it does so as it should.
    pub fn stop(self) -> Result<Finished> {
        self.signal(Signal::SIGTERM)?;
        let finished = self.process.wait(LIMIT)?;
        ensure!(
            finished.status.code() == Some(0),
            "after SIGTERM: {}; its stderr:\n{}",
            finished.status,
            finished.stderr
        );
        ensure!(
            !finished.stderr.contains("panicked"),
            "it panicked:\n{}",
            finished.stderr
        );
        Ok(finished)
    }
}

impl Holding {
    /// What a server holds that has served, but serves nobody now.
    fn between_connections(id: u32, address: SocketAddr) -> Result<Self> {
        let deadline = Instant::now() + LIMIT;
        loop {
            // One for each worker, so that all of them are there. Faults may be the end of the
            // first connections, or of the server.
            let greeted: Result<Vec<_>> = (0..WORKERS).map(|_| traffic::greet(address)).collect();
            let mut holding = Holding::of(id)?;
            if greeted.is_ok() {
                holding.descriptors -= WORKERS;
                return Ok(holding);
            }
            ensure!(
                Instant::now() < deadline,
                "nobody is served within {LIMIT:?}"
            );
        }
    }

    fn of(id: u32) -> Result<Self> {
        let status =
            fs::read_to_string(format!("/proc/{id}/status")).context("the server is gone")?;
        let field = |key: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let value = line.with_context(|| format!("no {key} in /proc/{id}/status"))?;
            Ok(value.trim().trim_end_matches(" kB").parse()?)
        };
        Ok(Holding {
            descriptors: fs::read_dir(format!("/proc/{id}/fd"))?.count(),
            threads: field("Threads:")?,
            memory_kib: field("VmRSS:")?,
        })
    }
}

/// Where a server that listens on all addresses is reached.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip([127, 0, 0, 1].into());
    }
    address
}

/// A server's command: `wrapper` first, its words between spaces, and nothing in the environment
/// that would configure it.
pub fn command(server: &Path, wrapper: &str, args: &[&str]) -> Command {
    let mut words = wrapper.split_whitespace();
    let mut command = match words.next() {
        None => Command::new(server),
        Some(program) => {
            let mut command = Command::new(program);
            command.args(words).arg(server);
            command
        }
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ECHO_") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// Runs a command, its words between spaces, that must succeed.
pub fn run(words: &str) -> Result<()> {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    process::run(command.args(words), LIMIT)?.success()?;
    Ok(())
}
