//! What the system tells of a process in /proc, and on its clock of CPU time.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

/// CPU time that a process has used so far, threads that have ended included; exact to the
/// nanosecond.
pub fn cpu(id: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(id.cast_signed()))
        .with_context(|| format!("process {id} has no CPU clock"))?;
    Ok(clock.now()?.into())
}

/// A number of /proc/PID/status, such as `Threads` or `VmHWM`, in KiB where it is memory.
pub fn status(id: u32, name: &str) -> Result<u64> {
    let text = read(id, "status")?;
    let fields = text.lines().filter_map(|line| line.split_once(":\t"));
    let value = fields
        .filter(|(key, _)| *key == name)
        .map(|(_, v)| v)
        .next();
    value
        .and_then(|value| value.trim().trim_end_matches(" kB").parse().ok())
        .with_context(|| format!("/proc/{id}/status has no {name}"))
}

/// Whether it holds a signal back, to hear it; `None` once it has ended.
pub fn holds(id: u32, signal: Signal) -> Option<bool> {
    let text = read(id, "status").ok()?;
    if text.contains("State:\tZ") {
        return None;
    }
    let held = text
        .lines()
        .find_map(|line| line.strip_prefix("SigBlk:\t"))?;
    let held = u64::from_str_radix(held, 16).ok()?;
    Some(held >> (signal.as_raw() - 1) & 1 == 1)
}

/// Memory that is this process's own: what would be free if it ended.
pub fn private_bytes(id: u32) -> Result<u64> {
    let rollup = read(id, "smaps_rollup")?;
    let kilobytes = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    Ok(private.filter_map(kilobytes).sum::<u64>() * 1024)
}

/// How many descriptors it has open, but for those with which its threads give up what they do not
/// need: on a busy machine that of the log comes to it late.
pub fn descriptors(id: u32) -> Result<usize> {
    let dir = fs::read_dir(format!("/proc/{id}/fd")).context("the process is gone")?;
    let links = dir.flatten().flat_map(|entry| fs::read_link(entry.path()));
    let is_of_serving =
        |link: &PathBuf| !link.to_string_lossy().contains("landlock") && !link.starts_with("/proc");
    Ok(links.filter(is_of_serving).count())
}

/// How many threads it has, but for the one that prints `ready` and ends: on a busy machine that is seen.
pub fn threads(id: u32) -> Result<usize> {
    let dir = fs::read_dir(format!("/proc/{id}/task")).context("the process is gone")?;
    let names = dir
        .flatten()
        .flat_map(|entry| fs::read_to_string(entry.path().join("comm")));
    Ok(names.filter(|name| name != "ready\n").count())
}

/// Raises this process's limit of open files, which its children inherit, and returns it.
pub fn raise_open_files() -> Result<u64> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: hard,
        maximum: hard,
    };
    setrlimit(Resource::Nofile, all)?;
    Ok(hard.unwrap_or(u64::MAX))
}

fn read(id: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{id}/{file}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}
