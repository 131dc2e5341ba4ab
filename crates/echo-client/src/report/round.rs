//! One round of a run that was measured in several, and the figures that are compared.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Report;
use super::format::{short_time, significant, thousands};

/// One round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// When it began to measure, in nanoseconds since 1970.
    pub started_unix_ns: u64,
    /// How long it measured.
    pub elapsed_ns: u64,
    /// Right replies.
    pub echoes: u64,
    /// Half of the round trips took at most this, where there were enough.
    pub rtt_p50_ns: Option<u64>,
    /// 99 of 100 took at most this, where there were enough.
    pub rtt_p99_ns: Option<u64>,
    /// Right replies a second.
    pub echoes_per_s: Option<f64>,
    /// Processor time of the server for each, where it is known.
    pub server_cpu_per_echo_ns: Option<f64>,
}

/// A figure that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// The median round trip.
    P50,
    /// The round trip that one in a hundred exceeds.
    P99,
    /// Right replies a second.
    Rate,
    /// Processor time of the server for an echo.
    ServerCpu,
}

impl Round {
    /// A run as the one round of it.
    pub fn of(report: &Report) -> Self {
        let ns = |quantile| {
            report
                .rtt
                .percentile(quantile)
                .map(|rtt| rtt.as_nanos() as u64)
        };
        Round {
            started_unix_ns: report.started_unix_ns,
            elapsed_ns: report.elapsed.as_nanos() as u64,
            echoes: report.counts.unique,
            rtt_p50_ns: ns(0.5),
            rtt_p99_ns: ns(0.99),
            echoes_per_s: report.echoes_per_s().map(significant),
            server_cpu_per_echo_ns: report.server_cpu_per_echo_ns().map(significant),
        }
    }
}

impl Figure {
    /// All of them, in the order of a table.
    pub const ALL: [Figure; 4] = [Figure::P50, Figure::P99, Figure::Rate, Figure::ServerCpu];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Figure::P50 => "p50",
            Figure::P99 => "p99",
            Figure::Rate => "rate",
            Figure::ServerCpu => "server CPU",
        }
    }

    /// In what it is counted.
    pub const fn unit(self) -> &'static str {
        match self {
            Figure::Rate => "echoes/s",
            Figure::ServerCpu => "ns/echo",
            Figure::P50 | Figure::P99 => "ns",
        }
    }

    /// Whether more of it is better.
    pub const fn is_gain(self) -> bool {
        matches!(self, Figure::Rate)
    }

    /// What a round has of it. Nothing at all is no figure: it has no ratio to anything.
    pub fn of(self, round: &Round) -> Option<f64> {
        let figure = match self {
            Figure::P50 => round.rtt_p50_ns.map(|ns| ns as f64),
            Figure::P99 => round.rtt_p99_ns.map(|ns| ns as f64),
            Figure::Rate => round.echoes_per_s,
            Figure::ServerCpu => round.server_cpu_per_echo_ns,
        };
        figure.filter(|figure| *figure > 0.0)
    }

    /// A value as an axis has room for it.
    pub fn short(self, value: f64) -> String {
        match self {
            Figure::Rate => thousands(value as u64),
            _ => short_time(value),
        }
    }

    /// A value with its unit, to four digits: ratios are shown to as many.
    pub fn shown(self, value: f64) -> impl fmt::Display {
        let per_echo = if self == Figure::ServerCpu {
            "/echo"
        } else {
            ""
        };
        if self == Figure::Rate && value >= 999.5 {
            return format!("{} echoes/s", thousands(value.round() as u64));
        }
        let (scaled, unit) = match self {
            Figure::Rate => (value, "echoes/s"),
            _ if value >= 999.95e6 => (value / 1e9, "s"),
            _ if value >= 999.95e3 => (value / 1e6, "ms"),
            _ if value >= 999.95 => (value / 1e3, "µs"),
            _ => (value, "ns"),
        };
        let decimals = (3 - scaled.abs().max(1.0).log10().floor() as i32).max(0) as usize;
        format!("{scaled:.decimals$} {unit}{per_echo}")
    }
}
