//! `cargo xtask torture`: faults from outside. A server may lose the connection at hand and a client
//! its result, with its exit code and in words; but no byte may be wrong, nobody else may notice, and
//! nothing may be left behind.

mod calls;
mod crowds;
mod plan;
mod shortage;
mod trial;
pub mod victim;
mod wire;

use std::env;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::process::Signal;
use serde_json::Value;

use crate::cargo::{Profile, Programs, passes};
use crate::process::{Process, Scratch, words};
use crate::terminal::{BOLD, DIM, GOOD, SKIPPED, Skipped, paint, say};
use crate::traffic::LIMIT;
use echo_core::splitmix::Random;
use victim::Victim;

/// Set in the process that runs in its own network namespace.
const INSIDE: &str = "ECHO_TORTURE_INSIDE";

/// What runs a command in a network namespace: who is no administrator may be one in a user namespace.
const APART: [&[&str]; 2] = [
    &["unshare", "--net"],
    &["unshare", "--net", "--map-root-user"],
];

/// What is asked for.
#[derive(Args)]
pub struct Options {
    /// Make the choices that belong to this seed; a run that fails tells its own
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Go on, with further seeds, until this time is up; every step runs once in any case
    #[arg(long, value_name = "M", default_value_t = 2.0)]
    minutes: f64,
    /// Try every case of a failing call, not a sample of them
    #[arg(long)]
    all: bool,
    /// Only the steps that have this in their names
    #[arg(value_name = "STEP", default_value = "")]
    only: String,
}

/// What the steps share.
struct Arena {
    programs: Programs,
    dir: Scratch,
    /// Whether this is a network that nobody else sees.
    own_network: bool,
    /// Whether every case is tried, or a sample of them.
    all: bool,
    random: Random,
}

/// One kind of trouble, and what is done, which tells what has held.
type Step = (&'static str, fn(&mut Arena) -> Result<String>);

const STEPS: &[Step] = &[
    ("system calls fail, in both programs", calls::fail),
    ("too little of something", shortage::too_little),
    ("short reads and writes", wire::short_counts),
    ("a bad network", wire::weather),
    ("a network that parts", wire::partition),
    ("bytes that change on the way", wire::corruption),
    ("stopped and continued", crowds::stops),
    ("slow readers", crowds::slow_readers),
    ("resets", crowds::resets),
    ("churn", crowds::churn),
];

/// Runs every step, then further rounds of them until the time is up.
pub fn run(options: &Options) -> Result<()> {
    let inside = env::var_os(INSIDE).is_some();
    if let Some(apart) = APART.iter().find(|apart| !inside && is_granted(apart)) {
        let mut again = Command::new(apart[0]);
        again
            .args(&apart[1..])
            .args(["sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
            .arg(env::current_exe()?)
            .args(env::args_os().skip(1))
            .env(INSIDE, "1");
        return passes(&mut again);
    }
    let seed = options.seed.unwrap_or_else(seed_of_now);
    let mut arena = Arena {
        programs: Programs::ours(Profile::Dev)?,
        dir: Scratch::new("torture")?,
        own_network: inside,
        all: options.all,
        random: Random(seed),
    };
    rounds(&mut arena, seed, options)
}

fn rounds(arena: &mut Arena, seed: u64, options: &Options) -> Result<()> {
    let start = Instant::now();
    let limit = Duration::try_from_secs_f64(options.minutes * 60.0)?;
    // A step makes the same choices by itself as among the others.
    let numbered = (1..).zip(STEPS);
    let asked: Vec<_> = numbered
        .filter(|(_, step)| step.0.contains(&options.only))
        .collect();
    ensure!(!asked.is_empty(), "no step is called {:?}", options.only);
    for (done, (number, step)) in asked.iter().cycle().enumerate() {
        // The first round is run whole, however long it takes.
        if done >= asked.len() && start.elapsed() >= limit {
            let text = format!("{done} steps in {:.0} s", start.elapsed().as_secs_f64());
            return say(paint(BOLD, text));
        }
        let seed = seed.wrapping_add((done / asked.len()) as u64);
        if done.is_multiple_of(asked.len()) {
            say(paint(BOLD, format_args!("seed {seed}")))?;
        }
        arena.random = Random(seed).part(*number);
        play(arena, step, seed)?;
    }
    Ok(())
}

fn play(arena: &mut Arena, step: &Step, seed: u64) -> Result<()> {
    let start = Instant::now();
    let outcome = (step.1)(arena);
    let (style, mark, text) = match outcome {
        Ok(what) => (GOOD, "✓", what),
        Err(error) if error.is::<Skipped>() => (SKIPPED, "-", error.to_string()),
        Err(error) => bail!(
            "torture: {}: {error:#}\nrepeat it with: cargo xtask torture --seed {seed}",
            step.0
        ),
    };
    let took = start.elapsed().as_secs_f64();
    say(format!(
        "  {} {}: {text} {}",
        paint(style, mark),
        paint(BOLD, step.0),
        paint(DIM, format_args!("({took:.1} s)"))
    ))
}

impl Arena {
    /// Leaves a step out that needs a network of its own, where there is none.
    fn needs_own_network(&self) -> Result<()> {
        let why = "this machine grants no network namespace";
        ensure!(self.own_network, Skipped(why.to_owned()));
        Ok(())
    }

    /// Makes `trouble` beside a client that must lose nothing: it says something, waits for it to come
    /// back, and so on until the trouble is over. Returns what there is to say of that, too.
    fn beside<T>(
        &self,
        victim: &Victim,
        trouble: impl FnOnce() -> Result<T>,
    ) -> Result<(T, String)> {
        let mut client = self.programs.command("echo-client")?;
        client.args(["ping", "--interval=0", "--timeout=20s", "--quiet", "--json"]);
        let client = Process::start(client.arg(victim.tcp.to_string()))?;
        let outcome = trouble()?;
        client.signal(Signal::INT)?;
        // A ping that is lost at the end is told as lost, before this is over.
        let told = client.wait(2 * LIMIT)?.success().context("the bystander")?;
        let told: Value = serde_json::from_slice(&told)?;
        let [count, longest] = ["unique", "rtt_max_ns"].map(|key| told[key].as_u64().unwrap_or(0));
        ensure!(count > 0, "the bystander said nothing: {told}");
        let longest = Duration::from_nanos(longest);
        let pings = format!("none of {count} pings, the slowest of which took {longest:.1?}");
        Ok((outcome, pings))
    }

    /// Starts a server with these arguments.
    fn victim(&self, args: &[&str]) -> Result<Victim> {
        Victim::start(self.programs.command("echo-server")?.args(args))
    }
}

fn seed_of_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64 % 1_000_000)
}

/// Whether this machine grants a network of its own in this way.
fn is_granted(apart: &[&str]) -> bool {
    words(&format!("{} ip link set lo up", apart.join(" "))).is_ok()
}
