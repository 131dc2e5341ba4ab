//! The mode without a name: sends one message, or a stream, and checks every byte of the echo.

mod datagram;
mod difference;
mod show;
mod source;
mod stream;
mod window;

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use echo_core::units::{Size, Timespan};
use echo_core::{Failure, FilePath};
use echo_explain::Explain;
use serde::{Deserialize, Serialize};

use crate::config::{Keys, Settings, by_flags};
use crate::connection::{Connect, Connection, ErrorKind, Fault};
use crate::interrupt::{Interrupt, Why};
use crate::narrator::Narrator;
use crate::output;
use crate::report::{self, Files, Mode, Report, Thresholds};
use show::Show;
use source::Source;

/// What is sent when nothing else is given: the tutorial's message.
pub const DEFAULT_MESSAGE: &str = "Hello world! This is an echo server made with Rust.";

/// More than a socket can hold by default.
const MAX_BUFFER: Size = Size(16 << 20);
/// Longer than somebody reads.
const DAY: Duration = Duration::from_secs(86_400);

/// What is sent, and how the echo is shown.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Message")]
pub struct Send {
    /// Send this text, and not what is piped in, which is to begin within 5 s, --timeout or --wait; -
    /// sends standard input, whatever it is
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true,
          default_value = DEFAULT_MESSAGE)]
    pub message: String,
    /// Send each line as it is typed, over UDP one datagram a line; Ctrl-D ends
    #[arg(short, long, conflicts_with_all = ["message", "file"])]
    pub interactive: bool,
    /// Send this file
    #[arg(short, long, conflicts_with = "message", default_value = "")]
    pub file: FilePath,
    /// Write the returned bytes as they are, and nothing else
    #[arg(long)]
    pub raw: bool,
    /// End the sending half of the stream right after the last byte, while its echo is on the way
    #[arg(long)]
    pub half_close: bool,
    /// Read at most this much of a stream at a time; little shows that it has no messages
    #[arg(long, value_name = "SIZE", default_value = "64KiB")]
    pub buffer: Size,
    /// Fail when any of these holds: max>200ms; by default when the echo is not what was sent
    #[arg(long, value_name = "CONDITIONS", help_heading = "Result")]
    pub fail_if: Option<Thresholds>,
    /// Print the report as one JSON document, and not the echo
    #[arg(long, conflicts_with = "raw", help_heading = "Result")]
    pub json: bool,
    /// Tell each socket call and what it means, on standard error; `json` for programs
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "off",
          default_missing_value = "text", value_name = "FORMAT")]
    pub explain: Explain,
    /// Explain, and make each call only when Enter is pressed; no limit of time counts meanwhile
    #[arg(long, conflicts_with = "interactive")]
    pub step: bool,
}

by_flags!(Send);

impl Settings for Send {
    const TABLE: &str = "send";

    /// What one layer has sent takes the place of what the layers below do.
    fn complete(&mut self, keys: &mut Keys) -> Result<()> {
        // A whole table that is written out says that there is none.
        let is_named = keys.contains("file") && !keys.contains("message");
        ensure!(
            !is_named || !self.file.is_none(),
            "--file names no file; give it a name, or leave it out"
        );
        if keys.contains("message") || keys.contains("file") || self.interactive {
            keys.extend(["message", "file", "interactive"].map(str::to_owned));
        }
        Ok(())
    }

    fn check(&self, connect: &Connect) -> Result<()> {
        let buffer = self.buffer;
        ensure!(
            !connect.is_stamp(),
            "a packet of STAMP carries no message; send them with ping or bench"
        );
        ensure!(
            (1..=MAX_BUFFER.0).contains(&buffer.0),
            "--buffer {buffer} is no size for a read; give one from 1 to {MAX_BUFFER}"
        );
        self.fail_if.as_ref().map_or(Ok(()), Thresholds::alone)?;
        let (is_cut, is_udp) = (buffer != Send::default().buffer, connect.is_udp());
        connect.refuse(&[
            ("--half-close", self.half_close && is_udp),
            ("--buffer", is_cut && is_udp),
        ])
    }
}

