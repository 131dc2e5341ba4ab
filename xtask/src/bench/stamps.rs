//! What time stamps of the kernel leave out of round trips that are measured beside a busy core. The far
//! end is a STAMP reflector, which tells how long it held each packet: whatever the server waits for is
//! no part of the figure. What is left of plain echoes over UDP, of which it is a part, is told beside it.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use echo_core::statistics::figure;

use super::contender::Running;
use super::lab::Lab;
use super::report::Fact;

/// The share of the 99th percentile that may be left of it.
const AT_MOST: f64 = 0.5;

/// Pings a reflector by both in turn, on a core that another thread keeps busy.
pub fn measure(lab: &Lab) -> Result<Fact> {
    let (reflector, echo) = (lab.start("reflector")?, lab.start("echo")?);
    let sides = [
        (&reflector, "--stamp", "network_p99_ns"),
        (&echo, "-u", "rtt_p99_ns"),
    ];
    let is_over = Arc::new(AtomicBool::new(false));
    let busy = lab.on_load_core(|| {
        let is_over = is_over.clone();
        Ok(thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                spin_loop();
            }
        }))
    })?;
    let round = |_| {
        sides
            .iter()
            .flat_map(|side| ["kernel", "user"].map(|whose| p99_us(lab, *side, whose)))
            .collect::<Result<Vec<f64>>>()
    };
    let rounds: Result<Vec<Vec<f64>>> = (0..lab.rounds).map(round).collect();
    is_over.store(true, Ordering::Relaxed);
    let _ = busy.join(); // It cannot panic.
    let rounds = rounds?;
    let middle = |of: &dyn Fn(&Vec<f64>) -> f64| {
        let values: Vec<f64> = rounds.iter().map(of).collect();
        figure(&values).unwrap_or(f64::NAN)
    };
    let (kernel, user) = (middle(&|round| round[0]), middle(&|round| round[1]));
    let ratio = middle(&|round| round[0] / round[1]);
    let echoes = middle(&|round| round[2] / round[3]);
    Ok(Fact {
        title: "STAMP, 1000 x 100 B at 500/s beside a busy core".to_owned(),
        measure: "p99 of the network by stamps of the kernel and of the program",
        value: format!("{kernel:.0} us and {user:.0} us: {ratio:.3}x (of echoes {echoes:.2}x)"),
        target: format!("at most {AT_MOST}x"),
        pass: ratio <= AT_MOST,
    })
}

fn p99_us(lab: &Lab, (server, kind, key): (&Running, &str, &str), whose: &str) -> Result<f64> {
    let words =
        format!("echo-client ping {kind} --json -c 1000 -i 2ms --timestamps {whose} TARGET");
    let (report, _) = lab.load(lab.command("", server, &words)?)?;
    let p99 = report[key].as_f64();
    Ok(p99.context("a run without a 99th percentile")? / 1e3)
}
