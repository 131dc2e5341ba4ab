//! A process's CPU time, from the system's own clock of it, read while a load runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use crate::proc::{self, TICK, Ticks};

/// Whose CPU time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One process, threads that have ended included: exact to the nanosecond.
    Process,
    /// It and its children, for servers that fork. Ended children count in ticks of 10 ms.
    Tree,
}

/// CPU time used so far.
pub fn cpu(id: u32, scope: Scope) -> Result<Duration> {
    let own = proc::cpu(id)?;
    Ok(match scope {
        Scope::Process => own,
        Scope::Tree => {
            let children = proc::children(id).into_iter();
            let alive = children.filter_map(|child| proc::cpu(child).ok());
            own + alive.sum::<Duration>() + proc::ticks(id, Ticks::EndedChildren)? * TICK
        }
    })
}

/// Reads a process's CPU time again and again until it is stopped.
pub struct Meter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Reading>>,
}

#[derive(Clone, Copy)]
struct Reading {
    unix_ns: u128,
    cpu: Duration,
}

impl Meter {
    /// Starts reading.
    pub fn start(id: u32, scope: Scope) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        // A walk through /proc for children costs a few milliseconds, a clock less than one µs.
        let pause = match scope {
            Scope::Process => Duration::from_millis(5),
            Scope::Tree => Duration::from_millis(50),
        };
        let thread = thread::spawn(move || {
            let mut readings = Vec::new();
            loop {
                let last = stopped.load(Ordering::Relaxed);
                if let Ok(cpu) = cpu(id, scope) {
                    readings.push(Reading {
                        unix_ns: unix_ns(),
                        cpu,
                    });
                }
                if last {
                    return readings;
                }
                thread::sleep(pause);
            }
        });
        Meter { stop, thread }
    }

    /// Stops, and gives the readings.
    pub fn stop(self) -> Readings {
        self.stop.store(true, Ordering::Relaxed);
        Readings(self.thread.join().unwrap_or_default())
    }
}

/// CPU time over wall time.
pub struct Readings(Vec<Reading>);

impl Readings {
    /// The CPU time used between two moments, in nanoseconds since 1970.
    pub fn between(&self, from: u128, to: u128) -> Result<Duration> {
        let (from, to) = (self.at(from)?, self.at(to)?);
        ensure!(to > from, "the server used no CPU time at all");
        Ok(to - from)
    }

    /// The CPU time at a moment, interpolated between the readings around it.
    fn at(&self, unix_ns: u128) -> Result<Duration> {
        let after = self.0.partition_point(|reading| reading.unix_ns < unix_ns);
        let around = after
            .checked_sub(1)
            .and_then(|i| self.0.get(i).zip(self.0.get(after)));
        let (before, after) = around.context("the server was not metered at that moment")?;
        let share = (unix_ns - before.unix_ns) as f64 / (after.unix_ns - before.unix_ns) as f64;
        Ok(before.cpu + after.cpu.saturating_sub(before.cpu).mul_f64(share))
    }
}

/// Now, in nanoseconds since 1970: the one clock that two processes share by name.
pub fn unix_ns() -> u128 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    #[test]
    fn time_between_readings_is_interpolated() {
        let reading = |unix_ns, millis| Reading {
            unix_ns,
            cpu: Duration::from_millis(millis),
        };
        let readings = Readings(vec![reading(100, 0), reading(200, 10), reading(300, 30)]);
        assert_eq!(
            readings.between(150, 250).unwrap(),
            Duration::from_millis(15)
        );
        assert!(
            readings.between(50, 250).is_err(),
            "before the first reading"
        );
        assert!(
            readings.between(150, 350).is_err(),
            "after the last reading"
        );
    }

    #[test]
    fn work_shows_on_the_clock() {
        let before = cpu(process::id(), Scope::Process).unwrap();
        let mut sum = 0u64;
        while cpu(process::id(), Scope::Process).unwrap() < before + Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu(process::id(), Scope::Tree).unwrap() >= before);
    }
}
