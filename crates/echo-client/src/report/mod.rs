//! What a run found out, as data. Text, JSON and HTML only render it, so they cannot disagree.

mod context;
pub(crate) mod csv;
mod curve;
pub(crate) mod document;
pub(crate) mod files;
pub(crate) mod format;
pub(crate) mod hdr;
pub(crate) mod html;
mod latency;
mod metric;
mod outcome;
mod print;
mod round;
mod saved;
mod sum;
mod table;
mod text;
mod threshold;
mod unit;
mod ways;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use echo_core::units::unix_ns;
use echo_explain::Phrases;
use serde::{Deserialize, Serialize};

pub use crate::connection::Fault;
use crate::connection::{Connect, ErrorKind};

pub use context::{Environment, Target};
pub use curve::{Curve, Step};
pub use document::{json, read};
pub use files::Files;
pub use format::{Share, counted, significant};
pub use html::html;
pub use latency::{Bar, Jitter, Latency, PERCENTILES};
pub use metric::Metric;
pub use outcome::{Cut, Ending, Outcome};
pub use print::{ended, print};
pub use round::Round;
pub use saved::Saved;
pub use sum::Machine;
pub use table::Table;
pub(crate) use text::wrapped;
pub use text::{COLUMNS, columns, text};
pub use threshold::{Comparison, Threshold, Thresholds, Verdict};
pub use unit::Unit;
pub use ways::{Numbering, OneWay, Span, State, Ways};

/// What one run found out, in whatever mode. Its JSON document has these keys, and more that
/// follow from them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The command that ran.
    pub mode: Mode,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong first, until [`Report::conclude`] has made it a part of the outcome.
    #[serde(skip)]
    pub fault: Option<Fault>,
    /// What people are told it in.
    #[serde(skip)]
    pub phrases: Phrases,
    /// The thresholds of `--fail-if`, each with what came of it.
    pub verdicts: Vec<Verdict>,
    /// What a reader should know before trusting the figures; whole sentences.
    pub notes: Vec<String>,
    /// What to type for the same run: what differs from the defaults, wherever it was set.
    pub command: Vec<String>,
    /// The effective configuration, keyed as the flags are.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// What the run is called, where it has a name of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Who was asked.
    pub target: Target,
    /// Where the figures come from.
    pub environment: Environment,
    /// When measuring began, in nanoseconds since 1970.
    pub started_unix_ns: u64,
    /// For how long sending was meant, from the end of warm-up on: rates are per this. The last
    /// interval counts, and replies that were waited for after it do not.
    #[serde(rename = "elapsed_ns", with = "document::nanos")]
    pub elapsed: Duration,
    /// How much of that had passed when it was stopped, or had sent all.
    #[serde(skip)]
    pub took: Duration,
    /// How `bench` paced its requests.
    #[serde(flatten)]
    pub load: Option<Load>,
    /// What was sent and what became of it.
    #[serde(flatten)]
    pub counts: Counts,
    /// Connections and sockets that failed, by kind: could not be made, broke off, were given up
    /// or turned a datagram back. A request that merely got no reply is lost, and no error.
    pub errors: BTreeMap<ErrorKind, u64>,
    /// Request to reply. With a rate, from the moment the request was *due*; one that never left
    /// counts with the time it had waited by the end.
    #[serde(skip)]
    pub rtt: Latency,
    /// With a rate: from the moment the request was really sent.
    #[serde(skip)]
    pub service: Option<Latency>,
    /// Time to connect, where connections were timed.
    #[serde(skip)]
    pub connect: Option<Latency>,
    /// How much longer each round trip was as this program saw it than as the kernel stamped it:
    /// what this machine adds.
    #[serde(skip)]
    pub host: Option<Latency>,
    /// Whose time stamps round trips are measured by; of datagrams only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<Whose>,
    /// What a STAMP reflector told of both ways.
    #[serde(default, rename = "stamp", skip_serializing_if = "Option::is_none")]
    pub ways: Option<Ways>,
    /// How much consecutive round trips differ.
    pub jitter_ns: Option<u64>,
    /// What the load cost this side.
    pub generator: Option<Generator>,
    /// Processor time of the server while measuring, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_cpu_ns: Option<u64>,
    /// Second by second, for runs under load.
    pub seconds: Vec<Second>,
    /// Round by round, where it was measured in several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rounds: Vec<Round>,
    /// The runs it is made of, where several machines made it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Machine>,
    /// The search for its rate, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<Curve>,
}

/// The command a report is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One message or stream, compared.
    Send,
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
            Mode::Send => "send",
            Mode::Ping => "ping",
            Mode::Bench => "bench",
        }
    }
}

/// Whose time stamps round trips are measured by; the better ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whose {
    /// The kernel's, of sending and receiving.
    Kernel,
    /// This program's of sending, the kernel's of receiving.
    Receive,
    /// This program's.
    User,
}

/// How requests were paced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "load", rename_all = "lowercase")]
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
        #[serde(rename = "rate_per_s")]
        per_s: f64,
    },
}

