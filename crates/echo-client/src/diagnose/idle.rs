//! The step `idle`: what becomes of connections and of UDP bindings that are left alone, where that
//! is asked for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use echo_core::stamp;

use super::finding::{Finding, Verdict, finding};
use super::path::{LONGEST, Path};
use super::sender::{self, Plan};
use super::settings::Diagnose;
use super::talk::Talk;
use super::train::Cell;
use super::trains::{SMALL, knocks};
use crate::report::format;

/// How many of a kind are left alone side by side, each for a sixteenth of the time longer than the one
/// before.
const COUNT: u32 = 16;
/// The time from one datagram to the next.
const INTERVAL: Duration = Duration::from_millis(10);
/// Beside the silence itself, it takes no longer than this to find out who is dead.
const ASKING: Duration = Duration::from_secs(20);

/// About how long a diagnosis may take, with the silence that was asked for.
pub fn longest(settings: &Diagnose) -> Duration {
    match settings.idle.0 {
        Duration::ZERO => LONGEST,
        idle => LONGEST + idle + ASKING,
    }
}

/// What is left alone.
enum Alone {
    /// A connection.
    Tcp(Talk),
    /// A local port, and where a STAMP reflector saw its packets come from, if there is one.
    Udp(u16, Option<SocketAddr>),
}

/// Leaves connections and bindings alone, and uses each once more.
pub fn idle(path: &mut Path<'_>) -> Result<String> {
    path.longest = longest(path.settings);
    let longest = path.settings.idle.0;
    let has_tcp = path.has_tcp && path.findings.allow_echo();
    let has_udp = path.trains.stamp.is_some() || path.udp_port.is_some();
    ensure!(has_tcp || has_udp, "no echo comes back");
    let mut alone = Vec::new();
    for number in 1..=COUNT {
        let time = longest * number / COUNT;
        if has_tcp {
            alone.push((time, connection(path)?, Instant::now()));
        }
        if has_udp {
            alone.push((time, binding(path)?, Instant::now()));
        }
    }
    // Those of a kind that have lived, and whether one has died.
    let mut kinds = [(Duration::ZERO, false); 2];
    for (time, one, since) in alone {
        let (lived, is_over) = &mut kinds[usize::from(matches!(one, Alone::Udp(..)))];
        if *is_over || path.interrupt.wait(time.saturating_sub(since.elapsed())) {
            continue;
        }
        // Those before it may have taken their time.
        let time = since.elapsed();
        match one.dead(path)? {
            None => *lived = time,
            Some(finding) => {
                *is_over = true;
                let finding = finding.with("time", format::time(time)).with("n", COUNT);
                path.findings
                    .add(finding.with("lived", format::time(*lived)));
            }
        }
    }
    if has_udp && path.trains.stamp.is_none() && !path.findings.has(Verdict::NatTimeout) {
        let why = "what becomes of them only a STAMP reflector could tell";
        path.findings
            .add(finding!(Verdict::Unjudged; what: "UDP bindings", why));
    }
    let longest = format::time(longest);
    Ok(format!(
        "connections and bindings were silent for up to {longest}"
    ))
}

/// A connection that has echoed one message.
fn connection(path: &mut Path<'_>) -> Result<Alone> {
    let mut talk = Talk::open(path, None)?;
    let heard = talk.echo(path, 1);
    let told = heard.told();
    ensure!(heard.is_good(), "a new connection does not echo: {told}");
    Ok(Alone::Tcp(talk))
}

/// A port from which datagrams came back.
fn binding(path: &mut Path<'_>) -> Result<Alone> {
    let (port, seen) = ask(path, 0)?.context("no datagram comes back")?;
    Ok(Alone::Udp(port, seen))
}

impl Alone {
    /// What tells that it is dead by now, while a new one works.
    fn dead(self, path: &mut Path<'_>) -> Result<Option<Finding>> {
        match self {
            Alone::Tcp(mut talk) => {
                let is_ended = talk.is_ended();
                let heard = talk.echo(path, 1);
                if heard.back > 0 {
                    return Ok(None);
                }
                connection(path)?;
                let finding = finding!(Verdict::IdleKilled; came: heard.told());
                // Whoever says so before anything is sent does as it means to.
                Ok(Some(match is_ended {
                    true => finding.by("idle-ended").fact_if(true),
                    false => finding,
                }))
            }
            Alone::Udp(port, before) => match ask(path, port)? {
                Some((_, after)) => Ok((after != before).then(|| {
                    let [before, after] = [before, after].map(|seen| {
                        seen.map_or_else(|| "nowhere".to_owned(), |seen| seen.to_string())
                    });
                    finding!(Verdict::NatTimeout; port, before, after)
                })),
                None => {
                    binding(path)?;
                    let finding = finding!(Verdict::NatTimeout; port);
                    Ok(Some(finding.by("binding-silent")))
                }
            },
        }
    }
}

/// Sends a few datagrams from `port`, or from one that the system chooses. Returns the port and where
/// a reflector saw them come from, if any came back.
fn ask(path: &mut Path<'_>, port: u16) -> Result<Option<(u16, Option<SocketAddr>)>> {
    let mut remote = path.remote()?;
    let plan = match path.trains.stamp {
        None => Plan::of((remote, port), vec![Cell::of(SMALL)], 3, INTERVAL),
        Some(_) => {
            remote.set_port(stamp::PORT);
            knocks((remote, port))
        }
    };
    let train = sender::send(path, &plan)?;
    let reflected = train.probes.iter().filter_map(|probe| probe.reflected);
    let seen = reflected.filter_map(|reflected| reflected.source).next();
    let port = train.locals.first().map_or(port, SocketAddr::port);
    Ok((train.lost() < train.probes.len()).then_some((port, seen)))
}
