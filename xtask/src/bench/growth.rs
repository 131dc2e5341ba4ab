//! The cost of growth: CPU per echo and memory as connections and messages grow.

use std::time::Duration;

use anyhow::{Context, Result};
use echo_core::statistics::figure;

use super::lab::Lab;
use super::table::Table;
use crate::proc;

/// Bytes in a message, for each column but the first.
const SIZES: [usize; 4] = [64, 1 << 10, 16 << 10, 256 << 10];
const HEADING: [&str; 5] = [" connections", " 64 B", " 1 KiB", " 16 KiB", " 256 KiB"];

/// What is echoed in a millisecond at the least.
const LAP_BYTES_PER_MS: u64 = 500_000;

/// Measures the whole table: a row for each number of connections. `quick` leaves out the largest.
pub fn measure(lab: &Lab, quick: bool) -> Result<Table> {
    let mut table = Table::new(&HEADING);
    let most = usize::try_from(lab.open_files)?.saturating_sub(100);
    let counts = [1, 10, 100, 1000, 10_000].into_iter();
    for count in counts.filter(|&count| count <= most && !(quick && count > 100)) {
        eprintln!("bench: {count} connections");
        let cells = SIZES.iter().map(|&size| cell(lab, count, size));
        let cells: Vec<String> = cells.collect::<Result<_>>()?;
        table.row([count.to_string()].into_iter().chain(cells));
    }
    Ok(table)
}

/// Server CPU per echo, and the most memory that the server had during the load.
fn cell(lab: &Lab, connections: usize, size: usize) -> Result<String> {
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
    Ok(format!("{cpu_us:.1} us, {:.1} MB", peak_kb as f64 / 1024.0))
}
