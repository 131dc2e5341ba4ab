//! What a run found out, as data. Text, JSON and HTML only render it, so they cannot disagree.

mod context;
mod fault;
pub(crate) mod hdr;
mod html;
mod json;
mod latency;
mod text;
mod threshold;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::anyhow;
use echo_core::{Exit, Failure};
use serde::Serialize;

use crate::connection::ErrorKind;

pub use context::{Environment, Target};
pub use fault::Fault;
pub use html::html;
pub use json::json;
pub use latency::{Bar, Jitter, Latency, PERCENTILES, Percentile};
pub use text::Text;
pub use threshold::{Comparison, Metric, Threshold, Thresholds, Verdict};

/// The version of the JSON document; it changes when a key's meaning does.
pub const SCHEMA: u32 = 1;

/// What one run of `ping` or `bench` found out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The command that ran.
    pub mode: Mode,
    /// The effective configuration, keyed as the flags are.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// Who was asked.
    pub target: Target,
    /// Where the figures come from.
    pub environment: Environment,
    /// How `bench` paced its requests.
    pub load: Option<Load>,
    /// From the first measured request to the last reply, or to the end of sending when that was
    /// later. Warm-up is no part of it.
    pub elapsed: Duration,
    /// What was sent and what became of it.
    pub counts: Counts,
    /// Request to reply. With a rate, from the moment the request was *due*.
    pub rtt: Latency,
    /// With a rate: from the moment the request was really sent.
    pub service: Option<Latency>,
    /// Time to connect, where connections were timed.
    pub connect: Option<Latency>,
    /// How much consecutive round trips differ.
    pub jitter: Option<Duration>,
    /// Second by second, for runs under load.
    pub seconds: Vec<Second>,
    /// Errors on connections that had been opened, and on those that could not be.
    pub errors: BTreeMap<ErrorKind, u64>,
    /// What ended the run early, or made its answer bad.
    pub fault: Option<Fault>,
    /// What the load cost this side.
    pub generator: Option<Generator>,
    /// The thresholds of `--fail-if`, each with its outcome.
    pub verdicts: Vec<Verdict>,
    /// What a reader should know before trusting the figures; whole sentences.
    pub notes: Vec<String>,
}

/// The command a report is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One request at a time, at an interval.
    #[default]
    Ping,
    /// As many as the pace allows.
    Bench,
}

impl Mode {
    /// The command's name.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Ping => "ping",
            Mode::Bench => "bench",
        }
    }
}

/// The effective configuration, from its parts.
pub fn config(
    parts: impl IntoIterator<Item = serde_json::Result<serde_json::Value>>,
) -> serde_json::Map<String, serde_json::Value> {
    parts
        .into_iter()
        .filter_map(|part| match part {
            Ok(serde_json::Value::Object(map)) => Some(map),
            _ => None,
        })
        .flatten()
        .collect()
}

/// How requests were paced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// The next request waits for a reply: a slow server is asked less often, so that its slow
    /// moments are under-represented.
    Closed {
        /// Requests in flight at once, on all connections together.
        in_flight: u64,
    },
    /// Requests are due at a steady rate, whatever the server does.
    Rate {
        /// Requests due in a second.
        per_s: f64,
    },
}

/// What was sent and what became of it. Bytes are of payload and its framing.
///
/// The books balance: `sent = unique + lost`, and
/// `received = unique + duplicate + corrupt + truncated + foreign`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests sent.
    pub sent: u64,
    /// Replies of every kind.
    pub received: u64,
    /// Requests whose own, whole and right reply came, in time or late.
    pub unique: u64,
    /// Requests that never got one.
    pub lost: u64,
    /// Of the unique ones: those that came after their time was up.
    pub late: u64,
    /// Of the unique ones: those that came after the reply to a later request.
    pub reordered: u64,
    /// Further replies to a request that had its own.
    pub duplicate: u64,
    /// Replies with wrong bytes.
    pub corrupt: u64,
    /// Replies of the wrong length.
    pub truncated: u64,
    /// Datagrams that answer none of our requests.
    pub foreign: u64,
    /// With a rate: requests that were due but left over a millisecond late.
    pub delayed: u64,
    /// With a rate: requests that were due but never left.
    pub unsent: u64,
    /// Connections (sockets, for UDP) that were opened.
    pub connections: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

impl Counts {
    /// The share of requests that got no reply of their own, 0 to 1.
    pub fn loss(&self) -> f64 {
        ratio(self.lost, self.sent)
    }

    /// Whether the books balance.
    pub fn balance(&self) -> bool {
        let replies = [self.duplicate, self.corrupt, self.truncated, self.foreign];
        self.sent == self.unique + self.lost
            && self.received == self.unique + replies.iter().sum::<u64>()
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.received += other.received;
        self.unique += other.unique;
        self.lost += other.lost;
        self.late += other.late;
        self.reordered += other.reordered;
        self.duplicate += other.duplicate;
        self.corrupt += other.corrupt;
        self.truncated += other.truncated;
        self.foreign += other.foreign;
        self.delayed += other.delayed;
        self.unsent += other.unsent;
        self.connections += other.connections;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
    }
}

/// `part / whole`, and 0 of nothing.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// One second of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Second {
    /// Seconds since measuring began, at the start of this one.
    pub start_s: u64,
    /// Right replies that came in it.
    pub echoes: u64,
    /// Median of their round trips, where there were enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_p50_ns: Option<u64>,
    /// Their 99th percentile, where there were enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_p99_ns: Option<u64>,
    /// The longest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_max_ns: Option<u64>,
    /// Errors of every kind that showed in it.
    pub errors: u64,
}

