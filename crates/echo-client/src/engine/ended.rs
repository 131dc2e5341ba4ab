//! What the workers of a run leave behind besides their records.

use std::time::Duration;

use super::cpu::Cpu;
use super::flow::Found;
use super::nanos;
use super::pause::Pauses;
use crate::report::Generator;

/// What a worker leaves behind.
#[derive(Debug)]
pub struct Ended {
    /// For how long sending was meant, from the end of warm-up on, in nanoseconds.
    pub window: u64,
    /// What it cost from the end of warm-up to the end of sending.
    pub cpu: Cpu,
    /// The time that passed while it cost that, in nanoseconds.
    pub span: u64,
    /// The times it stood still itself.
    pub pauses: Pauses,
    /// How much round trips differ from one to the next.
    pub jitter: Option<Duration>,
    /// What it found out besides its records.
    pub found: Found,
}

/// Of a shorter time nobody says which share of a core was used.
const SHORTEST_SHARE_NS: u64 = 100_000_000;

/// What making the load has cost this side.
pub fn generator(ended: &[Ended]) -> Generator {
    let long = ended.iter().filter(|e| e.span >= SHORTEST_SHARE_NS);
    let share = |part: Duration, e: &Ended| part.as_nanos() as f64 / e.span as f64;
    let ran = long.clone().map(|e| share(e.cpu.ran, e));
    let waited = long.filter_map(|e| Some(share(e.cpu.waited?, e)));
    Generator {
        threads: ended.len(),
        cpu_ns: ended.iter().map(|e| nanos(e.cpu.ran)).sum(),
        busiest_share: ran.reduce(f64::max),
        starved_share: waited.reduce(f64::max),
        paused_ns: ended
            .iter()
            .map(|e| nanos(e.pauses.total))
            .max()
            .unwrap_or(0),
    }
}
