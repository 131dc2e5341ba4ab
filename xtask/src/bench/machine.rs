//! The machine: what a figure depends on besides the programs, and where they run on it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::process::words;

/// The calling thread, to the calls that take a process.
const SELF: Pid = Pid::from_raw(0);

/// One core for the server, another for the load.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The server's.
    pub server: usize,
    /// The load's.
    pub load: usize,
}

impl Cores {
    /// The first and the last core this process may use, or `None` when it has only one.
    pub fn choose() -> Result<Option<Self>> {
        let allowed = sched_getaffinity(SELF)?;
        let cores: Vec<usize> = (0..CpuSet::count())
            .filter(|&core| allowed.is_set(core) == Ok(true))
            .collect();
        Ok(match cores[..] {
            [server, .., load] => Some(Cores { server, load }),
            _ => None,
        })
    }
}

/// Runs `start` on one core; a process that it starts inherits that.
pub fn on_core<T>(core: Option<usize>, start: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(core) = core else { return start() };
    let before = sched_getaffinity(SELF)?;
    let mut only = CpuSet::new();
    only.set(core)?;
    sched_setaffinity(SELF, &only).with_context(|| format!("cannot pin to core {core}"))?;
    let started = start();
    sched_setaffinity(SELF, &before)?;
    started
}

/// What a figure depends on, as name and value.
pub fn facts() -> Vec<(&'static str, String)> {
    let read = |path| Some(fs::read_to_string(path).ok()?.trim().to_owned());
    let kernel = read("/proc/sys/kernel/osrelease").map(|release| format!("Linux {release}"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = read("/proc/cpuinfo").and_then(|info| {
        let line = info.lines().find(|line| line.starts_with("model name"))?;
        Some(format!("{}, {cores} cores", line.split_once(": ")?.1))
    });
    let congestion = read("/proc/sys/net/ipv4/tcp_congestion_control");
    let compiler = version("rustc --version").map(|number| format!("rustc {number}"));
    let facts = [
        ("kernel", kernel),
        ("CPU", cpu),
        ("congestion control", congestion),
        ("compiler", compiler),
        ("commit", words("git describe --always --dirty").ok()),
    ];
    let known = facts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    known.collect()
}

/// The first version number, such as `7.93`, that a command of two words prints on either stream.
pub fn version(words: &str) -> Option<String> {
    let (program, flag) = words.split_once(' ')?;
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let is_number =
        |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    text.split_whitespace().find(is_number).map(str::to_owned)
}
