//! The options of `bench`.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use echo_core::units::{Size, Timespan};
use echo_core::{Endpoint, Failure, FilePath, Framing};
use serde::{Deserialize, Serialize};

use super::find::Conditions;
use super::start::Moment;
use crate::compare::SEED;
use crate::config::{Settings, defaults, whole};
use crate::connection::Connect;
use crate::engine::cpu::of_process;
use crate::measure::{check, check_size};
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
    #[arg(long, value_name = "N", value_parser = whole::<usize>, help_heading = "Comparison")]
    pub rounds: Option<usize>,
    /// Measure the first target against itself, too: the noise of this machine
    #[arg(long, help_heading = "Comparison")]
    pub control: bool,
    /// Hold the target against a saved run, a document that --json has printed
    #[arg(long, value_name = "FILE", help_heading = "Comparison")]
    pub baseline: Option<FilePath>,
    /// The process of each target's server, on this machine: its CPU time for an echo, and that of
    /// its children, is a figure
    #[arg(
        long,
        value_name = "PID",
        value_delimiter = ',',
        help_heading = "Comparison"
    )]
    pub pid: Vec<u32>,
    /// What the order of the rounds is shuffled by
    #[arg(long, value_name = "N", default_value = SEED, value_parser = whole::<u64>,
          help_heading = "Comparison")]
    pub seed: u64,
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
    #[arg(short, long, value_name = "N", default_value = "0", value_parser = whole::<u64>)]
    pub count: u64,
    /// Connections (sockets, for UDP)
    #[arg(short = 'P', long, value_name = "N", default_value = "1", value_parser = whole::<usize>)]
    pub parallel: usize,
    /// The bytes of a message, without its framing; a STAMP packet has at least 100
    #[arg(short, long, value_name = "SIZE", default_value = "64")]
    pub size: Size,
    /// Requests in flight on each connection
    #[arg(long, value_name = "N", default_value = "1", value_parser = whole::<usize>)]
    pub depth: usize,
    /// Requests a second, on all connections together; 0: as many as replies allow
    #[arg(short, long, value_name = "N", default_value = "0", value_parser = rate,
          allow_negative_numbers = true)]
    pub rate: f64,
    /// Make load for this long before measuring
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub warmup: Timespan,
    /// Threads that make the load
    #[arg(long, value_name = "N", default_value = "1", value_parser = whole::<usize>)]
    pub threads: usize,
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
    /// Write the latencies as an HdrHistogram log, too: logs of several machines can be merged
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub hdr: Option<FilePath>,
}

impl Default for Bench {
    fn default() -> Self {
        defaults()
    }
}

impl Settings for Bench {
    const TABLE: &str = "bench";
}

