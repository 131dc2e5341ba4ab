//! What a far end does with the messages of a run, and in which order: drawn from a seed.

use std::time::Duration;

use echo_core::Framing;
use echo_core::splitmix::Random;
use echo_core::units::Timespan;

use super::{MS, span, target};
use crate::connection::Connect;
use crate::engine::simulated::Step;
use crate::engine::{Pace, Plan};

/// What stays the same in one run.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) plan: Plan,
    pub(super) tells_each: bool,
    pub(super) capacity: usize,
    pub(super) dial_us: u64,
    pub(super) interrupt_ms: Option<u64>,
    pub(super) seed: u64,
}

/// How long something takes: mostly not long.
fn after(random: &mut Random) -> u64 {
    let most = match random.below(10) {
        0..5 => MS,
        5..9 => 9 * MS,
        _ => 250 * MS,
    };
    1 + random.below(most)
}

fn step(random: &mut Random) -> Step {
    let (first, then) = (after(random), after(random));
    match random.below(42) {
        0..24 => Step::Echo(first),
        24..26 => Step::Torn(first, then),
        26 => Step::Bar(1 + (first % 4) as u32),
        27..29 => Step::Twice(first, then),
        29..32 => Step::Never,
        32..34 => Step::Corrupt(first),
        34 => Step::Cut(first),
        35 => Step::Foreign(first),
        36..38 => Step::Refuse,
        38 => Step::End,
        39 => Step::Stall(1 + random.below(200 * MS)),
        40 => Step::Restart(1 + random.below(400 * MS)),
        _ => Step::Spurious(1 + random.below(80 * MS)),
    }
}

/// A number from 1 to `most`, in so many of a hundred cases.
fn some(percent: u64, most: u64, random: &mut Random) -> Option<u64> {
    let number = 1 + random.below(most);
    (random.below(100) < percent).then_some(number)
}

/// The schedule of a seed.
pub(super) fn schedule(seed: u64) -> (Setup, Vec<Step>) {
    let random = &mut Random(seed);
    let (is_udp, framing) = (random.below(2) == 0, *random.pick(&Framing::ALL));
    let connect = Connect {
        framing: if is_udp { Framing::Raw } else { framing },
        // No step ends exactly with it: what comes then is neither in time nor late.
        timeout: Timespan(span(*random.pick(&[10, 40, 200])) + Duration::from_nanos(7)),
        ..target(match is_udp {
            true => "udp://127.0.0.1:7",
            false => "tcp://127.0.0.1:7",
        })
    };
    let pace = match random.below(3) {
        0 => Pace::Closed,
        1 => Pace::Rate(*random.pick(&[3.0, 40.0, 333.0])),
        _ => Pace::Interval(span(1 + random.below(199))),
    };
    let is_closed = pace == Pace::Closed;
    // A closed loop with time alone as its bound sends too much to be looked at.
    let count = some(50, 59, random).or(is_closed.then_some(60));
    let warmup_ms = some(25, 300, random).unwrap_or(0);
    let plan = Plan {
        parallel: some(50, 4, random).unwrap_or(1) as usize,
        depth: some(50, 8, random).unwrap_or(1) as usize,
        size: 28 + random.below(272) as usize,
        pace,
        duration: Some(span(100 + random.below(900))),
        count,
        // That many more leave in a closed loop.
        warmup: span(if is_closed { warmup_ms / 10 } else { warmup_ms }),
        new_connection: random.below(100) < 15,
        patience: some(50, 3_000, random).map(|ms| span(ms - 1)),
        ..Plan::new(connect)
    };
    let setup = Setup {
        plan,
        tells_each: random.below(2) == 0,
        capacity: *random.pick(&[1, 300, 5_000, 1 << 20]),
        dial_us: 1 + random.below(90_000),
        interrupt_ms: some(15, 1_000, random),
        seed: random.draw(),
    };
    let steps = (0..random.below(60)).map(|_| step(random)).collect();
    (setup, steps)
}
