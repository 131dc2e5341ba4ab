//! What monitors are told of the books.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use echo_core::Transport;
use echo_core::release::{COMMIT, target};
use echo_metrics::{Answers, Label, Text, Type};

use super::books::{BOUNDS, Books, Buckets, Path, State};
use crate::connection::ErrorKind;
use crate::engine::Class;
use crate::output::note;

/// What can come back. Each has a line from the start, so that `rate()` sees the first one.
const RESULTS: [Class; 7] = [
    Class::Ok,
    Class::Late,
    Class::Reordered,
    Class::Duplicate,
    Class::Corrupt,
    Class::Truncated,
    Class::Foreign,
];

/// What goes wrong on a path.
const KINDS: [ErrorKind; 11] = [
    ErrorKind::Dns,
    ErrorKind::Refused,
    ErrorKind::Timeout,
    ErrorKind::Unreachable,
    ErrorKind::Reset,
    ErrorKind::Closed,
    ErrorKind::Mismatch,
    ErrorKind::Exhausted,
    ErrorKind::Local,
    ErrorKind::Permission,
    ErrorKind::Other,
];

/// Answers from the books.
#[derive(Debug)]
pub struct Desk {
    /// The books.
    pub books: Arc<Books>,
    /// What is probed over.
    pub transports: Vec<Transport>,
}

impl Answers for Desk {
    fn metrics(&mut self, text: &mut Text) {
        add(text, &self.books.copy(), &self.transports);
    }

    fn is_live(&mut self) -> bool {
        self.books.is_live()
    }

    fn is_ready(&self) -> bool {
        self.books.is_ready()
    }

    fn accept_failed(&self, error: String, retry_in: Duration) {
        note(format_args!(
            "echo-client: cannot accept a monitor: {error}; trying again in {retry_in:?}; raise the \
             limit of open files (ulimit -n)"
        ));
    }
}

/// A family of a figure for each path.
type OfPaths = (&'static str, Type, &'static str, fn(&Path) -> u64);

const OF_PATHS: [OfPaths; 3] = [
    (
        "echo_mesh_requests_total",
        Type::Counter,
        "Probes of a peer",
        |path| path.requests,
    ),
    (
        "echo_mesh_lost_total",
        Type::Counter,
        "Probes that got no right reply in time",
        |path| path.lost,
    ),
    (
        "echo_mesh_peer_up",
        Type::Gauge,
        "1 if the peer answers; 0 after three losses in a row, and before the first reply",
        |path| path.is_up().into(),
    ),
];

fn add(text: &mut Text, state: &State, transports: &[Transport]) {
    let labels = format!(
        "{{version=\"{}\",commit=\"{COMMIT}\",target=\"{}\"}}",
        env!("CARGO_PKG_VERSION"),
        target()
    );
    let help = "Which program this is; always 1";
    text.family("echo_mesh_build_info", Type::Gauge, help, [(labels, 1)]);
    for (name, kind, help, figure) in OF_PATHS {
        let paths = state.paths.iter().flatten();
        let figures = paths.map(|path| {
            let (peer, zone, transport) = (Label(&path.peer), Label(&path.zone), path.transport);
            let labels = format!("{{peer={peer},peer_zone={zone},transport=\"{transport}\"}}");
            (labels, figure(path))
        });
        text.family(name, kind, help, figures);
    }
    text.family(
        "echo_mesh_rtt_seconds",
        Type::Histogram,
        "Round trips to the peers of a zone",
        state.rtt.iter().flat_map(|((zone, transport), buckets)| {
            let labels = format!("peer_zone={},transport=\"{transport}\"", Label(zone));
            histogram(&labels, buckets)
        }),
    );
    text.family(
        "echo_mesh_replies_total",
        Type::Counter,
        "What came back, by what it was",
        counts(transports, "result", &RESULTS, &state.replies),
    );
    text.family(
        "echo_mesh_errors_total",
        Type::Counter,
        "What went wrong, with a probe or a connection",
        counts(transports, "kind", &KINDS, &state.errors),
    );
    let mut names: Vec<_> = state
        .paths
        .iter()
        .flatten()
        .map(|path| &path.peer)
        .collect();
    names.sort_unstable();
    names.dedup();
    let success = state
        .success
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    for (name, kind, help, figure) in [
        (
            "peers",
            Type::Gauge,
            "Peers that are watched",
            names.len() as f64,
        ),
        (
            "known_peers",
            Type::Gauge,
            "Peers that are listed, this one among them",
            state.known as f64,
        ),
        (
            "delayed_total",
            Type::Counter,
            "Probes that say nothing of their path, since this machine or process stood still",
            state.delayed as f64,
        ),
        (
            "discovery_failures_total",
            Type::Counter,
            "Times that a list of peers could not be had",
            state.failures as f64,
        ),
        (
            "discovery_last_success_timestamp_seconds",
            Type::Gauge,
            "When all lists of peers could be had last, in seconds since 1970",
            success.unwrap_or_default().as_secs_f64(),
        ),
    ] {
        let figure = [(String::new(), figure)];
        text.family(&format!("echo_mesh_{name}"), kind, help, figure);
    }
}

/// A figure for each of these kinds over each transport.
fn counts<K: Copy + Ord + Display>(
    transports: &[Transport],
    label: &str,
    kinds: &[K],
    counts: &BTreeMap<(Transport, K), u64>,
) -> Vec<(String, u64)> {
    let keys = transports
        .iter()
        .flat_map(|transport| kinds.iter().map(|kind| (*transport, *kind)));
    keys.map(|(transport, kind)| {
        let labels = format!("{{transport=\"{transport}\",{label}=\"{kind}\"}}");
        (labels, counts.get(&(transport, kind)).copied().unwrap_or(0))
    })
    .collect()
}

fn histogram(labels: &str, buckets: &Buckets) -> Vec<(String, f64)> {
    let mut lines = Vec::new();
    let mut count = 0;
    for (index, bucket) in buckets.counts.iter().enumerate() {
        count += bucket;
        let bound = match index {
            BOUNDS => "+Inf".to_owned(),
            _ => (Buckets::bound(index) as f64 / 1e9).to_string(),
        };
        lines.push((format!("_bucket{{{labels},le=\"{bound}\"}}"), count as f64));
    }
    lines.push((format!("_sum{{{labels}}}"), buckets.sum_ns as f64 / 1e9));
    lines.push((format!("_count{{{labels}}}"), count as f64));
    lines
}
