//! Whether the target still answers after a step: one that goes away in the middle is no path that
//! loses, and one that is away for a while is told of by that.

use std::time::{Duration, Instant, SystemTime};
use std::{io, slice};

use anyhow::Result;
use echo_core::units::unix_ns;

use super::answer::{Answer, came};
use super::finding::{Finding, Findings, Verdict, finding};
use super::path::{LITTLE, Path};
use super::reach::{Seen, call, told};
use super::talk::Talk;
use crate::report::format;

/// So many datagrams in a row that are not answered are a reason to ask.
const MANY: usize = 12;
/// How long the answer of somebody who does not give one is waited for, and how often it is asked for
/// meanwhile: a link is up again by then, or a server, if it is to be at all.
const WHILE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// What has become of the target.
pub enum Fate {
    /// It answers.
    Here,
    /// It did not for a while, and does again: an outage, where no train tells of that.
    Back(Option<Finding>),
    /// It does not answer any more.
    Gone(Finding),
}

/// Asks anew after a step that began at `start`, as the path counts: where datagrams have not been
/// answered for a while, or the step has found something wrong. Where nobody answers any more, what was
/// sent since then is not asked about, and no more is sent.
///
/// # Errors
/// This machine lacks what it takes to ask: whether anybody is there, is unknown.
pub fn check(
    path: &mut Path<'_>,
    (before, has_found): (&Findings, bool),
    start: Duration,
) -> Result<Fate> {
    // Where no datagram ever comes back, that says nothing.
    let has_udp = path.udp_port.is_some();
    let silence = path.silence.filter(|(_, lost)| has_udp && *lost >= MANY);
    let is_suspect = silence.is_some() || has_found;
    // With a part of the questions unsent, silence would be no answer.
    let (true, true, Some(remote)) = (is_suspect, path.bytes_left() >= LITTLE, path.remote) else {
        return Ok(Fate::Here);
    };
    let (begun, mut asked) = (Instant::now(), Vec::new());
    let may_wait = WHILE.min(path.time_left());
    let mut seen = Seen::nothing(remote);
    let (mut list, mut is_mute) = (String::new(), true);
    for round in 0.. {
        if has_udp {
            asked.extend(seen.ask(path)?);
        } else {
            (list, is_mute) = connect(path, &mut seen, before)?;
        }
        match (came(&seen.udp) > 0 || !is_mute, round) {
            (true, 0) => return Ok(Fate::Here),
            (true, _) => {
                path.trains.asked.append(&mut asked);
                let time = format::time(begun.elapsed());
                let outage = || finding!(Verdict::Outage; time).by("connections-lost");
                return Ok(Fate::Back((!has_udp).then(outage)));
            }
            (false, _) => {}
        }
        let is_over = begun.elapsed() >= may_wait || path.bytes_left() < LITTLE;
        if is_over || path.interrupt.wait(PAUSE) {
            break;
        }
    }
    if has_udp {
        (list, is_mute) = match path.has_tcp {
            true => connect(path, &mut seen, before)?,
            false => (told(slice::from_ref(&seen)), true),
        };
    }
    if path.interrupt.why().is_some() {
        return Ok(Fate::Here);
    }
    let what = match (has_udp, path.has_tcp && is_mute) {
        (true, true) => "datagrams and connections",
        (true, false) => "datagrams",
        (false, _) => "connections",
    };
    let mut said = seen.answers().filter(|answer| answer.time().is_none());
    let why = match said.find(|answer| *answer != Answer::Silence) {
        None => "nobody says why",
        Some(Answer::Refused) => "nobody listens there any more",
        Some(_) => "somebody on the way says so",
    };
    path.udp_port = None;
    path.has_tcp &= !is_mute;
    let now = unix_ns(SystemTime::now());
    let (since, lost) = silence.unwrap_or((now, 0));
    path.trains.cut(since);
    let silent = Duration::from_nanos(now.saturating_sub(since));
    let time = silence.map_or(start, |_| path.start.elapsed().saturating_sub(silent));
    let finding = finding!(Verdict::Stopped; what, lost, list, why, time: format::time(time));
    Ok(Fate::Gone(seen.filled(finding).at(seen.ip())))
}

/// Tries connections: what came of them in words, and whether nobody is there.
fn connect(path: &mut Path<'_>, seen: &mut Seen, before: &Findings) -> Result<(String, bool)> {
    call(path, slice::from_mut(seen))?;
    let (mut list, mut is_mute) = (told(slice::from_ref(seen)), came(&seen.tcp) == 0);
    // The system of a program that stands still takes connections in its name.
    match before.allow_echo().then(|| Talk::open(path, None)) {
        Some(Ok(mut talk)) => {
            let heard = talk.echo(path, 1);
            // Whoever sends anything is there; and a connection that never had an echo may never have one.
            is_mute = heard.back == 0 && (path.udp_port.is_some() || path.findings.allow_echo());
            list += &format!("; {}", heard.told());
        }
        Some(Err(error)) if error.is::<io::Error>() => return Err(error),
        _ => {}
    }
    Ok((list, is_mute))
}
