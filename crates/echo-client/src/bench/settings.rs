//! The options of `bench`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use echo_core::config::switch;
use echo_core::units::{Size, Timespan};
use echo_core::{Failure, Framing, Whole};
use serde::{Deserialize, Serialize};

use crate::config::{File, Mode};
use crate::connection::Connect;
use crate::report::{Load, Thresholds};
use crate::wire::echo::HEADER_LEN;

/// The options of `bench`, as they are typed.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Load")]
pub struct BenchSettings {
    /// How long to measure [default: 10s, or without limit when --count is given]
    #[arg(short, long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Timespan>,
    /// Stop after this many requests; 0 sets no limit [default: 0]
    #[arg(short, long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<Whole>,
    /// Connections (sockets, for UDP) [default: 1]
    #[arg(short = 'P', long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<Whole>,
    /// The bytes of a message, without its framing [default: 64]
    #[arg(short, long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Requests in flight on each connection [default: 1]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<Whole>,
    /// Requests a second, on all connections together; 0: as many as replies allow [default: 0]
    #[arg(short, long, value_name = "N", value_parser = rate, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Make load for this long before measuring [default: 1s]
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Timespan>,
    /// Threads that make the load [default: 1]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<Whole>,
    /// Do not compare what comes back with what was sent
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_verify: Option<bool>,
    /// Fail when any of these holds: p99>2ms,loss>0.1%; also min, avg, max, mdev, rate, errors
    /// and unsent
    #[arg(long, value_name = "CONDITIONS", help_heading = "Result")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_if: Option<Thresholds>,
    /// Print the report as one JSON document
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch,
          help_heading = "Result")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<bool>,
    /// Write the report as a page for a browser, too
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<PathBuf>,
    /// Write the latencies as an HdrHistogram log, too: logs of several machines can be merged
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hdr: Option<PathBuf>,
}

/// How much load to make, and what to do with the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bench {
    /// How long to measure, if it was said; see [`Bench::span`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Timespan>,
    /// How many requests to measure; 0: no limit.
    pub count: u64,
    /// Connections, or sockets.
    pub parallel: usize,
    /// Bytes of a message, without its framing.
    pub size: Size,
    /// Requests in flight on each connection.
    pub depth: usize,
    /// Requests a second on all connections together; 0: as many as replies allow.
    pub rate: f64,
    /// How long to make load before measuring.
    pub warmup: Timespan,
    /// Threads that make the load.
    pub threads: usize,
    /// Take what comes back for right.
    pub no_verify: bool,
    /// What the run must keep.
    pub fail_if: Thresholds,
    /// One JSON document instead of text.
    pub json: bool,
    /// Where to write a page, unless empty.
    pub report: PathBuf,
    /// Where to write an HdrHistogram log, unless empty.
    pub hdr: PathBuf,
}

impl Default for Bench {
    fn default() -> Self {
        Bench {
            duration: None,
            count: 0,
            parallel: 1,
            size: Size(64),
            depth: 1,
            rate: 0.0,
            warmup: Timespan::from_secs(1),
            threads: 1,
            no_verify: false,
            fail_if: Thresholds::default(),
            json: false,
            report: PathBuf::new(),
            hdr: PathBuf::new(),
        }
    }
}

impl Mode for BenchSettings {
    type Config = Bench;
    const TABLE: &str = "bench";

    fn pick(file: File) -> Self {
        file.bench
    }

    fn normalized(&self) -> Self {
        self.clone()
    }
}

/// The most requests that may be in flight on a connection: each costs memory.
const MAX_DEPTH: usize = 1 << 16;
/// The rates that have a meaning: from one request in a quarter of an hour to one a nanosecond,
/// which is as fine as the clock. 0 sets none.
const RATES: RangeInclusive<f64> = 1e-3..=1e9;
const RATE_HINT: &str = "write a number of requests a second, such as 1000 or 0.5; 1e9 is the most";
/// The most that fits into a datagram over IPv4.
const MAX_DATAGRAM: u64 = 65_507;

impl Bench {
    /// How long to measure; `None` when only a number of requests ends it.
    pub fn span(&self) -> Option<Duration> {
        match self.duration {
            Some(duration) => Some(duration.0),
            None if self.count > 0 => None,
            None => Some(Duration::from_secs(10)),
        }
    }

    /// How requests are paced.
    pub fn load(&self) -> Load {
        match self.rate {
            0.0 => Load::Closed {
                in_flight: self.parallel as u64 * self.depth as u64,
            },
            per_s => Load::Rate { per_s },
        }
    }

    /// Refuses what makes no sense together.
    pub fn check(&self, connect: &Connect) -> Result<(), Failure> {
        let usage = |message: String| Err(Failure::usage(anyhow!(message)));
        for (flag, number) in [
            ("--parallel", self.parallel),
            ("--depth", self.depth),
            ("--threads", self.threads),
        ] {
            if number == 0 {
                return usage(format!("{flag} 0 makes no load; give at least 1"));
            }
        }
        if self.depth > MAX_DEPTH {
            return usage(format!(
                "--depth {}: at most {MAX_DEPTH} are possible; add connections with --parallel",
                self.depth
            ));
        }
        if !is_possible(self.rate) {
            return usage(format!("--rate {}: {RATE_HINT}", self.rate));
        }
        if self.span().is_some_and(|span| span.is_zero()) {
            return usage("--duration 0s measures nothing; give a longer one".into());
        }
        self.check_size(connect).or_else(usage)
    }

    fn check_size(&self, connect: &Connect) -> Result<(), String> {
        let size = self.size.0;
        if connect.is_udp() {
            let header = HEADER_LEN as u64;
            if connect.framing != Framing::Raw {
                return Err("a datagram is a frame already; leave --framing out".into());
            }
            return match (header..=MAX_DATAGRAM).contains(&size) {
                true => Ok(()),
                false => Err(format!(
                    "--size {size}: a datagram that can be told apart has {header} to \
                     {MAX_DATAGRAM} bytes"
                )),
            };
        }
        if connect.framing == Framing::Raw {
            return match size {
                0 => Err("--size 0: nothing would come back; give at least 1, or a framing".into()),
                _ => Ok(()),
            };
        }
        // The line end counts, as it does for the server.
        let frame = size + u64::from(connect.framing == Framing::Lines);
        if frame > connect.max_frame.0 {
            return Err(format!(
                "--size {size}: a frame may have {} bytes; raise --max-frame, here and at the \
                 server",
                connect.max_frame
            ));
        }
        Ok(())
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
