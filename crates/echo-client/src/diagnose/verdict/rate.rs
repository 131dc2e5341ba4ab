//! Limits of rate: what is sent fast fares worse than what is sent slowly right before it, turn after
//! turn, so that what changes with time is not taken for it.

use super::super::chance::fisher;
use super::super::finding::{Finding, Verdict, finding};
use super::super::train::{Probe, Train, percentile};
use super::{Turn, percent, significant};

/// Turns that must agree.
pub const TURNS: usize = 4;
/// A queue that is worth the name makes the last wait so much longer than a slow one.
const QUEUED: u64 = 5_000_000;
/// IP and UDP add so much to a payload.
const HEADER: usize = 28;

/// A limit, and what it explains.
pub struct Limit {
    /// The verdict.
    pub finding: Finding,
    /// Bytes a second, headers included; where packets are counted, their number.
    rate: f64,
    counts_packets: bool,
}

impl Limit {
    /// Whether a train was so fast that the limit may have hit it.
    pub fn explains(&self, train: &Train) -> bool {
        let per_s = 1.0 / train.interval.as_secs_f64().max(1e-9);
        let sizes = train.probes.iter().map(|probe| probe.cell.size + HEADER);
        let size = sizes.sum::<usize>() as f64 / train.probes.len().max(1) as f64;
        let rate = if self.counts_packets {
            per_s
        } else {
            per_s * size
        };
        // A limit has no memory for what is well below it.
        rate > self.rate * 0.7
    }
}

/// How one fast train fared.
#[derive(Clone, Copy)]
enum Effect {
    None,
    /// Some of it was lost, without delay.
    Dropped,
    /// It had to wait.
    Queued,
}

fn effect(turn: &Turn) -> Effect {
    let (sent, lost) = (turn.fast.probes.len(), turn.fast.lost());
    let (slow, slow_lost) = (turn.slow.probes.len(), turn.slow.lost());
    let is_lossy = lost * 10 > sent && lost * slow > slow_lost * sent * 2;
    if is_queued(turn) && (is_lossy || throughput(&turn.fast) < offered(&turn.fast) * 0.7) {
        return Effect::Queued;
    }
    if is_lossy {
        Effect::Dropped
    } else {
        Effect::None
    }
}

/// Whether the last of a fast train waited for those before them.
fn is_queued(turn: &Turn) -> bool {
    let trips = |probes: &[Probe]| -> Vec<u64> { probes.iter().filter_map(Probe::rtt).collect() };
    let half = turn.fast.probes.len() / 2;
    let (mut first, mut last) = (
        trips(&turn.fast.probes[..half]),
        trips(&turn.fast.probes[half..]),
    );
    let usual = turn.slow.percentile(0.5);
    let (Some(usual), Some(first), Some(last)) = (
        usual,
        percentile(&mut first, 0.5),
        percentile(&mut last, 0.25),
    ) else {
        return false;
    };
    last > usual + QUEUED && last * 5 > first * 4
}

/// Bytes a second that were sent, and that came back, headers included.
fn offered(train: &Train) -> f64 {
    let bytes: usize = train
        .probes
        .iter()
        .map(|probe| probe.cell.size + HEADER)
        .sum();
    bytes as f64 / (train.interval.as_secs_f64() * train.probes.len() as f64).max(1e-9)
}

fn throughput(train: &Train) -> f64 {
    let mut came: Vec<u64> = train.probes.iter().filter_map(|probe| probe.came).collect();
    came.sort_unstable();
    let (Some(first), Some(last)) = (came.first(), came.last()) else {
        return 0.0;
    };
    let size = train.probes[0].cell.size + HEADER;
    let span = (last - first).max(1) as f64 / 1e9;
    (came.len() - 1) as f64 * size as f64 / span
}

/// Whether a turn shows a limit, so that its rate is worth more turns.
pub fn is_limited(turn: &Turn) -> bool {
    !matches!(effect(turn), Effect::None)
}

