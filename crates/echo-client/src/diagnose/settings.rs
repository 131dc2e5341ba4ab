//! The options of `diagnose`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, anyhow};
use clap::Args;
use echo_core::stamp;
use echo_core::units::{Size, Timespan};
use echo_core::{Endpoint, FilePath, as_text};
use serde::{Deserialize, Serialize};

use crate::config::{Settings, by_flags};
use crate::connection::Connect;

/// The least that some steps can do something with.
const LEAST: u64 = 100_000;
/// At less, one train of hundreds of packets would take longer than the minute in which steps begin.
const SLOWEST: Bitrate = Bitrate(100_000);

/// What the probes may take, and how what they find is told.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Diagnose")]
pub struct Diagnose {
    /// Send, and have sent back, no more than this
    #[arg(long, value_name = "SIZE", default_value = "3MB")]
    pub budget: Size,
    /// Never send faster than so many bits a second
    #[arg(long, value_name = "RATE", default_value = "20Mbit")]
    pub max_rate: Bitrate,
    /// Leave out what loads the path: rates are not tried, and nothing is sent beside a transfer
    #[arg(long)]
    pub gentle: bool,
    /// See, too, what becomes of connections and bindings that are left alone for up to this long; that
    /// takes as long as this, and some 20 seconds, beside the minute or so that all else may take
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub idle: Timespan,
    /// Print the diagnosis as one JSON document, and nothing else
    #[arg(long, help_heading = "Result")]
    pub json: bool,
    /// Write the diagnosis as a page for a browser, with a picture of the path, too
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub report: Option<FilePath>,
}

/// Bits a second: `20Mbit`, `500kbit`, or bare bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bitrate(pub u64);

impl FromStr for Bitrate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim_end_matches("/s");
        let bits = match text.strip_suffix("bit") {
            // As of bytes that are counted by thousands.
            Some(number) => format!("{number}B").parse(),
            None => text.parse(),
        };
        let bits = bits.ok().filter(|bits: &Size| bits.0 > 0);
        let remedy = "write a rate as 20Mbit, 500kbit or bare bits a second";
        bits.map(|bits| Bitrate(bits.0))
            .ok_or_else(|| remedy.to_owned())
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, scale) in [("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)] {
            if self.0.is_multiple_of(scale) {
                return write!(f, "{}{unit}bit", self.0 / scale);
            }
        }
        write!(f, "{}", self.0)
    }
}

as_text!(Bitrate);

by_flags!(Diagnose);

impl Settings for Diagnose {
    const TABLE: &str = "diagnose";

    /// Refuses what there is no path to.
    fn check(&self, connect: &Connect) -> Result<()> {
        let target = &connect.target;
        Err(match target {
            Endpoint::Unix(_) => anyhow!(
                "{target}: a Unix socket has no path to diagnose: there is no name, no address, no hop \
                 and no datagram; ping and send tell whether somebody there echoes, and bench how fast"
            ),
            Endpoint::Inet { .. } if connect.is_stamp() => anyhow!(
                "{target}: a STAMP reflector alone is no echo; name the echo server, and the reflector \
                 beside it on port {} is asked as well",
                stamp::PORT
            ),
            Endpoint::Inet { .. } if self.budget.0 < LEAST => anyhow!(
                "--budget {}: too little to find anything; allow {} at least",
                self.budget,
                Size(LEAST)
            ),
            Endpoint::Inet { .. } if self.max_rate.0 < SLOWEST.0 => anyhow!(
                "--max-rate {}: too slow for trains of hundreds of packets; allow {SLOWEST} at least",
                self.max_rate
            ),
            Endpoint::Inet { .. } if connect.bind.is_some_and(|bind| bind.0.port() > 0) => anyhow!(
                "--bind: a diagnosis is sent from many ports; give an address without a port"
            ),
            Endpoint::Inet { .. } => return Ok(()),
        })
    }
}
