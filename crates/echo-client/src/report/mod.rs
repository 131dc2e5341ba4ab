//! What a run found out, as data. Text, JSON and HTML only render it, so they cannot disagree.

mod context;
mod counts;
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
mod part;
mod print;
mod saved;
mod span;
mod sum;
mod table;
mod text;
mod threshold;
mod unit;
mod ways;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use echo_core::named;
use echo_core::units::unix_ns;
use echo_explain::Phrases;
use serde::{Deserialize, Serialize};

pub use crate::connection::Fault;
use crate::connection::{Connect, ErrorKind};

pub use context::{Environment, Target};
pub use counts::Counts;
pub use curve::{Curve, Step};
pub use document::{json, read};
pub use files::Files;
pub use format::{Share, counted, significant};
pub use html::html;
pub use latency::{Bar, Jitter, Latency, PERCENTILES};
pub use metric::Metric;
pub use outcome::{Cut, Ending, Outcome, held};
pub use part::Part;
pub use print::{ended, print};
pub use saved::Saved;
pub use span::{Latencies, Span};
pub use table::Table;
pub(crate) use text::wrapped;
pub use text::{COLUMNS, columns, text};
pub use threshold::{Threshold, Thresholds, Verdict, too_few};
pub use unit::Unit;
pub use ways::{Numbering, OneWay, State, Ways};

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
    /// How much time had passed when it was stopped, or had sent all and heard the last.
    /// Zero of what several machines measured together.
    #[serde(
        default,
        rename = "took_ns",
        with = "document::nanos",
        skip_serializing_if = "Duration::is_zero"
    )]
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
    /// Of the other spans, whatever is known.
    #[serde(skip)]
    pub others: Latencies,
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
    pub rounds: Vec<Part>,
    /// The runs it is made of, where several machines made it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Part>,
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

named!(Mode);

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

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Load::Closed { in_flight } => write!(f, "closed loop, {in_flight} in flight"),
            Load::Rate { per_s } => write!(f, "{per_s} requests/s"),
        }
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
    /// Of the requests that left in it, those that never got a right reply.
    pub lost: u64,
    /// Requests that were due in it and never left.
    #[serde(default)]
    pub unsent: u64,
    /// Median of the round trips of those that echoed, where there were enough.
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
    /// What there is to know of round trips that are none of an echo, if there are any.
    pub fn bounds(&self) -> Option<String> {
        let all = self.rtt.count();
        let never = match self.load {
            Some(Load::Rate { .. }) => all.saturating_sub(self.counts.unique),
            _ => 0,
        };
        (never > 0).then(|| {
            format!(
                "{never} of the {all} round trips are of requests that never left: each counts as long \
                 as it had waited, and would have taken longer"
            )
        })
    }

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

    /// The distribution of a span, if there is one.
    pub fn of(&self, span: Span) -> Option<&Latency> {
        match span {
            Span::Rtt => Some(&self.rtt),
            other => self.others.get(other),
        }
    }

    /// Every distribution there is.
    pub fn distributions(&self) -> impl Iterator<Item = (Span, &Latency)> {
        let all = Span::ALL.into_iter();
        all.filter_map(|span| Some((span, self.of(span)?)))
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

    /// Errors of every kind.
    pub fn errors_in_all(&self) -> u64 {
        self.errors.values().sum()
    }
}
