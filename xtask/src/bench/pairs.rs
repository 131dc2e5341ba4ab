//! What `echo-client bench` cannot compare by itself: other loads than its own, and its own cost.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use echo_core::statistics::schedule;
use serde_json::Value;

use super::comparison::{Comparison, Goal, Measure, SEED};
use super::contender::Contender::{self, Echo, EchoCopying, Mio, UdpPlain};
use super::lab::{Lab, Running};
use crate::proc;
use crate::process::Process;

/// Two that are measured in turn.
pub struct Pair {
    /// Its name on the command line.
    pub key: &'static str,
    /// What the two must come to.
    pub goal: Goal,
    /// How a figure of each is measured, in microseconds.
    sides: [fn(&Lab) -> Result<f64>; 2],
}

const fn goal(
    work: &'static str,
    name: &'static str,
    [ours, against]: [&'static str; 2],
    at_most: f64,
) -> Goal {
    let unit = "us";
    Goal {
        work,
        measure: Measure { name, unit },
        ours,
        against,
        at_most,
    }
}

/// A server that splices beside one that copies.
const COPYING: [&str; 2] = [Echo.name(), EchoCopying.name()];
/// Our client verifies every byte and records every latency; the plainest do neither.
const BENCH: [&str; 2] = ["echo-client bench", "the plainest load"];
const PING: [&str; 2] = ["echo-client ping", "blocking calls"];

/// Every pair, in the order of the report.
pub const PAIRS: &[Pair] = &[
    Pair {
        key: "beside",
        goal: goal(
            "ping beside 2 x 1 MiB, depth 2",
            "round trip p99",
            COPYING,
            1.20,
        ),
        sides: [|lab| beside(lab, Echo), |lab| beside(lab, EchoCopying)],
    },
    Pair {
        key: "trains",
        goal: goal(
            "UDP 64 B, GSO trains",
            "CPU per datagram",
            [Echo.name(), UdpPlain.name()],
            0.10,
        ),
        sides: [|lab| trains(lab, Echo), |lab| trains(lab, UdpPlain)],
    },
    Pair {
        key: "generator",
        goal: goal("load of 50 x 64 B", "its CPU per echo", BENCH, 1.05),
        sides: [
            |lab| {
                cost(
                    lab,
                    "echo-client",
                    "bench TARGET --json -q --warmup 0 -P 50 -d TIMEms",
                )
            },
            |lab| cost(lab, "load", "tcp TARGET 50 64 1 TIME"),
        ],
    },
    Pair {
        key: "generator",
        goal: goal(
            "load of 50 x 64 B, depth 16",
            "its CPU per echo",
            BENCH,
            1.10,
        ),
        sides: [
            |lab| {
                let words = "bench TARGET --json -q --warmup 0 -P 50 --depth 16 -d TIMEms";
                cost(lab, "echo-client", words)
            },
            |lab| cost(lab, "load", "tcp TARGET 50 64 16 TIME"),
        ],
    },
    Pair {
        key: "generator",
        goal: goal(
            "one message after another, 64 B",
            "round trip p50",
            PING,
            1.10,
        ),
        sides: [
            |lab| {
                round_trip(
                    lab,
                    "echo-client",
                    "ping TARGET --json -i 0 -s 64 -d TIMEms",
                )
            },
            |lab| round_trip(lab, "load", "blocking TARGET 64 TIME"),
        ],
    },
];

/// Measures both sides in turn.
pub fn measure(lab: &Lab, pair: &Pair) -> Result<Comparison> {
    let mut rounds = [Vec::new(), Vec::new()];
    for side in schedule(2, lab.rounds, SEED).concat() {
        rounds[side].push(pair.sides[side](lab)?);
    }
    let [ours, against] = rounds;
    Comparison::of(pair.goal, &ours, &against).context("there was no round")
}

/// The slow round trips of a ping each millisecond, while two bulk transfers share its worker.
fn beside(lab: &Lab, contender: Contender) -> Result<f64> {
    let server = lab.start(contender)?;
    let bulk = "bench TARGET --json -q -P 2 --size 1m --depth 2 -d 600s";
    let bulk = lab.command("echo-client", &server, bulk)?;
    // It gives way, so that a ping waits for the server and not for a core.
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"]).arg(bulk.get_program());
    let bulk = lab.on_load_core(|| Process::start(nice.args(bulk.get_args())))?;
    let ping = "ping TARGET --json -i 1ms -s 64 -d TIMEms";
    let (told, _) = lab.load(lab.command("echo-client", &server, ping)?)?;
    drop(bulk);
    Ok(number(&told, "rtt_p99_ns")? / 1e3)
}

/// A server's CPU time for a datagram that came in a train, cut up by the system (GSO). All under
/// way at one time fit a socket's buffer: of more some would be lost, by any server.
fn trains(lab: &Lab, contender: Contender) -> Result<f64> {
    let server = lab.start(contender)?;
    let before = proc::cpu(server.process.id())?;
    let (told, _) = lab.load(lab.command("load", &server, "trains TARGET 64 4 TIME")?)?;
    let used = proc::cpu(server.process.id())? - before;
    // Each of those was sent for nothing, and told here for want of a place beside the ratio.
    if let Some(lost) = told["lost"].as_u64().filter(|lost| *lost > 0) {
        eprintln!("bench: {} lost {lost} datagrams", contender.name());
    }
    per_echo(used, &told)
}

/// What a load costs itself, from its start to its end.
fn cost(lab: &Lab, program: &str, words: &str) -> Result<f64> {
    let (told, cpu) = loaded(lab, program, words)?;
    per_echo(cpu, &told)
}

fn round_trip(lab: &Lab, program: &str, words: &str) -> Result<f64> {
    let (told, _) = loaded(lab, program, words)?;
    Ok(number(&told, "rtt_p50_ns")? / 1e3)
}

/// Loads a server that is the same for every load.
fn loaded(lab: &Lab, program: &str, words: &str) -> Result<(Value, Duration)> {
    let server: Running = lab.start(Mio)?;
    lab.load(lab.command(program, &server, words)?)
}

fn per_echo(cpu: Duration, told: &Value) -> Result<f64> {
    Ok(cpu.as_secs_f64() * 1e6 / number(told, "unique")?)
}

fn number(told: &Value, key: &str) -> Result<f64> {
    let number = told[key].as_f64().filter(|number| *number > 0.0);
    number.with_context(|| format!("the load tells no {key}"))
}
