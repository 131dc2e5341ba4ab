//! The ladder: datagrams at rising rates in short steps, each right after slow ones.

use std::time::Duration;

use anyhow::Result;

use super::Told;
use super::finding::Findings;
use super::path::Path;
use super::sender::{self, Plan};
use super::train::{Cell, Train};
use super::trains::{SMALL, echo_peer, largest, no_echo};
use super::verdict::{TURNS, Turn, is_limited};

/// Rates, in bits a second with headers, and how long each is tried: long enough to empty the bucket
/// of a usual policer, short enough for the budget.
const RUNGS: [(u64, Duration); 4] = [
    (2_000_000, Duration::from_millis(100)),
    (5_000_000, Duration::from_millis(100)),
    (10_000_000, Duration::from_millis(80)),
    (20_000_000, Duration::from_millis(60)),
];
/// Small datagrams a second, for limits that count packets.
const PACKETS: (u64, Duration) = (2_000, Duration::from_millis(250));
/// IP and UDP add so much to a payload.
const HEADER: usize = 28;
/// Slow ones of a turn, and the time from one to the next.
const SLOW: usize = 12;
const SLOW_INTERVAL: Duration = Duration::from_millis(20);

/// Climbs until a rate shows an effect, and then tries that rate again.
pub fn ladder(path: &mut Path<'_>, _: &mut Findings) -> Result<Told> {
    if path.settings.gentle {
        return Ok(Told::LeftOut("--gentle".to_owned()));
    }
    if echo_peer(path).is_none() {
        return Ok(no_echo());
    }
    let size = largest(path);
    let bits = ((size + HEADER) * 8) as u64;
    let most = path.settings.max_rate.0;
    let mut highest = 0;
    for (rate, time) in RUNGS.into_iter().filter(|(rate, _)| *rate <= most) {
        highest = rate;
        if is_worn(path, size, rate / bits, time)? {
            // Whether it counts packets or bits shows with small ones, as many of them.
            is_worn(path, SMALL, rate / bits, time)?;
            return Ok(told(path, rate));
        }
    }
    let (per_s, time) = PACKETS;
    let per_s = per_s.min(most / ((SMALL + HEADER) * 8) as u64);
    is_worn(path, SMALL, per_s, time)?;
    Ok(told(path, highest))
}

/// Takes a turn at so many a second, and more of them where it shows a limit. Returns whether it does.
fn is_worn(path: &mut Path<'_>, size: usize, per_s: u64, time: Duration) -> Result<bool> {
    for number in 0..TURNS {
        let turn = turn(path, size, per_s.max(1), time)?;
        let is_limited = is_limited(&turn);
        path.trains.ladder.push(turn);
        if number == 0 && !is_limited {
            return Ok(false);
        }
    }
    Ok(true)
}

fn turn(path: &mut Path<'_>, size: usize, per_s: u64, time: Duration) -> Result<Turn> {
    let interval = Duration::from_secs(1) / per_s as u32;
    let count = (time.as_secs_f64() * per_s as f64).ceil() as usize;
    Ok(Turn {
        size,
        slow: send(path, size, SLOW, SLOW_INTERVAL)?,
        fast: send(path, size, count, interval)?,
    })
}

fn send(path: &mut Path<'_>, size: usize, count: usize, interval: Duration) -> Result<Train> {
    let Some((remote, port)) = echo_peer(path) else {
        return Ok(Train::default());
    };
    let cell = Cell {
        size,
        ..Cell::default()
    };
    let cells = [cell];
    let plan = Plan::of((remote, port), &cells, count, interval);
    Ok(sender::send(path, &plan)?)
}

fn told(path: &Path<'_>, highest: u64) -> Told {
    let fast = path.trains.ladder.iter().map(|turn| &turn.fast);
    let (sent, lost) = fast.fold((0, 0), |(sent, lost), train| {
        (sent + train.probes.len(), lost + train.lost())
    });
    Told::Seen(format!(
        "{} of {sent} came back at up to {} Mbit/s",
        sent - lost,
        highest / 1_000_000
    ))
}
