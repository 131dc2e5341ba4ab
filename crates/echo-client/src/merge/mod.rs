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
use crate::report::{self, Fault, Files, Load, OneWay, Report, Saved, Share, Thresholds};

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
    alone.map_err(Failure::usage)?;
    let parts = Saved::load(&config.files, config.expect > 0).map_err(Failure::usage)?;
    let came = counted(parts.len() as u64, "document", "documents");
    let too_few = format!("{came} came where {} were expected", config.expect);
    if parts.is_empty() {
        return Err(Failure::bad(anyhow!(too_few)));
    }
    let mut whole = merged(&parts).map_err(Failure::usage)?;
    whole.phrases = Phrases::of(config.lang.resolve(|name| std::env::var_os(name)));
    whole.conclude(config.fail_if.as_ref(), None);
    for Saved { report: part, .. } in &parts {
        let ended = part.outcome.of(&part.environment.hostname);
        whole.inherit(&ended, &part.verdicts);
    }
    if parts.len() < config.expect {
        whole.outcome.fail(Fault::new(ErrorKind::Other, too_few));
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
    // What was told of each way is known of those that tell it.
    let told = parts.iter().find(|part| one_way(&part.report).is_some());
    for part in parts {
        let Saved { source, report, .. } = part;
        if part.compared.is_some() {
            bail!("{source}: a comparison is no part of a run; give it to compare");
        }
        for other in [Some(first), told].into_iter().flatten() {
            if let Some(difference) = difference(report, &other.report) {
                let other = &other.source;
                bail!("{source} cannot be merged with {other}: {difference}");
            }
        }
        for machine in report.in_parts(&report.machines) {
            let hostname = printable(&machine.hostname);
            if !seen.insert((machine.hostname, machine.started_unix_ns)) {
                bail!("{source}: a run of {hostname} is there twice; give each document once");
            }
        }
    }
    let mut whole = first.report.without_figures();
    for part in parts {
        whole.add_machines(&part.report);
    }
    match &mut whole.load {
        Some(Load::Closed { in_flight }) => {
            *in_flight = in_flight.saturating_mul(parts.len() as u64);
        }
        Some(Load::Rate { per_s }) => *per_s *= parts.len() as f64,
        None => {}
    }
    let targets = || parts.iter().map(|part| &part.report.target);
    whole.target.name = listed(targets().map(|target| target.name.as_str()));
    whole.target.address = listed(targets().map(|target| target.address.as_str()));
    whole.environment.hostname = listed(whole.machines.iter().map(|m| m.hostname.as_str()));
    whole.notes.insert(0, alignment(&whole));
    Ok(whole)
}

/// What was done otherwise in a part than in another, or is said of other figures.
fn difference(part: &Report, other: &Report) -> Option<String> {
    let [from, to] = [part, other].map(|report| report.target.transport);
    match [part, other].map(one_way) {
        _ if from != to => Some(format!("one is over {from}, the other over {to}")),
        [Some(from), Some(to)] if from != to => Some(format!(
            "of each way, one tells the {from}, the other the {to}"
        )),
        _ => part.difference(other),
    }
}

/// What a run tells of each way, if it does.
fn one_way(report: &Report) -> Option<OneWay> {
    let told = report.ways.as_ref().map(|ways| ways.one_way);
    told.filter(|told| *told != OneWay::Unknown)
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
    let lack = match whole.has_rate() {
        true => "",
        false => ": too little for a rate of the whole; begin at once with --start-at",
    };
    format!(
        "{runs} runs on {hosts} began within {spread} of one another by their own clocks, and \
         measured together {} of the time{lack}",
        Share(whole.together())
    )
}
