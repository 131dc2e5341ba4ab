//! `diagnose`: what is wrong with the path to a target, in the words of a colleague.
//!
//! Steps probe in turn and add findings, which rest on a test each; text, document and page only
//! render what the `Path` has come to.

mod answer;
mod bulk;
mod chance;
mod dial;
mod document;
mod finding;
mod hops;
mod idle;
mod ladder;
mod load;
mod names;
mod options;
mod page;
mod path;
mod payload;
mod peer;
mod reach;
mod sender;
mod settings;
mod sizes;
mod stopped;
mod talk;
mod text;
mod train;
mod trains;
mod verdict;
mod words;

use std::io;
use std::time::Instant;

use anyhow::anyhow;
use echo_core::units::Timespan;
use echo_core::{Exit, Failure, cause, remedied};

use crate::connection::{self, Connect, ErrorKind};
use crate::interrupt::Interrupt;
use crate::output;
use crate::report::{self, Files};
use finding::{Verdict, finding};
use path::{Done, LITTLE, Path};
pub use settings::Diagnose;
use stopped::Fate;
use words::Words;

/// Probes, adds what it finds, and tells in a line what it did, in English. What it cannot do, or need
/// not, is an error: then the step is left out.
type Probe = fn(&mut Path<'_>) -> anyhow::Result<String>;

/// What a step needs, and why it is left out if that is not there.
type Need = (fn(&Path<'_>) -> bool, &'static str);

/// Some time of the minute that all take but the one that waits on purpose.
const TIME: Need = (|path| !path.time_left().is_zero(), "there is no time left");
const ADDRESS: Need = (|path| !path.addresses.is_empty(), "no address is known");
const ANSWER: Need = (|path| path.is_answered(), "nothing answers");
const UDP: Need = (|path| path.udp_port.is_some(), "no datagram comes back");
const TCP: Need = (|path| path.has_tcp, "TCP does not connect");
const ECHO: Need = (|path| path.findings.allow_echo(), "no echo comes back");
const LOAD: Need = (|path| !path.settings.gentle, "--gentle");
const IDLE: Need = (
    |path| !path.settings.idle.0.is_zero(),
    "not asked for (--idle)",
);

/// The steps, in order.
const STEPS: &[(&str, &[Need], Probe)] = &[
    ("names", &[TIME], names::names),
    ("reach", &[TIME, ADDRESS], reach::reach),
    ("echo", &[TIME, TCP], peer::echo),
    ("steady", &[TIME, UDP], trains::steady),
    ("mixed", &[TIME, UDP], trains::mixed),
    ("sizes", &[TIME, UDP], sizes::sizes),
    ("ladder", &[TIME, LOAD, UDP], ladder::ladder),
    ("bulk", &[TIME, TCP, ECHO], bulk::bulk),
    ("load", &[TIME, LOAD, UDP, TCP, ECHO], load::load),
    ("hops", &[TIME, ANSWER], hops::hops),
    ("stamp", &[TIME, ANSWER], trains::stamp),
    ("again", &[TIME, UDP], trains::again),
    ("idle", &[IDLE, ANSWER], idle::idle),
];

/// What a step says whose packets the budget has no room for.
const SPENT: &str = "the budget is spent";

/// Takes a step, if it has all that it needs.
fn take((name, needs, probe): (&'static str, &[Need], Probe), path: &mut Path<'_>) -> Done {
    let (start, before) = (path.start.elapsed(), path.findings.clone());
    let was_answered = path.is_answered();
    let attempt = |path: &mut Path<'_>| {
        let mut missing = needs.iter().filter(|(is_met, _)| !is_met(path));
        let missing = missing.next().map(|(_, why)| *why);
        match missing.or((path.bytes_left() < LITTLE).then_some(SPENT)) {
            Some(why) => (Err(anyhow!(why)), true),
            None => (probe(path), false),
        }
    };
    let (mut told, is_missing) = attempt(path);
    if was_answered && !is_missing && path.interrupt.why().is_none() {
        let has_found = path.findings.problems().count() > before.problems().count();
        // What the step says of somebody who is not there is not so.
        match stopped::check(path, (&before, has_found), start) {
            Ok(Fate::Gone(stopped)) => {
                path.findings = before.clone();
                path.findings.add(stopped);
            }
            Ok(Fate::Back(outage)) => {
                if told.is_err() || has_found {
                    path.findings = before.clone();
                    told = attempt(path).0;
                }
                path.findings.extend(outage);
            }
            Ok(Fate::Here) => {}
            // Nor is it known to be so.
            Err(error) => {
                path.findings = before.clone();
                path.silence
                    .into_iter()
                    .for_each(|(since, _)| path.trains.cut(since));
                told = Err(error);
            }
        }
    }
    if path.interrupt.why().is_some() {
        // What was not waited for is no silence, in the step or when it was asked about.
        path.findings = before;
        told = Err(anyhow!("it was cut short"));
    }
    if let Err(error) = &told
        && let Some(refused) = error.downcast_ref::<io::Error>()
        && refused.kind() != io::ErrorKind::QuotaExceeded
        && !path.findings.has(Verdict::Stopped)
    {
        // What this machine refuses was not left out on purpose.
        let why = remedied(refused, ErrorKind::of(refused).remedy().unwrap_or_default());
        path.findings
            .add(finding!(Verdict::Unjudged; what: name, why));
    }
    Done {
        name,
        left_out: told.is_err(),
        told: told.unwrap_or_else(|why| match why.downcast_ref() {
            Some(refused) => cause(refused),
            None => format!("{why:#}"),
        }),
        elapsed: path.start.elapsed() - start,
    }
}

/// Diagnoses, and tells what came of it.
///
/// # Errors
/// Something is wrong with the path; this program cannot go on.
pub fn run(connect: Connect, settings: Diagnose, interrupt: &Interrupt) -> Result<(), Failure> {
    let files = Files::check([settings.report.as_deref(), None, None], &connect.read)?;
    let lang = connect.lang.resolve(|name| std::env::var_os(name));
    let words = Words::of(lang, connect.phrases.clone());
    let mut path = Path::new(&connect, &settings, interrupt);
    path.check().map_err(|error| {
        let remedy = "give a device and an address that this machine has (ip address)";
        let text = anyhow!("cannot send as asked: {}; {remedy}", cause(&error));
        Failure::new(Exit::Unreachable, text)
    })?;
    if !connect.wait.0.is_zero() {
        // Who does not come is diagnosed all the same.
        let _: Result<_, _> = connection::connect(&connect, interrupt);
        path.start = Instant::now();
    }
    let tell = |line: String| match settings.json {
        true => Ok(()),
        false => output::line(line),
    };
    if !settings.idle.0.is_zero() {
        let longest = Timespan(idle::longest(path.settings));
        tell(words.phrase(&format!("with --idle this takes up to about {longest}")))?;
    }
    for step in STEPS {
        if interrupt.why().is_some() {
            break;
        }
        let step = take(*step, &mut path);
        tell(text::step(&step, &words))?;
        path.steps.push(step);
        if interrupt.take_question() {
            path.elapsed = path.start.elapsed();
            output::note(text::cost(&path, &words));
        }
    }
    path.findings.extend(verdict::judge(&path.trains));
    path.findings.sort();
    path.elapsed = path.start.elapsed();
    let mut outcome = document::outcome(&path);
    if settings.report.is_some() {
        let page = page::html(&path, &outcome, &words);
        files.write_all(&[], &page, &mut outcome);
    }
    let text = match settings.json {
        true => document::json(&path, &outcome),
        false => text::summary(&path, &words, outcome.by.is_some()),
    };
    let told = output::line(text);
    // The document is English, and whoever reads the screen need not be.
    for (reason, problem) in outcome.reasons.iter_mut().zip(path.findings.problems()) {
        reason.message = words.title(problem);
    }
    report::ended(&outcome, told, !settings.json)
}
