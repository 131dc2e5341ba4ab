//! `ping`: requests at an interval, each reply classed and timed, and a summary that balances.

mod settings;

use std::time::Duration;

use echo_core::Failure;

use crate::connection::{Connect, pause};
use crate::engine::{Pace, Plan};
use crate::interrupt::Interrupt;
use crate::measure::{self, Form, Results, Style, message_size};
use crate::report::{Files, Mode, Report};

pub use settings::Ping;

/// Requests that may be awaited at once: at a request a millisecond, those of a minute.
const DEPTH: usize = 1 << 16;
/// Connections of one request each that are open, or being opened, at once: each takes a thread, and
/// where both families are tried two descriptors, of which a process has 1,024 by default. What finds
/// no place waits, and counts from when it leaves.
const AT_ONCE: u128 = 400;

/// Pings, and reports what came of it.
pub fn run(connect: Connect, config: Ping, interrupt: &Interrupt) -> Result<(), Failure> {
    let known = Report::new(Mode::Ping, &connect, &config);
    let busy = if config.busy { ", busy polling" } else { "" };
    let headline = format!("{} bytes{busy}", message_size(&connect, config.size));
    let style = Style {
        form: match config {
            Ping { jsonl: true, .. } => Form::Events,
            Ping { json: true, .. } | Ping { quiet: true, .. } => Form::Nothing,
            _ => Form::Text,
        },
        time_of_day: config.time_of_day,
        headline: (!config.json && !config.jsonl).then_some(headline),
        ..Style::default()
    };
    let [page, log] = [&config.report, &config.hdr].map(Option::as_deref);
    let files = Files::check([page, log, None], &connect.read)?;
    let results = Results {
        fail_if: config.fail_if.clone(),
        json: config.json,
        files,
        has_end: config.has_end(),
    };
    measure::run(&plan(connect, &config), known, style, &results, interrupt)
}

/// One connection, for as long as it is wanted, whatever happens to the server; or, where each request
/// has its own, as many as can be needed at once, so that none waits for another.
fn plan(connect: Connect, config: &Ping) -> Plan {
    let interval = config.interval.0;
    let duration = config.duration.0;
    let longest = connect.connect_timeout.0 + connect.timeout.0 + pause(u32::MAX);
    let at_once = longest.as_nanos().checked_div(interval.as_nanos());
    Plan {
        parallel: match at_once {
            Some(at_once) if config.new_connection => (at_once + 1).min(AT_ONCE) as usize,
            _ => 1,
        },
        depth: if interval.is_zero() { 1 } else { DEPTH },
        size: message_size(&connect, config.size),
        pace: match interval {
            Duration::ZERO => Pace::Closed,
            interval => Pace::Interval(interval),
        },
        duration: (!duration.is_zero()).then_some(duration),
        count: (config.count.0 > 0).then_some(config.count.0),
        new_connection: config.new_connection,
        busy: config.busy,
        log: config.hdr.is_some(),
        ..Plan::new(connect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use echo_core::units::Timespan;

    #[test]
    fn a_connection_for_each_request_takes_no_more_descriptors_than_a_process_has() {
        for (interval_ms, parallel) in [(1, 400), (1_000, 11)] {
            let config = Ping {
                interval: Timespan(Duration::from_millis(interval_ms)),
                new_connection: true,
                ..Ping::default()
            };
            assert_eq!(plan(Connect::default(), &config).parallel, parallel);
        }
    }
}
