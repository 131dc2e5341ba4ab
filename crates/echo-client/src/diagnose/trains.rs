//! The trains that ask nothing of the far end but an echo, or of a STAMP reflector more.

use std::time::Duration;

use anyhow::{Result, bail};
use echo_core::stamp;

use super::path::{Path, To};
use super::payload::{Payload, STAMP_LEN};
use super::sender::{self, Plan};
use super::train::{Cell, Train, trips};
use super::verdict::{Trains, shown};

/// Small datagrams, two milliseconds apart: what is lost in bursts is then lost together.
const STEADY: usize = 600;
const STEADY_INTERVAL: Duration = Duration::from_millis(2);
/// Payloads: one that any path takes with ease, and one that tunnels take as well.
pub const SMALL: usize = 64;
pub const LARGE: usize = 1200;
/// Ports of the mixed train: of eight equal ways each then has some.
pub const FLOWS: usize = 64;
/// Each port is asked twice for each size and mark.
const MIXED: usize = FLOWS * 4 * 2;
/// With these sizes 0.8 Mbit/s, below what is called a slow link.
const MIXED_INTERVAL: Duration = Duration::from_millis(6);
/// Expedited forwarding (RFC 3246), and packets that can tell of congestion (RFC 3168).
const EF: u8 = 46 << 2;
const ECT0: u8 = 2;
/// For four seconds, in which a server that stops now and then does.
const STAMP: usize = 800;
const STAMP_INTERVAL: Duration = Duration::from_millis(5);
/// Packets that ask whether there is a reflector.
const KNOCKS: usize = 4;
const KNOCK_INTERVAL: Duration = Duration::from_millis(20);

/// Small datagrams at a steady rate.
pub fn steady_plan(to: To) -> Plan {
    Plan::of(to, vec![Cell::of(SMALL)], STEADY, STEADY_INTERVAL)
}

/// Small datagrams and `large` ones, marked and unmarked, from many ports: each port with each.
pub fn mixed_plan(to: To, large: usize) -> Plan {
    let kinds = [SMALL, large].map(Cell::of);
    let kinds = kinds.map(|cell| [cell, cell.marked(EF)]);
    let of_flow = |flow| kinds.as_flattened().iter().map(move |cell| cell.over(flow));
    let cells = (0..FLOWS).flat_map(of_flow).collect();
    Plan::of(to, cells, MIXED, MIXED_INTERVAL)
}

/// STAMP packets, some of them `large`, and marks of both kinds.
pub fn stamp_plan(to: To, large: usize) -> Plan {
    let cell = Cell::of(STAMP_LEN);
    let cells = vec![cell, cell.marked(EF), cell.marked(ECT0), Cell::of(large)];
    Plan {
        payload: Payload::Stamp,
        ..Plan::of(to, cells, STAMP, STAMP_INTERVAL)
    }
}

/// A few packets that ask whether there is a reflector.
pub fn knocks(to: To) -> Plan {
    Plan {
        payload: Payload::Stamp,
        ..Plan::of(to, vec![Cell::of(STAMP_LEN)], KNOCKS, KNOCK_INTERVAL)
    }
}

/// Small datagrams at a steady rate.
pub fn steady(path: &mut Path<'_>) -> Result<String> {
    keep(path, &steady_plan(path.peer()?), |trains| {
        &mut trains.steady
    })
}

/// The same once more.
pub fn again(path: &mut Path<'_>) -> Result<String> {
    keep(path, &steady_plan(path.peer()?), |trains| &mut trains.again)
}

/// Small and large datagrams, marked and unmarked, from many ports.
pub fn mixed(path: &mut Path<'_>) -> Result<String> {
    let plan = mixed_plan(path.peer()?, largest(path));
    keep(path, &plan, |trains| &mut trains.mixed)
}

/// Packets to a STAMP reflector beside the server, if there is one.
pub fn stamp(path: &mut Path<'_>) -> Result<String> {
    let mut remote = path.remote()?;
    remote.set_port(stamp::PORT);
    let to = (remote, 0);
    if sender::send(path, &knocks(to))?.lost() == KNOCKS {
        bail!("no STAMP reflector answers on port {}", stamp::PORT);
    }
    let plan = stamp_plan(to, largest(path).max(STAMP_LEN));
    keep(path, &plan, |trains| &mut trains.stamp)
}

/// The payload of a large datagram: what fits the path, where that is known to be little.
pub fn largest(path: &Path<'_>) -> usize {
    let fits = path.mtu.map(|mtu| mtu.saturating_sub(48) as usize);
    fits.unwrap_or(LARGE).clamp(SMALL * 2, LARGE)
}

/// Sends a train, and once more where this machine itself has disturbed it, keeps it, and tells what
/// became of it in a line.
fn keep(
    path: &mut Path<'_>,
    plan: &Plan,
    kept: fn(&mut Trains) -> &mut Option<Train>,
) -> Result<String> {
    let mut train = sender::send(path, plan)?;
    // Where nobody answers in the end, that is looked into first.
    let is_heard = path.silence.is_none();
    if train.is_disturbed() && is_heard && path.bytes_left() >= plan.bytes() * 8 {
        let second = sender::send(path, plan)?;
        if second.stalled < train.stalled && second.overflowed <= train.overflowed {
            train = second;
        }
    }
    let sent = train.probes.len();
    let back = sent - train.lost();
    let mut text = format!("{back} of {sent} came back");
    let trips = trips(&train.probes);
    if let (Some(middle), Some(high)) = (trips.at(0.5), trips.at(0.95)) {
        text += &format!(
            ", half within {}, 95 % within {}",
            shown(middle),
            shown(high)
        );
    }
    if train.is_disturbed() {
        let stalled = shown(train.stalled.as_nanos() as u64);
        text += &format!("; this machine was late by {stalled} itself");
    }
    *kept(&mut path.trains) = Some(train);
    Ok(text)
}
