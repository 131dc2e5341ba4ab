//! What only the far end can tell: a STAMP reflector numbers and stamps what it receives.

use super::super::chance::binomial;
use super::super::finding::{Finding, Verdict};
use super::super::payload::FIRST;
use super::super::train::{Probe, Reflected, Train, percentile};
use super::loss::{HEALTHY, Outage, class};
use super::{percent, shown, significant};

/// A program that answers later than this was not running.
const STALL: u64 = 100_000_000;
/// Clocks that follow a source differ by less, however bad the path to it.
const CLOCKS: i64 = 50_000_000;

/// What a train of STAMP packets says.
pub fn reflected(train: &Train, outage: &Outage) -> Vec<Finding> {
    let known = train.probes.iter().enumerate();
    let known = known.filter_map(|(number, probe)| Some((number, probe, probe.reflected?)));
    let known: Vec<(usize, &Probe, Reflected)> = known.collect();
    let mut findings = directions(train, &known, outage);
    findings.extend(stall(&known));
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
    let finding = |verdict, lost: usize, way: &str| {
        let all = train.probes.len();
        let p = significant(binomial(lost, all, HEALTHY), 1)?;
        let finding = Finding::problem(verdict)
            .seen(
                format!("{all} STAMP packets"),
                format!("by the reflector's count {lost} were lost on the way {way}"),
            )
            .tested("binomial test against 1 in 10,000", p)
            .with("percent", percent(lost, all));
        Some(finding)
    };
    let up = finding(Verdict::LossUp, there, "there");
    let down = finding(Verdict::LossDown, back, "back");
    [up, down].into_iter().flatten().collect()
}

/// Whether somebody stopped for a while, and who.
fn stall(known: &[Known<'_>]) -> Option<Finding> {
    let there = |reflected: &Reflected| reflected.sent.saturating_sub(reflected.received);
    let rest =
        |probe: &Probe, reflected: &Reflected| Some(probe.rtt()?.saturating_sub(there(reflected)));
    let trips = known
        .iter()
        .filter_map(|(_, probe, reflected)| rest(probe, reflected));
    let mut trips: Vec<u64> = trips.collect();
    let base = percentile(&mut trips, 0.1)?;
    let by_server = known.iter().map(|(_, _, reflected)| there(reflected));
    let by_server: Vec<u64> = by_server.filter(|time| *time > STALL).collect();
    let by_network: Vec<u64> = trips
        .into_iter()
        .filter(|trip| *trip > base + STALL)
        .collect();
    let (verdict, late, whose) = match by_server.len() >= by_network.len() {
        true => (
            Verdict::ServerStall,
            by_server,
            "at the server, by its own clock",
        ),
        false => (
            Verdict::NetworkStall,
            by_network,
            "on the way, less the server's own time",
        ),
    };
    // Held packets come in a bunch, and a few that are late make no stall.
    let p = significant(binomial(late.len(), known.len(), 1e-3), 1)?;
    let longest = late.iter().max()?;
    Some(
        Finding::problem(verdict)
            .seen(
                format!("{} STAMP packets", known.len()),
                format!("{} were over {} {whose}", late.len(), shown(STALL)),
            )
            .tested("binomial test against 1 in 1,000", p)
            .with("time", shown(*longest)),
    )
}

/// The class that packets were sent with against the one they arrived with.
fn dscp(known: &[Known<'_>]) -> Option<Finding> {
    let marked = known
        .iter()
        .filter(|(_, probe, _)| probe.cell.tos >> 2 != 0);
    let pairs = marked.filter_map(|(_, probe, reflected)| Some((probe.cell.tos, reflected.tos?)));
    let pairs: Vec<(u8, u8)> = pairs.collect();
    let changed = pairs.iter().filter(|(sent, seen)| sent >> 2 != seen >> 2);
    let (mark, seen) = changed.clone().next()?;
    (changed.count() * 2 > pairs.len()).then(|| {
        Finding::fact(Verdict::Dscp)
            .seen(
                format!("{} packets marked {}", pairs.len(), class(*mark)),
                arrived(*seen),
            )
            .tested("the reflector tells what arrived", None)
            .with("mark", class(*mark))
            .with("seen", class(*seen))
    })
}

/// The same of the two bits that tell of congestion.
fn ecn(known: &[Known<'_>]) -> Option<Finding> {
    let able = known.iter().filter(|(_, probe, _)| probe.cell.tos & 3 != 0);
    let pairs = able.filter_map(|(_, probe, reflected)| Some((probe.cell.tos, reflected.tos?)));
    let pairs: Vec<(u8, u8)> = pairs.collect();
    let erased = pairs.iter().filter(|(_, seen)| seen & 3 == 0).count();
    (erased * 2 > pairs.len()).then(|| {
        Finding::fact(Verdict::Ecn)
            .seen(
                format!("{} packets marked ECT(0)", pairs.len()),
                format!("{erased} arrived unmarked"),
            )
            .tested("the reflector tells what arrived", None)
            .with("mark", "ECT(0)")
            .with("seen", "Not-ECT")
    })
}

fn arrived(tos: u8) -> String {
    format!("they arrived as {}", class(tos))
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
        Finding::fact(Verdict::Nat)
            .seen(
                format!("packets from {local}"),
                format!("the reflector saw {seen}"),
            )
            .tested("the reflector tells what it saw", None)
            .with("seen", seen)
            .with("local", local)
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
        Finding::fact(Verdict::Clock)
            .seen(
                "STAMP packets",
                format!("the clocks are {} apart", shown(offset.unsigned_abs())),
            )
            .tested(
                "half the difference of the two ways, of the fastest round trip",
                None,
            )
            .with("offset", shown(offset.unsigned_abs()))
    })
}
