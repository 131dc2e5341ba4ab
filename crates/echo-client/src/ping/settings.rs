//! The options of `ping`.

use anyhow::{Result, ensure};
use clap::Args;
use echo_core::units::{Size, Timespan};
use echo_core::{FilePath, Whole};
use serde::{Deserialize, Serialize};

use crate::config::{Settings, by_flags};
use crate::connection::Connect;
use crate::measure::{MAX_DATAGRAM, check, check_size};
use crate::report::Thresholds;

/// A stream could carry more than a datagram, but then one request and its echo no longer fit the
/// buffers on the way.
const MAX_SIZE: u64 = MAX_DATAGRAM;

/// What is sent, when, and how it is told.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Ping")]
pub struct Ping {
    /// How many requests to send; 0 goes on until interrupted
    #[arg(short, long, value_name = "NUMBER", default_value = "0")]
    pub count: Whole,
    /// Time from one request to the next; 0 sends each as soon as the last is settled
    #[arg(short, long, value_name = "DURATION", default_value = "1s")]
    pub interval: Timespan,
    /// Bytes of payload; a STAMP packet has at least 100
    #[arg(short, long, value_name = "SIZE", default_value = "56")]
    pub size: Size,
    /// Send for this long; 0 sets no limit
    #[arg(short, long, value_name = "DURATION", default_value = "0s")]
    pub duration: Timespan,
    /// Show the summary only
    #[arg(short, long)]
    pub quiet: bool,
    /// Start each line with the time, in seconds since 1970
    #[arg(short = 'D', long)]
    pub time_of_day: bool,
    /// Connect anew for each request, and time connecting and the echo apart
    #[arg(long)]
    pub new_connection: bool,
    /// Poll instead of sleeping while a reply is awaited: a core's work for the shortest times
    #[arg(long)]
    pub busy: bool,
    /// Print one JSON document at the end, and nothing else
    #[arg(long, help_heading = "Result")]
    pub json: bool,
    /// Print one JSON event a line as it happens, the document last, and nothing else
    #[arg(long, help_heading = "Result")]
    pub jsonl: bool,
    /// Fail when any of these holds: p99>2ms (also min, avg, max, mdev, rate); these fail by
    /// default: loss>0%,late>0%,errors>0,corrupt>0, each until a condition names it
    #[arg(long, value_name = "CONDITIONS", help_heading = "Result")]
    pub fail_if: Option<Thresholds>,
    /// Write the report as a page for a browser, too
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub report: Option<FilePath>,
    /// Write the round trips as an HdrHistogram log, too, for tools that merge those
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub hdr: Option<FilePath>,
}

by_flags!(Ping);

impl Settings for Ping {
    const TABLE: &str = "ping";

    fn check(&self, connect: &Connect) -> Result<()> {
        let size = self.size;
        check_size(connect, size, 0)?;
        ensure!(
            size.0 <= MAX_SIZE,
            "--size {size}: ping sends {MAX_SIZE} bytes at most; for more there is bench"
        );
        check(
            connect,
            self.json && self.jsonl,
            self.new_connection,
            self.fail_if.as_ref(),
            false,
        )
    }
}

impl Ping {
    /// Whether a run ends by itself, so that who stops it earlier cuts it short.
    pub fn has_end(&self) -> bool {
        self.count.0 > 0 || !self.duration.0.is_zero()
    }
}
