//! What `echo-client bench` cannot compare by itself: other loads than its own, and its own cost.

use anyhow::{Context, Result};
use echo_core::statistics::schedule;
use serde_json::json;

use super::comparison::{Goal, SEED};
use super::lab::Lab;
use super::plan::{Pair, Side};
use crate::proc;
use crate::process::Process;

/// Measures both sides in turn.
pub fn measure(lab: &Lab, pair: &Pair) -> Result<[String; 8]> {
    let mut rounds = [Vec::new(), Vec::new()];
    for side in schedule(2, lab.rounds, SEED).concat() {
        rounds[side].push(round(lab, pair, &pair.sides[side])?);
    }
    let goal = Goal {
        work: &pair.work,
        figure: &pair.figure,
        sides: pair.sides.each_ref().map(|side| side.name.as_str()),
        at_most: pair.at_most,
    };
    let cells = goal.cells(rounds.each_ref().map(Vec::as_slice));
    cells.context("there was no round")
}

fn round(lab: &Lab, pair: &Pair, side: &Side) -> Result<f64> {
    let server = lab.start(&side.server)?;
    // It gives way, so that the load waits for the server and not for a core.
    let bulk = pair.beside.as_ref().map(|bulk| {
        let mut bulk = lab.command("nice -n 19", &server, bulk)?;
        lab.on_load_core(|| Process::start(&mut bulk))
    });
    let bulk = bulk.transpose()?;
    let before = proc::cpu(server.process.id())?;
    let (mut told, cpu) = lab.load(lab.command("", &server, &side.load)?)?;
    let used = proc::cpu(server.process.id())? - before;
    drop(bulk);
    // Each of those was sent for nothing, and told here for want of a place beside the ratio.
    if let Some(lost) = told["lost"].as_u64().filter(|lost| *lost > 0) {
        eprintln!("bench: {} lost {lost} messages", side.name);
    }
    let unique = told["unique"].as_f64().unwrap_or(0.0);
    for (key, cpu) in [("server", used), ("load", cpu)] {
        told[format!("{key}_cpu_per_echo_ns")] = json!(cpu.as_nanos() as f64 / unique);
    }
    pair.figure.of(&told)
}
