//! Where measuring happens: the programs, the cores they are pinned to, and a load that is run.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;

use super::contender::Running;
use super::machine::{Cores, on_core};
use super::plan::Plan;
use crate::cargo::{Profile, Programs, root};
use crate::proc;
use crate::process;

/// The longest that one run of a load may take.
const LIMIT: Duration = Duration::from_secs(1800);

/// Everything built and ready to be measured.
pub struct Lab {
    /// What is measured.
    pub plan: Plan,
    /// Ours and its peers'.
    pub programs: Programs,
    cores: Option<Cores>,
    /// How often each is measured.
    pub rounds: usize,
    /// How long a load is measured at a time.
    pub time: Duration,
    /// Descriptors that each process may have.
    pub open_files: u64,
}

impl Lab {
    /// Builds everything and looks at the machine.
    pub fn open(rounds: usize, time: Duration) -> Result<Self> {
        let mut programs = Programs::ours(Profile::Release)?;
        let peers = root().join("xtask/peers/Cargo.toml");
        programs.extend(Programs::build(&peers, &["peers"], Profile::Release)?);
        Ok(Lab {
            plan: Plan::read(),
            programs,
            cores: Cores::choose()?,
            rounds,
            time,
            open_files: proc::raise_open_files()?,
        })
    }

    /// How this machine falls short of a fair comparison, and what it means.
    pub fn pinning(&self) -> String {
        match self.cores {
            Some(Cores { server, load }) => format!("server on core {server}, load on core {load}"),
            None => "one core only: server and load share it".to_owned(),
        }
    }

    /// Starts a server of the plan on its core.
    pub fn start(&self, key: &str) -> Result<Running> {
        on_core(self.cores.map(|cores| cores.server), || {
            self.plan.server(key).start(&self.programs)
        })
        .with_context(|| format!("cannot start {key}"))
    }

    /// Starts one of the peers, with words of its own, on the server's core.
    pub fn start_peer(&self, name: &str, words: &[&str]) -> Result<Running> {
        on_core(self.cores.map(|cores| cores.server), || {
            Running::start(self.programs.command(name)?.args(words))
        })
        .with_context(|| format!("cannot start {name}"))
    }

    /// A command as it is typed, behind `wrapper`: with the server's address for TARGET, and for TIME
    /// the milliseconds that are measured.
    pub fn command(&self, wrapper: &str, server: &Running, words: &str) -> Result<Command> {
        let words = words.replace("TARGET", &server.address.to_string());
        let words = words.replace("TIME", &self.time.as_millis().to_string());
        self.programs.typed(wrapper, &words)
    }

    /// Runs a load. Returns what it told, and the CPU time that it took from start to end.
    pub fn load(&self, mut command: Command) -> Result<(Value, Duration)> {
        let before = cpu_of_children()?;
        let told = self.on_load_core(|| process::run(&mut command, LIMIT)?.success())?;
        let used = cpu_of_children()? - before;
        let told = serde_json::from_slice(&told)
            .with_context(|| format!("{} told no JSON", process::shown(&command)))?;
        Ok((told, used))
    }

    /// Starts a load where it belongs.
    pub fn on_load_core<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        on_core(self.cores.map(|cores| cores.load), start)
    }

    /// What `echo-client bench` says of these servers, their CPU time included, under `options`.
    pub fn bench(&self, servers: &[&Running], options: &str) -> Result<Value> {
        let ids: Vec<String> = servers
            .iter()
            .map(|server| server.process.id().to_string())
            .collect();
        let mut command = self.programs.command("echo-client")?;
        command
            .args(["bench", "--json", "--quiet", "--pid", &ids.join(",")])
            .args(options.split(' '))
            .args(servers.iter().map(|server| server.address.to_string()));
        Ok(self.load(command)?.0)
    }

    /// How long that measures at a time, as its options.
    pub fn span(&self) -> String {
        let time = self.time.as_millis();
        format!("--duration {time}ms --warmup {}ms", time / 5)
    }
}

/// CPU time of all processes that this one has waited for.
fn cpu_of_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let [user, system] = [usage.user_time(), usage.system_time()].map(|time| {
        Duration::from_micros(time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64)
    });
    Ok(user + system)
}
