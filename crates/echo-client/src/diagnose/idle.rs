//! The step `idle`: what becomes of connections and of UDP bindings that are left alone, where that
//! is asked for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use echo_core::stamp;

use super::Told;
use super::finding::{Finding, Findings, Verdict};
use super::path::Path;
use super::payload::{Payload, STAMP_LEN};
use super::peer::connect;
use super::sender::{self, Plan};
use super::talk::Talk;
use super::train::Cell;
use crate::report::format;

/// Bytes of a message.
const MESSAGE: usize = 64;
/// Connections and bindings that are left alone, each for an eighth of the time longer than the one
/// before.
const COUNT: u32 = 8;
/// How long an answer may take that must perhaps be asked for again.
const PATIENCE: Duration = Duration::from_secs(3);

/// A binding: the local port, and where a STAMP reflector saw its packets come from.
type Binding = (u16, SocketAddr);

/// Leaves connections and bindings alone, and uses each once more.
pub fn idle(path: &mut Path<'_>, findings: &mut Findings) -> Result<Told> {
    let longest = path.settings.idle.0;
    if longest.is_zero() {
        return Ok(Told::LeftOut("not asked for (--idle)".to_owned()));
    }
    if !path.has_tcp && path.trains.stamp.is_none() {
        let why = "no connection and no STAMP reflector could be left alone";
        return Ok(Told::LeftOut(why.to_owned()));
    }
    let start = Instant::now();
    let mut talks = Vec::new();
    if path.has_tcp {
        talks = (0..COUNT).map(|_| begin(path)).collect::<Result<_>>()?;
    }
    let mut bindings = Vec::new();
    if path.trains.stamp.is_some() {
        bindings = (0..COUNT).filter_map(|_| bind(path, 0)).collect();
    }
    let (mut talks, mut bindings) = (talks.into_iter(), bindings.into_iter());
    for number in 1..=COUNT {
        let time = longest * number / COUNT;
        if path.interrupt.wait(time.saturating_sub(start.elapsed())) {
            break;
        }
        if let Some(finding) = bindings.next().and_then(|one| forgotten(path, one, time)) {
            findings.add(finding);
            bindings = Vec::new().into_iter();
        }
        if let Some(mut talk) = talks.next()
            && let Some(finding) = killed(path, &mut talk, time)?
        {
            findings.add(finding);
            talks = Vec::new().into_iter();
        }
    }
    let bindings = match path.trains.stamp {
        Some(_) => "",
        None => "; what becomes of UDP bindings only a STAMP reflector could tell",
    };
    let tcp = format!(
        "TCP connections were silent for up to {}",
        format::time(longest)
    );
    Ok(Told::Seen(tcp + bindings))
}

/// Whether the connection is dead that was silent for this long, while a new one works.
fn killed(path: &mut Path<'_>, talk: &mut Talk, time: Duration) -> Result<Option<Finding>> {
    let heard = talk.echo(path, 1, path.patience(PATIENCE));
    if heard.back > 0 || path.interrupt.why().is_some() {
        return Ok(None);
    }
    begin(path)?;
    let finding = Finding::problem(Verdict::IdleKilled)
        .seen(
            format!("a message on each of {COUNT} connections, silent for ever longer"),
            format!(
                "after {}: {}; a new connection works",
                format::time(time),
                heard.told()
            ),
        )
        .tested(
            "those that were silent for less than that still worked",
            None,
        );
    Ok(Some(finding.with("time", format::time(time))))
}

/// A connection that has echoed one message.
fn begin(path: &mut Path<'_>) -> Result<Talk> {
    let remote = path.remote.context("nothing answers")?;
    let (_, socket) = connect(path, remote, None).context("no connection was made")?;
    let mut talk = Talk::begin(path, socket, MESSAGE);
    let heard = talk.echo(path, 1, path.patience(PATIENCE));
    let told = heard.told();
    anyhow::ensure!(
        heard.back == MESSAGE as u64,
        "a new connection does not echo: {told}"
    );
    Ok(talk)
}

/// Whether packets from the port of this binding come from elsewhere by now.
fn forgotten(path: &mut Path<'_>, (port, before): Binding, time: Duration) -> Option<Finding> {
    let (_, after) = bind(path, port)?;
    let finding = Finding::fact(Verdict::NatTimeout)
        .seen(
            format!(
                "packets from port {port}, and again after {}",
                format::time(time)
            ),
            format!("they came from {before}, then from {after}"),
        )
        .tested("a STAMP reflector tells where packets come from", None);
    (after != before).then(|| finding.with("time", format::time(time)))
}

/// Sends a few STAMP packets from `port`, or from one that the system chooses.
fn bind(path: &mut Path<'_>, port: u16) -> Option<Binding> {
    let remote = SocketAddr::new(path.remote?.ip(), stamp::PORT);
    let cell = Cell {
        size: STAMP_LEN,
        ..Cell::default()
    };
    let cells = [cell];
    let plan = Plan {
        payload: Payload::Stamp(3),
        ..Plan::of((remote, port), &cells, 3, Duration::from_millis(10))
    };
    let train = sender::send(path, &plan).ok()?;
    let seen = train
        .probes
        .iter()
        .find_map(|probe| probe.reflected?.source)?;
    Some((train.locals.first()?.port(), seen))
}
