//! `bench`: load on an echo server, with latencies that survive scrutiny.

mod search;
mod settings;
pub mod start;
pub mod start;

use std::time::Duration;

use echo_core::Failure;

use crate::connection::Connect;
use crate::engine::{Pace, Plan};
use crate::interrupt::Interrupt;
use crate::measure::{self, Form, Results, Style};
use crate::report::{Mode, Report};

pub use settings::Bench;

/// A connection that fails is opened anew for so long, or for as long as `--wait` says: a server
/// that restarts is back by then.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes load, and reports what came of it.
pub fn run(connect: Connect, config: Bench, interrupt: &Interrupt) -> Result<(), Failure> {
    config.check(&connect)?;
    let known = Report {
        load: Some(config.load()),
        ..Report::new(Mode::Bench, &connect, &config)
    };
    let style = Style {
        form: match config.jsonl {
            true => Form::Events,
            false => Form::Nothing,
        },
        progress: !config.quiet,
        ..Style::default()
    };
    let results = Results {
        fail_if: config.fail_if.clone(),
        json: config.json,
        page: config.report.clone(),
        hdr: config.hdr.clone(),
        has_end: true,
    };
    measure::run(plan(connect, &config), known, style, &results, interrupt)
}

fn plan(connect: Connect, config: &Bench) -> Plan {
    Plan {
        patience: Some(PATIENCE.max(connect.wait.0)),
        connect,
        parallel: config.parallel,
        threads: config.threads,
        depth: config.depth,
        size: config.size.0 as usize,
        pace: match config.rate {
            0.0 => Pace::Closed,
            per_s => Pace::Rate(per_s),
        },
        duration: config.span(),
        count: (config.count > 0).then_some(config.count),
        warmup: config.warmup.0,
        verify: !config.no_verify,
        new_connection: config.new_connection,
        busy: config.busy,
        log: false,
    }
}
