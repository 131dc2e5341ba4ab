//! Where measuring happens: the programs, the cores they are pinned to, one measured load.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::contender::{Contender, Running, START};
use super::load::{Load, Outcome};
use super::machine::{self, Cores, on_core};
use super::meter::{Meter, Scope, unix_ns};
use crate::cargo::{Profile, Programs, root};
use crate::process::{self, Process};
use crate::server::Server;

/// The longest that a comparison may take.
const CLIENT: Duration = Duration::from_secs(1800);

/// Everything built and ready to be measured.
pub struct Lab {
    ours: Programs,
    peers: Programs,
    cores: Option<Cores>,
    /// How long a load is measured.
    pub time: Duration,
    /// Descriptors that each process may have.
    pub open_files: u64,
}

/// What one load measured.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// What came of it.
    pub outcome: Outcome,
    /// CPU time the server used meanwhile.
    pub server_cpu: Duration,
    /// CPU time the load used meanwhile.
    pub load_cpu: Duration,
    /// How long meanwhile was.
    pub elapsed: Duration,
}

impl Lab {
    /// Builds everything and looks at the machine.
    pub fn open(time: Duration) -> Result<Self> {
        let workspace = root().join("Cargo.toml");
        let ours = ["echo-server", "echo-client"];
        Ok(Lab {
            ours: Programs::build(&workspace, &ours, Profile::Release)?,
            peers: Programs::build(
                &root().join("xtask/peers/Cargo.toml"),
                &["peers"],
                Profile::Release,
            )?,
            cores: Cores::choose()?,
            time,
            open_files: machine::raise_open_files()?,
        })
    }

    /// How this machine falls short of a fair comparison, and what it means.
    pub fn pinning(&self) -> String {
        match self.cores {
            Some(Cores { server, load }) => format!("server on core {server}, load on core {load}"),
            None => "one core only: server and load share it".to_owned(),
        }
    }

    /// Starts a server on its core.
    pub fn start(&self, contender: Contender) -> Result<Running> {
        on_core(self.cores.map(|cores| cores.server), || {
            contender.start(&self.ours, &self.peers)
        })
        .with_context(|| format!("cannot start {}", contender.name()))
    }

    /// Starts one of the peers, with words of its own, on the server's core.
    pub fn start_peer(&self, name: &str, words: &[&str]) -> Result<Running> {
        on_core(self.cores.map(|cores| cores.server), || {
            let server = Server::start(self.peers.command(name)?.args(words), START)?;
            Ok(Running {
                address: server.ipv4("tcp")?,
                process: server.process,
                scope: Scope::Process,
            })
        })
        .with_context(|| format!("cannot start {name}"))
    }

    /// What our client prints, on the load's core, when it has ended well.
    pub fn client(&self, words: impl FnOnce(&mut Command)) -> Result<Vec<u8>> {
        let mut command = self.ours.command("echo-client")?;
        words(&mut command);
        on_core(self.cores.map(|cores| cores.load), || {
            process::run(&mut command, CLIENT)?.success()
        })
    }

    /// Our own server, for what no other is asked.
    pub fn echo_server(&self) -> Result<Command> {
        self.ours.command("echo-server")
    }

    /// Loads a server, and reads the CPU time of both between the same two moments.
    pub fn load(&self, server: &Running, load: Load) -> Result<Sample> {
        let address = server.address.to_string();
        let on_load_core = |command: &mut Command| {
            on_core(self.cores.map(|cores| cores.load), || {
                Process::start(command)
            })
        };
        let beside = load.beside(&self.ours, &address)?;
        let beside = beside
            .into_iter()
            .map(|mut command| on_load_core(&mut command));
        let beside = beside.collect::<Result<Vec<_>>>()?;
        let mut command = load.command(&self.ours, &self.peers, address, self.time)?;
        let server_meter = Meter::start(server.process.id(), server.scope);
        let process = on_load_core(&mut command)?;
        let load_meter = Meter::start(process.id(), Scope::Process);
        let finished = process.finish(self.time * 2 + Duration::from_secs(60));
        let ended = unix_ns();
        drop(beside);
        let (server_readings, load_readings) = (server_meter.stop(), load_meter.stop());
        let (finished, shown) = (finished?, process::shown(&command));
        ensure!(
            load.is_good(finished.status.code()),
            "{shown}: {}: {}",
            finished.status,
            finished.stderr
        );
        let outcome = load.outcome(&finished.stdout, ended)?;
        let (from, to) = outcome.window;
        Ok(Sample {
            outcome,
            server_cpu: server_readings.between(from, to)?,
            load_cpu: load_readings.between(from, to)?,
            elapsed: Duration::from_nanos(u64::try_from(to - from)?),
        })
    }
}
