//! A part of a run: a round, a step of a search, or what one of several machines has measured.

use serde::{Deserialize, Serialize};

use super::{Report, significant};

/// One part. What a document does not say of it is not known, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// What the machine is called.
    pub hostname: String,
    /// When it began to measure, in nanoseconds since 1970, by its own clock.
    pub started_unix_ns: u64,
    /// How long it measured.
    pub elapsed_ns: u64,
    /// Requests sent.
    pub sent: u64,
    /// Right replies.
    #[serde(alias = "unique")]
    pub echoes: u64,
    /// Half of the round trips took at most this, where there were enough.
    pub rtt_p50_ns: Option<u64>,
    /// 99 of 100 took at most this, where there were enough.
    pub rtt_p99_ns: Option<u64>,
    /// The longest took this.
    pub rtt_max_ns: Option<u64>,
    /// Right replies a second.
    pub echoes_per_s: Option<f64>,
    /// Processor time of the server for each, where it is known.
    pub server_cpu_per_echo_ns: Option<f64>,
}

impl Part {
    /// A run as the one part of it.
    pub fn of(report: &Report) -> Self {
        let rtt = &report.rtt;
        let [p50, p99, max] = [rtt.percentile(0.5), rtt.percentile(0.99), rtt.max()]
            .map(|rtt| rtt.map(|rtt| rtt.as_nanos() as u64));
        Part {
            hostname: report.environment.hostname.clone(),
            started_unix_ns: report.started_unix_ns,
            elapsed_ns: report.elapsed.as_nanos() as u64,
            sent: report.counts.sent,
            echoes: report.counts.unique,
            rtt_p50_ns: p50,
            rtt_p99_ns: p99,
            rtt_max_ns: max,
            echoes_per_s: report.echoes_per_s().map(significant),
            server_cpu_per_echo_ns: report.server_cpu_per_echo_ns().map(significant),
        }
    }

    /// When it had measured.
    pub fn end_unix_ns(&self) -> u64 {
        self.started_unix_ns + self.elapsed_ns
    }
}

impl Report {
    /// Its `parts`, or where there are none, the whole as the only one.
    pub fn in_parts(&self, parts: &[Part]) -> Vec<Part> {
        match parts {
            [] => vec![Part::of(self)],
            parts => parts.to_vec(),
        }
    }
}