/// What came of an exchange: everything is back, unless somebody stopped it between two messages.
type Ended = Result<Option<Why>, Trouble>;

/// Why an exchange did not go well.
#[derive(Debug)]
pub enum Trouble {
    /// What was asked for, the way there or the far end: a part of the report.
    There(Fault),
    /// This program cannot go on, whatever the far end does.
    Here(Failure),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Trouble::There(fault)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Here(failure)
    }
}

/// Sends, checks and shows.
pub fn run(mut connect: Connect, config: Send, interrupt: &Interrupt) -> Result<(), Failure> {
    // Nothing is written but the result.
    let read = Some(&config.file).filter(|file| !file.is_none());
    Files::check([None; 3], connect.read.iter().chain(read))?;
    let colour = connect
        .color
        .enabled(io::stderr().is_terminal(), |name| std::env::var_os(name));
    let mut report = Report::new(Mode::Send, &connect, &config);
    let mut explain = config.explain;
    let reader = config.step.then(|| interrupt.clone());
    if reader.is_some() {
        // Who reads takes as long as it takes.
        (connect.timeout, connect.connect_timeout) = (Timespan(DAY), Timespan(DAY));
        if explain == Explain::Off {
            explain = Explain::Text;
        }
    }
    connect.narrator = Narrator::new(explain, connect.lang, colour, reader);
    let mut is_text = false;
    let ended = Source::open(&config, &connect, interrupt).and_then(|source| {
        is_text = !source.is_stream;
        let mut show = Show::new(&config, &source, &connect);
        let ended = match connect.is_udp() {
            true => datagram::exchange(&connect, source, &mut show, &mut report, interrupt),
            false => {
                let how = (&connect, &config);
                stream::exchange(how, source, &mut show, &mut report, interrupt)
            }
        };
        show.sum_up(report.counts.received_bytes, report.elapsed);
        ended
    });
    let stopped = match ended {
        Ok(stopped) => stopped,
        Err(Trouble::There(fault)) => {
            report.fault = Some(fault);
            interrupt.why()
        }
        Err(Trouble::Here(failure)) => return Err(failure),
    };
    report.took = report.elapsed;
    count(&mut report, is_text);
    report.conclude(config.fail_if.as_ref(), stopped);
    // In text the echo itself is the result.
    report::print(&report, config.json, false)
}

/// There is a connection: whoever is about to type a line is told so.
fn connected(connection: &Connection, connect: &Connect, by_line: bool, report: &mut Report) {
    let ends = connection.ends();
    if by_line && io::stdin().is_terminal() {
        let told = format!("connected {ends}; type a line, Ctrl-D ends");
        output::note(connect.phrases.say(&told));
    } else if connect.verbose {
        output::note(connect.phrases.say(&format!("connected {ends}")));
    }
    report.target.found(&connection.remote);
    report.environment.congestion_control = connection.congestion_control();
    report.counts.connections = 1;
}

/// Counts the whole as one request, of which a text's round trip is known: a stream's would be
/// that of whoever types it, too.
fn count(report: &mut Report, is_text: bool) {
    let counts = &mut report.counts;
    counts.sent = counts.connections.min(1);
    let kind = report.fault.as_ref().map(|fault| fault.kind);
    match kind {
        None => counts.unique = counts.sent,
        Some(ErrorKind::Mismatch) => counts.corrupt = counts.sent,
        Some(ErrorKind::Interrupted) => counts.under_way = counts.sent,
        // What was broken off was right as far as it went.
        Some(ErrorKind::Closed) if counts.received_bytes > 0 => counts.truncated = counts.sent,
        Some(_) => {}
    }
    counts.lost = counts.sent - counts.unique - counts.under_way;
    counts.received = counts.unique + counts.duplicate + counts.corrupt + counts.truncated;
    if is_text && counts.unique > 0 {
        report.rtt.record(report.elapsed);
    }
}