/// What was sent and what became of it. Bytes are of payload and its framing.
///
/// The books balance: `sent = unique + lost + under_way`, and
/// `received = unique + duplicate + corrupt + truncated + foreign`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests sent.
    pub sent: u64,
    /// Replies of every kind.
    pub received: u64,
    /// Requests whose own, whole and right reply came, in time or late.
    pub unique: u64,
    /// Requests that never got one.
    pub lost: u64,
    /// Requests under way when the run was stopped, whose time was not up: they may yet be answered,
    /// and are no loss.
    #[serde(default)]
    pub under_way: u64,
    /// Datagrams that came, and that this side's own socket had no room for: of the lost ones,
    /// those that the path has not lost.
    pub overflowed: u64,
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
    /// Requests that were due but never left, or left over when the last connection was given up.
    pub unsent: u64,
    /// Connections (sockets, for UDP) that were opened.
    pub connections: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

impl Counts {
    /// The share of requests that got no reply of their own, 0 to 1, of those of which it is known.
    pub fn loss(&self) -> f64 {
        ratio(self.lost_on_the_way(), self.settled())
    }

    /// Requests of which it is known what they have become.
    pub fn settled(&self) -> u64 {
        self.sent.saturating_sub(self.under_way)
    }

    /// Requests that got no reply, and not because this side had no room for it.
    pub fn lost_on_the_way(&self) -> u64 {
        self.lost.saturating_sub(self.overflowed)
    }

    /// Whether the books balance.
    pub fn balance(&self) -> bool {
        let replies = [self.duplicate, self.corrupt, self.truncated, self.foreign];
        self.sent == self.unique + self.lost + self.under_way
            && self.received == self.unique + replies.iter().sum::<u64>()
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.received += other.received;
        self.unique += other.unique;
        self.lost += other.lost;
        self.under_way += other.under_way;
        self.overflowed += other.overflowed;
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Seconds since measuring began, at the start of this one.
    pub start_s: u64,
    /// Requests that left in it.
    pub sent: u64,
    /// Right replies that came in it.
    pub echoes: u64,
    /// Requests that were given up in it.
    pub lost: u64,
    /// Median of their round trips, where there were enough.
    pub rtt_p50_ns: Option<u64>,
    /// Their 99th percentile, where there were enough.
    pub rtt_p99_ns: Option<u64>,
    /// The longest of them.
    pub rtt_max_ns: Option<u64>,
    /// Errors of every kind that showed in it.
    pub errors: u64,
    /// Its lines of the HdrHistogram log, where one is wanted.
    #[serde(skip)]
    pub log: Vec<u8>,
}

/// What the load cost this side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Threads that made the load.
    pub threads: usize,
    /// Their processor time while measuring, in nanoseconds.
    pub cpu_ns: u64,
    /// The busiest thread's share of one core, 0 to 1; of a run that was long enough to tell.
    pub busiest_share: Option<f64>,
    /// The largest share of its time that a thread was ready to run but had no core, where the
    /// system tells.
    pub starved_share: Option<f64>,
    /// The longest time that a thread stood still in all: it was stopped, or had no core, for
    /// over 10 ms at a time.
    pub paused_ns: u64,
}

impl Report {
    /// What is known before a run with these `settings`.
    pub fn new<S: Serialize + Default>(mode: Mode, connect: &Connect, settings: &S) -> Self {
        let (config, command) = context::configuration(mode, connect, settings);
        Report {
            mode,
            config,
            command,
            target: Target::of(connect),
            environment: Environment::detect(),
            started_unix_ns: unix_ns(SystemTime::now()),
            phrases: connect.phrases.clone(),
            ..Report::default()
        }
    }

    /// What the run is called: its label, or else its target.
    pub fn name(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.target.name)
    }

    /// Every distribution there is, with what it is called.
    pub fn distributions(&self) -> impl Iterator<Item = (&'static str, &Latency)> {
        let first = [("connect", self.connect.as_ref()), ("rtt", Some(&self.rtt))];
        let ways = self.ways.iter().flat_map(Ways::distributions);
        let ways = ways.map(|(name, latency)| (name, Some(latency)));
        let last = [
            ("service", self.service.as_ref()),
            ("host", self.host.as_ref()),
        ];
        let all = first.into_iter().chain(ways).chain(last);
        all.filter_map(|(name, latency)| Some((name, latency?)))
    }

    /// Right replies a second; `None` where there is no time in which all of them came.
    pub fn echoes_per_s(&self) -> Option<f64> {
        self.per_second(self.counts.unique)
    }

    /// Bytes received a second, likewise.
    pub fn received_bytes_per_s(&self) -> Option<f64> {
        self.per_second(self.counts.received_bytes)
    }

    fn per_second(&self, count: u64) -> Option<f64> {
        self.has_rate()
            .then(|| count as f64 / self.elapsed.as_secs_f64())
    }

    /// Processor time of this side for an echo, where there were any.
    pub fn cpu_per_echo(&self) -> Option<Duration> {
        let cpu_ns = self.generator.as_ref()?.cpu_ns;
        cpu_ns
            .checked_div(self.counts.unique)
            .map(Duration::from_nanos)
    }

    /// Errors of every kind.
    pub fn errors_in_all(&self) -> u64 {
        self.errors.values().sum()
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
}
