//! Events as JSON lines. The keys are a contract, written down in docs/EVENTS.md.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use echo_core::Zoned;
use echo_core::framing::FrameError;
use echo_core::path::shown;
use echo_core::units::unix_ns;
use serde_json::{Value, json};

use super::Render;
use crate::event::{
    Address, Datagrams, DropReason, Event, Kind, Limit, PeerAddress, Reason, Stats, Stop, unmapped,
};

/// Each event as a line.
pub(super) struct Json;

impl Render for Json {
    fn event(&mut self, event: &Event, out: &mut String) {
        out.push_str(&line(event));
    }

    fn lost(&mut self, events: u64, time: SystemTime, out: &mut String) {
        out.push_str(&lost(time, events));
    }
}

fn line(event: &Event) -> String {
    object(event.time, name(&event.kind), fields(&event.kind))
}

fn lost(time: SystemTime, events: u64) -> String {
    object(time, "lost", json!({ "events": events }))
}

/// When and what come first; an event always has more than these.
fn object(time: SystemTime, name: &str, fields: Value) -> String {
    let fields = fields.to_string();
    let rest = fields.trim_start_matches('{');
    let time = unix_ns(time);
    format!("{{\"time_unix_ns\":{time},\"event\":\"{name}\",{rest}\n")
}

fn name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Listening { .. } => "listening",
        Kind::Accepted { .. } => "accepted",
        Kind::Refused { .. } => "refused",
        Kind::Received { .. } => "received",
        Kind::Sent { .. } => "sent",
        Kind::PeerFinished { .. } => "peer-finished",
        Kind::Closed { .. } => "closed",
        Kind::DatagramsReceived(_) => "datagrams-received",
        Kind::DatagramsSent(_) => "datagrams-sent",
        Kind::DatagramsAnswered(_) => "datagrams",
        Kind::DatagramsDropped(..) => "datagrams-dropped",
        Kind::DatagramsOverflowed { .. } => "datagrams-overflowed",
        Kind::Faults { .. } => "faults",
        Kind::Fault { .. } => "fault",
        Kind::AcceptFailed { .. } => "accept-failed",
        Kind::Call(_) => "call",
        Kind::Draining { .. } => "draining",
        Kind::Stats(_) => "stats",
        Kind::Stopped { .. } => "stopped",
    }
}

fn fields(kind: &Kind) -> Value {
    match kind {
        Kind::Listening { local } => {
            json!({ "transport": local.transport(), "local": address(local) })
        }
        Kind::Accepted { id, local, peer } => json!({
            "connection": id, "transport": local.transport(), "local": address(local),
            "peer": end(peer),
        }),
        Kind::Refused { local, peer, limit } => {
            let (limit, max) = match limit {
                Limit::Connections(max) => ("max-connections", max),
                Limit::PerIp(max) => ("max-per-ip", max),
                Limit::Memory(max) => ("max-memory", max),
            };
            json!({
                "transport": local.transport(), "local": address(local), "peer": end(peer),
                "reason": limit, "max": max,
            })
        }
        Kind::Received { id, bytes } => json!({ "connection": id, "received_bytes": bytes }),
        Kind::Sent { id, bytes } => json!({ "connection": id, "sent_bytes": bytes }),
        Kind::PeerFinished { id } => json!({ "connection": id }),
        Kind::Closed {
            id,
            peer,
            reason,
            received,
            sent,
            lasted,
        } => json!({
            "connection": id, "peer": end(peer), "reason": code(reason),
            "detail": reason.to_string(), "received_bytes": received, "sent_bytes": sent,
            "duration_ns": ns(*lasted),
        }),
        Kind::DatagramsReceived(sum) | Kind::DatagramsAnswered(sum) => {
            datagrams(sum, json!({ "received_bytes": sum.bytes }))
        }
        Kind::DatagramsSent(sum) => datagrams(sum, json!({ "sent_bytes": sum.bytes })),
        Kind::DatagramsDropped(reason, sum) => datagrams(
            sum,
            json!({ "reason": reason.code(), "detail": reason.to_string() }),
        ),
        Kind::DatagramsOverflowed { local, count } => json!({
            "transport": "udp", "local": text(*local), "datagrams": count,
        }),
        Kind::Faults { count, seed } => json!({ "faults": count, "seed": seed }),
        Kind::Fault {
            what,
            transport,
            connection,
            peer,
            message,
        } => {
            let message = (*message > 0).then_some(*message);
            let mut fields = json!({
                "fault": what.name(), "transport": transport.to_string(), "connection": connection,
                "peer": peer.as_ref().map_or(Value::Null, end), "message": message,
            });
            for (key, value) in what.values() {
                fields[key] = value.into();
            }
            fields
        }
        Kind::AcceptFailed { error, retry_in } => {
            json!({ "detail": error, "retry_in_ns": ns(*retry_in) })
        }
        Kind::Draining {
            why,
            connections,
            at_most,
        } => json!({
            "reason": stop_code(*why), "connections": connections, "at_most_ns": ns(*at_most),
        }),
        // Those who want calls as JSON get nothing but calls: `--explain=json`.
        Kind::Call(step) => json!({ "call": step.call }),
        Kind::Stats(stats) => totals(stats, json!({})),
        Kind::Stopped { why, stats } => totals(
            stats,
            json!({ "reason": stop_code(*why), "detail": why.to_string() }),
        ),
    }
}

