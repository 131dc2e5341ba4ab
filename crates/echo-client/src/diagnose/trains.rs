//! The trains that ask nothing of the far end but an echo, or of a STAMP reflector more.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use echo_core::stamp;

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
pub fn steady(path: &mut Path<'_>, _: &mut Findings) -> Result<String> {
    let train = steady_train(path)?;
    Ok(told(path.trains.steady.insert(train)))
}

/// The same once more.
pub fn again(path: &mut Path<'_>, _: &mut Findings) -> Result<String> {
    let train = steady_train(path)?;
    Ok(told(path.trains.again.insert(train)))
}

fn steady_train(path: &mut Path<'_>) -> Result<Train> {
    let cells = vec![Cell::of(SMALL)];
    let plan = Plan::of(path.peer()?, cells, STEADY, STEADY_INTERVAL);
    undisturbed(path, &plan)
}

/// Small and large datagrams, marked and unmarked, from many ports.
pub fn mixed(path: &mut Path<'_>, _: &mut Findings) -> Result<String> {
    let plan = Plan {
        seed: 2,
        ..Plan::of(
            path.peer()?,
            mixed_cells(largest(path)),
            MIXED,
            MIXED_INTERVAL,
        )
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
            tos,
            ..Cell::of(size)
        })
    };
    (0..FLOWS).flat_map(of_flow).collect()
}

/// Both sizes, and marks of both kinds.
pub fn stamp_cells(large: usize) -> Vec<Cell> {
    let kinds = [
        (STAMP_LEN, 0),
        (STAMP_LEN, EF),
        (STAMP_LEN, ECT0),
        (large, 0),
    ];
    let cells = kinds.map(|(size, tos)| Cell {
        tos,
        ..Cell::of(size)
    });
    cells.to_vec()
}

/// Packets to a STAMP reflector beside the server, if there is one.
pub fn stamp(path: &mut Path<'_>, _: &mut Findings) -> Result<String> {
    let remote = SocketAddr::new(path.remote()?.ip(), stamp::PORT);
    let knock = vec![Cell::of(STAMP_LEN)];
    let knocks = Plan {
        payload: Payload::Stamp(1),
        seed: 3,
        ..Plan::of((remote, 0), knock, KNOCKS, Duration::from_millis(20))
    };
    if sender::send(path, &knocks)?.lost() == KNOCKS {
        bail!("no STAMP reflector answers on port {}", stamp::PORT);
    }
    let plan = Plan {
        payload: Payload::Stamp(2),
        cells: stamp_cells(largest(path).max(STAMP_LEN)),
        count: STAMP,
        interval: STAMP_INTERVAL,
        ..knocks
    };
    let train = undisturbed(path, &plan)?;
    Ok(told(path.trains.stamp.insert(train)))
}

/// The payload of a large datagram: what fits the path, where that is known to be little.
pub fn largest(path: &Path<'_>) -> usize {
    let fits = path.mtu.map(|mtu| mtu.saturating_sub(48) as usize);
    fits.unwrap_or(LARGE).clamp(SMALL * 2, LARGE)
}

/// Sends a train, and once more where this machine itself has disturbed it.
fn undisturbed(path: &mut Path<'_>, plan: &Plan) -> Result<Train> {
    let train = sender::send(path, plan)?;
    if !train.is_disturbed() || path.bytes_left() < plan.bytes() * 8 {
        return Ok(train);
    }
    let second = sender::send(path, plan)?;
    match second.stalled < train.stalled && second.overflowed <= train.overflowed {
        true => Ok(second),
        false => Ok(train),
    }
}

/// What became of a train, in a line.
fn told(train: &Train) -> String {
    let sent = train.probes.len();
    let back = sent - train.lost();
    let mut text = match [0.5, 0.95].map(|share| train.percentile(share).map(shown)) {
        [Some(middle), Some(high)] => {
            format!("{back} of {sent} came back, half within {middle}, 95 % within {high}")
        }
        _ => format!("{back} of {sent} came back"),
    };
    if train.is_disturbed() {
        let stalled = shown(train.stalled.as_nanos() as u64);
        text += &format!("; this machine was late by {stalled} itself");
    }
    text
}
