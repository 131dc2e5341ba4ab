//! `merge`: the documents of many machines as the one of the run that they made together.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use echo_core::Failure;
use echo_core::escape::printable;
use echo_core::units::Timespan;
use echo_explain::{Lang, Phrases};

use crate::connection::ErrorKind;
use crate::report::format::counted;
use crate::report::{self, Ending, Fault, Files, Load, Part, Report, Saved, Share, Thresholds};

/// Adds up what several machines have measured at the same time
#[derive(Debug, Args)]
pub struct Merge {
    /// Documents that --json has printed, any number in a file; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Fail where fewer documents than this have come
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    pub expect: usize,
    /// Fail when any of these holds for the whole: p99>2ms,loss>0.1%
    #[arg(long, value_name = "CONDITIONS")]
    pub fail_if: Option<Thresholds>,
    /// Print the whole as one JSON document
    #[arg(long)]
    pub json: bool,
    /// Write the whole as a page for a browser, too
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write a row for each second, for a spreadsheet, too
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Speak `en` or `es` to people; auto goes by the locale
    #[arg(long, value_name = "LANG", default_value = "auto")]
    pub lang: Lang,
}

/// Reads all the documents, and tells the whole of them.
///
/// # Errors
/// A document cannot be read or merged (2); fewer came than were expected, or the whole is bad (1).
pub fn run(config: Merge) -> Result<(), Failure> {
    let [page, rows] = [&config.report, &config.csv].map(Option::as_deref);
    let files = Files::check([page, None, rows], &config.files)?;
    let alone = config.fail_if.as_ref().map_or(Ok(()), Thresholds::alone);
    alone.map_err(|why| Failure::usage(anyhow!(why)))?;
    let mut parts = Vec::new();
    for file in &config.files {
        parts.extend(Saved::load(file).map_err(Failure::usage)?);
    }
    let mut whole = merged(&parts).map_err(Failure::usage)?;
    whole.phrases = Phrases::of(config.lang.resolve(|name| std::env::var_os(name)));
    whole.conclude(config.fail_if.as_ref(), None);
    for part in &parts {
        inherit(&mut whole, &part.report);
    }
    if parts.len() < config.expect {
        let came = counted(parts.len() as u64, "document", "documents");
        let message = format!("{came} came where {} were expected", config.expect);
        whole.outcome.fail(Fault::new(ErrorKind::Other, message));
    }
    files.write(&mut whole);
    report::print(&whole, config.json, true)
}

/// The whole of what the documents tell; how it ended is not decided yet.
///
/// # Errors
/// They are not parts of one run: what they did differs, or one is there twice.
pub fn merged(parts: &[Saved]) -> Result<Report> {
    let Some(first) = parts.iter().min_by_key(|part| part.report.started_unix_ns) else {
        bail!("there is nothing to merge");
    };
    let mut seen = BTreeSet::new();
    for Saved { source, report, .. } in parts {
        let transports = [report, &first.report].map(|report| &report.target.transport);
        let difference = report.difference(&first.report).or_else(|| {
            let [own, other] = transports;
            (own != other).then(|| format!("one is over {own}, the other over {other}"))
        });
        if let Some(difference) = difference {
            bail!(
                "{source} cannot be merged with {}: {difference}",
                first.source
            );
        }
        let hostname = &report.environment.hostname;
        if !seen.insert((hostname, report.started_unix_ns)) {
            let hostname = printable(hostname);
            bail!("{source}: a run of {hostname} is there twice; give each document once");
        }
    }
    let mut whole = first.report.without_figures();
    for part in parts {
        whole.add(&part.report);
        let report = &part.report;
        whole.machines.extend(report.in_parts(&report.machines));
        for note in &part.report.notes {
            whole
                .notes
                .push(format!("{}: {note}", part.report.environment.hostname));
        }
    }
    let ends = whole.machines.iter().map(Part::end_unix_ns);
    let end = ends.max().unwrap_or(0);
    whole.elapsed = Duration::from_nanos(end.saturating_sub(whole.started_unix_ns));
    whole.load = whole.load.map(|load| match load {
        Load::Closed { in_flight } => Load::Closed {
            in_flight: in_flight * parts.len() as u64,
        },
        Load::Rate { per_s } => Load::Rate {
            per_s: per_s * parts.len() as f64,
        },
    });
    let targets = || parts.iter().map(|part| &part.report.target);
    whole.target.name = listed(targets().map(|target| target.name.as_str()));
    whole.target.address = listed(targets().map(|target| target.address.as_str()));
    whole.environment.hostname = listed(whole.machines.iter().map(|m| m.hostname.as_str()));
    whole.notes.insert(0, alignment(&whole));
    Ok(whole)
}

/// Names, each of them once.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: BTreeSet<_> = names.filter(|name| !name.is_empty()).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// How far the parts were at one, which decides whether their counts make a rate.
fn alignment(whole: &Report) -> String {
    let starts = || whole.machines.iter().map(|machine| machine.started_unix_ns);
    let spread = starts().max().unwrap_or(0) - starts().min().unwrap_or(0);
    let spread = Timespan(Duration::from_micros(spread / 1_000));
    let (runs, hosts) = (whole.machines.len(), &whole.environment.hostname);
    if runs == 1 {
        return format!("one run, on {hosts}: there was nothing to add to it");
    }
    let told = format!(
        "{runs} runs on {hosts} began within {spread} of one another by their own clocks, and \
         measured together {} of the time",
        Share(whole.together())
    );
    match whole.has_rate() {
        true => told,
        false => {
            format!("{told}: too little for a rate of the whole; begin at once with --start-at")
        }
    }
}

/// What went wrong with a part that the figures of the whole do not tell.
fn inherit(whole: &mut Report, part: &Report) {
    use ErrorKind::{Interrupted, Late, Lost, Mismatch, Threshold, Unsent};
    for reason in &part.outcome.reasons {
        let is_judged = matches!(reason.kind, Late | Lost | Mismatch | Threshold | Unsent)
            || whole.errors.contains_key(&reason.kind);
        let message = format!("{}: {}", part.environment.hostname, reason.message);
        let fault = Fault::new(reason.kind, message);
        match reason.kind {
            _ if is_judged => {}
            Interrupted if part.outcome.exit_code == 0 => {
                whole.notes.push(fault.message);
                if whole.outcome.result == Ending::Passed {
                    whole.outcome.result = Ending::CutShort;
                }
            }
            _ => whole.outcome.fail(fault),
        }
    }
}
