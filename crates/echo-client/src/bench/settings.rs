//! The options of `bench`.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use echo_core::units::{Size, Timespan};
use echo_core::{Failure, FilePath, Framing};
use serde::{Deserialize, Serialize};

use crate::config::{Settings, defaults, whole};
use crate::connection::Connect;
use crate::report::{Load, Thresholds};
use crate::wire::echo::HEADER_LEN;

/// How much load to make, and what to do with the result.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Load")]
pub struct Bench {
    /// How long to measure [default: 10s, or without limit when --count is given]
    #[arg(short, long, value_name = "DURATION")]
    pub duration: Option<Timespan>,
    /// Stop after this many requests; 0 sets no limit
    #[arg(short, long, value_name = "N", default_value = "0", value_parser = whole::<u64>)]
    pub count: u64,
    /// Connections (sockets, for UDP)
    #[arg(short = 'P', long, value_name = "N", default_value = "1", value_parser = whole::<usize>)]
    pub parallel: usize,
    /// The bytes of a message, without its framing
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
    /// Fail when any of these holds: p99>2ms,rate<1000 (also min, avg, max, mdev); these fail by
    /// default: loss>0%,late>0%,errors>0,corrupt>0,unsent>0, each until a condition names it
    #[arg(long, value_name = "CONDITIONS", help_heading = "Result")]
    pub fail_if: Option<Thresholds>,
    /// Show the summary only, no progress
    #[arg(short, long, help_heading = "Result")]
    pub quiet: bool,
    /// Print the report as one JSON document
    #[arg(long, help_heading = "Result")]
    pub json: bool,
    /// Print one JSON event a line as it happens, the document last, and nothing else
    #[arg(long, help_heading = "Result")]
    pub jsonl: bool,
    /// Write the report as a page for a browser, too
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub report: Option<FilePath>,
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
        if self.json && self.jsonl {
            return usage("--json contradicts --jsonl; leave one of them out".into());
        }
        if self.new_connection && connect.is_udp() {
            let text = "--new-connection has nothing to connect over UDP; leave one of them out";
            return usage(text.into());
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
