//! The options of `bench`.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Args;
use echo_core::units::{Size, Timespan};
use echo_core::{Endpoint, FilePath, Transport, Whole};
use serde::{Deserialize, Serialize};

use super::find::Conditions;
use super::start::Moment;
use crate::compare::SEED;
use crate::config::{Settings, by_flags};
use crate::connection::Connect;
use crate::engine::cpu::of_process;
use crate::measure::{check, check_size, check_target};
use crate::report::{Load, Thresholds};
use crate::wire::echo::HEADER_LEN;

/// How much load to make, and what to do with the result.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Load")]
pub struct Bench {
    /// More targets: all are measured in turn under the same load, and held against the first
    #[arg(value_name = "TARGET", help_heading = "Comparison")]
    pub against: Vec<Endpoint>,
    /// Times that each target is measured [default: 15 for several targets, 1 for one]
    #[arg(long, value_name = "N", help_heading = "Comparison")]
    pub rounds: Option<Rounds>,
    /// Measure the first target against itself, too: the noise of this machine
    #[arg(long, help_heading = "Comparison")]
    pub control: bool,
    /// Hold the target against a saved run, a document that --json has printed
    #[arg(long, value_name = "FILE", help_heading = "Comparison")]
    pub baseline: Option<FilePath>,
    /// The process of each target's server, on this machine: its CPU time for an echo, and that of
    /// its children, is a figure
    #[arg(long, value_delimiter = ',', help_heading = "Comparison")]
    pub pid: Vec<u32>,
    /// What the order of the rounds is shuffled by
    #[arg(long, value_name = "N", default_value = SEED, help_heading = "Comparison")]
    pub seed: Whole,
    /// Look for the highest rate that keeps these: p99<5ms,loss=0
    #[arg(long, value_name = "CONDITIONS")]
    pub find: Option<Conditions>,
    /// Begin at this moment, a time as 2026-01-31T23:59:59Z or seconds since 1970
    #[arg(long, value_name = "TIME")]
    pub start_at: Option<Moment>,
    /// How long to measure [default: 10s, 1s for each round of several, or without limit when
    /// --count is given]
    #[arg(short, long, value_name = "DURATION")]
    pub duration: Option<Timespan>,
    /// Stop after this many requests; 0 sets no limit
    #[arg(short, long, value_name = "N", default_value = "0")]
    pub count: Whole,
    /// Connections (sockets, for UDP)
    #[arg(short = 'P', long, value_name = "N", default_value = "1")]
    pub parallel: Parallel,
    /// The bytes of a message, without its framing; a STAMP packet has at least 100
    #[arg(short, long, value_name = "SIZE", default_value = "64")]
    pub size: Size,
    /// Requests in flight on each connection
    #[arg(long, value_name = "N", default_value = "1")]
    pub depth: Depth,
    /// Requests a second, on all connections together; 0: as many as replies allow
    #[arg(short, long, value_name = "N", default_value = "0", value_parser = rate,
          allow_negative_numbers = true)]
    pub rate: f64,
    /// Make load for this long before measuring
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub warmup: Timespan,
    /// Threads that make the load
    #[arg(long, value_name = "N", default_value = "1")]
    pub threads: Whole<1>,
    /// Connect anew for each request, and time connecting too
    #[arg(long)]
    pub new_connection: bool,
    /// Poll instead of sleeping while a reply is awaited: a core's work for the shortest times
    #[arg(long)]
    pub busy: bool,
    /// Do not compare what comes back with what was sent
    #[arg(long)]
    pub no_verify: bool,
    /// Fail when any of these holds: p99>2ms,rate<1000 (also min, avg, max, mdev, server-cpu); these
    /// fail by default: loss>0%,late>0%,errors>0,corrupt>0,unsent>0, each until a condition names it;
    /// against another target or --baseline: p99>+10%,rate<-5%
    #[arg(long, value_name = "CONDITIONS", help_heading = "Result")]
    pub fail_if: Option<Thresholds>,
    /// Show the summary only, no progress
    #[arg(short, long, help_heading = "Result")]
    pub quiet: bool,
    /// What to call the run where it is compared
    #[arg(long, value_name = "NAME", help_heading = "Result")]
    pub label: Option<String>,
    /// Print the report as one JSON document
    #[arg(long, help_heading = "Result")]
    pub json: bool,
    /// Print one JSON event a line as it happens, the document last, and nothing else
    #[arg(long, help_heading = "Result")]
    pub jsonl: bool,
    /// Write the report as a page for a browser, too
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub report: Option<FilePath>,
    /// Write a row for each second, for a spreadsheet, too
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub csv: Option<FilePath>,
    /// Write the latencies as an HdrHistogram log, too, for tools that merge those; with --rate, its lines tagged service count from when a request left
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub hdr: Option<FilePath>,
}

by_flags!(Bench);

impl Settings for Bench {
    const TABLE: &str = "bench";

