//! What monitors are told of the books.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, UNIX_EPOCH};

use echo_core::Transport;
use echo_metrics::{Answers, Label, Text};

use super::books::{Account, Books, Figures};
use crate::output::note;

/// An agent that has not taken a turn for so long hangs: it takes one each second.
const PATIENCE: Duration = Duration::from_secs(5);

impl Answers for Books {
    fn metrics(&mut self, text: &mut Text) {
        // A copy: whoever makes a text of them must not hold up who fills them.
        let figures = self.open().clone();
        add(text, &figures);
    }

    fn is_live(&mut self) -> bool {
        let turned = self.open().turned;
        turned.is_some_and(|turned| turned.elapsed() < PATIENCE)
    }

    fn is_ready(&self) -> bool {
        let figures = self.open();
        !figures.is_closed && (figures.known > 0 || figures.success.is_some())
    }

    fn accept_failed(&self, error: String, retry_in: Duration) {
        note(format_args!(
            "echo-client: cannot accept a monitor: {error}; trying again in {retry_in:?}"
        ));
    }
}

fn add(text: &mut Text, figures: &Figures) {
    text.build_info("echo_mesh_build_info", env!("CARGO_PKG_VERSION"));
    let of_paths = |figure: fn(&Account) -> u64| {
        let told = figures.paths.values().map(|path| {
            let [peer, zone] = [&path.peer.name, &path.peer.zone].map(|text| Label(text));
            let over = path.transport;
            let labels = format!("{{peer={peer},peer_zone={zone},transport=\"{over}\"}}");
            (labels, figure(path) as f64)
        });
        told.collect::<Vec<_>>()
    };
    let requests = of_paths(|path| path.requests);
    text.family("echo_mesh_requests_total", "Probes of a peer", &requests);
    let help = "Probes that got no right reply in time";
    text.family("echo_mesh_lost_total", help, &of_paths(|path| path.lost));
    let help = "1 if the peer answers; 0 after three losses in a row, and before the first reply";
    text.family(
        "echo_mesh_peer_up",
        help,
        &of_paths(|path| path.is_up().into()),
    );
    let mut rtt = Vec::new();
    for ((zone, transport), buckets) in &figures.rtt {
        let labels = format!("peer_zone={},transport=\"{transport}\"", Label(zone));
        let mut all = 0.0;
        for (bound, count) in buckets.cumulated() {
            all = count as f64;
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
    let over = figures.paths.values().next().map(|path| path.transport);
    let peers = figures
        .paths
        .values()
        .filter(|path| Some(path.transport) == over);
    let help = "Peers that are watched";
    text.one("echo_mesh_peers", help, peers.count() as f64);
    let help = "Peers that are listed, this one among them";
    text.one("echo_mesh_known_peers", help, figures.known as f64);
    let help = "Probes that say nothing of their path, since this machine or process stood still";
    text.one("echo_mesh_delayed_total", help, figures.delayed as f64);
    let help = "Times that a list of peers could not be had";
    text.one(
        "echo_mesh_discovery_failures_total",
        help,
        figures.failures as f64,
    );
    let success = figures
        .success
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    // No figure while there was none: 0 would be a list of 1970.
    let success = success.map(|time| (String::new(), time.as_secs_f64()));
    text.family(
        "echo_mesh_discovery_last_success_timestamp_seconds",
        "When all lists of peers could be had last, in seconds since 1970",
        success.as_slice(),
    );
}

/// A figure for each of these kinds over each transport.
fn counts<K: Display>(label: &str, counts: &BTreeMap<(Transport, K), u64>) -> Vec<(String, f64)> {
    let counts = counts.iter().map(|((transport, kind), count)| {
        let labels = format!("{{transport=\"{transport}\",{label}=\"{kind}\"}}");
        (labels, *count as f64)
    });
    counts.collect()
}
