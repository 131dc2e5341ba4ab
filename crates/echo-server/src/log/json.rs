//! Events as JSON lines. The keys are a contract, written down in docs/EVENTS.md.

use echo_core::units::unix_ns;
use serde::Serialize;

use super::Render;
use crate::event::{Event, Kind};

/// Each event as a line; where calls are explained, each call and how many are missing.
pub(super) struct Json {
    pub(super) only_calls: bool,
}

/// When and what come first.
#[derive(Serialize)]
struct Line<'a> {
    time_unix_ns: u64,
    #[serde(flatten)]
    kind: &'a Kind,
}

impl Render for Json {
    fn event(&mut self, event: &Event, out: &mut String) {
        let line = match &event.kind {
            Kind::Call(step) if self.only_calls => serde_json::to_string(step),
            kind if self.only_calls && !matches!(kind, Kind::Lost { .. }) => return,
            // Only who asks for calls knows what such a line is.
            Kind::Call(_) => return,
            kind => serde_json::to_string(&Line {
                time_unix_ns: unix_ns(event.time),
                kind,
            }),
        };
        // None has a map whose keys are not text, which is all that JSON cannot hold.
        out.push_str(&(line.unwrap_or_default() + "\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Address, PeerAddress, Reason};
    use crate::log::tests as sample;
    use echo_core::framing::FrameError;
    use echo_explain::{Call, Step};
    use serde_json::{Map, Value};
    use std::net::SocketAddr;
    use std::time::{Duration, UNIX_EPOCH};

    fn lines(kinds: Vec<Kind>) -> Vec<String> {
        let time = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_001);
        let line = |kind| {
            let mut line = String::new();
            Json { only_calls: false }.event(&Event { time, kind }, &mut line);
            line
        };
        kinds.into_iter().map(line).collect()
    }

    #[test]
    fn calls_that_are_lost_are_told_in_json_too_and_other_events_are_not() {
        let mut told = String::new();
        for kind in sample::events() {
            let time = UNIX_EPOCH;
            Json { only_calls: true }.event(&Event { time, kind }, &mut told);
        }
        let lost = |n| format!("{{\"time_unix_ns\":0,\"event\":\"lost\",\"events\":{n}}}\n");
        assert_eq!(told, lost(1) + &lost(2));
        let step = Step {
            time_unix_ns: 0,
            socket: 3,
            call: Call::Listen { backlog: 1 },
            error: None,
            listed: None,
        };
        let among_others = lines(vec![Kind::Call(Box::new(step))]);
        assert_eq!(among_others, [""], "it is no event");
    }

    #[test]
    fn a_line_is_an_object_with_its_time_and_its_units() {
        let local: SocketAddr = "127.0.0.1:5346".parse().unwrap();
        let peer = PeerAddress::Inet("[::ffff:127.0.0.1]:53412".parse().unwrap());
        let accepted = Kind::Accepted {
            id: 1,
            local: Address::Tcp(local),
            peer,
            listener: None,
        };
        let closed = Kind::Closed {
            id: 1,
            peer,
            reason: Reason::FrameTooLong(FrameError::TooLong { len: 9, max: 8 }),
            received: 9,
            sent: 0,
            lasted: Duration::from_nanos(7),
        };
        assert_eq!(
            lines(vec![accepted, closed]),
            [
                "{\"time_unix_ns\":1700000000000000001,\"event\":\"accepted\",\"connection\":1,\
                 \"transport\":\"tcp\",\"local\":\"127.0.0.1:5346\",\"peer\":\"127.0.0.1:53412\"}\n",
                "{\"time_unix_ns\":1700000000000000001,\"event\":\"closed\",\"connection\":1,\
                 \"peer\":\"127.0.0.1:53412\",\"reason\":\"frame-too-long\",\
                 \"detail\":\"frame of 9 bytes or more is over the limit of 8\",\
                 \"received_bytes\":9,\"sent_bytes\":0,\"duration_ns\":7}\n",
            ]
        );
    }

    #[test]
    fn every_event_key_and_reason_is_documented() {
        let manual = include_str!("../../../../docs/EVENTS.md");
        let documented = |word: &str| manual.contains(&format!("`{word}`"));
        for line in lines(sample::events()) {
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
        crate::log::tell(&mut Json { only_calls: false }, &reader, &mut out).unwrap();
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
