//! What a far end does with the messages of a run, and in which order: drawn from a seed.

use std::time::Duration;

use echo_core::Framing;
use proptest::prelude::*;

use super::MS;
use crate::engine::Pace;
use crate::engine::simulated::Step;

/// What stays the same in one run.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) udp: bool,
    pub(super) framing: Framing,
    pub(super) size: usize,
    pub(super) parallel: usize,
    pub(super) depth: usize,
    pub(super) pace: Pace,
    pub(super) count: Option<u64>,
    pub(super) duration_ms: u64,
    pub(super) warmup_ms: u64,
    pub(super) timeout_ms: u64,
    pub(super) patience_ms: Option<u64>,
    pub(super) new_connection: bool,
    pub(super) tells_each: bool,
    pub(super) capacity: usize,
    pub(super) dial_us: u64,
    pub(super) interrupt_ms: Option<u64>,
    pub(super) seed: u64,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    const US: u64 = 1_000;
    let after = || prop_oneof![5 => 1..900 * US, 4 => 1..9 * MS, 1 => 1..250 * MS];
    let two = || (after(), after());
    prop_oneof![
        24 => after().prop_map(Step::Echo),
        3 => two().prop_map(|(after, gap)| Step::Torn(after, gap)),
        2 => two().prop_map(|(after, again)| Step::Twice(after, again)),
        3 => Just(Step::Never),
        2 => after().prop_map(Step::Corrupt),
        1 => after().prop_map(Step::Cut),
        1 => after().prop_map(Step::Foreign),
        2 => Just(Step::Refuse),
        1 => Just(Step::End),
        1 => (1..200 * MS).prop_map(Step::Stall),
        1 => (1..400 * MS).prop_map(Step::Restart),
        1 => (1..80 * MS).prop_map(Step::Spurious),
    ]
}

fn pace() -> impl Strategy<Value = Pace> {
    prop_oneof![
        Just(Pace::Closed),
        prop::sample::select(&[3.0, 40.0, 333.0][..]).prop_map(Pace::Rate),
        (1..200u64).prop_map(|ms| Pace::Interval(Duration::from_millis(ms))),
    ]
}

pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let wire = (
        any::<bool>(),
        prop::sample::select(&Framing::ALL[..]),
        28..300usize,
        prop_oneof![Just(1), 1..5usize],
        prop_oneof![Just(1), 1..9usize],
        prop::sample::select(&[1, 300, 5_000, 1 << 20][..]),
    );
    let time = (
        pace(),
        prop::option::of(1..60u64),
        100..1_000u64,
        prop_oneof![3 => Just(0), 1 => 1..300u64],
        prop::sample::select(&[10, 40, 200][..]),
        prop::option::of(0..3_000u64),
        prop::option::weighted(0.15, 1..1_000u64),
    );
    let flags = (
        prop::bool::weighted(0.15),
        any::<bool>(),
        1..90_000u64,
        any::<u64>(),
    );
    (wire, time, flags).prop_map(|(wire, time, flags)| {
        let (udp, framing, size, parallel, depth, capacity) = wire;
        let (pace, count, duration_ms, warmup_ms, timeout_ms, patience_ms, interrupt_ms) = time;
        let (new_connection, tells_each, dial_us, seed) = flags;
        // A closed loop with time alone as its bound sends too much to be looked at.
        let most = (pace == Pace::Closed).then_some(60);
        Setup {
            udp,
            framing: if udp { Framing::Raw } else { framing },
            size,
            parallel,
            depth,
            pace,
            count: count.or(most),
            duration_ms,
            // That many more leave in a closed loop.
            warmup_ms: if most.is_some() {
                warmup_ms / 10
            } else {
                warmup_ms
            },
            timeout_ms,
            patience_ms,
            new_connection,
            tells_each,
            capacity,
            dial_us,
            interrupt_ms,
            seed,
        }
    })
}
