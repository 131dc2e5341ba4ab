//! One round of a run that was measured in several.

use serde::{Deserialize, Serialize};

use super::{Report, significant};

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
