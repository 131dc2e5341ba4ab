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
mod options;
mod page;
pub mod path;
mod payload;
mod peer;
mod reach;
mod sender;
mod settings;
mod sizes;
mod stopped;
mod talk;
mod text;
pub mod train;
mod trains;
pub mod verdict;
mod words;

use std::io;

use anyhow::anyhow;
use echo_core::units::Timespan;
use echo_core::{Exit, Failure, cause};

use crate::connection::Connect;
use crate::interrupt::Interrupt;
use crate::output;
use crate::report::{self, Files};
use diagnosis::{Diagnosis, Done};
use finding::{Findings, Verdict, finding};
use path::{LITTLE, Path};
pub use settings::Diagnose;
use words::Words;

/// Probes, adds what it finds, and tells in a line what it did, in English. What it cannot do, or need
/// not, is an error: then the step is left out.
type Probe = fn(&mut Path<'_>, &mut Findings) -> anyhow::Result<String>;

/// What a step needs, or it is left out.
#[derive(Clone, Copy)]
enum Need {
    /// Some time of the minute that all take but the one that waits on purpose.
    Time,
    /// An address.
    Address,
    /// Anything that answers.
    Answer,
    /// Datagrams that come back.
    Udp,
    /// Connections.
    Tcp,
    /// Connections that echo.
    Echo,
    /// That a load is allowed.
    Load,
    /// That it is asked for.
    Idle,
}

use Need::{Address, Answer, Echo, Idle, Load, Tcp, Time, Udp};

/// The steps, in order.
const STEPS: &[(&str, &[Need], Probe)] = &[
    ("names", &[Time], names::names),
    ("reach", &[Time, Address], reach::reach),
    ("echo", &[Time, Tcp], peer::echo),
    ("steady", &[Time, Udp], trains::steady),
    ("mixed", &[Time, Udp], trains::mixed),
    ("ladder", &[Time, Load, Udp], ladder::ladder),
    ("sizes", &[Time, Udp], sizes::sizes),
    ("bulk", &[Time, Tcp, Echo], bulk::bulk),
    ("load", &[Time, Load, Udp, Tcp, Echo], load::load),
    ("hops", &[Time, Answer], hops::hops),
    ("stamp", &[Time, Answer], trains::stamp),
    ("again", &[Time, Udp], trains::again),
    ("idle", &[Idle, Answer], idle::idle),
];

/// What a step says whose packets the budget has no room for.
const SPENT: &str = "the budget is spent";

impl Need {
    /// Why the step is left out, if this is not there.
    fn missing(self, path: &Path<'_>, findings: &Findings) -> Option<&'static str> {
        let (is_met, why) = match self {
            Need::Time => (!path.time_left().is_zero(), "there is no time left"),
            Need::Address => (!path.addresses.is_empty(), "no address is known"),
            Need::Answer => (path.is_answered(), "nothing answers"),
            Need::Udp => (path.udp_port.is_some(), "no datagram comes back"),
            Need::Tcp => (path.has_tcp, "TCP does not connect"),
            Need::Echo => (findings.allow_echo(), "no echo comes back"),
            Need::Load => (!path.settings.gentle, "--gentle"),
            Need::Idle => (!path.settings.idle.0.is_zero(), "not asked for (--idle)"),
        };
        (!is_met).then_some(why)
    }
}

/// Takes a step, if it has all that it needs.
fn take(
    (name, needs, probe): (&'static str, &[Need], Probe),
    path: &mut Path<'_>,
    findings: &mut Findings,
) -> Done {
    let start = path.start.elapsed();
    let (before, was_answered) = (findings.clone(), path.is_answered());
    let missing = needs
        .iter()
        .find_map(|need| need.missing(path, findings))
        .or_else(|| (path.bytes_left() < LITTLE).then_some(SPENT));
    let mut told = match missing {
        Some(why) => Err(anyhow!(why)),
        None => probe(path, findings),
    };
    if path.interrupt.why().is_some() {
        // What was not waited for is no silence.
        *findings = before;
        told = Err(anyhow!("it was cut short"));
    } else if was_answered
        && missing.is_none()
        && let Some(stopped) = stopped::check(path, (&before, findings), start)
    {
        // What the step says of somebody who is not there is not so.
        *findings = before;
        findings.add(stopped);
    } else if let Err(error) = &told
        && let Some(refused) = error.downcast_ref::<io::Error>()
        && refused.kind() != io::ErrorKind::QuotaExceeded
    {
        // What this machine refuses was not left out on purpose.
        let why = cause(refused);
        findings.add(finding!(Verdict::Unjudged; what: name, why));
    }
    Done::new(name, &told, path.start.elapsed() - start)
}

/// Diagnoses, and tells what came of it.
///
/// # Errors
/// Something is wrong with the path; this program cannot go on.
pub fn run(connect: Connect, settings: Diagnose, interrupt: &Interrupt) -> Result<(), Failure> {
    settings.check(&connect)?;
    let files = Files::check([settings.report.as_deref(), None, None], &connect.read)?;
    let lang = connect.lang.resolve(|name| std::env::var_os(name));
    let words = Words::of(lang, connect.phrases.clone());
    let mut path = Path::new(&connect, &settings, interrupt);
    path.check().map_err(|error| {
        let text = "give a device and an address that this machine has (ip address)";
        Failure::new(
            Exit::Unreachable,
            anyhow!("cannot send as asked: {}; {text}", cause(&error)),
        )
    })?;
    let tell = |line: String| match settings.json {
        true => Ok(()),
        false => output::line(line).map_err(output::failure),
    };
    if !settings.idle.0.is_zero() {
        let longest = Timespan(idle::longest(path.settings));
        tell(words.phrase(&format!("with --idle this takes up to {longest}")))?;
    }
    let mut findings = Findings::default();
    let mut done = Vec::new();
    for step in STEPS {
        if interrupt.why().is_some() {
            break;
        }
        let step = take(*step, &mut path, &mut findings);
        tell(text::step(&step, &words))?;
        done.push(step);
    }
    findings.extend(verdict::judge(&path.trains));
    let mut diagnosis = Diagnosis::of(&path, findings.sorted(), done, interrupt.why());
    if settings.report.is_some() {
        let page = page::html(&diagnosis, &words);
        files.write_all(&[], &page, &mut diagnosis.outcome);
    }
    let text = match settings.json {
        true => diagnosis.json(),
        false => text::summary(&diagnosis, &words),
    };
    let told = output::line(text).map_err(output::failure);
    // The document is English, and whoever reads the screen need not be.
    let problems = diagnosis.findings.iter().filter(|found| found.is_problem());
    let reasons = diagnosis.outcome.reasons.iter_mut();
    for (reason, problem) in reasons.zip(problems) {
        reason.message = words.title(problem);
    }
    report::ended(&diagnosis.outcome, told, !settings.json)
}
