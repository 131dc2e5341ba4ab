//! What only the far end can tell: a STAMP reflector numbers and stamps what it receives.

use echo_core::units::ns;

use super::super::finding::{Finding, Verdict, finding};
use super::super::payload::FIRST;
use super::super::train::{Probe, Reflected, Train, percentile};
use super::loss::{HEALTHY, Outage, class};
use super::{beyond, shown};

/// A program that answers later than this was not running.
const STALL: u64 = 100_000_000;
/// A tenth of a second, and the share of them in which a machine without a fault stops for longer than
/// that: one in ten minutes. Any system with other things to do has stopped once.
const MOMENT: u64 = 100_000_000;
const HEALTHY_STOPS: f64 = 1.0 / 6000.0;
/// Clocks that follow a source differ by less, however bad the path to it.
const CLOCKS: i64 = 50_000_000;

/// What a train of STAMP packets says.
pub fn reflected(train: &Train, outage: &Outage) -> Vec<Finding> {
    let known = train.probes.iter().enumerate();
    let known = known.filter_map(|(number, probe)| Some((number, probe, probe.reflected?)));
    let known: Vec<(usize, &Probe, Reflected)> = known.collect();
    let mut findings = directions(train, &known, outage);
    findings.extend(stall(train, &known));
    findings.extend(dscp(&known));
    findings.extend(ecn(&known));
    findings.extend(nat(train, &known));
    findings.extend(clock(&known));
    findings
}

type Known<'a> = (usize, &'a Probe, Reflected);