/// The most requests that may be in flight on a connection: each costs memory.
const MAX_DEPTH: usize = 1 << 16;
/// The most connections: as many files as the system lets a process open.
const MAX_PARALLEL: usize = 1 << 20;
/// The most rounds: a week of a second each, with one to warm up, of two targets.
const MAX_ROUNDS: usize = 100_000;
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
            None if self.count > 0 => None,
            None if self.rounds() > 1 || self.find.is_some() => Some(Duration::from_secs(1)),
            None => Some(Duration::from_secs(10)),
        }
    }

    /// How often to measure.
    pub fn rounds(&self) -> usize {
        let is_compared = self.is_several();
        self.rounds.unwrap_or(if is_compared { 15 } else { 1 })
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
    pub fn targets(&self, connect: &Connect) -> Result<Vec<Connect>, Failure> {
        let mut targets = vec![connect.clone()];
        for target in &self.against {
            let other = Connect {
                target: target.clone(),
                ..connect.clone()
            };
            let is_same =
                |known: &Connect| known.target == other.target && known.is_udp() == other.is_udp();
            if targets.iter().any(is_same) {
                return Err(Failure::usage(anyhow!(
                    "{target} is given twice; to measure a target against itself, add --control"
                )));
            }
            other.check()?;
            self.check_size(&other)
                .map_err(|why| Failure::usage(anyhow!(why)))?;
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
                    true => self.parallel as u64,
                    false => self.parallel as u64 * self.depth as u64,
                },
            },
            per_s => Load::Rate { per_s },
        }
    }

    /// Refuses what makes no sense together.
    pub fn check(&self, connect: &Connect) -> Result<(), Failure> {
        self.check_load()
            .and_then(|()| self.check_comparison())
            .and_then(|()| {
                check(
                    connect,
                    self.json && self.jsonl,
                    self.new_connection,
                    self.fail_if.as_ref(),
                    self.is_several() || self.baseline.is_some(),
                )
            })
            .and_then(|()| self.check_size(connect))
            .map_err(|fault| Failure::usage(anyhow!(fault)))
    }

    fn check_load(&self) -> Result<(), String> {
        for (flag, number) in [
            ("--parallel", self.parallel),
            ("--depth", self.depth),
            ("--threads", self.threads),
        ] {
            if number == 0 {
                return Err(format!("{flag} 0 makes no load; give at least 1"));
            }
        }
        for (flag, number, most, remedy) in [
            (
                "--depth",
                self.depth,
                MAX_DEPTH,
                "add connections with --parallel",
            ),
            (
                "--parallel",
                self.parallel,
                MAX_PARALLEL,
                "use several machines, and merge",
            ),
            (
                "--rounds",
                self.rounds(),
                MAX_ROUNDS,
                "make each longer with --duration",
            ),
        ] {
            if number > most {
                return Err(format!(
                    "{flag} {number}: at most {most} are possible; {remedy}"
                ));
            }
        }
        if !is_possible(self.rate) {
            return Err(format!("--rate {}: {RATE_HINT}", self.rate));
        }
        match self.span().is_some_and(|span| span.is_zero()) {
            true => Err("--duration 0s measures nothing; give a longer one".to_owned()),
            false => Ok(()),
        }
    }

    /// Whether more than one target is measured, or one against itself.
    fn is_several(&self) -> bool {
        self.control || !self.against.is_empty()
    }

    fn check_comparison(&self) -> Result<(), String> {
        let several = self.is_several();
        let (is_search, is_one_run) = (self.find.is_some(), self.is_one_run());
        let targets = 1 + self.against.len();
        if !self.pid.is_empty() && self.pid.len() != targets {
            return Err(format!(
                "--pid names {} processes of {targets} targets; name one for each, in their order",
                self.pid.len()
            ));
        }
        if let Some(pid) = self.pid.iter().find(|pid| of_process(**pid).is_none()) {
            return Err(format!(
                "--pid {pid}: no process of this machine has that number, or its CPU time is not \
                 told; name that of the server, or leave it out"
            ));
        }
        let clashes = [
            (
                self.rounds == Some(0),
                "--rounds 0 measures nothing; give at least 1",
            ),
            (
                self.hdr.is_some() && !is_search && !is_one_run,
                "--hdr is the log of one run; leave out other targets, --rounds and --baseline",
            ),
            (
                self.jsonl && !is_one_run,
                "--jsonl tells of one run; leave out other targets, --rounds, --baseline and --find",
            ),
            (
                self.control && self.baseline.is_some(),
                "--control is measured against the target, --baseline is what that is measured \
                 against; leave one of them out",
            ),
            (
                is_search && (several || self.rounds() > 1 || self.baseline.is_some()),
                "--find looks at one target; leave out others, --rounds, --control and --baseline",
            ),
            (
                is_search && self.count > 0,
                "--find chooses how many requests to send; leave --count out",
            ),
            (
                is_search && self.fail_if.is_some(),
                "--find has conditions of its own; leave --fail-if out",
            ),
        ];
        if let Some((_, clash)) = clashes.iter().find(|(is_so, _)| *is_so) {
            return Err((*clash).to_owned());
        }
        self.find
            .as_ref()
            .map_or(Ok(()), |find| find.check(self.rate))
    }

    fn check_size(&self, connect: &Connect) -> Result<(), String> {
        if self.size.0 > MAX_SIZE.0 {
            return Err(format!(
                "--size {}: a message has {MAX_SIZE} at most; send more of them",
                self.size
            ));
        }
        if connect.is_udp() && connect.framing != Framing::Raw {
            return Err("a datagram is a frame already; leave --framing out".into());
        }
        // Many are under way at once, and told apart by their headers.
        check_size(connect, self.size, HEADER_LEN as u64)
    }
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
