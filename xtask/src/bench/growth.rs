//! The cost of growth: CPU per echo and memory as connections and messages grow.

use std::time::Duration;

use anyhow::{Context, Result};
use echo_core::statistics::figure;

use super::lab::Lab;
use crate::proc;

/// Columns: bytes in a message.
pub const SIZES: [usize; 4] = [64, 1 << 10, 16 << 10, 256 << 10];

/// What is echoed in a millisecond at the least.
const LAP_BYTES_PER_MS: u64 = 500_000;

/// One number of connections.
pub struct Line {
    /// How many.
    pub connections: usize,
    /// What they cost, for each of [`SIZES`].
    pub cells: Vec<Cell>,
}

/// One number of connections with one size of message.
pub struct Cell {
    /// Server CPU per echo, in microseconds.
    pub cpu_us: f64,
    /// The most memory the server had during the load, in KB.
    pub peak_kb: u64,
}

/// Measures the whole table. `quick` leaves out the largest numbers of connections.
pub fn measure(lab: &Lab, quick: bool) -> Result<Vec<Line>> {
    let most = usize::try_from(lab.open_files)?.saturating_sub(100);
    let counts = [1, 10, 100, 1000, 10_000].into_iter();
    counts
        .filter(|&count| count <= most && !(quick && count > 100))
        .map(|connections| {
            eprintln!("bench: {connections} connections");
            let cells = SIZES
                .iter()
                .map(|&size| cell(lab, connections, size))
                .collect::<Result<_>>()?;
            Ok(Line { connections, cells })
        })
        .collect()
}

fn cell(lab: &Lab, connections: usize, size: usize) -> Result<Cell> {
    let (mut costs, mut peak_kb) = (Vec::new(), 0);
    // Each has had its turn before it counts.
    let lap = Duration::from_millis((connections * size) as u64 / LAP_BYTES_PER_MS);
    let warmup = lap.max(lab.time / 5).as_millis();
    let time = lab.time.as_millis();
    let load = format!("-P {connections} --size {size} --duration {time}ms --warmup {warmup}ms");
    for _ in 0..3 {
        let server = lab.start("echo")?;
        let told = lab.bench(&[&server], &load)?;
        let number = |key: &str| told[key].as_f64().context("nothing was measured");
        costs.push(number("server_cpu_ns")? / 1e3 / number("unique")?);
        peak_kb = peak_kb.max(proc::status(server.process.id(), "VmHWM")?);
    }
    let cpu_us = figure(&costs).context("nothing was measured")?;
    Ok(Cell { cpu_us, peak_kb })
}
