//! What time stamps of the kernel leave out of round trips that are measured beside a busy core. The far
//! end is a STAMP reflector, which tells how long it held each packet: whatever the server waits for is
//! no part of the figure.

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
    let server = lab.start("reflector")?;
    let is_over = Arc::new(AtomicBool::new(false));
    let busy = lab.on_load_core(|| {
        let is_over = is_over.clone();
        Ok(thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                spin_loop();
            }
        }))
    })?;
    let rounds: Result<Vec<[f64; 2]>> = (0..lab.rounds)
        .map(|_| {
            Ok([
                p99_us(lab, &server, "kernel")?,
                p99_us(lab, &server, "user")?,
            ])
        })
        .collect();
    is_over.store(true, Ordering::Relaxed);
    let _ = busy.join(); // It cannot panic.
    let rounds = rounds?;
    let middle = |of: &dyn Fn(&[f64; 2]) -> f64| {
        let values: Vec<f64> = rounds.iter().map(of).collect();
        figure(&values).unwrap_or(f64::NAN)
    };
    let (kernel, user) = (middle(&|round| round[0]), middle(&|round| round[1]));
    let ratio = middle(&|round| round[0] / round[1]);
    Ok(Fact {
        title: "STAMP, 1000 x 100 B at 500/s beside a busy core".to_owned(),
        measure: "p99 of the network by stamps of the kernel and of the program",
        value: format!("{kernel:.0} us and {user:.0} us: {ratio:.3}x"),
        target: format!("at most {AT_MOST}x"),
        pass: ratio <= AT_MOST,
    })
}

fn p99_us(lab: &Lab, server: &Running, whose: &str) -> Result<f64> {
    let words =
        format!("echo-client ping --stamp --json -c 1000 -i 2ms --timestamps {whose} TARGET");
    let (report, _) = lab.load(lab.command("", server, &words)?)?;
    let p99 = report["network_p99_ns"].as_f64();
    Ok(p99.context("a run without a 99th percentile")? / 1e3)
}
