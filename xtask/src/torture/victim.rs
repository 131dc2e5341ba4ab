//! The server under torture, and what must hold of it whatever happens.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use echo_core::Framing;
use rustix::process::Signal;

use crate::proc;
use crate::process::{Finished, until};
use crate::server::Server;
use crate::traffic::{self, LIMIT};
use echo_core::splitmix::Random;

/// The most workers that a server here has.
const WORKERS: usize = 4;

/// A running server.
pub struct Victim {
    /// The program.
    pub server: Server,
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
    threads: usize,
    memory_kib: u64,
}

impl Victim {
    /// Starts a server, which `command` runs as this task's own child, and has it serve once.
    pub fn start(command: &mut Command) -> Result<Self> {
        let server = Server::start(command, LIMIT)?;
        let (tcp, udp) = (server.ipv4("tcp")?, server.ipv4("udp")?);
        let base = match Holding::between_connections(server.process.id(), tcp) {
            Ok(base) => base,
            Err(error) => return Err(server.refused().unwrap_or(error)),
        };
        Ok(Victim {
            server,
            tcp,
            udp,
            base,
        })
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.server.process.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.server.process.signal(signal)
    }

    /// KiB of memory it holds beyond what it held at first.
    pub fn grown_kib(&self) -> Result<u64> {
        let now = Holding::of(self.id())?;
        Ok(now.memory_kib.saturating_sub(self.base.memory_kib))
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
        let (base, mut last) = (self.base, self.base);
        let is_quiet = || {
            last = Holding::of(self.id())?;
            Ok((last.descriptors == base.descriptors).then_some(last))
        };
        until(LIMIT, is_quiet, || {
            "its descriptors are not what they were".to_owned()
        })
        .with_context(|| format!("{last:?}, at first {base:?}"))
    }

    /// Asks it to stop, and waits for its end, whatever that is.
    pub fn end(self) -> Result<Finished> {
        self.signal(Signal::TERM)?;
        self.server.process.wait(LIMIT)
    }

    /// Asks it to stop and checks that it does so as it should.
    pub fn stop(self) -> Result<Finished> {
        self.server.stop(LIMIT)
    }

    /// Checks that it [balances](Self::balances), and then that it stops.
    pub fn ends_well(self, kib: u64) -> Result<()> {
        self.balances(kib)?;
        self.stop().map(drop)
    }
}

impl Holding {
    /// What a server holds that has served, but serves nobody now.
    fn between_connections(id: u32, address: SocketAddr) -> Result<Self> {
        let serves = || {
            // One for each worker, so that all of them are there. Faults may be the end of the
            // first connections, or of the server.
            let greeted: Result<Vec<_>> = (0..WORKERS).map(|_| traffic::greet(address)).collect();
            let holding = Holding::of(id)?;
            Ok(greeted.ok().map(|greeted| Holding {
                descriptors: holding.descriptors - greeted.len(),
                ..holding
            }))
        };
        until(LIMIT, serves, || "nobody is served".to_owned())
    }

    fn of(id: u32) -> Result<Self> {
        Ok(Holding {
            descriptors: proc::descriptors(id)?,
            threads: proc::threads(id)?,
            memory_kib: proc::status(id, "VmRSS")?,
        })
    }
}

/// A message of about `len` bytes that is complete in the server's framing.
pub fn framed(random: &mut Random, args: &[&str], len: usize) -> Vec<u8> {
    let framing = args.iter().find_map(|arg| arg.strip_prefix("--framing="));
    let framing: Framing = framing.map_or_else(Framing::default, |name| name.parse().expect("one"));
    let mut frames = Vec::new();
    for payload in random.bytes(len).chunks(700_000) {
        framing.encode(payload, &mut frames).expect("a short one");
    }
    frames
}
