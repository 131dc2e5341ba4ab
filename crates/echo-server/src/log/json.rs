//! Events as JSON lines. The keys are a contract, written down in docs/EVENTS.md.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use echo_core::Zoned;
use echo_core::framing::FrameError;
use echo_core::path::shown;
use echo_core::units::unix_ns;
use serde_json::{Value, json};

use crate::event::{
    Address, DropReason, Event, EventReader, Kind, Limit, PeerAddress, Reason, Stop, unmapped,
};

/// Writes every event to `out`, each as a line, until the server is gone.
pub(super) fn write(events: &EventReader, mut out: impl Write) -> io::Result<()> {
    while let Some(event) = events.next() {
        let mut lines = line(&event);
        while let Some(event) = events.try_next() {
            lines.push_str(&line(&event));
            if lines.len() > MOST {
                break;
            }
        }
        let missed = events.take_missed();
        if missed > 0 {
            lines.push_str(&lost(SystemTime::now(), missed));
        }
        out.write_all(lines.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

/// Lines are written together while they come fast, but not without limit.
const MOST: usize = 64 << 10;

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
        Kind::DatagramsReceived { .. } => "datagrams-received",
        Kind::DatagramsSent { .. } => "datagrams-sent",
        Kind::Datagrams { .. } => "datagrams",
        Kind::DatagramsDropped { .. } => "datagrams-dropped",
        Kind::Faults { .. } => "faults",
        Kind::Fault { .. } => "fault",
        Kind::AcceptFailed { .. } => "accept-failed",
        Kind::Call(_) => "call",
        Kind::Draining { .. } => "draining",
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
        } => json!({
            "connection": id, "peer": end(peer), "reason": code(reason),
            "detail": reason.to_string(), "received_bytes": received, "sent_bytes": sent,
        }),
        Kind::DatagramsReceived {
            local,
            peer,
            count,
            bytes,
        }
        | Kind::Datagrams {
            local,
            peer,
            count,
            bytes,
        } => datagrams(*local, *peer, *count, "received_bytes", *bytes),
        Kind::DatagramsSent {
            local,
            peer,
            count,
            bytes,
        } => datagrams(*local, *peer, *count, "sent_bytes", *bytes),
        Kind::DatagramsDropped {
            local,
            peer,
            reason,
            count,
        } => json!({
            "transport": "udp", "local": text(*local), "peer": text(*peer), "datagrams": count,
            "reason": drop_code(reason), "detail": reason.to_string(),
        }),
        Kind::Faults { count, seed } => json!({ "faults": count, "seed": seed }),
        Kind::Fault {
            what,
            network,
            connection,
            peer,
            message,
        } => {
            let message = (*message > 0).then_some(*message);
            let mut fields = json!({
                "fault": what.name(), "transport": network.to_string(), "connection": connection,
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
        Kind::Stopped { why } => json!({ "reason": stop_code(*why), "detail": why.to_string() }),
    }
}

fn datagrams(local: SocketAddr, peer: SocketAddr, count: u64, unit: &str, bytes: u64) -> Value {
    json!({
        "transport": "udp", "local": text(local), "peer": text(peer), "datagrams": count,
        unit: bytes,
    })
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
        Reason::Shutdown => "shutdown",
        Reason::Failed(_) => "failed",
        Reason::Defect => "defect",
        Reason::Fault(_) => "fault",
    }
}

pub(super) fn drop_code(reason: &DropReason) -> &'static str {
    match reason {
        DropReason::ServicePort => "service-port",
        DropReason::OwnSocket => "own-socket",
        DropReason::NotUnicast => "not-unicast",
        DropReason::Rate => "rate",
        DropReason::Failed(_) => "failed",
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
        };
        assert_eq!(
            lines(vec![accepted, closed]),
            [
                "{\"time_unix_ns\":1700000000000000001,\"event\":\"accepted\",\"connection\":1,\
                 \"local\":\"127.0.0.1:5346\",\"peer\":\"127.0.0.1:53412\",\"transport\":\"tcp\"}\n",
                "{\"time_unix_ns\":1700000000000000001,\"event\":\"closed\",\"connection\":1,\
                 \"detail\":\"frame of 9 bytes or more is over the limit of 8\",\
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
        write(&reader, &mut out).unwrap();
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
