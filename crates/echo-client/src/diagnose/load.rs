//! Load: small datagrams beside two transfers, which show how long the queues on the way are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::SPENT;
use super::finding::Findings;
use super::path::Path;
use super::sender::{self, Plan};
use super::talk::{Heard, MESSAGE, Pace, Talk};
use super::train::{Cell, Probe, percentile};
use super::trains::SMALL;
use super::verdict::{self, shown};

/// Streams that are transferred at once.
const STREAMS: u64 = 2;
/// How long; a queue of a second has filled by then.
const TIME: Duration = Duration::from_secs(3);
/// Of the budget that is left they take no more than this, each way.
const SHARE: u64 = 650_000;
/// What the trains after this one take, and the least that is worth a transfer.
const RESERVED: u64 = 450_000;
const LEAST: u64 = 150_000;
/// Small datagrams beside them.
const INTERVAL: Duration = Duration::from_millis(20);

/// Transfers, and probes meanwhile.
pub fn load(path: &mut Path<'_>, findings: &mut Findings) -> Result<String> {
    let bytes = SHARE.min(path.bytes_left().saturating_sub(RESERVED)) / STREAMS;
    if bytes < LEAST / STREAMS {
        bail!(SPENT);
    }
    let talks = (0..STREAMS).map(|_| Ok(Talk::open(path, MESSAGE, None)?.1));
    let talks = talks.collect::<Result<Vec<Talk>>>()?;
    let rate = path.settings.max_rate.0 / STREAMS;
    let count = TIME.div_duration_f64(INTERVAL) as usize;
    let plan = Plan::of(path.peer()?, vec![Cell::of(SMALL)], count, INTERVAL);
    let is_over = AtomicBool::new(false);
    let (train, heard) = thread::scope(|scope| {
        let carry = |mut talk: Talk| {
            let is_over = &is_over;
            scope.spawn(move || {
                let pace = Pace {
                    rate,
                    patience: TIME,
                    is_over: &|| is_over.load(Ordering::Relaxed),
                };
                talk.carry(bytes, &pace)
            })
        };
        let under_way: Vec<_> = talks.into_iter().map(carry).collect();
        let train = sender::send(path, &plan);
        is_over.store(true, Ordering::Relaxed);
        let heard = under_way.into_iter().filter_map(|one| one.join().ok());
        (train, heard.collect::<Vec<Heard>>())
    });
    let train = train?;
    heard.iter().for_each(|heard| heard.count(path));
    let longest = heard.iter().map(|heard| heard.elapsed).max();
    let start = train.probes.first().map_or(0, |first| first.sent);
    let until = start + longest.unwrap_or_default().as_nanos() as u64;
    let beside = train.probes.iter().filter(|probe| probe.sent <= until);
    let loaded: Vec<u64> = beside.filter_map(Probe::rtt).collect();
    let idle = path.trains.steady.iter().flat_map(|train| &train.probes);
    let idle: Vec<u64> = idle.filter_map(Probe::rtt).collect();
    findings.extend(verdict::load(&idle, &loaded));
    let moved = heard.iter().map(|heard| heard.back).sum::<u64>() / 1000;
    let n = loaded.len();
    let half = shown(percentile(&mut loaded.clone(), 0.5).unwrap_or_default());
    Ok(format!(
        "{moved} kB went through two streams; half of {n} datagrams beside them within {half}"
    ))
}