fn datagrams(sum: &Datagrams, mut fields: Value) -> Value {
    fields["transport"] = "udp".into();
    fields["local"] = text(sum.local).into();
    fields["peer"] = text(sum.peer).into();
    fields["datagrams"] = sum.count.into();
    fields
}

fn totals(stats: &Stats, mut fields: Value) -> Value {
    let dropped = DropReason::CODES.into_iter().zip(stats.dropped);
    for (key, value) in [
        ("connections", stats.accepted),
        ("open_connections", stats.open()),
        ("refused_connections", stats.refused),
        ("received_bytes", stats.received_bytes),
        ("sent_bytes", stats.sent_bytes),
        ("datagrams", stats.datagrams),
        ("datagrams_overflowed", stats.overflowed),
        ("since_unix_ns", unix_ns(stats.since)),
    ] {
        fields[key] = value.into();
    }
    let dropped = dropped.map(|(reason, count)| (reason.to_owned(), count.into()));
    fields["datagrams_dropped"] = Value::Object(dropped.collect());
    fields
}

fn address(address: &Address) -> String {
    match address {
        Address::Tcp(address) | Address::Udp(address) => text(*address),
        Address::Unix(path) => shown(path).to_string(),
    }
}

/// A peer's IP address and port. One on a Unix socket has neither.
fn end(peer: &PeerAddress) -> Value {
    match peer {
        PeerAddress::Inet(address) => text(*address).into(),
        PeerAddress::Unix => Value::Null,
    }
}

fn text(address: SocketAddr) -> String {
    Zoned(unmapped(address)).to_string()
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn code(reason: &Reason) -> &'static str {
    match reason {
        Reason::Finished => "finished",
        Reason::Reset => "reset",
        Reason::Frame(FrameError::TooLong { .. }) => "frame-too-long",
        Reason::Frame(FrameError::Truncated { .. }) => "frame-truncated",
        Reason::Idle => "idle",
        Reason::Unread => "unread",
        Reason::Memory => "memory",
        Reason::Shutdown => "shutdown",
        Reason::Failed(_) => "failed",
        Reason::Defect => "defect",
        Reason::Fault(_) => "fault",
    }
}

fn stop_code(why: Stop) -> &'static str {
    match why {
        Stop::Asked => "asked",
        Stop::Signal => "signal",
        Stop::StdinClosed => "stdin-closed",
        Stop::TimeUp => "time-up",
        Stop::Served => "served",
        Stop::RecordFailed => "record-failed",
        Stop::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::sample;
    use serde_json::Map;
    use std::time::UNIX_EPOCH;

    fn lines(kinds: Vec<Kind>) -> Vec<String> {
        let time = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_001);
        let events = kinds.into_iter().map(|kind| Event { time, kind });
        events.map(|event| line(&event)).collect()
    }

    #[test]
    fn a_line_is_an_object_with_its_time_and_its_units() {
        let local: SocketAddr = "127.0.0.1:5346".parse().unwrap();
        let peer = PeerAddress::Inet("[::ffff:127.0.0.1]:53412".parse().unwrap());
        let accepted = Kind::Accepted {
            id: 1,
            local: Address::Tcp(local),
            peer,
        };
        let closed = Kind::Closed {
            id: 1,
            peer,
            reason: Reason::Frame(FrameError::TooLong { len: 9, max: 8 }),
            received: 9,
            sent: 0,
            lasted: Duration::from_nanos(7),
        };
        assert_eq!(
            lines(vec![accepted, closed]),
            [
                "{\"time_unix_ns\":1700000000000000001,\"event\":\"accepted\",\"connection\":1,\
                 \"local\":\"127.0.0.1:5346\",\"peer\":\"127.0.0.1:53412\",\"transport\":\"tcp\"}\n",
                "{\"time_unix_ns\":1700000000000000001,\"event\":\"closed\",\"connection\":1,\
                 \"detail\":\"frame of 9 bytes or more is over the limit of 8\",\"duration_ns\":7,\
                 \"peer\":\"127.0.0.1:53412\",\"reason\":\"frame-too-long\",\"received_bytes\":9,\
                 \"sent_bytes\":0}\n",
            ]
        );
    }

    #[test]
    fn every_event_key_and_reason_is_documented() {
        let manual = include_str!("../../../../docs/EVENTS.md");
        let documented = |word: &str| manual.contains(&format!("`{word}`"));
        let mut all = lines(sample::events());
        all.push(lost(UNIX_EPOCH, 3));
        for line in all {
            let object: Map<String, Value> = serde_json::from_str(&line).unwrap();
            for key in object.keys() {
                assert!(documented(key), "{key} of {line}");
            }
            for key in ["event", "reason"] {
                if let Some(word) = object.get(key).and_then(Value::as_str) {
                    assert!(documented(word), "{word} of {line}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_summed_up_and_what_is_lost_is_told() {
        const QUEUED: usize = 4096;
        let (events, reader) = crate::event::Events::channel(crate::event::Level::Connections);
        for id in 0..5000 {
            events.tell(|| Kind::PeerFinished { id });
        }
        drop(events);
        let mut out = Vec::new();
        crate::log::tell(&mut Json, &reader, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (events, lost): (Vec<_>, Vec<_>) = text
            .lines()
            .partition(|line| line.contains("peer-finished"));
        assert_eq!(events.len(), QUEUED);
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert!(
            lost[0].contains(&format!("\"events\":{}", 5000 - QUEUED)),
            "{lost:?}"
        );
    }
}
