//! Many plans, each under a trouble of its own, several at one time; and what they came to.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, ensure};

use super::Arena;
use super::plan::{End, Ground, Lasting, Plan};
use super::victim::Victim;
use crate::process;

/// Trials at one time: most of a trial is waiting.
const AT_ONCE: usize = 4;

/// Cases of a sample, unless all are asked for: so many take some 30 s on two cores.
const SAMPLE: usize = 200;

/// Where strace logs, in a wrapper.
pub const LOG: &str = "STRACE-LOG";

/// A plan, and its trouble.
pub struct Case {
    /// What is done.
    pub plan: Plan,
    /// What makes the trouble: the words before the program.
    pub wrapper: String,
    /// Whether the trouble passes.
    pub lasting: Lasting,
}

/// Plays the cases that `make` makes: a sample that belongs to the seed, or all of them.
pub fn play(arena: &Arena, make: impl FnOnce(&Ground) -> Result<Vec<Case>>) -> Result<String> {
    let healthy = healthy(arena)?;
    let grounds = (0..AT_ONCE).map(|n| Ground::new(arena, n, &healthy));
    let grounds = grounds.collect::<Result<Vec<_>>>()?;
    let mut cases = make(&grounds[0])?;
    let all = cases.len();
    arena.random.clone().shuffle(&mut cases);
    // What takes long would leave little else in a sample.
    cases.retain(|case| arena.all || case.plan.mode() != "diagnose");
    if !arena.all {
        cases.truncate(SAMPLE);
    }
    let next = AtomicUsize::new(0);
    let one_by_one = |ground: &Ground| {
        let mut outcomes = Vec::new();
        while !process::is_interrupted() {
            let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            outcomes.push((case, trial(ground, case)));
        }
        outcomes
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let run = |ground| scope.spawn(move || one_by_one(ground));
        let threads: Vec<_> = grounds.iter().map(run).collect();
        let outcomes = threads.into_iter().map(|thread| thread.join());
        outcomes
            .flat_map(|one| one.expect("no trial panics"))
            .collect()
    });
    healthy.ends_well(8 << 10)?;
    // Side by side on few cores trials run into each other's time. What fails alone, too, is a
    // fault; what does not is told, for it may be one that is rare.
    let quiet = self::healthy(arena)?;
    let ground = Ground::new(arena, AT_ONCE, &quiet)?;
    let (mut overcome, mut told, mut untouched) = (0, 0, 0);
    let (mut faults, mut once) = (Vec::new(), String::new());
    for (case, outcome) in outcomes {
        let name = format!("{} {}", case.wrapper, case.plan.0);
        let end = outcome.or_else(|error| {
            let again = trial(&ground, case);
            if again.is_ok() {
                once += &format!("\n    once, and not again: {name}: {error:#}");
            }
            again
        });
        match end {
            Ok(End::Overcome) => overcome += 1,
            Ok(End::Told(_)) => told += 1,
            Ok(End::Untouched) => untouched += 1,
            Err(error) => faults.push(format!("{name}: {error:#}")),
        }
    }
    quiet.stop()?;
    let (wrong, tried) = (faults.len(), overcome + told + faults.len());
    ensure!(
        wrong == 0,
        "{wrong} of {tried} cases:\n{}",
        faults.join("\n")
    );
    Ok(format!(
        "{tried} of {all} cases, {overcome} overcome and {told} told with their exit code ({untouched} were never met){once}"
    ))
}

/// A server that clients under trouble talk to.
fn healthy(arena: &Arena) -> Result<Victim> {
    let path = format!("--listen=unix:{}", arena.dir.path("healthy").display());
    arena.victim(&[
        "--listen=127.0.0.1:0",
        "--listen=stamp://127.0.0.1:0",
        &path,
    ])
}

fn trial(ground: &Ground, case: &Case) -> Result<End> {
    let log = ground.path("strace");
    let wrapper = case.wrapper.replace(LOG, &log.display().to_string());
    let end = case.plan.play(ground, &wrapper, case.lasting)?;
    // A tracer tells whether there was trouble at all.
    let is_met = || fs::read_to_string(&log).is_ok_and(|log| log.contains("(INJECTED)"));
    let met = wrapper == case.wrapper || is_met();
    Ok(if met { end } else { End::Untouched })
}
