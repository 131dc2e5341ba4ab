//! Load: small datagrams beside two transfers, which show how long the queues on the way are.

use std::io;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use echo_core::units::ns;

use super::SPENT;
use super::path::Path;
use super::sender::{self, Plan};
use super::talk::{Heard, Talk};
use super::train::{Cell, Probe, trips};
use super::trains::SMALL;
use super::verdict::{self, shown};
use crate::thread::start_in;

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
pub fn load(path: &mut Path<'_>) -> Result<String> {
    let bytes = SHARE.min(path.bytes_left().saturating_sub(RESERVED)) / STREAMS;
    if bytes < LEAST / STREAMS {
        bail!(SPENT);
    }
    let talks = (0..STREAMS).map(|_| Talk::open(path, None));
    let talks = talks.collect::<Result<Vec<Talk>>>()?;
    let count = TIME.div_duration_f64(INTERVAL) as usize;
    let plan = Plan::of(path.peer()?, vec![Cell::of(SMALL)], count, INTERVAL);
    let (train, heard) = thread::scope(|scope| {
        let carry = |mut talk: Talk| {
            talk.rate /= STREAMS;
            start_in(scope, "carry", move || talk.carry(bytes, TIME))
        };
        let under_way: Vec<_> = talks.into_iter().map(carry).collect();
        let train = sender::send(path, &plan);
        let heard = under_way.into_iter();
        let heard = heard.filter_map(|one| one.map(|one| one.join().ok()).transpose());
        (train, heard.collect::<Vec<io::Result<Heard>>>())
    });
    // What went through counts, whatever else failed.
    heard.iter().flatten().for_each(|heard| heard.count(path));
    let (train, heard) = (
        train?,
        heard.into_iter().collect::<io::Result<Vec<Heard>>>()?,
    );
    let longest = heard.iter().map(|heard| heard.elapsed).max();
    let start = train.probes.first().map_or(0, |first| first.sent);
    let until = start + ns(longest.unwrap_or_default());
    let loaded = train.probes.iter().filter(|probe| probe.sent <= until);
    let loaded: Vec<&Probe> = loaded.collect();
    let idle = path.trains.steady.iter().flat_map(|train| &train.probes);
    path.findings.extend(verdict::load(&trips(idle), &loaded));
    let loaded = trips(loaded);
    let moved = heard.iter().map(|heard| heard.back).sum::<u64>() / 1000;
    let (n, half) = (loaded.0.len(), shown(loaded.at(0.5).unwrap_or_default()));
    Ok(format!(
        "{moved} kB went through two streams; half of {n} datagrams beside them within {half}"
    ))
}
