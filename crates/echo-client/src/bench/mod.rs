//! `bench`: load on an echo server, with latencies that survive scrutiny.

mod find;
mod rounds;
mod search;
mod settings;
mod start;

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use echo_core::path::shown;
use echo_core::statistics::Pairing;
use echo_core::units::Timespan;
use echo_core::{Failure, FilePath};

use crate::compare::{self, Comparison, Form, comparable};
use crate::connection::{Connect, within};
use crate::engine::{self, Pace, Plan};
use crate::interrupt::Interrupt;
use crate::measure::{self, Results, Style, Watch, message_size};
use crate::output;
use crate::report::{self, Files, Mode, Report, Saved};
use start::Moment;

pub use settings::Bench;

/// A connection that fails is opened anew for so long, or for as long as `--wait` says: a server
/// that restarts is back by then.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the clock is looked at before the time to begin.
const STEP: Duration = Duration::from_millis(100);

/// Makes load, and reports what came of it.
pub fn run(connect: Connect, config: Bench, interrupt: &Interrupt) -> Result<(), Failure> {
    let targets = config.targets(&connect).map_err(Failure::usage)?;
    let baseline = config.baseline.clone();
    let baseline = baseline.map(|path| awaited(path, interrupt)).transpose()?;
    if let Some(base) = &baseline {
        let known = known(&targets[0], &config);
        comparable((known.name(), &known), (base.name(), base)).map_err(Failure::usage)?;
    }
    let written = [&config.report, &config.hdr, &config.csv].map(Option::as_deref);
    let read = connect.read.iter().chain(&config.baseline);
    let files = Files::check(written, read)?;
    if let Some(moment) = config.start_at {
        wait(moment, interrupt)?;
    }
    match config.is_one_run() {
        true => once(&connect, &config, files, interrupt),
        false => several(&targets, baseline, &config, &files, interrupt),
    }
}

/// One run, which tells what happens while it goes on.
fn once(
    connect: &Connect,
    config: &Bench,
    files: Files,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let style = Style {
        form: match config.jsonl {
            true => measure::Form::Events,
            false => measure::Form::Nothing,
        },
        progress: !config.quiet,
        ..Style::default()
    };
    let results = Results {
        fail_if: config.fail_if.clone(),
        json: config.json,
        files,
        has_end: true,
    };
    let plan = plan(connect, config.pid.first().copied(), config);
    measure::run(&plan, known(connect, config), style, &results, interrupt)
}

/// Runs one after the other, and what comes of them together.
fn several(
    targets: &[Connect],
    baseline: Option<Report>,
    config: &Bench,
    files: &Files,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let job = Job {
        config,
        watch: Watch::new(!config.quiet),
        interrupt,
    };
    let mut reports = match &config.find {
        Some(conditions) => vec![find::run(&job, &targets[0], conditions)],
        None => rounds::run(&job, targets),
    };
    job.watch.clear();
    // A search has decided about each of its steps.
    for report in reports.iter_mut().filter(|_| config.find.is_none()) {
        report.conclude(config.fail_if.as_ref(), interrupt.why());
    }
    let pairing = match &baseline {
        Some(_) => Pairing::Apart,
        None => Pairing::InTurn,
    };
    reports.splice(0..0, baseline);
    if let [report] = &mut reports[..] {
        files.write(report);
        // Where nothing was sent, the error says it all.
        return report::print(report, config.json, report.counts.sent > 0);
    }
    let comparison = Comparison::of(reports, pairing, config.seed.0);
    let mut comparison = comparison.map_err(Failure::usage)?;
    let asked = config.fail_if.clone().unwrap_or_default();
    comparison.judge(&vec![asked; comparison.targets.len()]);
    if config.control {
        comparison.distrust_control();
    }
    let form = if config.json { Form::Json } else { Form::Text };
    compare::show(comparison, form, files)
}

/// The saved run that the target is held against. Whoever writes it into a pipe may keep this waiting.
fn awaited(path: FilePath, interrupt: &Interrupt) -> Result<Report, Failure> {
    let (subject, forever) = (shown(&*path).to_string(), Timespan(Duration::MAX));
    let read = within(&subject, forever, &|| interrupt.why(), move || {
        Ok(baseline(&path))
    });
    read.map_err(Failure::bad)?.map_err(Failure::bad)?
}

fn baseline(path: &Path) -> Result<Report, Failure> {
    let mut saved = Saved::load(&[path], false).map_err(Failure::usage)?;
    let (Some(base), []) = (saved.pop(), &saved[..]) else {
        return Err(Failure::usage(anyhow!(
            "{} holds several runs, and one is what a run is held against; save that alone",
            shown(path)
        )));
    };
    Ok(base.named().as_base())
}

/// Waits for the moment to begin, or until the user has seen enough.
fn wait(moment: Moment, interrupt: &Interrupt) -> Result<(), Failure> {
    if moment.left().is_none() {
        return Err(Failure::bad(anyhow!(
            "--start-at {moment} is in the past; allow every machine the time to get started"
        )));
    }
    while let Some(left) = moment.left()
        && !interrupt.wait(left.min(STEP))
    {
        if interrupt.take_question() {
            output::note(format_args!("waiting for {moment}"));
        }
    }
    Ok(())
}

/// What is known of a run before it begins.
fn known(connect: &Connect, config: &Bench) -> Report {
    Report {
        load: Some(config.load()),
        label: config.label.clone(),
        ..Report::new(Mode::Bench, connect, config)
    }
}

/// Runs of which there are many: what they have in common.
struct Job<'a> {
    config: &'a Bench,
    watch: Watch,
    interrupt: &'a Interrupt,
}

impl Job<'_> {
    /// One run of many, which may differ from the others.
    fn measure(&self, connect: &Connect, pid: Option<u32>, config: &Bench) -> Report {
        let (plan, known) = (plan(connect, pid, config), known(connect, config));
        engine::run(&plan, known, &self.watch, self.interrupt)
    }
}

fn plan(connect: &Connect, server: Option<u32>, config: &Bench) -> Plan {
    Plan {
        patience: Some(PATIENCE.max(connect.wait.0)),
        connect: connect.clone(),
        parallel: config.parallel.0 as usize,
        threads: config.threads.0 as usize,
        depth: config.depth.0 as usize,
        size: message_size(connect, config.size),
        pace: match config.rate {
            0.0 => Pace::Closed,
            per_s => Pace::Rate(per_s),
        },
        duration: config.span(),
        count: (config.count.0 > 0).then_some(config.count.0),
        warmup: config.warmup.0,
        verify: !config.no_verify,
        new_connection: config.new_connection,
        busy: config.busy,
        log: config.hdr.is_some(),
        server,
    }
}
