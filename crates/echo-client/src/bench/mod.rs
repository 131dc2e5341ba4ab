//! `bench`: load on an echo server, with latencies that survive scrutiny.

pub(crate) mod progress;
mod settings;

use std::time::SystemTime;

use anyhow::anyhow;
use echo_core::Failure;
use echo_core::units::unix_ns;

use crate::connection::{Connect, ErrorKind, cause};
use crate::engine::{dial, drive};
use crate::interrupt::Interrupt;
use crate::output;
use crate::report::{Fault, Files, Generator, Mode, Report};

pub use settings::Bench;

/// From this share of a core on, a thread has no time left to be on time.
const FULL: f64 = 0.95;
/// From this share on, waiting for a core shows in the latencies.
const STARVED: f64 = 0.05;

/// Makes load, and reports what came of it.
pub fn run(connect: Connect, config: Bench, interrupt: &Interrupt) -> Result<(), Failure> {
    config.check(&connect)?;
    let files = Files::check(config.report.as_deref(), config.hdr.as_deref())?;
    let mut report = measure(&connect, &config, interrupt)?;
    report.conclude(config.fail_if.as_ref(), interrupt.why());
    files.write(&mut report);
    // Where nothing was sent, the error says it all.
    let has_text = report.counts.sent > 0;
    output::report(&report, config.json, has_text)
}

/// Runs, and puts everything that is known into a report.
///
/// # Errors
/// What concerns this machine only; what concerns the target is in the report.
fn measure(connect: &Connect, config: &Bench, interrupt: &Interrupt) -> Result<Report, Failure> {
    let mut report = Report {
        load: Some(config.load()),
        ..Report::new(Mode::Bench, connect, config)
    };
    let dialed = match dial::dial(connect, config.parallel, interrupt) {
        Ok(dialed) => dialed,
        Err(fault) => {
            report.fault = Some(fault);
            return Ok(report);
        }
    };
    report.target.found(&dialed.address);
    report.environment.congestion_control = dialed.congestion_control();
    report.started_unix_ns = unix_ns(SystemTime::now() + config.warmup.0);
    let outcome = drive::drive(connect, config, dialed, interrupt)
        .map_err(|error| Failure::bad(anyhow!("the run was cut short: {}", cause(&error))))?;
    report.elapsed = outcome.elapsed;
    report.counts = outcome.total.counts;
    report.rtt = outcome.total.rtt;
    report.service = outcome.total.service;
    report.errors = outcome.total.errors;
    report.seconds = outcome.seconds;
    report.fault = outcome.fault;
    if report.counts.sent == 0 && report.fault.is_none() {
        report.fault = Some(nothing_measured(interrupt));
    }
    report.notes = notes(&outcome.generator);
    report.generator = Some(outcome.generator);
    Ok(report)
}

/// A run that says nothing about the server must not pass for a good one.
fn nothing_measured(interrupt: &Interrupt) -> Fault {
    match interrupt.why() {
        Some(why) => Fault::new(
            ErrorKind::Interrupted,
            format!(
                "nothing was measured: {why} before the first measured request; let it run for \
                 longer, or shorten --warmup"
            ),
        ),
        None => Fault::new(
            ErrorKind::Other,
            "nothing was measured: no request was due while measuring; raise --rate or --duration",
        ),
    }
}

/// What a reader should know about the generator before blaming the server.
fn notes(generator: &Generator) -> Vec<String> {
    let percent = |share: f64| (share * 100.0).round();
    let mut notes = Vec::new();
    let starved = generator.starved_share.unwrap_or(0.0);
    if generator.busiest_share >= FULL {
        notes.push(format!(
            "the generator is the bottleneck: a thread of it used {} % of a core; the server may \
             be able to do more, so add --threads or machines",
            percent(generator.busiest_share)
        ));
    }
    if starved >= STARVED {
        notes.push(format!(
            "the generator waited for a core {} % of the time, and latencies include that; give \
             it a core of its own",
            percent(starved)
        ));
    }
    notes
}
