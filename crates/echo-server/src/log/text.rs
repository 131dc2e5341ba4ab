//! Events as lines of text that a person reads.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Instant;

use super::count::{Count, bytes};
use super::digest::Digest;
use echo_core::Zoned;

use crate::event::{Address, Event, EventReader, Kind, Level};

/// Writes every event to `out` until the server is gone. Where only connections were asked for,
/// more of them than a person can read are summed up, a line a second.
pub(super) fn write(events: &EventReader, level: Level, mut out: impl Write) -> io::Result<()> {
    let mut digest = Digest::new(Instant::now());
    let mut lines = String::new();
    loop {
        let event = match digest.sums_up_at() {
            None => events.next().ok_or(RecvTimeoutError::Disconnected),
            Some(due) => events.next_before(due),
        };
        let now = Instant::now();
        let over = matches!(event, Err(RecvTimeoutError::Disconnected));
        digest.turn(now, over, &mut lines);
        let mut next = event.ok();
        while let Some(event) = next {
            if matches!(event.kind, Kind::Draining { .. } | Kind::Stopped { .. }) {
                digest.turn(now, true, &mut lines);
            }
            if level > Level::Connections || !digest.takes(&event.kind) {
                line(&mut lines, &event);
            }
            next = match lines.len() < MOST {
                true => events.try_next(),
                false => None,
            };
        }
        let missed = events.take_missed();
        if missed > 0 {
            let _ = writeln!(
                lines,
                "({} not shown: they came faster than they could be written)",
                Count(missed, "event")
            );
        }
        out.write_all(lines.as_bytes())?;
        out.flush()?;
        lines.clear();
        if over {
            return Ok(());
        }
    }
}

/// Lines are written together while they come fast, but not without limit.
const MOST: usize = 64 << 10;

