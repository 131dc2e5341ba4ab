//! The trains that ask nothing of the far end but an echo, or of a STAMP reflector more.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use echo_core::stamp;

use super::Told;
use super::finding::Findings;
use super::path::Path;
use super::payload::{Payload, STAMP_LEN};
use super::sender::{self, Plan};
use super::train::{Cell, Train};
use super::verdict::shown;

/// Small datagrams, two milliseconds apart: what is lost in bursts is then lost together.
pub const STEADY: usize = 600;
pub const STEADY_INTERVAL: Duration = Duration::from_millis(2);
/// Payloads: one that any path takes with ease, and one that tunnels take as well.
pub const SMALL: usize = 64;
pub const LARGE: usize = 1200;
/// Ports of the mixed train: of eight equal ways each then has some.
pub const FLOWS: usize = 64;
/// Each port is asked twice for each size and mark.
pub const MIXED: usize = FLOWS * 4 * 2;
/// With these sizes 0.8 Mbit/s, below what is called a slow link.
pub const MIXED_INTERVAL: Duration = Duration::from_millis(6);
/// Expedited forwarding (RFC 3246), and packets that can tell of congestion (RFC 3168).
const EF: u8 = 46 << 2;
const ECT0: u8 = 2;
/// For four seconds, in which a server that stops now and then does.
pub const STAMP: usize = 800;
pub const STAMP_INTERVAL: Duration = Duration::from_millis(5);
/// Packets that ask whether there is a reflector.
const KNOCKS: usize = 4;

/// Small datagrams at a steady rate.
pub fn steady(path: &mut Path<'_>, _: &mut Findings) -> Result<Told> {
    let Some(train) = steady_train(path)? else {
        return Ok(no_echo());
    };
    Ok(told(path.trains.steady.insert(train)))
}

/// The same once more.
pub fn again(path: &mut Path<'_>, _: &mut Findings) -> Result<Told> {
    let Some(train) = steady_train(path)? else {
        return Ok(no_echo());
    };
    Ok(told(path.trains.again.insert(train)))
}

fn steady_train(path: &mut Path<'_>) -> Result<Option<Train>> {
    let Some((remote, port)) = echo_peer(path) else {
        return Ok(None);
    };
    let cell = Cell {
        size: SMALL,
        ..Cell::default()
    };
    let cells = [cell];
    let plan = Plan::of((remote, port), &cells, STEADY, STEADY_INTERVAL);
    undisturbed(path, &plan).map(Some)
}

/// Small and large datagrams, marked and unmarked, from many ports.
pub fn mixed(path: &mut Path<'_>, _: &mut Findings) -> Result<Told> {
    let Some((remote, port)) = echo_peer(path) else {
        return Ok(no_echo());
    };
    let cells = mixed_cells(largest(path));
    let plan = Plan {
        seed: 2,
        ..Plan::of((remote, port), &cells, MIXED, MIXED_INTERVAL)
    };
    let train = undisturbed(path, &plan)?;
    Ok(told(path.trains.mixed.insert(train)))
}

/// Each port with each size and mark.
pub fn mixed_cells(large: usize) -> Vec<Cell> {
    let kinds = [(SMALL, 0), (SMALL, EF), (large, 0), (large, EF)];
    let of_flow = |flow| {
        kinds.map(|(size, tos)| Cell {
            flow,
            size,
            tos,
            ttl: None,
        })
    };
    (0..FLOWS).flat_map(of_flow).collect()
}

/// Both sizes, and marks of both kinds.
pub fn stamp_cells(large: usize) -> [Cell; 4] {
    let cell = |size, tos| Cell {
        size,
        tos,
        ..Cell::default()
    };
    [
        cell(STAMP_LEN, 0),
        cell(STAMP_LEN, EF),
        cell(STAMP_LEN, ECT0),
        cell(large, 0),
    ]
}

/// Packets to a STAMP reflector beside the server, if there is one.
pub fn stamp(path: &mut Path<'_>, _: &mut Findings) -> Result<Told> {
    let Some(remote) = path.remote else {
        return Ok(no_echo());
    };
    let remote = SocketAddr::new(remote.ip(), stamp::PORT);
    let large = largest(path).max(STAMP_LEN);
    let cell = |size, tos| Cell {
        size,
        tos,
        ..Cell::default()
    };
    let knock = [cell(STAMP_LEN, 0)];
    let mut plan = Plan {
        payload: Payload::Stamp(1),
        seed: 3,
        ..Plan::of((remote, 0), &knock, KNOCKS, Duration::from_millis(20))
    };
    let knocks = sender::send(path, &plan)?;
    if knocks.lost() == knocks.probes.len() {
        let port = stamp::PORT;
        return Ok(Told::LeftOut(format!(
            "no STAMP reflector answers on port {port}"
        )));
    }
    let cells = stamp_cells(large);
    (plan.cells, plan.count, plan.interval) = (&cells, STAMP, STAMP_INTERVAL);
    plan.payload = Payload::Stamp(2);
    let train = undisturbed(path, &plan)?;
    Ok(told(path.trains.stamp.insert(train)))
}

/// Where datagrams go to and from which port, if they come back.
pub fn echo_peer(path: &Path<'_>) -> Option<(SocketAddr, u16)> {
    Some((path.remote?, path.udp_port?))
}

pub fn no_echo() -> Told {
    Told::LeftOut("no datagram comes back".to_owned())
}

/// The payload of a large datagram: what fits the path, where that is known to be little.
pub fn largest(path: &Path<'_>) -> usize {
    let fits = path
        .mtu
        .map_or(LARGE, |mtu| mtu.saturating_sub(48) as usize);
    fits.clamp(SMALL * 2, LARGE)
}

/// Sends a train, and once more where this machine itself has disturbed it.
fn undisturbed(path: &mut Path<'_>, plan: &Plan<'_>) -> Result<Train> {
    let train = sender::send(path, plan)?;
    let sizes = train.probes.iter().map(|probe| probe.cell.size as u64 + 28);
    let needed: u64 = sizes.sum();
    if !train.is_disturbed() || path.bytes_left() < needed * 8 {
        return Ok(train);
    }
    let second = sender::send(path, plan)?;
    match second.stalled < train.stalled && second.overflowed <= train.overflowed {
        true => Ok(second),
        false => Ok(train),
    }
}

/// What became of a train, in a line.
fn told(train: &Train) -> Told {
    let sent = train.probes.len();
    let back = sent - train.lost();
    let mut text = match (train.percentile(0.5), train.percentile(0.95)) {
        (Some(middle), Some(high)) => format!(
            "{back} of {sent} came back, half within {}, 95 % within {}",
            shown(middle),
            shown(high)
        ),
        _ => format!("{back} of {sent} came back"),
    };
    if train.is_disturbed() {
        let stalled = shown(train.stalled.as_nanos() as u64);
        text += &format!("; this machine was late by {stalled} itself");
    }
    Told::Seen(text)
}
