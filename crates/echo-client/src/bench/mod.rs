//! `bench`: load on an echo server, with latencies that survive scrutiny.

pub(crate) mod progress;
mod settings;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use anyhow::anyhow;
use echo_core::Failure;
use echo_core::path::shown;

use crate::connection::{Connect, ErrorKind, cause};
use crate::engine::{dial, drive};
use crate::interrupt::Interrupt;
use crate::output;
use crate::report::hdr::HdrLog;
use crate::report::{self, Environment, Fault, Generator, Mode, Report, Target, Text};

pub use settings::Bench;

/// From this share of a core on, a thread has no time left to be on time.
const FULL: f64 = 0.95;
/// From this share on, waiting for a core shows in the latencies.
const STARVED: f64 = 0.05;

/// Makes load, and reports what came of it.
pub fn run(connect: Connect, config: Bench, interrupt: &Interrupt) -> Result<(), Failure> {
    config.check(&connect)?;
    // A file that cannot be written is better known before the run than after it.
    let mut page = match &config.report {
        Some(path) => Some((path, File::create(path).map_err(|e| unwritable(path, &e))?)),
        None => None,
    };
    let log = match &config.hdr {
        Some(path) => {
            let start = SystemTime::now() + config.warmup.0;
            Some(HdrLog::create(path, start).map_err(|e| unwritable(path, &e))?)
        }
        None => None,
    };
    let report = measure(&connect, &config, log, interrupt)?;
    if let Some((path, page)) = &mut page {
        page.write_all(report::html(&report).as_bytes())
            .map_err(|error| unwritable(path, &error))?;
    }
    if config.json {
        output::line(report::json(&report)).map_err(output::failure)?;
    } else if report.counts.sent > 0 {
        // Where nothing was sent, the error says it all.
        output::line(Text(&report)).map_err(output::failure)?;
    }
    report.failure().map_or(Ok(()), Err)
}

/// Runs, and puts everything that is known into a report.
///
/// # Errors
/// What concerns this machine only; what concerns the target is in the report.
fn measure(
    connect: &Connect,
    config: &Bench,
    log: Option<HdrLog>,
    interrupt: &Interrupt,
) -> Result<Report, Failure> {
    let mut report = Report {
        mode: Mode::Bench,
        config: report::config([serde_json::to_value(connect), serde_json::to_value(config)]),
        target: Target::of(connect),
        environment: Environment::detect(),
        load: Some(config.load()),
        ..Report::default()
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
    let outcome = drive::drive(connect, config, dialed, log, interrupt)
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
    report.verdicts = config
        .fail_if
        .iter()
        .flat_map(|fail_if| fail_if.judge(&report))
        .collect();
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

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let directory = shown(path.parent().unwrap_or(path));
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => format!("make the directory {directory}"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room".to_owned(),
        io::ErrorKind::IsADirectory => "name a file in it".to_owned(),
        _ => "check its permissions".to_owned(),
    };
    Failure::bad(anyhow!(
        "cannot write {}: {}; {remedy}, or write elsewhere",
        shown(path),
        cause(error)
    ))
}
