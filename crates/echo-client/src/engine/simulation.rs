//! The engine against a simulated far end: schedules drawn from a seed, and the books compared with
//! what the far end knows. See `cargo xtask simulate`.

#[path = "../../../fuzz/src/simulation.rs"]
mod harness;
mod schedule;
mod seconds;
mod silence;
mod ways;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use echo_core::units::Timespan;

use super::simulated::{FarEnd, Mutant, Step, bring_back, connection, play};
use super::*;
use crate::connection::Connect;
use crate::report::{Counts, Latency, Load};
use harness::Broken;
use schedule::{Setup, schedule};

const MS: u64 = 1_000_000;
/// The longest pause before a connection is tried again.
const PAUSE: u64 = 500 * MS;
/// How late a worker is woken at most.
const LATE: u64 = 100 * MS;

/// Who is told each reply and each failure, and counts them.
#[derive(Default)]
struct Told {
    each: bool,
    replies: AtomicU64,
    right: AtomicU64,
    failed: AtomicU64,
    barred: AtomicU64,
}

impl Sink for Told {
    fn tell(&self, what: What) {
        match what {
            What::Reply { class, .. } => {
                self.replies.fetch_add(1, Ordering::Relaxed);
                let right = u64::from(class.is_right());
                self.right.fetch_add(right, Ordering::Relaxed);
            }
            What::Error {
                seq: Some(_), kind, ..
            } => {
                let is_barred = u64::from(kind == ErrorKind::Permission);
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.barred.fetch_add(is_barred, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn wants_each(&self) -> bool {
        self.each
    }
}

fn span(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Plays a schedule to its end. The error is the promise that was broken.
fn run(setup: &Setup, steps: &[Step]) -> Result<(), String> {
    let plan = &setup.plan;
    let interrupt = Interrupt::default();
    let end = nanos(plan.warmup + plan.duration.unwrap_or_default());
    let mut far = FarEnd::new(plan, steps.to_vec(), setup.seed);
    far.capacity = setup.capacity;
    far.dial_ns = setup.dial_us * 1_000;
    far.interrupt = setup.interrupt_ms.map(|ms| (ms * MS, interrupt.clone()));
    // The last reply, and stragglers; or whoever wakes late.
    far.horizon = end + far.timeout + 3_000 * MS;
    let told = Told {
        each: setup.tells_each,
        ..Told::default()
    };
    let (report, far, gave_up) = play_out(plan, far, &told, &interrupt)?;
    let check = Check {
        setup,
        plan,
        far: &far,
        report: &report,
        told: &told,
        gave_up,
        end,
    };
    check.books()?;
    check.classes()?;
    check.due()?;
    check.percentiles()?;
    check.nothing_is_given_up()
}

/// How to reach the only target there is. Its defaults are those of a command line, which is parsed once.
fn target(url: &str) -> Connect {
    static DEFAULTS: LazyLock<Connect> = LazyLock::new(Connect::default);
    Connect {
        target: url.parse().unwrap(),
        ..DEFAULTS.clone()
    }
}

/// Runs a plan against a far end to its end. Returns what the client reports, what the far end knows,
/// and whether a connection was given up.
fn play_out(
    plan: &Plan,
    far: FarEnd,
    told: &Told,
    interrupt: &Interrupt,
) -> Result<(Report, FarEnd, bool), String> {
    let address = far.remote();
    let run = Run {
        plan,
        address: address.clone(),
        clock: Clock::start(),
        measure_from: nanos(plan.warmup),
        threads: 1,
        sink: told,
        interrupt,
        stop: AtomicBool::new(false),
        heard: AtomicBool::new(false),
    };
    play(Some(far));
    let (sender, slices) = mpsc::channel();
    let connections = (0..plan.beforehand())
        .map(|_| connection(&address))
        .collect();
    let ended = Worker::new(&run, 0, connections, sender).and_then(Worker::run);
    let ended = ended.map_err(|error| error.to_string());
    let mut collector = Collector::new(true, false);
    slices.iter().for_each(|slice| collector.take(slice));
    let ended = ended.inspect_err(|_| drop(play(None)))?;
    let mut report = Report {
        load: Some(Load::Closed { in_flight: 1 }),
        ..Report::default()
    };
    let gave_up = ended.found.fault.is_some();
    run.conclude(&mut report, vec![ended], collector);
    let far = play(None).expect("nobody else ends it");
    Ok((report, far, gave_up))
}

/// A run that is over.
struct Check<'a> {
    setup: &'a Setup,
    plan: &'a Plan,
    far: &'a FarEnd,
    report: &'a Report,
    told: &'a Told,
    gave_up: bool,
    /// When sending was to end.
    end: u64,
}

impl Check<'_> {
    fn books(&self) -> Result<(), String> {
        let counts = &self.report.counts;
        if !counts.balance() {
            return Err(format!("books balance: {counts:?}"));
        }
        let seconds = &self.report.seconds;
        let of = |part: fn(&crate::report::Second) -> u64| seconds.iter().map(part).sum::<u64>();
        let sums = (of(|s| s.sent), of(|s| s.echoes), of(|s| s.lost));
        if sums != (counts.sent, counts.unique, counts.lost) {
            return Err(format!("seconds add up to the whole: {sums:?}, {counts:?}"));
        }
        if let Some(second) = seconds.iter().find(|second| second.lost > second.sent) {
            return Err(format!("more are lost than were sent: {second:?}"));
        }
        // Without a rate nobody knows how long those that never left had waited; what was barred has not.
        let waited = match self.plan.pace {
            Pace::Rate(_) => counts.unsent,
            _ => 0,
        };
        let most = counts.unique + waited;
        let least = match self.far.barred {
            0 => most,
            _ => counts.unique,
        };
        match self.report.rtt.count() {
            count if (least..=most).contains(&count) => Ok(()),
            count => Err(format!("{count} round trips of {least} to {most}")),
        }
    }

    /// Every reply is in the class that the far end knows it to be in, and is told once.
    fn classes(&self) -> Result<(), String> {
        let counts = &self.report.counts;
        let replies = self.told.replies.load(Ordering::Relaxed);
        let right = self.told.right.load(Ordering::Relaxed);
        // Warm-up is told too, and measured is what was asked for then.
        if !self.plan.warmup.is_zero() || self.far.blocked {
            return Ok(());
        }
        if self.told.each && (replies, right) != (counts.received, counts.unique) {
            return Err(format!(
                "each reply is told once: {replies}, {right}, {counts:?}"
            ));
        }
        let barred = self.told.barred.load(Ordering::Relaxed);
        let unsent = (counts.unsent, self.far.barred);
        // What was behind the last one of three in a row has not left either.
        if self.told.each && (barred < self.far.barred || barred > counts.unsent) {
            return Err(format!(
                "each that is barred is told, and has not left: {barred}, {unsent:?}"
            ));
        }
        // A datagram may have come in time, and be read after its request was given up.
        let failed = self.told.failed.load(Ordering::Relaxed);
        if !self.far.udp && failed > counts.lost + counts.late {
            return Err(format!(
                "nothing is given up before its time: {failed}, {counts:?}"
            ));
        }
        let counted = Counts {
            unique: counts.unique,
            late: counts.late,
            reordered: counts.reordered,
            duplicate: counts.duplicate,
            corrupt: counts.corrupt,
            truncated: counts.truncated,
            foreign: counts.foreign,
            ..Counts::default()
        };
        let seen = &self.far.seen;
        // What a run ends in the midst of is merely lost.
        let none = Counts::default();
        let cut = match &self.far.cut_at_end {
            (at, cut) if *at == self.far.now => cut,
            _ => &none,
        };
        let is_within = |counted, seen, cut| (seen - cut..=seen).contains(&counted);
        let is_same = counted
            == Counts {
                corrupt: counted.corrupt,
                truncated: counted.truncated,
                ..*seen
            };
        let is_cut = is_within(counted.corrupt, seen.corrupt, cut.corrupt)
            && is_within(counted.truncated, seen.truncated, cut.truncated);
        match is_same && is_cut {
            true => Ok(()),
            false => Err(format!("each reply is in its class: {counted:?}, {seen:?}")),
        }
    }

    /// What was due was sent, or is known not to have been.
    fn due(&self) -> Result<(), String> {
        let counts = &self.report.counts;
        let count = self.plan.count.unwrap_or(u64::MAX);
        if counts.sent > count {
            return Err(format!("{} were sent of {count}", counts.sent));
        }
        let messages = self.far.messages.len() as u64;
        if self.plan.warmup.is_zero() && messages > counts.sent {
            return Err(format!("{} were sent, {messages} left", counts.sent));
        }
        // What waits for a connection at the end may leave yet, and nothing else.
        let over = self.end + self.far.dial_ns + LATE;
        let last = self.far.messages.last().map_or(0, |(sent, _)| *sent);
        if !self.far.blocked && last > over {
            return Err(format!("one left at {last}, after {over}"));
        }
        let Pace::Rate(per_s) = self.plan.pace else {
            return match counts.unsent {
                0 => Ok(()),
                unsent if self.gave_up && counts.sent + unsent == count => Ok(()),
                unsent if self.far.barred > 0 && counts.sent + unsent <= count => Ok(()),
                unsent => Err(format!("{unsent} were due without a rate")),
            };
        };
        let from = nanos(self.plan.warmup);
        let due = |until: u64| {
            let step = 1e9 / per_s;
            let before = |moment: u64| ((moment as f64 - 0.5) / step).ceil() as u64;
            before(until).saturating_sub(before(from)).min(count)
        };
        let asked = self.setup.interrupt_ms.map_or(u64::MAX, |ms| ms * MS);
        let least = due(self.end.min(asked));
        let most = due(self.end);
        match counts.sent + counts.unsent {
            all if (least..=most).contains(&all) => Ok(()),
            all => Err(format!("{least} to {most} were due, {all} are told")),
        }
    }

    fn percentiles(&self) -> Result<(), String> {
        let far = self.far;
        let is_plain = self.plan.warmup.is_zero() && self.setup.interrupt_ms.is_none();
        if !is_plain || far.blocked || far.refused > 0 {
            return Ok(());
        }
        let mut expected = Latency::default();
        for (k, &(sent, reply)) in far.messages.iter().enumerate() {
            let due = match self.plan.pace {
                Pace::Rate(per_s) => (1e9 / per_s * k as f64).round() as u64,
                _ => sent,
            };
            if let Some(at) = reply {
                expected.record(Duration::from_nanos(at - due));
            }
        }
        if let Pace::Rate(per_s) = self.plan.pace {
            // Where a number ends it, sending was meant until the one behind the last was due.
            let last = self.plan.count;
            let last = last.map(|count| (1e9 / per_s * count as f64) as u64);
            let end = last.map_or(self.end, |last| last.min(self.end));
            let first = far.messages.len() as u64;
            for k in first..first + self.report.counts.unsent {
                let due = (1e9 / per_s * k as f64) as u64;
                expected.record(Duration::from_nanos(end.saturating_sub(due)));
            }
        }
        let rtt = &self.report.rtt;
        if rtt.count() != expected.count() {
            return Err(format!(
                "{} round trips of {}",
                rtt.count(),
                expected.count()
            ));
        }
        for share in [0.0, 0.5, 0.9, 0.99, 1.0] {
            let (told, is) = (rtt.quantile(share), expected.quantile(share));
            // As exact as a histogram, and as what never left is counted together.
            let off = told.abs_diff(is).as_nanos() as u64;
            if !rtt.is_empty() && off > is.as_nanos() as u64 / 300 + 1_000 {
                return Err(format!(
                    "the {share} quantile is {is:?}, and {told:?} is told"
                ));
            }
        }
        Ok(())
    }

    /// Once the far end is well, every request is answered that has had time to get to it.
    fn nothing_is_given_up(&self) -> Result<(), String> {
        let (plan, far) = (self.plan, self.far);
        let benign = far.calm == 0;
        if self.gave_up && (benign || plan.patience.is_none()) {
            return Err("nothing is given up for ever".to_owned());
        }
        let step = match plan.pace {
            Pace::Closed => 0,
            Pace::Rate(per_s) => (1e9 / per_s) as u64 * plan.parallel as u64,
            Pace::Interval(step) => nanos(step) * plan.parallel as u64,
        };
        // Three time-outs in a row, or as much as it had been waited for in vain before, or the longest
        // round trip; the pause before the next attempt, and that.
        let pause = if far.refused > 0 { PAUSE } else { 0 };
        let trip = |&(sent, reply): &(u64, Option<u64>)| reply.map_or(0, |reply| reply - sent);
        let longest = far.messages.iter().map(trip).max().unwrap_or(0);
        let silence = 4 * (far.timeout + step) + far.calm.max(longest);
        let settled = far.calm + silence + pause + 2 * far.dial_ns + 50 * MS;
        if self.gave_up || self.setup.interrupt_ms.is_some() || settled > self.end {
            return Ok(());
        }
        let settled = far.messages.iter().filter(|(sent, _)| *sent >= settled);
        match settled.clone().find(|(_, reply)| reply.is_none()) {
            Some((sent, _)) => Err(format!("what left at {sent} of a healthy server is lost")),
            None => Ok(()),
        }
    }
}

/// Plays the schedule of a seed. The error is what fails of it, as short as it gets.
fn of_seed(seed: u64) -> Result<(), Broken> {
    harness::play(seed, schedule(seed), run)
}

#[test]
fn ten_thousand_schedules_keep_every_promise() {
    harness::keep(of_seed, 10_000);
}

#[test]
fn what_longer_runs_have_found_stays_mended() {
    // Both of the model: a server that never answers from the first moment on is rightly given up, and
    // a datagram whose sending was refused leaves later than it was due to.
    harness::hold(of_seed, &[20_263_477, 20_263_875]);
}

#[test]
fn each_fault_that_was_mended_would_be_found_and_shown_in_few_steps() {
    let mutants = [
        Mutant::LateForgiven,
        Mutant::GivenUpForEver,
        Mutant::Omission,
        Mutant::Restless,
        Mutant::Overtime,
    ];
    harness::find(&mutants, bring_back, of_seed, 1_000);
}

#[test]
#[ignore = "as long as it is told to take; `cargo xtask simulate` runs it"]
fn simulate() {
    harness::simulate("client", of_seed);
}
