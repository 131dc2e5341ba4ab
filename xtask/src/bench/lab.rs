//! Where measuring happens: the programs, the cores they are pinned to, one measured load.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::contender::{Contender, Running};
use super::machine::{self, Cores, on_core};
use super::meter::Meter;
use crate::cargo::{Profile, Programs, root};
use crate::process::{self, Process};

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

/// What is asked of a server.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Each connection keeps `depth` messages of `size` bytes under way.
    Tcp {
        connections: usize,
        size: usize,
        depth: usize,
    },
    /// Connect, one echo, close, on that many threads.
    Churn { threads: usize },
    /// Datagrams sent by a system call each.
    Datagrams { size: usize, in_flight: usize },
    /// Datagrams sent by GSO, as many as it takes to a train.
    Trains { size: usize, trains: usize },
}

/// What one load measured.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Echoes, or connections where that is what is asked.
    pub echoes: f64,
    /// Bytes that came back.
    pub bytes: f64,
    /// Datagrams that did not.
    pub lost: f64,
    /// Half of the round trips took at most this, where each was timed.
    pub round_trip: Option<Duration>,
    /// CPU time the server used meanwhile.
    pub cpu: Duration,
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

    /// The path of echo-server, for what no other server is asked.
    pub fn echo_server(&self) -> Result<&Path> {
        self.ours.path("echo-server")
    }

    /// Loads a server and reads its CPU time between the same two moments.
    pub fn load(&self, server: &Running, load: Load) -> Result<Sample> {
        let mut command = Command::new(self.peers.path("load")?);
        command.args(load.words(server.address.to_string(), self.time));
        let meter = Meter::start(server.process.id(), server.scope);
        let finished = on_core(self.cores.map(|cores| cores.load), || {
            Process::start(&mut command)
        })?
        .finish(self.time * 2 + Duration::from_secs(60));
        let readings = meter.stop();
        let stdout = finished?
            .success()
            .with_context(|| process::shown(&command))?;
        let outcome: Value = serde_json::from_slice(&stdout)?;
        let number = |key: &str| {
            outcome[key]
                .as_f64()
                .ok_or_else(|| anyhow!("no {key} from the load"))
        };
        let moment = |key: &str| {
            outcome[key]
                .as_u64()
                .map(u128::from)
                .ok_or_else(|| anyhow!("no {key} from the load"))
        };
        let (from, to) = (moment("from_unix_ns")?, moment("to_unix_ns")?);
        Ok(Sample {
            echoes: number("echoes")?,
            bytes: number("bytes")?,
            lost: number("lost")?,
            round_trip: outcome["rtt_p50_ns"].as_u64().map(Duration::from_nanos),
            cpu: readings.between(from, to)?,
            elapsed: Duration::from_nanos(u64::try_from(to - from)?),
        })
    }
}

impl Load {
    /// The load program's arguments.
    fn words(self, address: String, time: Duration) -> Vec<String> {
        let (mode, numbers) = match self {
            Load::Tcp {
                connections,
                size,
                depth,
            } => ("tcp", vec![connections, size, depth]),
            Load::Churn { threads } => ("churn", vec![threads]),
            Load::Datagrams { size, in_flight } => ("udp", vec![size, in_flight]),
            Load::Trains { size, trains } => ("trains", vec![size, trains]),
        };
        let mut words = vec![mode.to_owned(), address];
        words.extend(numbers.iter().map(usize::to_string));
        words.push(time.as_millis().to_string());
        words
    }
}
