//! `diagnose`: what is wrong with the path to a target, in the words of a colleague.
//!
//! Steps probe in turn and add findings, which rest on a test each; text, document and page only
//! render the `Diagnosis` that comes of it.

mod answer;
mod bulk;
mod chance;
mod diagnosis;
mod dial;
pub mod finding;
mod hops;
mod idle;
mod ladder;
mod load;
mod names;
mod page;
pub mod path;
mod payload;
mod peer;
mod reach;
mod sender;
mod settings;
mod sizes;
mod talk;
mod text;
pub mod train;
mod trains;
pub mod verdict;

use anyhow::anyhow;
use echo_core::{Exit, Failure, cause};
use echo_explain::Texts;

use crate::connection::Connect;
use crate::interrupt::Interrupt;
use crate::output;
use crate::report::{self, Files};
use diagnosis::{Diagnosis, Done};
use finding::Findings;
use path::Path;
pub use settings::Diagnose;

/// What a step did, in a line, in English.
pub enum Told {
    /// What it sent and what came of it.
    Seen(String),
    /// Why there was nothing to probe.
    LeftOut(String),
}

/// One step: probes, and adds what it finds. What it cannot do on this machine is an error, and
/// left out.
type Step = fn(&mut Path<'_>, &mut Findings) -> anyhow::Result<Told>;

/// What a step says whose packets the budget has no room for.
const SPENT: &str = "the budget is spent";
/// Steps without a train send less than this.
const LITTLE: u64 = 8_000;

/// The steps, in order.
const STEPS: &[(&str, Step)] = &[
    ("names", names::names),
    ("reach", reach::reach),
    ("echo", peer::echo),
    ("steady", trains::steady),
    ("mixed", trains::mixed),
    ("ladder", ladder::ladder),
    ("sizes", sizes::sizes),
    ("bulk", bulk::bulk),
    ("load", load::load),
    ("hops", hops::hops),
    ("stamp", trains::stamp),
    ("again", trains::again),
    ("idle", idle::idle),
];

/// Diagnoses, and tells what came of it.
///
/// # Errors
/// Something is wrong with the path; this program cannot go on.
pub fn run(connect: Connect, settings: Diagnose, interrupt: &Interrupt) -> Result<(), Failure> {
    settings.check(&connect)?;
    let files = Files::check(settings.report.as_deref(), None, None)?;
    let texts = Texts::of_verdicts(connect.lang.resolve(|name| std::env::var_os(name)));
    let mut path = Path::new(&connect, &settings, interrupt);
    path.check().map_err(|error| {
        let text = "give a device and an address that this machine has (ip address)";
        Failure::new(
            Exit::Unreachable,
            anyhow!("cannot send as asked: {}; {text}", cause(&error)),
        )
    })?;
    let mut findings = Findings::default();
    let mut done = Vec::new();
    for (name, step) in STEPS {
        if interrupt.why().is_some() {
            break;
        }
        let start = path.spent.start.elapsed();
        let before = findings.clone();
        let mut told = match (path.time_left().is_zero(), path.bytes_left() < LITTLE) {
            (true, _) => Ok(Told::LeftOut("there is no time left".to_owned())),
            (_, true) => Ok(Told::LeftOut(SPENT.to_owned())),
            _ => step(&mut path, &mut findings),
        };
        if interrupt.why().is_some() {
            // What was not waited for is no silence.
            findings = before;
            told = Ok(Told::LeftOut("it was cut short".to_owned()));
        }
        let step = Done::new(name, told, path.spent.start.elapsed() - start);
        if !settings.json {
            output::line(step.line(&connect.phrases)).map_err(output::failure)?;
        }
        done.push(step);
    }
    for finding in verdict::judge(&path.trains) {
        findings.add(finding);
    }
    let mut diagnosis = Diagnosis::of(&path, findings.sorted(), done, interrupt.why());
    let page = page::html(&diagnosis, &connect.phrases, &texts);
    files.write_all(&[], &page, &mut diagnosis.outcome);
    let text = match settings.json {
        true => diagnosis.json(),
        false => text::summary(&diagnosis, &connect.phrases, &texts),
    };
    let told = output::line(text).map_err(output::failure);
    report::ended(&diagnosis.outcome, told, !settings.json)
}
