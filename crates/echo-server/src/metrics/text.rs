//! The text format of Prometheus, version 0.0.4, and what is told in it.

use std::fmt::{Display, Write as _};

use echo_core::release::{COMMIT, target};

use crate::event::{DropReason, Reason, Refusal, Stats};

/// What a family of figures is.
#[derive(Clone, Copy)]
pub(super) enum Type {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Families of figures, one after the other.
#[derive(Default)]
pub(super) struct Text(pub(super) String);

impl Text {
    /// Adds a family: each figure with its labels, in braces, or none.
    pub(super) fn family<T: Display>(
        &mut self,
        name: &str,
        kind: Type,
        help: &str,
        figures: impl IntoIterator<Item = (String, T)>,
    ) {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
        };
        // A string takes all that is written to it.
        let _ = write!(self.0, "# HELP {name} {help}.\n# TYPE {name} {kind}\n");
        for (labels, figure) in figures {
            let _ = writeln!(self.0, "{name}{labels} {figure}");
        }
    }

    /// Adds what a server has done, and whether it is ready.
    pub(super) fn server(&mut self, stats: &Stats, ready: bool) {
        let (version, target) = (env!("CARGO_PKG_VERSION"), target());
        self.family(
            "echo_server_build_info",
            Type::Gauge,
            "Which program this is; always 1",
            [(
                format!("{{version=\"{version}\",commit=\"{COMMIT}\",target=\"{target}\"}}"),
                1,
            )],
        );
        let one = |figure: u64| vec![(String::new(), figure)];
        let families = [
            (
                "ready",
                Type::Gauge,
                "1 while connections are accepted, 0 while the server is stopping",
                one(ready.into()),
            ),
            (
                "connections",
                Type::Gauge,
                "Connections open now",
                one(stats.open),
            ),
            (
                "connections_accepted_total",
                Type::Counter,
                "Connections accepted",
                one(stats.accepted),
            ),
            (
                "connections_refused_total",
                Type::Counter,
                "Connections closed at once, by the limit or the fault that did it",
                by_reason(&Refusal::CODES, &stats.refused),
            ),
            (
                "connections_closed_total",
                Type::Counter,
                "Connections that have ended, by reason",
                by_reason(&Reason::CODES, &stats.closed),
            ),
            (
                "received_bytes_total",
                Type::Counter,
                "Bytes received on connections",
                one(stats.received_bytes),
            ),
            (
                "sent_bytes_total",
                Type::Counter,
                "Bytes sent on connections",
                one(stats.sent_bytes),
            ),
            (
                "datagrams_received_total",
                Type::Counter,
                "Datagrams received",
                one(stats.datagrams),
            ),
            (
                "datagrams_answered_total",
                Type::Counter,
                "Datagrams that got a reply",
                one(stats.answered),
            ),
            (
                "datagrams_dropped_total",
                Type::Counter,
                "Datagrams that got no reply, by reason",
                by_reason(&DropReason::CODES, &stats.dropped),
            ),
            (
                "datagrams_overflowed_total",
                Type::Counter,
                "Datagrams that the system dropped before they could be received, as of the last second",
                one(stats.overflowed),
            ),
            (
                "faults_total",
                Type::Counter,
                "Faults applied, each of which was asked for",
                one(stats.faults),
            ),
            (
                "log_events_dropped_total",
                Type::Counter,
                "Events that came faster than the log was written",
                one(stats.missed),
            ),
        ];
        for (name, kind, help, figures) in families {
            self.family(&format!("echo_server_{name}"), kind, help, figures);
        }
    }
}

fn by_reason(codes: &[&str], counts: &[u64]) -> Vec<(String, u64)> {
    let counts = codes.iter().zip(counts);
    counts
        .map(|(code, count)| (format!("{{reason=\"{code}\"}}"), *count))
        .collect()
}