/// The limit that the turns show, if they do.
pub fn limit(ladder: &[Turn]) -> Option<Limit> {
    let alike = |first: &Turn| -> Vec<&Turn> {
        let is_alike =
            |turn: &&Turn| (turn.size, turn.fast.interval) == (first.size, first.fast.interval);
        ladder.iter().filter(is_alike).collect()
    };
    let count = |turns: &[&Turn], is: fn(Effect) -> bool| {
        turns.iter().filter(|turn| is(effect(turn))).count()
    };
    let is_limit = |effect| !matches!(effect, Effect::None);
    let mut kinds = ladder.iter().map(alike);
    let turns = kinds.find(|turns| count(turns, is_limit) >= TURNS)?;
    let (first, limited) = (turns[0], count(&turns, is_limit));
    let queued = count(&turns, |effect| matches!(effect, Effect::Queued));
    let below = ladder
        .iter()
        .filter(|turn| !is_limited(turn))
        .flat_map(|turn| &turn.fast.probes);
    let slow = ladder
        .iter()
        .flat_map(|turn| &turn.slow.probes)
        .chain(below);
    let slow: Vec<&Probe> = slow.collect();
    let fast: Vec<&Probe> = turns.iter().flat_map(|turn| &turn.fast.probes).collect();
    let (lost, slow_lost) = (super::lost(&fast), super::lost(&slow));
    let p = fisher((lost, fast.len()), (slow_lost, slow.len()));
    let offered = offered(&first.fast);
    let rates = turns.iter().map(|turn| throughput(&turn.fast));
    let rate = rates.sum::<f64>() / turns.len() as f64;
    let found = |verdict| {
        finding!(verdict;
            n: fast.len(), m: slow.len(), size: first.size, offered: bits(offered),
            turns: turns.len(), agree: limited, queued, lost, slow_lost,
            percent: percent(lost, fast.len())
        )
    };
    if queued * 2 > limited {
        // Four turns that all show a queue, of which none needs to.
        let finding = found(Verdict::Bottleneck).with("rate", bits(rate));
        let finding = match lost {
            0 => finding.fact(),
            _ => finding,
        };
        return Some(Limit {
            finding,
            rate,
            counts_packets: false,
        });
    }
    let p = significant(p, 1)?;
    // A limit of bits lets as many small ones through, if they are so much less.
    let per_s = sustained(&turns);
    let end = |turn: &Turn| turn.fast.probes.last().map_or(0, |probe| probe.sent);
    let is_worn = |turn: &Turn| {
        let seconds =
            end(turn).saturating_sub(turns.last().map_or(0, |last| end(last))) as f64 / 1e9;
        let (sent, lost) = (turn.fast.probes.len() as f64, turn.fast.lost() as f64);
        let fits = per_s * seconds > sent * (turn.size + HEADER) as f64 * 1.3;
        fits && lost * 5.0 > sent
    };
    let mut small = ladder.iter().filter(|turn| turn.size < first.size);
    let counts_packets = ladder.iter().any(|turn| turn.size > first.size) || small.any(is_worn);
    let (rate, shown, unit) = match counts_packets {
        true => {
            let rate = per_s / (first.size + HEADER) as f64;
            (rate, format!("{rate:.0} packets a second"), "packets")
        }
        false => (per_s, bits(per_s), "bits"),
    };
    let finding = found(Verdict::Policer).p(p);
    let finding = finding
        .with("rate", format!("about {shown}"))
        .with("unit", unit);
    Some(Limit {
        finding,
        rate,
        counts_packets,
    })
}

/// Bytes a second that a policer lets through for long: what passed from the end of one fast train,
/// when its bucket is empty, to the end of the last.
fn sustained(turns: &[&Turn]) -> f64 {
    let [first, rest @ ..] = turns else {
        return 0.0;
    };
    let end = |turn: &Turn| turn.fast.probes.last().map_or(0, |probe| probe.sent);
    let (from, to) = (end(first), rest.last().map_or(0, |turn| end(turn)));
    let trains = rest.iter().flat_map(|turn| [&turn.slow, &turn.fast]);
    let passed: usize = trains.map(|train| train.probes.len() - train.lost()).sum();
    let seconds = to.saturating_sub(from) as f64 / 1e9;
    (passed * (first.size + HEADER)) as f64 / seconds.max(1e-9)
}

/// Bytes a second as bits a second.
fn bits(bytes_per_s: f64) -> String {
    let bits = bytes_per_s * 8.0;
    match bits {
        bits if bits >= 1e6 => format!("{:.1} Mbit/s", bits / 1e6),
        bits => format!("{:.0} kbit/s", bits / 1e3),
    }
}
