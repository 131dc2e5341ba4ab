//! What a server tells monitors at the address of `--metrics`: what it has done, whether it lives and
//! whether it is ready.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use echo_core::{Failure, remedied};
use echo_metrics::{Answers, Monitors, Text};

use crate::event::{DropReason, Kind, Reason, Refusal, Stats};
use crate::pulse::Pulse;
use crate::serve::shared::Shared;
use crate::thread;

/// Starts a thread that answers monitors, until what is returned is dropped.
///
/// # Errors
/// A [`Failure`] when the system grants no descriptors or no thread.
pub(crate) fn start(listeners: Vec<TcpListener>, server: Arc<Shared>) -> Result<Monitors, Failure> {
    let pulse = Pulse::new(server.totals.clone(), server.shutdown.clone());
    let desk = Desk { server, pulse };
    let (monitors, answering) = Monitors::new(listeners, desk).map_err(|error| {
        Failure::bad(anyhow!(
            "cannot answer monitors: {}",
            remedied(&error, "leave out --metrics")
        ))
    })?;
    thread::start("metrics", answering)?;
    Ok(monitors)
}

/// What answers follow from.
struct Desk {
    server: Arc<Shared>,
    pulse: Pulse,
}

impl Answers for Desk {
    fn metrics(&mut self, text: &mut Text) {
        add(text, &self.server.totals.stats(), self.is_ready());
    }

    fn is_live(&mut self) -> bool {
        self.pulse.beats(Instant::now())
    }

    fn is_ready(&self) -> bool {
        !self.server.shutdown.is_requested()
    }

    fn accept_failed(&self, error: String, retry_in: Duration) {
        let failed = || Kind::AcceptFailed { error, retry_in };
        self.server.events.tell(failed);
    }
}

/// Adds what a server has done, and whether it is ready.
fn add(text: &mut Text, stats: &Stats, ready: bool) {
    text.build_info("echo_server_build_info", env!("CARGO_PKG_VERSION"));
    let one = |figure: u64| vec![(String::new(), figure as f64)];
    let refused = by_reason(&Refusal::CODES, &stats.refused);
    let closed = by_reason(&Reason::CODES, &stats.closed);
    let dropped = by_reason(&DropReason::CODES, &stats.dropped);
    let ready_help = "1 while connections are accepted, 0 while the server is stopping";
    let refused_help = "Connections closed at once, by the limit or the fault that did it";
    let overflowed_help = "Datagrams that the system dropped before they could be received, as of the \
                           last second";
    for (name, help, figures) in [
        ("ready", ready_help, one(ready.into())),
        ("connections", "Connections open now", one(stats.open)),
        (
            "connections_accepted_total",
            "Connections accepted",
            one(stats.accepted),
        ),
        ("connections_refused_total", refused_help, refused),
        (
            "connections_closed_total",
            "Connections that have ended, by reason",
            closed,
        ),
        (
            "received_bytes_total",
            "Bytes received on connections",
            one(stats.received_bytes),
        ),
        (
            "sent_bytes_total",
            "Bytes sent on connections",
            one(stats.sent_bytes),
        ),
        (
            "datagrams_received_total",
            "Datagrams received",
            one(stats.datagrams),
        ),
        (
            "datagrams_answered_total",
            "Datagrams that got a reply",
            one(stats.answered),
        ),
        (
            "datagrams_dropped_total",
            "Datagrams that got no reply, by reason",
            dropped,
        ),
        (
            "datagrams_overflowed_total",
            overflowed_help,
            one(stats.overflowed),
        ),
        (
            "faults_total",
            "Faults applied, each of which was asked for",
            one(stats.faults),
        ),
        (
            "log_events_dropped_total",
            "Events that came faster than the log was written",
            one(stats.missed),
        ),
    ] {
        text.family(&format!("echo_server_{name}"), help, &figures);
    }
}

fn by_reason(codes: &[&str], counts: &[u64]) -> Vec<(String, f64)> {
    let counts = codes.iter().zip(counts);
    counts
        .map(|(code, count)| (format!("{{reason=\"{code}\"}}"), *count as f64))
        .collect()
}
