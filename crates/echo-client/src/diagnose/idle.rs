//! The step `idle`: what becomes of connections and of UDP bindings that are left alone, where that
//! is asked for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use echo_core::stamp;

use super::finding::{Finding, Findings, Verdict, finding};
use super::path::{LONGEST, Path};
use super::payload::{Payload, STAMP_LEN};
use super::sender::{self, Plan};
use super::settings::Diagnose;
use super::talk::Talk;
use super::train::Cell;
use super::trains::SMALL;
use crate::report::format;

/// Bytes of a message.
const MESSAGE: usize = 64;
/// How many are left alone side by side, each for an eighth of the time longer than the one before;
/// and how often, the second time between the last that lived and the first that did not.
const COUNT: u32 = 8;
const ROUNDS: u32 = 2;
/// How long an answer may take that must perhaps be asked for again.
const PATIENCE: Duration = Duration::from_secs(3);
/// Beside the silence itself, it takes no longer than this to find out who is dead.
const ASKING: Duration = Duration::from_secs(20);

/// How long a diagnosis may take, with the silence that was asked for.
pub fn longest(settings: &Diagnose) -> Duration {
    match settings.idle.0 {
        Duration::ZERO => LONGEST,
        idle => LONGEST + idle * ROUNDS + ASKING,
    }
}

/// Makes one that works.
type Begin = fn(&mut Path<'_>) -> Result<Alone>;

/// What is left alone.
enum Alone {
    /// A connection.
    Tcp(Talk),
    /// A local port, and where a STAMP reflector saw its packets come from, if there is one.
    Udp(u16, Option<SocketAddr>),
}

/// What silence does to one of the two kinds.
struct Silence {
    begin: Begin,
    /// How long it did no harm.
    lived: Duration,
    /// How long it did, and the finding.
    died: Option<(Duration, Finding)>,
}

/// Leaves connections and bindings alone, and uses each once more.
pub fn idle(path: &mut Path<'_>, findings: &mut Findings) -> Result<String> {
    let longest = path.settings.idle.0;
    let has_stamp = path.trains.stamp.is_some();
    let has_udp = has_stamp || path.udp_port.is_some();
    let has_echo = path.has_tcp && findings.allow_echo();
    let kinds: [(bool, Begin); 2] = [(has_echo, connection), (has_udp, binding)];
    let kinds = kinds.into_iter().filter(|(is_there, _)| *is_there);
    let mut kinds: Vec<Silence> = kinds.map(|(_, begin)| Silence::of(begin)).collect();
    ensure!(!kinds.is_empty(), "no echo comes back");
    let watched = watch(path, longest, &mut kinds);
    for silence in kinds {
        if let Some((died, finding)) = silence.died {
            let finding = finding.with("time", format::time(died)).with("n", COUNT);
            findings.add(finding.with("lived", format::time(silence.lived)));
        }
    }
    watched?;
    if has_udp && !has_stamp && !findings.has(Verdict::NatTimeout) {
        let why = "what becomes of them only a STAMP reflector could tell";
        findings.add(finding!(Verdict::Unjudged; what: "UDP bindings", why));
    }
    let longest = format::time(longest);
    Ok(format!(
        "connections and bindings were silent for up to {longest}"
    ))
}

/// Leaves some of each kind alone, for `longest` at most, and looks who is dead.
fn watch(path: &mut Path<'_>, longest: Duration, kinds: &mut [Silence]) -> Result<()> {
    for round in 0..ROUNDS {
        let mut alone = Vec::new();
        for (kind, silence) in kinds.iter().enumerate() {
            let high = match &silence.died {
                Some((died, _)) => *died,
                None if round == 0 => longest,
                None => continue,
            };
            // The last would be silent for as long as one that is known to have died.
            let last = COUNT - u32::from(silence.died.is_some());
            for number in 1..=last {
                let time = silence.lived + (high - silence.lived) * number / COUNT;
                alone.push((time, kind, (silence.begin)(path)?, Instant::now()));
            }
        }
        alone.sort_by_key(|(time, ..)| *time);
        for (time, kind, one, since) in alone {
            let silence = &mut kinds[kind];
            if silence.died.as_ref().is_some_and(|(died, _)| *died <= time) {
                continue;
            }
            if path.interrupt.wait(time.saturating_sub(since.elapsed())) {
                break;
            }
            // Those before it may have taken their time.
            let time = since.elapsed();
            match one.dead(path)? {
                Some(finding) => {
                    silence.lived = silence.lived.min(time);
                    silence.died = Some((time, finding));
                }
                None => silence.lived = time,
            }
        }
    }
    Ok(())
}

/// A connection that has echoed one message.
fn connection(path: &mut Path<'_>) -> Result<Alone> {
    let (_, mut talk) = Talk::open(path, MESSAGE, None)?;
    let heard = talk.echo(path, 1, path.patience(PATIENCE));
    let told = heard.told();
    ensure!(
        heard.is_good(MESSAGE),
        "a new connection does not echo: {told}"
    );
    Ok(Alone::Tcp(talk))
}

/// A port from which datagrams came back.
fn binding(path: &mut Path<'_>) -> Result<Alone> {
    let (port, seen) = ask(path, 0)?.context("no datagram comes back")?;
    Ok(Alone::Udp(port, seen))
}

impl Silence {
    fn of(begin: Begin) -> Self {
        Silence {
            begin,
            lived: Duration::ZERO,
            died: None,
        }
    }
}

impl Alone {
    /// What tells that it is dead by now, while a new one works.
    fn dead(self, path: &mut Path<'_>) -> Result<Option<Finding>> {
        match self {
            Alone::Tcp(mut talk) => {
                let heard = talk.echo(path, 1, path.patience(PATIENCE));
                if heard.back > 0 {
                    return Ok(None);
                }
                connection(path)?;
                Ok(Some(finding!(Verdict::IdleKilled; came: heard.told())))
            }
            Alone::Udp(port, before) => match ask(path, port)? {
                Some((_, after)) if after == before => Ok(None),
                Some((_, after)) => {
                    let named = |seen: Option<SocketAddr>| {
                        seen.map_or_else(|| "nowhere".to_owned(), |seen| seen.to_string())
                    };
                    let (before, after) = (named(before), named(after));
                    Ok(Some(finding!(Verdict::NatTimeout; port, before, after)))
                }
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
    let mut cell = Cell::of(SMALL);
    if path.trains.stamp.is_some() {
        remote.set_port(stamp::PORT);
        cell = Cell::of(STAMP_LEN);
    }
    let mut plan = Plan::of((remote, port), vec![cell], 3, Duration::from_millis(10));
    if path.trains.stamp.is_some() {
        plan.payload = Payload::Stamp(3);
    }
    let train = sender::send(path, &plan)?;
    let seen = train
        .probes
        .iter()
        .find_map(|probe| probe.reflected?.source);
    let port = train.locals.first().map_or(port, SocketAddr::port);
    Ok((train.lost() < train.probes.len()).then_some((port, seen)))
}
