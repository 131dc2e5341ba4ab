//! The ladder: datagrams at rising rates in short steps, each right after slow ones.

use std::time::Duration;

use anyhow::Result;

use super::path::{Path, To};
use super::sender::{self, Plan};
use super::train::{Cell, lost};
use super::trains::{SMALL, largest};
use super::verdict::{HEADER, TURNS, Turn, highest, is_limited, is_queued};

/// Rates below the highest, in bits a second with headers, and how long each is tried.
const RUNGS: [u64; 3] = [2_000_000, 5_000_000, 10_000_000];
const SHORT: Duration = Duration::from_millis(60);
/// Bytes at the highest rate: a policer's bucket may hold what it lets through in a second or two.
const BUCKET: u64 = 600_000;
/// Of a low rate no more than this is tried.
const LONGEST: Duration = Duration::from_secs(1);
/// How long a rate that shows a limit is tried again: the bucket has little in it by then.
const AGAIN: Duration = Duration::from_millis(120);
/// Limits count over a second.
const PAUSE: Duration = Duration::from_millis(1200);
/// Small datagrams a second, for limits that count packets.
const PACKETS: u64 = 2_000;
const PACKETS_TIME: Duration = Duration::from_millis(250);
/// A bucket fills while replies are waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// Slow ones of a turn, and the time from one to the next.
const SLOW: usize = 10;
const SLOW_INTERVAL: Duration = Duration::from_millis(15);

/// A turn that is to be taken.
#[derive(Clone, Copy, Debug)]
pub struct Rung {
    /// Bytes of payload.
    pub size: usize,
    /// Fast ones a second.
    pub per_s: u64,
    /// How long they are sent.
    pub time: Duration,
}

impl Rung {
    /// The slow ones, and the fast ones.
    pub fn plans(&self, to: To) -> [Plan; 2] {
        let plan = |count, interval| Plan {
            patience: PATIENCE,
            ..Plan::of(to, vec![Cell::of(self.size)], count, interval)
        };
        let count = (self.time.as_secs_f64() * self.per_s as f64).ceil() as usize;
        let interval = Duration::from_secs_f64(1.0 / self.per_s as f64);
        [plan(SLOW, SLOW_INTERVAL), plan(count, interval)]
    }
}

/// Climbs until a rate shows an effect, and then tries that rate again.
pub fn ladder(path: &mut Path<'_>) -> Result<String> {
    let (size, most) = (largest(path), path.settings.max_rate);
    let mut turns = Vec::new();
    let climbed = climb(size, most.0, &mut turns, |rung, pause| {
        take(path, rung, pause)
    });
    // Those before one for which there is no room have told something.
    path.trains.ladder = turns;
    climbed?;
    let ladder = &path.trains.ladder;
    let (lost, sent) = lost(ladder.iter().flat_map(|turn| &turn.fast.probes));
    let (came, reached) = (sent - lost, highest(ladder));
    Ok(format!("{came} of {sent} came back at up to {reached}"))
}

/// Has turns taken, with datagrams of `size` and at `most` bits a second, as long as they tell more;
/// some after a pause.
pub fn climb(
    size: usize,
    most: u64,
    turns: &mut Vec<Turn>,
    mut take: impl FnMut(Rung, Duration) -> Result<Turn>,
) -> Result<()> {
    let bits = |size: usize| ((size + HEADER) * 8) as u64;
    let rung = |size: usize, rate: u64, time| Rung {
        size,
        per_s: (rate / bits(size)).max(1),
        time,
    };
    let longest = Duration::from_secs_f64(BUCKET as f64 * 8.0 / most as f64).min(LONGEST);
    let rungs = RUNGS.into_iter().filter(|rate| *rate < most);
    let rungs = rungs.map(|rate| rung(size, rate, SHORT));
    let packets = rung(SMALL, most.min(PACKETS * bits(SMALL)), PACKETS_TIME);
    for rung in rungs.chain([rung(size, most, longest), packets]) {
        let mut turn = take(rung, Duration::ZERO)?;
        if suffers(&turn) {
            // For what was sent before, perhaps.
            turn = take(rung, PAUSE)?;
        }
        let is_limit = is_limited(&turn);
        turns.push(turn);
        if is_limit && confirm(rung, turns, &mut take)? {
            break;
        }
    }
    Ok(())
}

/// Whether even slow ones are lost.
fn suffers(turn: &Turn) -> bool {
    turn.slow.lost() * 4 > SLOW
}

/// Tries a rate that has shown a limit again, as long as it does: at once, while a policer's bucket is
/// empty. Where slow ones suffer then, too, or fast ones do not, it may be a count of the last second,
/// which shows better with small ones and pauses. Returns whether there was no false alarm.
fn confirm(
    rung: Rung,
    turns: &mut Vec<Turn>,
    take: &mut impl FnMut(Rung, Duration) -> Result<Turn>,
) -> Result<bool> {
    let small = Rung {
        size: SMALL,
        ..rung
    };
    // Half of what the highest rate is tried with, at most; of a queue, which is there at once, half of
    // that: it has to be filled by a transfer as well.
    let part = match turns.last().is_some_and(is_queued) {
        true => BUCKET / 4,
        false => BUCKET / 2,
    };
    let bytes_per_s = rung.per_s * (rung.size + HEADER) as u64;
    let most = Duration::from_secs_f64(part as f64 / bytes_per_s as f64);
    let brief = |rung: Rung| Rung {
        time: AGAIN.min(most),
        ..rung
    };
    for _ in 1..TURNS {
        let turn = take(brief(rung), Duration::ZERO)?;
        if suffers(&turn) || !is_limited(&turn) {
            if !suffers(&turn) {
                turns.push(turn);
            }
            for _ in 0..TURNS {
                turns.push(take(small, PAUSE)?);
                if !turns.last().is_some_and(is_limited) {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        turns.push(turn);
    }
    // Whether packets are counted or bits shows with small ones, as many of them.
    turns.push(take(brief(small), Duration::ZERO)?);
    Ok(true)
}

/// Takes a turn, after a pause; once more where this machine was too slow for it.
fn take(path: &mut Path<'_>, rung: Rung, pause: Duration) -> Result<Turn> {
    let [slow, fast] = rung.plans(path.peer()?);
    let mut is_last = false;
    loop {
        // Who is interrupted sends nothing.
        path.interrupt.wait(pause);
        let turn = Turn {
            slow: sender::send(path, &slow)?,
            fast: sender::send(path, &fast)?,
        };
        if is_last || turn.is_reached() || path.bytes_left() < fast.bytes() * 3 {
            return Ok(turn);
        }
        is_last = true;
    }
}
