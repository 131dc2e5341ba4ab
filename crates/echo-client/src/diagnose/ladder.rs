//! The ladder: datagrams at rising rates in short steps, each right after slow ones.

use std::time::Duration;

use anyhow::Result;

use super::finding::Findings;
use super::path::Path;
use super::sender::{self, Plan};
use super::train::{Cell, Train};
use super::trains::{SMALL, largest};
use super::verdict::{TURNS, Turn, is_limited};

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
pub const PATIENCE: Duration = Duration::from_millis(100);
/// IP and UDP add so much to a payload.
const HEADER: usize = 28;
/// Slow ones of a turn, and the time from one to the next.
pub const SLOW: usize = 10;
pub const SLOW_INTERVAL: Duration = Duration::from_millis(15);

/// A turn that is to be taken.
#[derive(Clone, Copy, Debug)]
pub struct Rung {
    /// Bytes of payload.
    pub size: usize,
    /// Fast ones a second.
    pub per_s: u64,
    /// How long they are sent.
    pub time: Duration,
    /// How long nothing is sent before.
    pub pause: Duration,
}

impl Rung {
    /// The fast ones: how many, and the time from one to the next.
    pub fn fast(&self) -> (usize, Duration) {
        let count = self.time.as_secs_f64() * self.per_s as f64;
        (
            count.ceil() as usize,
            Duration::from_secs(1) / self.per_s as u32,
        )
    }
}

/// Climbs until a rate shows an effect, and then tries that rate again.
pub fn ladder(path: &mut Path<'_>, _: &mut Findings) -> Result<String> {
    let (size, most) = (largest(path), path.settings.max_rate);
    let mut turns = Vec::new();
    let climbed = climb(size, most.0, &mut turns, |rung| take(path, rung));
    // Those before one for which there is no room have told something.
    path.trains.ladder = turns;
    climbed?;
    let fast = path.trains.ladder.iter().map(|turn| &turn.fast);
    let sent: usize = fast.clone().map(|train| train.probes.len()).sum();
    let lost: usize = fast.map(Train::lost).sum();
    let came = sent - lost;
    Ok(format!("{came} of {sent} came back at up to {most}"))
}

/// Has turns taken, with datagrams of `size` and at `most` bits a second, as long as they tell more.
pub fn climb(
    size: usize,
    most: u64,
    turns: &mut Vec<Turn>,
    mut take: impl FnMut(Rung) -> Result<Turn>,
) -> Result<()> {
    let bits = |size: usize| ((size + HEADER) * 8) as u64;
    let rung = |size: usize, rate: u64, time| Rung {
        size,
        per_s: (rate / bits(size)).max(1),
        time,
        pause: Duration::ZERO,
    };
    let longest = Duration::from_secs_f64(BUCKET as f64 * 8.0 / most as f64).min(LONGEST);
    let rungs = RUNGS.into_iter().filter(|rate| *rate < most);
    let rungs = rungs.map(|rate| rung(size, rate, SHORT));
    let packets = rung(SMALL, most.min(PACKETS * bits(SMALL)), PACKETS_TIME);
    for rung in rungs.chain([rung(size, most, longest), packets]) {
        let mut turn = take(rung)?;
        if suffers(&turn) {
            // For what was sent before, perhaps.
            turn = take(Rung {
                pause: PAUSE,
                ..rung
            })?;
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
    take: &mut impl FnMut(Rung) -> Result<Turn>,
) -> Result<bool> {
    let at_once = Rung {
        time: AGAIN.min(rung.time),
        ..rung
    };
    for _ in 1..TURNS {
        let turn = take(at_once)?;
        if suffers(&turn) || !is_limited(&turn) {
            return repeat(rung, turns, take);
        }
        turns.push(turn);
    }
    // Whether packets are counted or bits shows with small ones, as many of them.
    let small = Rung {
        size: SMALL,
        ..at_once
    };
    turns.push(take(small)?);
    Ok(true)
}

/// The same with small ones, after pauses in which any limit forgets.
fn repeat(
    rung: Rung,
    turns: &mut Vec<Turn>,
    take: &mut impl FnMut(Rung) -> Result<Turn>,
) -> Result<bool> {
    let patient = Rung {
        size: SMALL,
        pause: PAUSE,
        ..rung
    };
    for _ in 0..TURNS {
        let turn = take(patient)?;
        let is_limit = is_limited(&turn);
        turns.push(turn);
        if !is_limit {
            return Ok(false);
        }
    }
    Ok(true)
}

fn take(path: &mut Path<'_>, rung: Rung) -> Result<Turn> {
    // Who is interrupted sends nothing.
    path.interrupt.wait(rung.pause);
    let (count, interval) = rung.fast();
    Ok(Turn {
        size: rung.size,
        slow: send(path, rung.size, SLOW, SLOW_INTERVAL)?,
        fast: send(path, rung.size, count, interval)?,
    })
}

fn send(path: &mut Path<'_>, size: usize, count: usize, interval: Duration) -> Result<Train> {
    let plan = Plan {
        patience: PATIENCE,
        ..Plan::of(path.peer()?, vec![Cell::of(size)], count, interval)
    };
    Ok(sender::send(path, &plan)?)
}
