//! What monitors are told of the books.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use echo_core::Transport;
use echo_metrics::{Answers, Label, Text};

use super::books::{Books, Figures, Path};
use crate::output::note;

/// Answers from the books.
#[derive(Debug)]
pub struct Desk(pub Arc<Books>);

impl Answers for Desk {
    fn metrics(&mut self, text: &mut Text) {
        add(text, &self.0.figures());
    }

    fn is_live(&mut self) -> bool {
        self.0.is_live()
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    fn accept_failed(&self, error: String, retry_in: Duration) {
        note(format_args!(
            "echo-client: cannot accept a monitor: {error}; trying again in {retry_in:?}; raise the \
             limit of open files (ulimit -n)"
        ));
    }
}

/// A family of a figure for each path: its name, what it is, and the figure.
type OfPaths = (&'static str, &'static str, fn(&Path) -> u64);

const OF_PATHS: [OfPaths; 3] = [
    ("requests_total", "Probes of a peer", |path| path.requests),
    (
        "lost_total",
        "Probes that got no right reply in time",
        |path| path.lost,
    ),
    (
        "peer_up",
        "1 if the peer answers; 0 after three losses in a row, and before the first reply",
        |path| path.is_up().into(),
    ),
];

fn add(text: &mut Text, figures: &Figures) {
    text.build_info("echo_mesh_build_info", env!("CARGO_PKG_VERSION"));
    let paths: Vec<_> = figures.paths.iter().flatten().collect();
    for (name, help, figure) in OF_PATHS {
        let figures = paths.iter().map(|path| {
            let (peer, zone, transport) = (Label(&path.peer), Label(&path.zone), path.transport);
            let labels = format!("{{peer={peer},peer_zone={zone},transport=\"{transport}\"}}");
            (labels, figure(path) as f64)
        });
        let figures: Vec<_> = figures.collect();
        text.family(&format!("echo_mesh_{name}"), help, &figures);
    }
    let mut rtt = Vec::new();
    for ((zone, transport), buckets) in &figures.rtt {
        let labels = format!("peer_zone={},transport=\"{transport}\"", Label(zone));
        let mut all = 0.0;
        for (bound, count) in buckets.cumulated() {
            all = count as f64;
            // It is written `inf`, which Prometheus takes; everybody writes `+Inf`.
            let bound = bound.to_string().replace("inf", "+Inf");
            rtt.push((format!("_bucket{{{labels},le=\"{bound}\"}}"), all));
        }
        let sum = buckets.sum_ns as f64 / 1e9;
        rtt.push((format!("_sum{{{labels}}}"), sum));
        rtt.push((format!("_count{{{labels}}}"), all));
    }
    let help = "Round trips to the peers of a zone";
    text.histogram("echo_mesh_rtt_seconds", help, &rtt);
    let replies = counts("result", &figures.replies);
    let help = "What came back, by what it was";
    text.family("echo_mesh_replies_total", help, &replies);
    let errors = counts("kind", &figures.errors);
    let help = "What went wrong, with a probe or a connection";
    text.family("echo_mesh_errors_total", help, &errors);
    // Each has a path over every transport.
    let over = paths.first().map(|path| path.transport);
    let peers = paths.iter().filter(|path| Some(path.transport) == over);
    let success = figures
        .success
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    for (name, help, figure) in [
        ("peers", "Peers that are watched", peers.count() as f64),
        (
            "known_peers",
            "Peers that are listed, this one among them",
            figures.known as f64,
        ),
        (
            "delayed_total",
            "Probes that say nothing of their path, since this machine or process stood still",
            figures.delayed as f64,
        ),
        (
            "discovery_failures_total",
            "Times that a list of peers could not be had",
            figures.failures as f64,
        ),
        (
            "discovery_last_success_timestamp_seconds",
            "When all lists of peers could be had last, in seconds since 1970",
            success.unwrap_or_default().as_secs_f64(),
        ),
    ] {
        text.one(&format!("echo_mesh_{name}"), help, figure);
    }
}

/// A figure for each of these kinds over each transport.
fn counts<K: Display>(label: &str, counts: &BTreeMap<(Transport, K), u64>) -> Vec<(String, f64)> {
    let counts = counts.iter().map(|((transport, kind), count)| {
        let labels = format!("{{transport=\"{transport}\",{label}=\"{kind}\"}}");
        (labels, *count as f64)
    });
    counts.collect()
}
