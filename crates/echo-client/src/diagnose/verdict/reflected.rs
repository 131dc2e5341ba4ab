//! What only the far end can tell: a STAMP reflector numbers and stamps what it receives.

use std::net::SocketAddr;

use echo_core::units::ns;

use super::super::chance::{binomial, significant};
use super::super::finding::{Finding, Verdict, finding};
use super::super::payload::FIRST;
use super::super::train::{MOMENT, Probe, Reflected, Sorted, Train};
use super::delay::bunches;
use super::loss::{HEALTHY, Outage, class};
use super::{beyond, shown};

/// Clocks that follow a source differ by less, however bad the path to it.
const CLOCKS: i64 = 50_000_000;
/// A program that answers later than this was not running, and the share of moments in which a machine
/// without a fault stops for longer: one in ten minutes. Any system with other things to do has
/// stopped once.
const STALL: u64 = 100_000_000;
const HEALTHY_STOPS: f64 = 1.0 / 6000.0;

/// A packet that the reflector has returned: its number, and what is known of it.
struct Known<'a> {
    number: usize,
    probe: &'a Probe,
    reflected: Reflected,
    /// How long the reflector kept it, and how long it was on its way, in nanoseconds.
    held: u64,
    trip: u64,
}

/// What a train of STAMP packets says.
pub fn reflected(train: &Train, outage: &Outage) -> Vec<Finding> {
    let known = train.probes.iter().enumerate();
    let known = known.filter_map(|(number, probe)| {
        let reflected = probe.reflected?;
        let held = reflected.sent.saturating_sub(reflected.received);
        let trip = probe.rtt()?.saturating_sub(held);
        Some(Known {
            number,
            probe,
            reflected,
            held,
            trip,
        })
    });
    let known: Vec<Known<'_>> = known.collect();
    let ecn = |bits| ["Not-ECT", "ECT(1)", "ECT(0)", "CE"][usize::from(bits)].to_owned();
    let [up, down] = directions(train, &known, outage);
    let found = [
        up,
        down,
        stall(train, &known),
        rewritten(Verdict::Dscp, &known, !3, |sent, seen| sent != seen, class),
        rewritten(Verdict::Ecn, &known, 3, |_, seen| seen == 0, ecn),
        nat(train, &known),
        clock(&known),
    ];
    found.into_iter().flatten().collect()
}

/// On which way packets are lost, where the reflector counts.
fn directions(train: &Train, known: &[Known<'_>], outage: &Outage) -> [Option<Finding>; 2] {
    // One that keeps no count returns our number.
    let is_ours = |one: &Known<'_>| one.reflected.seq == one.number as u32 + FIRST;
    if known.iter().all(is_ours) {
        return [None, None];
    }
    let (mut there, mut back) = (0, 0);
    let (mut from, mut seq) = (0, 0);
    for one in known {
        let (first, expected) = (from, seq);
        (from, seq) = (one.number + 1, one.reflected.seq.saturating_add(1));
        let mut unanswered = train.probes[first..one.number].iter();
        if unanswered.any(|probe| outage.holds(probe.sent)) || one.probe.copies > 1 {
            continue;
        }
        // Of those that were sent since the last reply the reflector received so many, and the rest
        // never came there.
        let missing = one.number - first;
        let returned = (one.reflected.seq.saturating_sub(expected) as usize).min(missing);
        back += returned;
        there += missing - returned;
    }
    let all = train.probes.len();
    let lost = [(Verdict::LossUp, there), (Verdict::LossDown, back)];
    lost.map(|(verdict, lost)| beyond(verdict, (lost, all), HEALTHY))
}

/// Whether somebody stopped for a while, and who.
fn stall(train: &Train, known: &[Known<'_>]) -> Option<Finding> {
    // A machine that is late itself shares it with who is late for the same reason.
    let limit = STALL.max(ns(train.stalled) * 3);
    let base = Sorted::of(known.iter().map(|one| one.trip)).at(0.1)?;
    let late = |time: fn(&Known<'_>, u64) -> u64| {
        let times = known.iter().map(|one| (one.probe.sent, time(one, base)));
        times.filter(|(_, time)| *time > limit).collect::<Vec<_>>()
    };
    let by_server = late(|one, _| one.held);
    let by_network = late(|one, base| one.trip.saturating_sub(base));
    let (verdict, late) = match by_server.len() >= by_network.len() {
        true => (Verdict::ServerStall, by_server),
        false => (Verdict::NetworkStall, by_network),
    };
    // What waits together waits for one stop.
    let count = bunches(&late).count();
    let moments = train.span().div_ceil(MOMENT) as usize;
    let Some(p) = significant(binomial((count, count.max(moments)), HEALTHY_STOPS), 1) else {
        let why = format!(
            "this machine was late by {} itself",
            shown(ns(train.stalled))
        );
        return (limit > 3 * STALL).then(|| finding!(Verdict::Unjudged; what: "stops", why));
    };
    let longest = late.iter().map(|(_, time)| *time).max()?;
    Some(finding!(verdict, p;
        n: known.len(), count, late: late.len(), limit: shown(limit), time: shown(longest)
    ))
}

/// What a router has made of the bits of `mask`: whether most marks that have any there are bad by
/// what was sent and seen of them.
fn rewritten(
    verdict: Verdict,
    known: &[Known<'_>],
    mask: u8,
    is_bad: fn(u8, u8) -> bool,
    name: fn(u8) -> String,
) -> Option<Finding> {
    let sent = known.iter().map(|one| one.probe.cell.tos & mask);
    let seen = known.iter().map(|one| Some(one.reflected.tos? & mask));
    let pairs = sent
        .zip(seen)
        .filter_map(|(sent, seen)| Some((sent, seen?)));
    let pairs: Vec<(u8, u8)> = pairs.filter(|(sent, _)| *sent > 0).collect();
    let bad = pairs.iter().filter(|(sent, seen)| is_bad(*sent, *seen));
    let (n, count) = (pairs.len(), bad.clone().count());
    let (mark, seen) = *bad.clone().next()?;
    let (mark, seen) = (name(mark), name(seen));
    (count * 2 > n).then(|| finding!(verdict; n, count, mark, seen))
}

/// The address and port that the reflector saw against ours.
fn nat(train: &Train, known: &[Known<'_>]) -> Option<Finding> {
    let local = *train.locals.first()?;
    let seen = known.iter().find_map(|one| one.reflected.source)?;
    let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let (local, seen) = (plain(local), plain(seen));
    (local != seen).then(|| finding!(Verdict::Nat; local, seen))
}

/// How far the two clocks are apart: half the difference of the two ways, as in NTP.
fn clock(known: &[Known<'_>]) -> Option<Finding> {
    // The fastest round trip leaves least room for ways of different length.
    let one = known.iter().min_by_key(|one| one.probe.rtt())?;
    let there = one.reflected.received as i64 - one.probe.sent as i64;
    let back = one.reflected.sent as i64 - one.probe.came? as i64;
    let (offset, trip) = (there / 2 + back / 2, one.probe.rtt()?);
    let shown = shown(offset.unsigned_abs());
    (offset.abs() > CLOCKS + trip as i64 / 2).then(|| finding!(Verdict::Clock; offset: shown))
}
