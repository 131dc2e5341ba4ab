//! What a reader should know of this side before blaming the server.

use std::time::Duration;

use super::plan::{Pace, Plan};
use super::worker::Ended;
use crate::connection::{ErrorKind, Fault};
use crate::interrupt::Interrupt;
use crate::report::Report;

/// From this share on, waiting for a core shows in the latencies.
const STARVED: f64 = 0.05;

/// What a server answers one host in a second by default.
const UDP_RATE: f64 = 10_000.0;
/// From this share on, pauses of this side show in a 99th percentile.
const PAUSED: f64 = 0.01;
/// A pause that is worth telling, however long the run.
const LONG: Duration = Duration::from_millis(100);

/// What to know before trusting the figures.
pub fn notes(plan: &Plan, report: &Report, ended: &[Ended]) -> Vec<String> {
    let mut notes = Vec::new();
    if plan.busy {
        let note = "busy polling: this side never slept while it awaited a reply";
        notes.push(note.to_owned());
    }
    let generator = report.generator.clone().unwrap_or_default();
    let percent = |share: f64| (share * 100.0).round();
    if let Some(busiest) = generator.busiest_share
        && report.load.is_some()
        && report.is_generator_full()
    {
        notes.push(format!(
            "the generator is the bottleneck: a thread of it used {} % of a core; the server may \
             be able to do more, so add --threads or machines",
            percent(busiest)
        ));
    }
    if let Some(starved) = generator.starved_share.filter(|&share| share >= STARVED) {
        notes.push(format!(
            "the generator waited for a core {} % of the time, and latencies include that; give \
             it a core of its own",
            percent(starved)
        ));
    }
    let counts = &report.counts;
    if counts.overflowed > 0 {
        notes.push(format!(
            "{} replies came, and this side's own socket had no room for them: they are no loss of \
             the path; lower --depth, or raise net.core.rmem_max",
            counts.overflowed
        ));
    }
    let per_s = counts.sent as f64 / report.elapsed.as_secs_f64().max(1e-9);
    if plan.connect.is_udp() && counts.lost_on_the_way() > 0 && per_s > UDP_RATE {
        notes.push(format!(
            "echo-server answers {UDP_RATE} datagrams a second of a host unless its --udp-rate says \
             otherwise, and {per_s:.0} were sent: that may be what was lost"
        ));
    }
    if let Some(worst) = ended.iter().map(|e| e.pauses).max_by_key(|p| p.total)
        && (worst.share() >= PAUSED || worst.longest >= LONG)
    {
        notes.push(format!(
            "this side stood still itself for {} of {} ({} %), once for {}: it was stopped or had \
             no core, and round trips of that time include it",
            seconds(worst.total),
            seconds(worst.span),
            percent(worst.share()),
            seconds(worst.longest)
        ));
    }
    notes
}

fn seconds(span: Duration) -> String {
    format!("{:.3} s", span.as_secs_f64())
}

/// A run that says nothing about the server must not pass for a good one.
pub fn nothing(plan: &Plan, unsent: u64, interrupt: &Interrupt) -> Fault {
    let is_paced = !matches!(plan.pace, Pace::Closed);
    if let Some(why) = interrupt.why() {
        let message = format!(
            "nothing was measured: {why} before the first measured request; let it run for longer, \
             or shorten --warmup"
        );
        return Fault::new(ErrorKind::Interrupted, message);
    }
    let (kind, why) = if is_paced && unsent == 0 {
        let why = "no request was due while measuring; raise --rate or --duration";
        (ErrorKind::Other, why)
    } else if plan.warmup.is_zero() {
        // Nothing was under way before: it is this side that did not get on.
        let why = "this side had no core before the time was up; give it one of its own, or raise \
                   --duration";
        (ErrorKind::Other, why)
    } else {
        let why = "the replies to requests of the warm-up were awaited all the time; look at the \
                   server with ping, or raise --duration";
        (ErrorKind::Timeout, why)
    };
    Fault::new(kind, why).of("nothing was measured")
}
