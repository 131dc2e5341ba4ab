//! Schedules drawn from seeds, played until one breaks a promise: what the simulation of the server's
//! loop and that of the client's engine have in common. Either includes this file.

use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

/// Plays the schedule of a seed.
///
/// # Errors
/// What breaks a promise, as short as it gets.
pub type Play = fn(u64) -> Result<(), Broken>;

/// A schedule that breaks a promise.
pub struct Broken {
    /// Its seed, what is left of it, and the promise that this breaks: not always the first one found.
    pub told: String,
    /// How many of its steps are left, and how many there were.
    pub steps: [usize; 2],
}

/// Plays a schedule of a seed: what stays the same in it, and its steps. One that breaks a promise is
/// played again and again without what it does not need for that.
///
/// # Errors
/// What breaks a promise, as short as it gets.
pub fn play<S: Debug, T: Clone + Debug>(
    seed: u64,
    (setup, all): (S, Vec<T>),
    run: fn(&S, &[T]) -> Result<(), String>,
) -> Result<(), Broken> {
    // A defect that panics breaks every promise.
    let run = |steps: &[T]| {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| run(&setup, steps)));
        ended.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref().cloned());
            Err(text.unwrap_or_else(|| "it panics".to_owned()))
        })
    };
    let Err(mut promise) = run(&all) else {
        return Ok(());
    };
    let mut steps = all.clone();
    let mut len = steps.len() / 2;
    while len > 0 {
        let (mut at, before) = (0, steps.len());
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + len).min(steps.len()));
            match run(&fewer) {
                Err(broken) => (steps, promise) = (fewer, broken),
                Ok(()) => at += len,
            }
        }
        // What one could not do without may be left out once another is.
        if steps.len() == before {
            len /= 2;
        }
    }
    Err(Broken {
        told: format!("seed {seed}: {promise}\n{setup:?}\n{steps:?}"),
        steps: [steps.len(), all.len()],
    })
}

#[test]
fn a_panic_is_told_with_its_words() {
    let broken = play(1, ((), vec![2]), |(), steps| panic!("{steps:?}"));
    let told = broken.map_err(|broken| broken.told);
    assert!(told.is_err_and(|told| told.starts_with("seed 1: [2]\n")));
}

/// Asserts that each of these seeds' schedules keeps every promise.
pub fn keep(play: Play, seeds: u64) {
    const THREADS: u64 = 2;
    thread::scope(|scope| {
        for first in 0..THREADS {
            let mut seeds = (first..seeds).step_by(THREADS as usize);
            scope.spawn(move || {
                seeds
                    .try_for_each(play)
                    .unwrap_or_else(|broken| panic!("{}", broken.told))
            });
        }
    });
}

/// Asserts that what longer runs have found stays mended.
pub fn hold(play: Play, seeds: &[u64]) {
    let mut seeds = seeds.iter().copied();
    seeds
        .try_for_each(play)
        .unwrap_or_else(|broken| panic!("{}", broken.told));
}

/// Asserts that each mutant breaks a promise that one of these seeds' schedules shows, and that the
/// schedule is shown without most of the steps that do not matter.
pub fn find<M: Copy + Debug>(mutants: &[M], bring_back: fn(Option<M>), play: Play, seeds: u64) {
    for mutant in mutants {
        bring_back(Some(*mutant));
        let found = (0..seeds).find_map(|seed| play(seed).err());
        bring_back(None);
        let Broken {
            told,
            steps: [left, of],
        } = found.unwrap_or_else(|| panic!("{mutant:?} is not found"));
        eprintln!("{mutant:?}: {left} of {of} steps: {told}");
        assert!(left <= 16, "{mutant:?} is shown by {left} steps");
    }
}

/// Plays schedules for as many seconds and from the seed that the environment names.
pub fn simulate(who: &str, play: Play) {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let limit = Duration::from_secs(number("SIMULATE_SECONDS", 60));
    let first = number("SIMULATE_SEED", 10_000);
    let (start, mut seed) = (Instant::now(), first);
    while start.elapsed() < limit {
        play(seed).unwrap_or_else(|broken| panic!("{}", broken.told));
        seed += 1;
    }
    let schedules = seed - first;
    println!("{schedules} schedules of a {who} from seed {first}, every promise kept");
}
