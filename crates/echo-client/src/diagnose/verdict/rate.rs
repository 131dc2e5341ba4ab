//! Limits of rate: what is sent fast fares worse than what is sent slowly right before it, turn after
//! turn, so that what changes with time is not taken for it.

use super::super::chance::{fisher, significant};
use super::super::finding::{Finding, Verdict, finding};
use super::super::train::{Train, lost, trips};
use super::{Turn, percent};

/// Turns that must agree.
pub const TURNS: usize = 4;
/// A queue that is worth the name makes the last wait so much longer than a slow one.
const QUEUED: u64 = 5_000_000;
/// A train that comes back at less than this part of its rate was slowed: of the shortest, 60 ms, so
/// much is left where two busy machines delay the last by 10 ms.
const UNHINDERED: f64 = 0.85;
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// IP and UDP add so much to a payload, in bytes.
pub const HEADER: usize = 28;

/// A limit, and what it explains.
pub struct Limit {
    /// The verdict.
    pub finding: Finding,
    /// How much it lets through in a second, of what it counts.
    rate: f64,
    counts: Counts,
}

/// How much of what it counts a train has in a second.
type Counts = fn(&Train) -> f64;

impl Limit {
    /// Whether a train was so fast that the limit may have hit it.
    pub fn explains(&self, train: &Train) -> bool {
        // A limit has no memory for what is well below it.
        (self.counts)(train) > self.rate * 0.7
    }
}

/// How a limit shows in a fast train.
#[derive(PartialEq)]
enum Effect {
    /// Some of it was lost, without delay.
    Dropped,
    /// It had to wait.
    Queued,
}

fn effect(turn: &Turn) -> Option<Effect> {
    let [(slow_lost, slow), (lost, sent)] =
        [&turn.slow, &turn.fast].map(|train| lost(&train.probes));
    let is_lossy = lost * 10 > sent && lost * slow > slow_lost * sent * 2;
    let is_slowed = || throughput(&turn.fast) < bytes_per_s(&turn.fast) * UNHINDERED;
    match is_queued(turn) && (is_lossy || is_slowed()) {
        true => Some(Effect::Queued),
        false => is_lossy.then_some(Effect::Dropped),
    }
}

/// Whether the last of a fast train waited for those before them.
pub fn is_queued(turn: &Turn) -> bool {
    let (first, last) = turn.fast.probes.split_at(turn.fast.probes.len() / 2);
    let usual = trips(&turn.slow.probes).at(0.5);
    match (usual, trips(first).at(0.5), trips(last).at(0.25)) {
        (Some(usual), Some(first), Some(last)) => last > usual + QUEUED && last * 5 > first * 4,
        _ => false,
    }
}

/// Bytes a second that were sent, headers included.
fn bytes_per_s(train: &Train) -> f64 {
    let sizes = train.probes.iter().map(|probe| probe.cell.size + HEADER);
    let size = sizes.sum::<usize>() as f64 / train.probes.len().max(1) as f64;
    size * train.per_s()
}

/// Bytes a second that came back, headers included.
fn throughput(train: &Train) -> f64 {
    let came = train.probes.iter().filter_map(|probe| probe.came);
    let (Some(first), Some(last)) = (came.clone().min(), came.clone().max()) else {
        return 0.0;
    };
    let seconds = (last - first).max(1) as f64 / 1e9;
    ((came.count() - 1) * (train.probes[0].cell.size + HEADER)) as f64 / seconds
}

/// Whether a turn shows a limit, so that its rate is worth more turns.
pub fn is_limited(turn: &Turn) -> bool {
    effect(turn).is_some()
}

