//! What `ping` and `bench` share: a run on the engine, what it tells meanwhile, and its results.

mod lines;
mod watch;

use std::io::{self, IsTerminal};

use anyhow::{Result, bail, ensure};
use echo_core::units::Size;
use echo_core::{Failure, Framing};

use crate::connection::Connect;
use crate::engine::{self, Plan};
use crate::interrupt::Interrupt;
use crate::output;
use crate::report::{self, Files, Report, Thresholds};
use crate::wire::stamp::Packets;
pub use lines::{Form, Lines, Style};
pub use watch::Watch;

/// The most that fits into a datagram over IPv4.
pub const MAX_DATAGRAM: u64 = 65_507;

/// Refuses what contradicts itself in every mode that measures: `both` forms of JSON, what
/// [`check_target`] refuses, or conditions about what no such target tells, or about a change where
/// there is no base (`has_base`) that it could be one of.
pub fn check(
    connect: &Connect,
    both: bool,
    new_connection: bool,
    fail_if: Option<&Thresholds>,
    has_base: bool,
) -> Result<()> {
    let of_ways = fail_if.and_then(Thresholds::of_ways);
    if let Some(only) = of_ways.filter(|_| !connect.is_stamp()) {
        bail!("--fail-if {only}: only a STAMP reflector tells one way from the other; add --stamp");
    }
    if let Some(only) = fail_if.filter(|_| !has_base) {
        only.alone()?;
    }
    ensure!(!both, "--json contradicts --jsonl; leave one of them out");
    check_target(connect, new_connection)
}

/// Refuses what no such target has: frames in datagrams, or a `new_connection` for each request where
/// there are none.
pub fn check_target(connect: &Connect, new_connection: bool) -> Result<()> {
    ensure!(
        !connect.is_udp() || connect.framing == Framing::Raw,
        "a datagram is a frame already; leave --framing out"
    );
    connect.refuse(&[("--new-connection", new_connection && connect.is_udp())])
}

/// Refuses a size that cannot be sent, such as that of a datagram below `least`.
pub fn check_size(connect: &Connect, size: Size, least: u64) -> Result<()> {
    if connect.is_udp() {
        ensure!(
            (least..=MAX_DATAGRAM).contains(&size.0),
            "--size {size}: a datagram here has {least} to {MAX_DATAGRAM} bytes"
        );
        return Ok(());
    }
    let (framing, max) = (connect.framing, connect.max_frame);
    // The line end counts, as it does for the server.
    let frame = size.0.saturating_add(u64::from(framing == Framing::Lines));
    match framing {
        Framing::Raw if size.0 == 0 => {
            bail!("--size 0 sends nothing over a stream; give at least 1, or --udp, or a --framing")
        }
        Framing::Lines | Framing::Length if frame > max.0 => bail!(
            "--size {size}: a frame may have {max} bytes; raise --max-frame, here and at the server"
        ),
        _ => Ok(()),
    }
}

/// The bytes of a message, where so many are asked for: a packet of STAMP asks questions, too.
pub fn message_size(connect: &Connect, asked: Size) -> usize {
    let size = asked.0 as usize;
    match connect.is_stamp() {
        true => Packets::new(connect.key.clone(), size, 0).size(),
        false => size,
    }
}

/// Which results are wanted.
#[derive(Debug)]
pub struct Results {
    /// What the run must keep.
    pub fail_if: Option<Thresholds>,
    /// One document instead of text.
    pub json: bool,
    /// Where to write more.
    pub files: Files,
    /// Whether the run ends by itself, so that who stops it earlier cuts it short.
    pub has_end: bool,
}

/// Runs `plan`, tells what happens in this `style`, and gives the `results` that are wanted.
/// `known` is what the report says of the run before it begins.
pub fn run(
    plan: &Plan,
    known: Report,
    mut style: Style,
    results: &Results,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let color = plan.connect.color;
    style.color = color.enabled(io::stdout().is_terminal(), |name| std::env::var_os(name));
    style.verbose = plan.connect.verbose;
    style.phrases = plan.connect.phrases.clone();
    let (form, has_headline) = (style.form, style.headline.is_some());
    let lines = Lines::start(style)?;
    let mut report = engine::run(plan, known, &lines, interrupt);
    let told = lines.finish();
    let cut = interrupt.why().filter(|_| results.has_end);
    report.conclude(results.fail_if.as_ref(), cut);
    results.files.write(&mut report);
    // Where nothing was sent, the error says it all.
    let has_text = report.counts.sent > 0;
    let told = told.and_then(|()| match form {
        Form::Events => lines::summary(&report),
        _ if has_text && has_headline => output::line(""),
        _ => Ok(()),
    });
    if told.is_err() || form == Form::Events {
        return report::ended(&report.outcome, told, false);
    }
    report::print(&report, results.json, has_text)
}