/// On which way packets are lost, where the reflector counts.
fn directions(train: &Train, known: &[Known<'_>], outage: &Outage) -> Vec<Finding> {
    // One that keeps no count returns our number.
    let is_stateless = |(number, _, reflected): &Known<'_>| reflected.seq == *number as u32 + FIRST;
    if known.iter().all(is_stateless) {
        return Vec::new();
    }
    let (mut there, mut back) = (0, 0);
    let mut last = None;
    for (number, probe, reflected) in known {
        let (from, seq) = last.map_or((0, 0), |(number, seq): (usize, u32)| (number + 1, seq + 1));
        last = Some((*number, reflected.seq));
        let is_out = train.probes[from..*number]
            .iter()
            .any(|probe| outage.holds(probe.sent));
        if is_out || *number < from || probe.copies > 1 {
            continue;
        }
        // Of those that were sent since the last reply the reflector received so many, and the rest
        // never came there.
        let returned = reflected.seq.saturating_sub(seq) as usize;
        let missing = number - from;
        back += returned.min(missing);
        there += missing - returned.min(missing);
    }
    let all = train.probes.len();
    let up = beyond(Verdict::LossUp, there, all, HEALTHY);
    let down = beyond(Verdict::LossDown, back, all, HEALTHY);
    [up, down].into_iter().flatten().collect()
}

/// Whether somebody stopped for a while, and who.
fn stall(train: &Train, known: &[Known<'_>]) -> Option<Finding> {
    // A machine that is late itself shares it with who is late for the same reason.
    let limit = STALL.max(ns(train.stalled) * 3);
    let there = |reflected: &Reflected| reflected.sent.saturating_sub(reflected.received);
    let rest =
        |probe: &Probe, reflected: &Reflected| Some(probe.rtt()?.saturating_sub(there(reflected)));
    let trips = known
        .iter()
        .filter_map(|(_, probe, reflected)| rest(probe, reflected));
    let mut trips: Vec<u64> = trips.collect();
    let base = percentile(&mut trips, 0.1)?;
    let is_long = |held: &(&Probe, u64)| held.1 > limit;
    let times = known
        .iter()
        .map(|(_, probe, reflected)| (*probe, there(reflected)));
    let by_server: Vec<_> = times.filter(is_long).collect();
    let rests = known.iter().filter_map(|(_, probe, reflected)| {
        Some((*probe, rest(probe, reflected)?.saturating_sub(base)))
    });
    let by_network: Vec<_> = rests.filter(is_long).collect();
    let (verdict, late) = match by_server.len() >= by_network.len() {
        true => (Verdict::ServerStall, by_server),
        false => (Verdict::NetworkStall, by_network),
    };
    // What waits together waits for one stop.
    let bunches = late
        .chunk_by(|one, other| other.0.sent.saturating_sub(one.0.sent) < MOMENT)
        .count();
    let (first, last) = (known.first()?.1.sent, known.last()?.1.sent);
    let moments = last.saturating_sub(first).div_ceil(MOMENT) as usize;
    let finding = beyond(verdict, bunches, moments, HEALTHY_STOPS)?;
    let longest = late.iter().map(|(_, time)| *time).max()?;
    let finding = finding.with("n", known.len()).with("late", late.len());
    Some(
        finding
            .with("limit", shown(limit))
            .with("time", shown(longest)),
    )
}

/// What a router has made of marks: whether most of those that `matter` have `changed`.
fn rewritten(
    verdict: Verdict,
    known: &[Known<'_>],
    matters: fn(u8) -> bool,
    changed: fn(u8, u8) -> bool,
    name: fn(u8) -> String,
) -> Option<Finding> {
    let marks = known.iter().map(|(_, probe, _)| probe.cell.tos);
    let pairs = marks
        .zip(known)
        .filter_map(|(tos, (_, _, reflected))| Some((tos, reflected.tos?)));
    let pairs: Vec<(u8, u8)> = pairs.filter(|(sent, _)| matters(*sent)).collect();
    let bad = pairs.iter().filter(|(sent, seen)| changed(*sent, *seen));
    let count = bad.clone().count();
    let (mark, seen) = *bad.clone().next()?;
    (count * 2 > pairs.len()).then(|| {
        finding!(verdict;
            n: pairs.len(), count, mark: name(mark), seen: name(seen)
        )
    })
}

fn dscp(known: &[Known<'_>]) -> Option<Finding> {
    let changed = |sent, seen| sent >> 2 != seen >> 2;
    rewritten(Verdict::Dscp, known, |tos| tos >> 2 != 0, changed, class)
}

fn ecn(known: &[Known<'_>]) -> Option<Finding> {
    let name = |tos| ["Not-ECT", "ECT(1)", "ECT(0)", "CE"][usize::from(tos & 3)].to_owned();
    let erased = |_, seen| seen & 3 == 0;
    rewritten(Verdict::Ecn, known, |tos| tos & 3 != 0, erased, name)
}

/// The address and port that the reflector saw against ours.
fn nat(train: &Train, known: &[Known<'_>]) -> Option<Finding> {
    let local = *train.locals.first()?;
    let seen = known
        .iter()
        .find_map(|(_, _, reflected)| reflected.source)?;
    let ip = seen.ip().to_canonical();
    ((ip, seen.port()) != (local.ip().to_canonical(), local.port())).then(|| {
        let seen = format!("{ip}:{}", seen.port());
        finding!(Verdict::Nat; local, seen)
    })
}

/// How far the two clocks are apart: half the difference of the two ways, as in NTP.
fn clock(known: &[Known<'_>]) -> Option<Finding> {
    let offset = |(_, probe, reflected): &Known<'_>| {
        let there = reflected.received as i64 - probe.sent as i64;
        let back = reflected.sent as i64 - probe.came? as i64;
        Some((there / 2 + back / 2, probe.rtt()?))
    };
    // The fastest round trip leaves least room for ways of different length.
    let (offset, trip) = known
        .iter()
        .filter_map(offset)
        .min_by_key(|(_, trip)| *trip)?;
    (offset.abs() > CLOCKS + trip as i64 / 2).then(|| {
        let offset = shown(offset.unsigned_abs());
        finding!(Verdict::Clock; offset)
    })
}
