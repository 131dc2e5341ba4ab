//! What a far end does with the messages of a run, and in which order: drawn from a seed.

use std::time::Duration;

use echo_core::Framing;
use echo_core::units::Timespan;
use proptest::prelude::*;

use super::{MS, span, target};
use crate::connection::Connect;
use crate::engine::simulated::Step;
use crate::engine::{Pace, Plan};

/// What stays the same in one run.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) plan: Plan,
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
        let is_closed = pace == Pace::Closed;
        let connect = Connect {
            framing: if udp { Framing::Raw } else { framing },
            // No step ends exactly with it: what comes then is neither in time nor late.
            timeout: Timespan(span(timeout_ms) + Duration::from_nanos(7)),
            ..target(if udp {
                "udp://127.0.0.1:7"
            } else {
                "tcp://127.0.0.1:7"
            })
        };
        let plan = Plan {
            parallel,
            depth,
            size,
            pace,
            duration: Some(span(duration_ms)),
            // A closed loop with time alone as its bound sends too much to be looked at.
            count: count.or(is_closed.then_some(60)),
            // That many more leave in a closed loop.
            warmup: span(if is_closed { warmup_ms / 10 } else { warmup_ms }),
            new_connection,
            patience: patience_ms.map(span),
            ..Plan::new(connect)
        };
        Setup {
            plan,
            tells_each,
            capacity,
            dial_us,
            interrupt_ms,
            seed,
        }
    })
}
