//! The step `idle`: what becomes of a connection that is left alone, where that is asked for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use echo_core::units::Timespan;

use super::Told;
use super::finding::{Finding, Findings, Verdict};
use super::path::Path;
use super::peer::connect;
use super::talk::Talk;

/// Bytes of a message.
const MESSAGE: usize = 64;
/// Connections that are left alone, each for an eighth of the time longer than the one before.
const CONNECTIONS: u32 = 8;
/// How long an answer may take that must perhaps be asked for again.
const PATIENCE: Duration = Duration::from_secs(3);

/// Leaves connections alone, and uses each once more.
pub fn idle(path: &mut Path<'_>, findings: &mut Findings) -> Result<Told> {
    let longest = path.settings.idle.0;
    if longest.is_zero() {
        return Ok(Told::LeftOut("not asked for (--idle)".to_owned()));
    }
    if !path.has_tcp {
        return Ok(Told::LeftOut("TCP does not connect".to_owned()));
    }
    let start = Instant::now();
    let talks: Vec<_> = (0..CONNECTIONS)
        .map(|_| begin(path))
        .collect::<Result<_>>()?;
    for (number, mut talk) in (1..).zip(talks) {
        let time = longest * number / CONNECTIONS;
        if path.interrupt.wait(time.saturating_sub(start.elapsed())) {
            break;
        }
        let heard = talk.echo(path, 1, path.patience(PATIENCE));
        if heard.back == 0 && path.interrupt.why().is_none() {
            // Whether it is the silence that did it: a connection of its own age zero must work.
            begin(path)?;
            let time = Timespan(Duration::from_millis(time.as_millis() as u64));
            let finding = Finding::problem(Verdict::IdleKilled)
                .seen(
                    format!(
                        "a message on each of {CONNECTIONS} connections, silent for ever longer"
                    ),
                    format!("after {time}: {}; a new connection works", heard.told()),
                )
                .tested(
                    "those that were silent for less than that still worked",
                    None,
                );
            findings.add(finding.with("time", time));
            return Ok(Told::Seen(format!(
                "a connection that was silent for {time} is dead"
            )));
        }
    }
    Ok(Told::Seen(format!(
        "connections that were silent for up to {} live",
        Timespan(longest)
    )))
}

/// A connection that has echoed one message.
fn begin(path: &mut Path<'_>) -> Result<Talk> {
    let remote = path.remote.context("nothing answers")?;
    let (_, socket) = connect(path, remote, None).context("no connection was made")?;
    let mut talk = Talk::begin(path, socket, MESSAGE);
    let heard = talk.echo(path, 1, path.patience(PATIENCE));
    anyhow::ensure!(
        heard.back == MESSAGE as u64,
        "a new connection does not echo: {}",
        heard.told()
    );
    Ok(talk)
}