/// Adds an event's line. Writing to a string cannot fail.
fn line(out: &mut String, event: &Event) {
    let _ = match &event.kind {
        Kind::Listening {
            local: Address::Udp(local),
        } if !local.ip().is_loopback() => writeln!(
            out,
            "Warning: UDP on {} answers whoever can send to it, and a sender is easily forged; \
             --udp-rate bounds the replies, docs/SECURITY.md says what else to do",
            Zoned(*local)
        ),
        // The ready line has said so, on standard output; explanations tell of calls.
        Kind::Listening { .. } | Kind::Call(_) => Ok(()),
        Kind::Accepted { id, peer, .. } => writeln!(out, "Connected by: {peer} (#{id})"),
        Kind::Refused { peer, limit, .. } => writeln!(out, "Refused: {peer}: {limit}"),
        Kind::Received { id, bytes: n } => {
            writeln!(out, "  #{id} received {}", bytes(*n as u64))
        }
        Kind::Sent { id, bytes: n } => writeln!(out, "  #{id} sent {}", bytes(*n as u64)),
        Kind::PeerFinished { id } => writeln!(out, "  #{id} has finished sending"),
        Kind::Closed {
            id,
            peer,
            reason,
            received,
            sent,
        } => writeln!(
            out,
            "Closed: {peer} (#{id}): received {}, sent {}: {reason}",
            bytes(*received),
            bytes(*sent)
        ),
        Kind::DatagramsReceived {
            peer,
            count,
            bytes: n,
            ..
        } => writeln!(
            out,
            "  received {} with {} from {}",
            Count(*count, "datagram"),
            bytes(*n),
            Zoned(*peer)
        ),
        Kind::DatagramsSent {
            peer,
            count,
            bytes: n,
            ..
        } => writeln!(
            out,
            "  sent {} with {} to {}",
            Count(*count, "datagram"),
            bytes(*n),
            Zoned(*peer)
        ),
        Kind::Datagrams {
            peer,
            count: 1,
            bytes: n,
            ..
        } => writeln!(
            out,
            "Datagram from: {}: {}, echoed",
            Zoned(*peer),
            bytes(*n)
        ),
        Kind::Datagrams {
            peer,
            count,
            bytes: n,
            ..
        } => writeln!(
            out,
            "Datagrams: {count} with {}, echoed; the last from {}",
            bytes(*n),
            Zoned(*peer)
        ),
        Kind::DatagramsDropped {
            peer,
            reason,
            count: 1,
            ..
        } => writeln!(out, "Datagram from {} not answered: {reason}", Zoned(*peer)),
        Kind::DatagramsDropped {
            peer,
            reason,
            count,
            ..
        } => writeln!(
            out,
            "Datagrams not answered: {count}; the last from {}: {reason}",
            Zoned(*peer)
        ),
        Kind::Faults { count, seed } => writeln!(
            out,
            "{} configured; --seed {seed} repeats what chance decides",
            Count(*count as u64, "fault")
        ),
        Kind::Fault {
            what,
            network,
            connection,
            peer: Some(peer),
            message,
        } => match message {
            0 => writeln!(out, "Fault: {what}: {network} {peer} (#{connection})"),
            message => writeln!(
                out,
                "Fault: {what}: {network} message {message} from {peer} (#{connection})"
            ),
        },
        Kind::Fault {
            what,
            network,
            connection,
            peer: None,
            ..
        } => writeln!(
            out,
            "Fault: {what}: {network} connections from #{connection} on"
        ),
        Kind::AcceptFailed { error, retry_in } => writeln!(
            out,
            "Cannot accept: {error}; trying again in {} ms. Raise the open-file limit (ulimit -n) \
             or lower --max-connections",
            retry_in.as_millis()
        ),
        Kind::Draining {
            why,
            connections: 0,
            ..
        } => writeln!(out, "Stopping: {why}"),
        Kind::Draining {
            why,
            connections,
            at_most,
        } => writeln!(
            out,
            "Stopping: {why}; {} may go on for {} s at most",
            Count(*connections as u64, "open connection"),
            at_most.as_secs_f64()
        ),
        Kind::Stopped { why } => writeln!(out, "Stopped: {why}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Events, PeerAddress, Reason, Stop};
    use crate::log::digest::READABLE;
    use crate::log::sample;
    use std::time::UNIX_EPOCH;

    fn lines(kinds: impl IntoIterator<Item = Kind>) -> String {
        let mut out = String::new();
        for kind in kinds {
            let time = UNIX_EPOCH;
            line(&mut out, &Event { time, kind });
        }
        out
    }

    #[test]
    fn each_event_is_a_line() {
        let kinds = sample::events();
        let told = kinds
            .iter()
            .filter(|k| !matches!(k, Kind::Listening { .. }));
        assert_eq!(told.count(), lines(kinds.clone()).lines().count());
    }

    #[test]
    fn a_connection_reads_as_in_the_tutorial() {
        let text = lines([sample::accepted(1), sample::closed(1, 1, 2)]);
        assert_eq!(
            text,
            "Connected by: 127.0.0.1:53412 (#1)\n\
             Closed: 127.0.0.1:53412 (#1): received 1 byte, sent 2 bytes: the peer finished\n"
        );
    }

    fn written(level: Level, kinds: impl IntoIterator<Item = Kind>) -> String {
        let (events, reader) = Events::channel(level);
        for kind in kinds {
            events.tell(|| kind);
        }
        drop(events);
        let mut out = Vec::new();
        write(&reader, level, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn more_connections_than_one_can_read_are_summed_up() {
        let connections =
            (1..=1000).flat_map(|id| [sample::accepted(id), sample::closed(id, 3, 3)]);
        let kinds: Vec<_> = connections
            .chain([Kind::Stopped { why: Stop::Asked }])
            .collect();
        let text = written(Level::Connections, kinds.clone());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len() as u64, READABLE + 2, "{text}");
        assert_eq!(
            lines[READABLE as usize..],
            [
                "In the last second: 975 connections opened, 975 closed, 0 refused; received 2925 \
                 bytes, sent 2925 bytes",
                "Stopped: asked to",
            ]
        );
        let text = written(Level::Traffic, kinds);
        assert_eq!(text.lines().count(), 2001, "at a finer level all are told");
    }

    #[test]
    fn a_sum_says_how_often_something_went_wrong() {
        let kinds = (1..=100).map(|id| Kind::Closed {
            id,
            peer: PeerAddress::Unix,
            reason: if id % 2 == 0 {
                Reason::Reset
            } else {
                Reason::Finished
            },
            received: 0,
            sent: 0,
        });
        let text = written(Level::Connections, kinds);
        let last = text.lines().last().unwrap();
        assert!(
            last.ends_with("; 25 times: the peer reset the connection"),
            "{last}"
        );
    }
}