/// The limit that the turns show, if they do.
pub fn limit(ladder: &[Turn]) -> Option<Limit> {
    let alike = |first: &Turn| {
        let kind = |turn: &Turn| (turn.size(), turn.fast.interval);
        let turns = ladder.iter().filter(|turn| kind(turn) == kind(first));
        turns.collect::<Vec<&Turn>>()
    };
    let limited = |turns: &[&Turn]| turns.iter().filter(|turn| is_limited(turn)).count();
    let mut kinds = ladder.iter().map(alike);
    let turns = kinds.find(|turns| limited(turns) >= TURNS)?;
    let is_queue = |turn: &&&Turn| effect(turn) == Some(Effect::Queued);
    let (agree, queued) = (limited(&turns), turns.iter().filter(is_queue).count());
    let below = ladder.iter().filter(|turn| !is_limited(turn));
    let below = below.flat_map(|turn| &turn.fast.probes);
    let slow = ladder.iter().flat_map(|turn| &turn.slow.probes);
    let slow = lost(slow.chain(below));
    let fast = lost(turns.iter().flat_map(|turn| &turn.fast.probes));
    let (size, offered) = (turns[0].size(), bits(bytes_per_s(&turns[0].fast)));
    let found = |verdict| {
        finding!(verdict;
            n: fast.1, m: slow.1, size, offered, turns: turns.len(), agree, queued, lost: fast.0,
            slow_lost: slow.0, percent: percent(fast)
        )
    };
    if queued * 2 > agree {
        // Four turns that all show a queue, of which none needs to.
        let rates = turns.iter().map(|turn| throughput(&turn.fast));
        let rate = rates.sum::<f64>() / turns.len() as f64;
        let finding = found(Verdict::Bottleneck).with("rate", bits(rate));
        return Some(Limit {
            finding: finding.fact_if(fast.0 == 0),
            rate,
            counts: bytes_per_s,
        });
    }
    let p = significant(fisher(fast, slow), 1)?;
    let per_s = sustained(&turns);
    // A limit of bits lets as many small ones through, if they are so much less; one of packets drops
    // as many of them as of the large ones.
    let last = turns.last().map_or(0, |turn| turn.end());
    let large = lost(turns[1..].iter().flat_map(|turn| &turn.fast.probes));
    let is_worn = |turn: &Turn| {
        let seconds = turn.end().saturating_sub(last) as f64 / 1e9;
        let (lost, sent) = lost(&turn.fast.probes);
        let fits = per_s * seconds > sent as f64 * (turn.size() + HEADER) as f64 * 1.3;
        fits && lost * large.1 * 3 > large.0 * sent * 2
    };
    let mut small = ladder.iter().filter(|turn| turn.size() < size);
    let counts_packets = ladder.iter().any(|turn| turn.size() > size) || small.any(is_worn);
    let (counts, rate, shown, unit): (Counts, _, _, _) = match counts_packets {
        true => {
            let rate = per_s / (size + HEADER) as f64;
            let shown = format!("{rate:.0} packets a second");
            (Train::per_s, rate, shown, "packets")
        }
        false => (bytes_per_s, per_s, bits(per_s), "bits"),
    };
    let finding = found(Verdict::Policer).p(p).with("unit", unit);
    Some(Limit {
        finding: finding.with("rate", format!("about {shown}")),
        rate,
        counts,
    })
}

/// Bytes a second that a policer lets through for long. A bucket is as empty when one is lost as when
/// another is, so that all that passed in between is what flowed into it; the first quarter of a
/// train's losses may be of chance. Who counts what passed in the last second lets nothing through in
/// between, and so much in a second.
fn sustained(turns: &[&Turn]) -> f64 {
    let flow = |turn: &&Turn| {
        let fast = &turn.fast;
        let of_lost = |at: &usize| fast.probes[*at].is_lost();
        let all: Vec<usize> = (0..fast.probes.len()).filter(of_lost).collect();
        let (from, to) = (*all.get(all.len() / 4)?, *all.last()?);
        let (lost, sent) = lost(&fast.probes[from..to]);
        (sent > 0).then(|| (sent - lost) as f64 / sent as f64 * fast.per_s())
    };
    let mut flows: Vec<f64> = turns.iter().filter_map(flow).collect();
    flows.sort_by(f64::total_cmp);
    let flow = flows.get(flows.len().saturating_sub(1) / 2);
    let flow = flow.copied().unwrap_or_default();
    let trains = turns.iter().flat_map(|turn| [&turn.slow, &turn.fast]);
    let probes = trains.flat_map(|train| &train.probes);
    let came = probes.filter(|probe| !probe.is_lost());
    let came: Vec<u64> = came.map(|probe| probe.sent).collect();
    // From one train's end, when little is left of what was saved up, to the end of the last.
    let (first, last) = (turns[0].end(), turns[turns.len() - 1].end());
    let later = came.len() - came.partition_point(|sent| *sent <= first);
    let average = later as f64 / (last.saturating_sub(first).max(1) as f64 / 1e9);
    let in_second = |at: usize| came[at..].partition_point(|sent| *sent < came[at] + SECOND);
    let most = (0..came.len()).map(in_second).max().unwrap_or(0);
    let per_s = match flow < average / 2.0 {
        true => most as f64,
        false => flow.max(average),
    };
    per_s * (turns[0].size() + HEADER) as f64
}

/// The highest rate at which this machine has sent, headers included.
pub fn highest(ladder: &[Turn]) -> String {
    let rates = ladder.iter().map(|turn| bytes_per_s(&turn.fast));
    bits(rates.fold(0.0, f64::max))
}

/// The highest rate that was meant, where this machine has not reached it but when a limit showed that
/// did not show again: whether there is one is not known.
pub fn unreached(ladder: &[Turn]) -> Option<Finding> {
    let meant = |turn: &Turn| (turn.size() + HEADER) as f64 / turn.fast.interval.as_secs_f64();
    let most = ladder.iter().map(meant).reduce(f64::max)?;
    let top = || ladder.iter().filter(|turn| meant(turn) >= most);
    let is_whole = |turn: &Turn| turn.is_reached() && !is_limited(turn);
    if top().any(is_whole) || top().all(Turn::is_reached) {
        return None;
    }
    let what = format!("limits of rate up to {}", bits(most));
    let why = format!("this machine sent no faster than {}", highest(ladder));
    Some(finding!(Verdict::Unjudged; what, why))
}

/// Bytes a second as bits a second.
fn bits(bytes_per_s: f64) -> String {
    let bits = bytes_per_s * 8.0;
    match bits {
        bits if bits >= 1e6 => format!("{:.1} Mbit/s", bits / 1e6),
        bits => format!("{:.0} kbit/s", bits / 1e3),
    }
}