    fn check(&self, connect: &Connect) -> Result<()> {
        let is_one_run = self.is_one_run();
        let has_base = self.is_several() || self.baseline.is_some();
        let targets = 1 + self.against.len();
        ensure!(is_possible(self.rate), "--rate {}: {RATE_HINT}", self.rate);
        ensure!(
            self.span() != Some(Duration::ZERO),
            "--duration 0s measures nothing; give a longer one"
        );
        ensure!(
            self.pid.is_empty() || self.pid.len() == targets,
            "--pid names {} processes of {targets} targets; name one for each, in their order",
            self.pid.len()
        );
        if let Some(pid) = self.pid.iter().find(|pid| of_process(**pid).is_none()) {
            bail!(
                "--pid {pid}: no process of this machine has that number, or its CPU time is not \
                 told; name that of the server, or leave it out"
            );
        }
        ensure!(
            self.hdr.is_none() || self.find.is_some() || is_one_run,
            "--hdr is the log of one run; leave out other targets, --rounds and --baseline"
        );
        ensure!(
            !self.jsonl || is_one_run,
            "--jsonl tells of one run; leave out other targets, --rounds, --baseline and --find"
        );
        ensure!(
            !self.control || self.baseline.is_none(),
            "--control is measured against the target, --baseline is what that is measured \
             against; leave one of them out"
        );
        if let Some(find) = &self.find {
            ensure!(
                !has_base && self.rounds() == 1,
                "--find looks at one target; leave out others, --rounds, --control and --baseline"
            );
            ensure!(
                self.count.0 == 0,
                "--find chooses how many requests to send; leave --count out"
            );
            ensure!(
                self.fail_if.is_none(),
                "--find has conditions of its own; leave --fail-if out"
            );
            find.broken.alone()?;
        }
        let both = self.json && self.jsonl;
        let fail_if = self.fail_if.as_ref();
        check(connect, both, self.new_connection, fail_if, has_base)?;
        self.check_size(connect)
    }
}

/// Requests in flight on a connection: each costs memory.
pub type Depth = Whole<1, 65_536>;
/// Connections: as many as a system lets a process open files.
pub type Parallel = Whole<1, 1_048_576>;
/// Rounds: at most a week of a second each, with one to warm up, of two targets.
pub type Rounds = Whole<1, 100_000>;
/// The rates that have a meaning: from one request in a quarter of an hour to one a nanosecond,
/// which is as fine as the clock. 0 sets none.
const RATES: RangeInclusive<f64> = 1e-3..=1e9;
const RATE_HINT: &str = "write a number of requests a second, such as 1000 or 0.5; 1e9 is the most";
/// Of all that is longer nobody awaits the reply to a single message.
const MAX_SIZE: Size = Size(1 << 30);

impl Bench {
    /// How long to measure at a time; `None` when only a number of requests ends it.
    pub fn span(&self) -> Option<Duration> {
        match self.duration {
            Some(duration) => Some(duration.0),
            None if self.count.0 > 0 => None,
            None if self.rounds() > 1 || self.find.is_some() => Some(Duration::from_secs(1)),
            None => Some(Duration::from_secs(10)),
        }
    }

    /// How often to measure.
    pub fn rounds(&self) -> usize {
        let usual = if self.is_several() { 15 } else { 1 };
        self.rounds.map_or(usual, |rounds| rounds.0 as usize)
    }

    /// Whether one run is all there is to do.
    pub fn is_one_run(&self) -> bool {
        self.rounds() == 1
            && self.against.is_empty()
            && !self.control
            && self.baseline.is_none()
            && self.find.is_none()
    }

    /// All the targets, the first of which `connect` names; the last is the control where one is
    /// wanted.
    ///
    /// # Errors
    /// One is given twice, or contradicts what else is said of the connection.
    pub fn targets(&self, connect: &Connect) -> Result<Vec<Connect>> {
        let mut targets = vec![connect.clone()];
        for target in &self.against {
            let other = Connect {
                target: target.clone(),
                ..connect.clone()
            };
            if targets.iter().any(|known| place(known) == place(&other)) {
                bail!("{target} is given twice; to measure a target against itself, add --control");
            }
            other.check()?;
            check_target(&other, self.new_connection)?;
            self.check_size(&other)?;
            targets.push(other);
        }
        targets.extend(self.control.then(|| connect.clone()));
        Ok(targets)
    }

    /// How requests are paced.
    pub fn load(&self) -> Load {
        match self.rate {
            0.0 => Load::Closed {
                in_flight: match self.new_connection {
                    true => self.parallel.0,
                    false => self.parallel.0 * self.depth.0,
                },
            },
            per_s => Load::Rate { per_s },
        }
    }

    /// Whether more than one target is measured, or one against itself.
    fn is_several(&self) -> bool {
        self.control || !self.against.is_empty()
    }

    fn check_size(&self, connect: &Connect) -> Result<()> {
        ensure!(
            self.size <= MAX_SIZE,
            "--size {}: a message has {MAX_SIZE} at most; send more of them",
            self.size
        );
        // Many are under way at once, and told apart by their headers.
        check_size(connect, self.size, HEADER_LEN as u64)
    }
}

/// Where a target is and how it is talked to, however that is spelled.
fn place(connect: &Connect) -> (Transport, Endpoint) {
    let target = match &connect.target {
        Endpoint::Inet { host, port, .. } => {
            let address = host.parse::<IpAddr>().map(|address| address.to_string());
            let host = address.unwrap_or_else(|_| host.to_ascii_lowercase());
            Endpoint::inet(None, host, *port)
        }
        path => path.clone(),
    };
    (connect.transport(), target)
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|rate| is_possible(*rate))
        .ok_or_else(|| RATE_HINT.to_owned())
}

fn is_possible(rate: f64) -> bool {
    rate == 0.0 || RATES.contains(&rate)
}
