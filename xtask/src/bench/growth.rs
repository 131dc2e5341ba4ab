//! The cost of growth: CPU per echo and memory as connections and messages grow.

use anyhow::{Context, Result};
use echo_core::statistics::figure as middle;

use super::contender::Contender;
use super::lab::Lab;
use super::load::{Load, Shape};
use crate::proc;

/// Columns: bytes in a message.
pub const SIZES: [usize; 4] = [64, 1 << 10, 16 << 10, 256 << 10];

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
    for _ in 0..3 {
        let server = lab.start(Contender::Echo)?;
        let sample = lab.load(
            &server,
            Load::Plain(Shape {
                connections,
                size,
                depth: 1,
            }),
        )?;
        // By bytes: of ten thousand large messages few are whole at the end.
        costs.push(sample.server_cpu.as_secs_f64() * 1e6 / (sample.outcome.bytes / size as f64));
        peak_kb = peak_kb.max(proc::status(server.process.id(), "VmHWM")?);
    }
    let cpu = middle(&costs).context("nothing was measured")?;
    Ok(Cell {
        cpu_us: cpu,
        peak_kb,
    })
}
