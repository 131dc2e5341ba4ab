//! Many plans, each under a trouble of its own, several at one time; and what they came to.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Arena;
use super::plan::{End, Ground, Lasting, Plan};
use crate::process;

/// Trials at one time: most of a trial is waiting.
const AT_ONCE: usize = 4;

/// How long a sample is drawn for, unless all are asked for.
const SAMPLE: Duration = Duration::from_secs(30);

/// Where strace logs, in a wrapper.
pub const LOG: &str = "STRACE-LOG";

/// A plan, and its trouble.
pub struct Case {
    /// What is done.
    pub plan: &'static Plan,
    /// What makes the trouble: the words before the program.
    pub wrapper: String,
    /// What the trouble is, for people; those with the same first word are alike.
    pub trouble: String,
    /// Whether the trouble passes.
    pub lasting: Lasting,
}

/// What became of cases so far.
#[derive(Default)]
struct Tally {
    overcome: usize,
    told: usize,
    untouched: usize,
    /// What went wrong, by what is alike.
    faults: BTreeMap<String, Vec<String>>,
}

/// Plays the cases that `make` makes: a sample that belongs to the seed, or all of them.
pub fn play(arena: &Arena, make: impl FnOnce(&Ground) -> Result<Vec<Case>>) -> Result<String> {
    let healthy = arena.victim("", &["--listen=127.0.0.1:0"])?;
    let grounds = (0..AT_ONCE).map(|n| Ground::new(arena, n, healthy.tcp));
    let grounds = grounds.collect::<Result<Vec<_>>>()?;
    let mut cases = make(&grounds[0])?;
    let (all, mut random) = (cases.len(), arena.random.clone());
    for n in (1..all).rev() {
        cases.swap(n, random.below(n as u64 + 1) as usize);
    }
    let budget = if arena.all { Duration::MAX } else { SAMPLE };
    let (start, left) = (Instant::now(), Mutex::new(cases.iter()));
    let tally = Mutex::new(Tally::default());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for ground in &grounds {
            scope.spawn(|| {
                while start.elapsed() < budget && !process::is_interrupted() {
                    let case = left.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(case) = case else { return };
                    match trial(ground, case) {
                        Ok(end) => {
                            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                            tally.count(case, Ok(end));
                        }
                        Err(error) => {
                            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            failed.push((case, error));
                        }
                    }
                }
            });
        }
    });
    healthy.ends_well(8 << 10)?;
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Side by side on few cores trials run into each other's time. What fails alone, too, is a
    // fault; what does not is told, for it may be one that is rare.
    let quiet = arena.victim("", &["--listen=127.0.0.1:0"])?;
    let ground = Ground::new(arena, AT_ONCE, quiet.tcp)?;
    let mut once = String::new();
    for (case, error) in failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let end = trial(&ground, case);
        if end.is_ok() {
            let (name, trouble) = (case.plan.name(), &case.trouble);
            once.push_str(&format!(
                "\n    once, and not again: {name}, {trouble}: {error:#}"
            ));
        }
        tally.count(case, end);
    }
    quiet.stop()?;
    let wrong: usize = tally.faults.values().map(Vec::len).sum();
    let tried = tally.overcome + tally.told + wrong;
    let faults: Vec<_> = tally.faults.values().map(|alike| alike.join(" ")).collect();
    ensure!(
        wrong == 0,
        "{wrong} of {tried} cases:\n{}",
        faults.join("\n")
    );
    Ok(format!(
        "{tried} of {all} cases, {} overcome and {} told with their exit code ({} were never met){once}",
        tally.overcome, tally.told, tally.untouched
    ))
}

impl Tally {
    fn count(&mut self, case: &Case, end: Result<End>) {
        let error = match end {
            Ok(End::Overcome) => return self.overcome += 1,
            Ok(End::Told) => return self.told += 1,
            Ok(End::Untouched) => return self.untouched += 1,
            Err(error) => format!("{error:#}"),
        };
        let first = |text: &str| text.split([':', ' ']).next().unwrap_or_default().to_owned();
        let (name, trouble) = (case.plan.name(), &case.trouble);
        let alike = format!("{name} {} {}", first(trouble), first(&error));
        let alike = self.faults.entry(alike).or_default();
        alike.push(match alike.is_empty() {
            true => format!("{name}, {trouble}: {error}\n  so too:"),
            false => trouble.clone(),
        });
    }
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
