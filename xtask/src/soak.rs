//! `cargo xtask soak`: a long day's work in little, and whether anything grows meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::cargo::{Profile, Programs};
use crate::proc;
use crate::process::{self, Process};
use crate::terminal::{BOLD, paint, say};
use crate::torture::victim::Victim;

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

/// What goes on at the same time, as options of `echo-client bench`, which verifies every byte. What
/// is lost of datagrams on a machine that is full is told.
const WORK: &[(&str, &str)] = &[
    (
        "messages on held connections",
        "-P HELD --rate 5000 --size 500",
    ),
    ("connections that came and went", "-P 2 --new-connection"),
    ("messages of 10 MB", "--size 10000000"),
    (
        "datagrams",
        "--udp --size 1400 --depth 4 --fail-if loss>5%,late>5%",
    ),
];

/// Holds, churns, transfers and asks until the time is up, and fails when something is wrong,
/// missing or has grown.
pub fn run(options: &Options) -> Result<()> {
    let limit = Duration::try_from_secs_f64(options.minutes * 60.0)?;
    let programs = Programs::ours(Profile::Release)?;
    let held = HELD.min(proc::raise_open_files()?.saturating_sub(200));
    let victim = Victim::start(programs.command("echo-server")?.arg("--listen=127.0.0.1:0"))?;
    let start = Instant::now();
    let clients = WORK.iter().map(|(what, load)| {
        let mut client = programs.command("echo-client")?;
        client
            .args(["bench", &victim.tcp.to_string(), "--json", "--quiet"])
            .args([
                "--warmup=0",
                &format!("--duration={}s", limit.as_secs_f64()),
            ])
            .args(load.replace("HELD", &held.to_string()).split(' '));
        Ok((*what, Process::start(&mut client)?))
    });
    let clients = clients.collect::<Result<Vec<_>>>()?;
    let (settled_kib, drift_kib) = watch(&victim, limit)?;
    let mut done = Vec::new();
    for (what, client) in clients {
        let told = client.finish(Duration::from_secs(120))?.success();
        let told: Value = serde_json::from_slice(&told.context(what)?)?;
        let [unique, lost] = ["unique", "lost"].map(|key| told[key].as_u64().unwrap_or(0));
        done.push(format!(
            "{unique} {what} came back exact and {lost} did not"
        ));
    }
    let cpu = proc::cpu(victim.id())?;
    victim.ends_well(settled_kib + DRIFT_KIB)?;
    let summary = format!(
        "{:.0} s: {held} connections held, {}; {drift_kib} KiB of drift, {:.0} s of CPU",
        start.elapsed().as_secs_f64(),
        done.join(", "),
        cpu.as_secs_f64(),
    );
    say(paint(BOLD, summary))?;
    ensure!(
        drift_kib < DRIFT_KIB,
        "memory grew by {drift_kib} KiB after it had settled"
    );
    Ok(())
}

/// Samples the server's memory until the time is up. Returns by how many KiB it had grown when it
/// had settled, and by how many since.
fn watch(victim: &Victim, limit: Duration) -> Result<(u64, u64)> {
    let start = Instant::now();
    let settled = SETTLED.min(limit / 2);
    let (mut base, mut most, mut told) = (None, 0, Duration::ZERO);
    while start.elapsed() < limit {
        thread::sleep(Duration::from_millis(500).min(limit / 10));
        ensure!(!process::is_interrupted(), "interrupted");
        let grown = victim.grown_kib()?;
        if start.elapsed() >= settled {
            most = most.max(grown);
            base.get_or_insert(grown);
        }
        if start.elapsed() >= told + Duration::from_secs(30) {
            told = start.elapsed();
            say(format!(
                "{:>5.0} s: {grown} KiB over the start",
                told.as_secs_f64()
            ))?;
        }
    }
    let base = base.unwrap_or(most);
    Ok((base, most.saturating_sub(base)))
}
