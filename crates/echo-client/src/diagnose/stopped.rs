//! Whether the target still answers after a step: one that goes away in the middle is no path that
//! loses.

use std::slice;
use std::time::{Duration, SystemTime};

use echo_core::units::unix_ns;

use super::answer::{Answer, came};
use super::finding::{Finding, Findings, Verdict, finding};
use super::path::{LITTLE, Path};
use super::reach::{Seen, ask, call, told};
use super::talk::Talk;
use crate::report::format;

/// So many datagrams in a row that are not answered are a reason to ask.
const MANY: usize = 12;
/// Bytes of a message, and how long it may take to come back.
const MESSAGE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks anew after a step that began at `start`, as the path counts: where datagrams have not been
/// answered for a while, or the step has found something wrong. Where nobody answers any more, what was
/// sent since then is not asked about, and no more is sent.
pub fn check(
    path: &mut Path<'_>,
    (before, after): (&Findings, &Findings),
    start: Duration,
) -> Option<Finding> {
    let remote = path.remote?;
    let silence = path.silence.filter(|silence| silence.lost >= MANY);
    // Where no datagram ever comes back, that says nothing.
    let silence = silence.filter(|_| path.udp_port.is_some());
    let is_suspect = silence.is_some() || after.problems() > before.problems();
    // With a part of the questions unsent, silence would be no answer.
    if !is_suspect || !path.is_answered() || path.bytes_left() < LITTLE {
        return None;
    }
    let mut seen = Seen::nothing(remote);
    if path.udp_port.is_some() {
        ask(path, slice::from_mut(&mut seen));
        if came(&seen.udp) > 0 {
            return None;
        }
    }
    let has_echo = path.has_tcp && before.allow_echo();
    if path.has_tcp {
        call(path, slice::from_mut(&mut seen));
    }
    let mut list = told(slice::from_ref(&seen));
    let mut is_mute = came(&seen.tcp) == 0;
    // The system of a program that stands still takes connections in its name.
    if has_echo && let Ok((_, mut talk)) = Talk::open(path, MESSAGE, None) {
        let patience = path.patience(PATIENCE);
        let heard = talk.echo(path, 1, patience);
        // Whoever sends anything is there; and a connection that never had an echo may never have one.
        is_mute = heard.back == 0 && (path.udp_port.is_some() || after.allow_echo());
        list += &format!("; {}", heard.told());
    }
    let what = match (path.udp_port.is_some(), path.has_tcp && is_mute) {
        (true, true) => "datagrams and connections",
        (true, false) => "datagrams",
        (false, true) => "connections",
        (false, false) => return None,
    };
    if path.interrupt.why().is_some() {
        return None;
    }
    let mut said = seen.answers().filter(|answer| answer.time().is_none());
    let why = match said.find(|answer| *answer != Answer::Silence) {
        None => "nobody says why",
        Some(Answer::Refused) => "nobody listens there any more",
        Some(_) => "somebody on the way says so",
    };
    path.udp_port = None;
    path.has_tcp &= !is_mute;
    let now = unix_ns(SystemTime::now());
    let since = silence.map_or(now, |silence| silence.since);
    path.trains.cut(since);
    let time = match silence {
        Some(_) => path
            .start
            .elapsed()
            .saturating_sub(Duration::from_nanos(now.saturating_sub(since))),
        None => start,
    };
    let lost = silence.map_or(0, |silence| silence.lost);
    let finding = finding!(Verdict::Stopped; what, lost, list, why, time: format::time(time));
    Some(seen.filled(finding).at(seen.ip()))
}