/// What the load cost this side.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Generator {
    /// Threads that made the load.
    pub threads: usize,
    /// Their processor time while measuring, in nanoseconds.
    pub cpu_ns: u64,
    /// The busiest thread's share of one core, 0 to 1.
    pub busiest_share: f64,
    /// The largest share of its time that a thread was ready to run but had no core, where the
    /// system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starved_share: Option<f64>,
}

impl Report {
    /// Right replies a second.
    pub fn echoes_per_s(&self) -> f64 {
        per_second(self.counts.unique, self.elapsed)
    }

    /// Bytes received a second.
    pub fn received_bytes_per_s(&self) -> f64 {
        per_second(self.counts.received_bytes, self.elapsed)
    }

    /// Why the run is no success, if it is none, with the exit code it deserves.
    ///
    /// Loss is bad unless a threshold of `--fail-if` says how much of it is.
    pub fn failure(&self) -> Option<Failure> {
        if let Some(fault) = &self.fault {
            let exit = match self.never_reached(fault) {
                true => Exit::Unreachable,
                false => Exit::Bad,
            };
            return Some(Failure::new(exit, anyhow!("{}", fault.message)));
        }
        let broken: Vec<_> = self
            .verdicts
            .iter()
            .filter(|verdict| verdict.failed())
            .map(Verdict::to_string)
            .collect();
        if !broken.is_empty() {
            let broken = broken.join(", ");
            return Some(Failure::bad(anyhow!("--fail-if: {broken}")));
        }
        let loss_is_judged = self
            .verdicts
            .iter()
            .any(|verdict| verdict.threshold.metric == Metric::Loss);
        let counts = &self.counts;
        let unanswered = counts.lost + counts.late;
        if unanswered > 0 && !loss_is_judged {
            let (sent, name) = (counts.sent, &self.target.name);
            return Some(Failure::bad(anyhow!(
                "{unanswered} of {sent} requests to {name} had no right reply in time"
            )));
        }
        let name = &self.target.name;
        // From anybody a datagram may come; what is on a stream comes from the server.
        let foreign = match self.target.transport.as_str() {
            "udp" => 0,
            _ => counts.foreign,
        };
        let wrong = counts.corrupt + counts.truncated + foreign;
        if wrong > 0 {
            return Some(Failure::bad(anyhow!(
                "{wrong} replies of {name} were not what was sent"
            )));
        }
        let out_of_step = self.errors.get(&ErrorKind::Mismatch)?;
        Some(Failure::bad(anyhow!(
            "{out_of_step} times what came from {name} was not what was sent"
        )))
    }

    /// Whether the target was not there: no connection came about, or a datagram was turned back.
    fn never_reached(&self, fault: &Fault) -> bool {
        let turned_back = matches!(fault.kind, ErrorKind::Refused | ErrorKind::Unreachable);
        let counts = &self.counts;
        let no_connection = counts.connections == 0 && counts.sent == 0;
        counts.received == 0 && (no_connection || turned_back)
    }
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() {
        0.0
    } else {
        count as f64 / elapsed.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(sent: u64, unique: u64) -> Counts {
        Counts {
            sent,
            received: unique,
            unique,
            lost: sent - unique,
            ..Counts::default()
        }
    }

    #[test]
    fn the_books_balance_only_when_every_reply_has_a_class() {
        let mut books = counts(10, 9);
        assert!(books.balance());
        books.received += 1;
        assert!(!books.balance());
        books.duplicate += 1;
        assert!(books.balance());
        books.lost += 1;
        assert!(!books.balance());
    }

    #[test]
    fn the_exit_code_tells_the_truth() {
        let fault = |kind| Some(Fault::new(kind, "why"));
        let verdict = |condition: &str, measured| Verdict {
            threshold: condition.parse().unwrap(),
            measured: Some(measured),
        };
        let ended = |counts, fault, verdicts| {
            let report = Report {
                counts,
                fault,
                verdicts,
                ..Report::default()
            };
            report
                .failure()
                .map_or(Exit::Success, |failure| failure.exit)
        };
        let none = Vec::new;
        assert_eq!(ended(counts(5, 5), None, none()), Exit::Success);
        assert_eq!(ended(counts(5, 4), None, none()), Exit::Bad);
        assert_eq!(
            ended(counts(5, 4), None, vec![verdict("loss>30%", 20.0)]),
            Exit::Success
        );
        assert_eq!(
            ended(counts(5, 5), None, vec![verdict("p99>1ms", 1e9)]),
            Exit::Bad
        );
        assert_eq!(
            ended(counts(0, 0), fault(ErrorKind::Refused), none()),
            Exit::Unreachable
        );
        assert_eq!(
            ended(counts(1, 0), fault(ErrorKind::Refused), none()),
            Exit::Unreachable
        );
        assert_eq!(
            ended(counts(5, 4), fault(ErrorKind::Reset), none()),
            Exit::Bad
        );
        assert_eq!(
            ended(counts(1, 0), fault(ErrorKind::Mismatch), none()),
            Exit::Bad
        );
        // Who stops it before it is connected has not reached the server; later, has learnt nothing.
        let connected = Counts {
            connections: 1,
            ..Counts::default()
        };
        let stopped = || fault(ErrorKind::Interrupted);
        assert_eq!(ended(counts(0, 0), stopped(), none()), Exit::Unreachable);
        assert_eq!(ended(connected, stopped(), none()), Exit::Bad);
    }
}
