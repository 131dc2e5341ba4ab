//! Events as lines of text that a person reads.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use echo_core::Zoned;
use echo_core::address::End;
use echo_core::escape::printable;
use echo_core::units::Timespan;
use echo_explain::{Lang, Phrases};

use super::Render;
use super::count::{Count, bytes};
use super::digest::Digest;
use crate::event::{Address, Datagrams, DropReason, Event, Kind, Level, Stats};
use crate::name::Name;

/// Each event as a line; where only connections were asked for, more of them than a person can read
/// are summed up, a line a second.
pub(super) struct Text {
    level: Level,
    /// Each line begins with its time.
    timed: bool,
    phrases: Phrases,
    digest: Digest,
}

impl Text {
    pub(super) fn new(level: Level, lang: Lang, timed: bool, now: Instant) -> Self {
        Text {
            level,
            timed,
            phrases: Phrases::of(lang),
            digest: Digest::new(now),
        }
    }

    /// Adds a line that is `told`, if there is one, in its language and behind its time in UTC.
    fn add(&self, told: &str, time: SystemTime, out: &mut String) {
        if told.is_empty() {
            return;
        }
        if self.timed {
            let time = jiff::Timestamp::try_from(time).unwrap_or_default();
            let _ = write!(out, "{time:.3} ");
        }
        out.push_str(&self.phrases.say(told));
    }
}

impl Render for Text {
    fn event(&mut self, event: &Event, out: &mut String) {
        if matches!(event.kind, Kind::Draining { .. } | Kind::Stopped { .. }) {
            self.turn(Instant::now(), event.time, true, out);
        }
        if self.level > Level::Connections || !self.digest.takes(&event.kind) {
            let mut told = String::new();
            line(&mut told, event);
            self.add(&told, event.time, out);
        }
    }

    fn due(&self) -> Option<Instant> {
        self.digest.sums_up_at()
    }

    fn turn(&mut self, now: Instant, time: SystemTime, over: bool, out: &mut String) -> u64 {
        let mut told = String::new();
        let events = self.digest.turn(now, over, &mut told);
        self.add(&told, time, out);
        events
    }
}

/// Adds an event's line. Writing to a string cannot fail.
fn line(out: &mut String, event: &Event) {
    let _ = match &event.kind {
        Kind::Listening {
            local: Address::Udp(local),
            ..
        } if !local.ip().is_loopback() => writeln!(
            out,
            "Warning: UDP on {} answers whoever can send to it, and a sender is easily forged; \
             --udp-rate bounds the replies, docs/SECURITY.md says what else to do",
            Zoned(*local)
        ),
        // The ready line has said so, on standard output; explanations tell of calls.
        Kind::Listening { .. } | Kind::Call(_) => Ok(()),
        Kind::Unused { names } => writeln!(
            out,
            "Warning: {} handed over and not asked for ({}); --listen systemd takes them",
            Count(names.len() as u64, "socket"),
            printable(&names.join(", "))
        ),
        Kind::ConnectionsCapped { max, asked } => writeln!(
            out,
            "Warning: the open-file limit leaves room for {max} connections, not for {asked}; \
             raise it (ulimit -Hn)"
        ),
        Kind::Accepted { id, peer, .. } => writeln!(out, "Connected by: {peer} (#{id})"),
        Kind::Refused { peer, reason, .. } => writeln!(out, "Refused: {peer}: {reason}"),
        Kind::Received { id, bytes: n, data } if data.is_empty() => {
            writeln!(out, "  #{id} received {}", bytes(*n as u64))
        }
        Kind::Received { id, bytes: n, data } => {
            writeln!(out, "  #{id} received {}: \"{data}\"", bytes(*n as u64))
        }
        Kind::Sent { id, bytes: n } => writeln!(out, "  #{id} sent {}", bytes(*n as u64)),
        Kind::PeerFinished { id } => writeln!(out, "  #{id} has finished sending"),
        Kind::Closed {
            id,
            peer,
            reason,
            received,
            sent,
            lasted: _,
        } => writeln!(
            out,
            "Closed: {peer} (#{id}): received {}, sent {}: {reason}",
            bytes(*received),
            bytes(*sent)
        ),
        Kind::DatagramsReceived { sum, data } => writeln!(
            out,
            "  received {} from {}: \"{data}\"",
            amount(sum),
            Zoned(sum.peer)
        ),
        Kind::DatagramsSent(sum) => writeln!(out, "  sent {} to {}", amount(sum), Zoned(sum.peer)),
        Kind::DatagramsAnswered(sum) if sum.count == 1 => {
            writeln!(
                out,
                "Datagram from: {}: {}, echoed",
                Zoned(sum.peer),
                bytes(sum.bytes)
            )
        }
        Kind::DatagramsAnswered(sum) => writeln!(
            out,
            "Datagrams: {} with {}, echoed; the last from {}",
            sum.count,
            bytes(sum.bytes),
            Zoned(sum.peer)
        ),
        Kind::DatagramsDropped { reason, sum } if sum.count == 1 => {
            writeln!(
                out,
                "Datagram from {} not answered: {reason}",
                Zoned(sum.peer)
            )
        }
        Kind::DatagramsDropped { reason, sum } => writeln!(
            out,
            "Datagrams not answered: {}; the last from {}: {reason}",
            sum.count,
            Zoned(sum.peer)
        ),
        Kind::DatagramsOverflowed { local, count } => writeln!(
            out,
            "The system dropped {} to {}: they came faster than this server reads them, which is \
             no loss of the path. A larger net.core.rmem_max (4 MiB are asked for) holds longer bursts",
            Count(*count, "datagram"),
            End::from(local)
        ),
        Kind::Faults { count, seed } => writeln!(
            out,
            "{} configured; --seed {seed} repeats what chance decides",
            Count(*count as u64, "fault")
        ),
        Kind::Fault {
            what,
            transport,
            connection,
            peer,
            message,
        } => match (peer, message) {
            (None, _) => writeln!(
                out,
                "Fault: {what}: {transport} connections from #{connection} on"
            ),
            (Some(peer), None) => {
                writeln!(out, "Fault: {what}: {transport} {peer} (#{connection})")
            }
            (Some(peer), Some(message)) => writeln!(
                out,
                "Fault: {what}: {transport} message {message} from {peer} (#{connection})"
            ),
        },
        Kind::FaultAdded(new) => writeln!(out, "Fault {} added: {}", new.number, new.fault),
        Kind::FaultRemoved(gone) => {
            writeln!(out, "Fault {} removed: {}", gone.number, gone.fault)
        }
        Kind::Paused { listener } => writeln!(out, "Paused: {}", or_all(listener)),
        Kind::Resumed { listener } => writeln!(out, "Resumed: {}", or_all(listener)),
        Kind::AcceptFailed { error, retry_in } => writeln!(
            out,
            "Cannot accept: {error}; trying again in {} ms",
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
        Kind::ReceiveFailed {
            local,
            error,
            retry_in,
        } => writeln!(
            out,
            "Cannot receive from {}: {error}; trying again in {} ms",
            End::from(local),
            retry_in.as_millis()
        ),
        // Where all is as it should be, a person has other things to read.
        Kind::Confined(given_up) if given_up.is_all() => Ok(()),
        Kind::Confined(given_up) => writeln!(
            out,
            "Not confined: this system leaves the server {}",
            given_up.left()
        ),
        Kind::Lost { events } => writeln!(
            out,
            "({} not shown: they could not be written, or not as fast as they came)",
            Count(*events, "event")
        ),
        Kind::Stats(stats) => writeln!(out, "So far: {}", totals(stats)),
        Kind::Stopped { why, stats } => writeln!(out, "Stopped: {why}; {}", totals(stats)),
    };
}

fn or_all(listener: &Option<Name>) -> &str {
    listener.as_ref().map_or("all listeners", Name::as_str)
}

fn amount(sum: &Datagrams) -> String {
    format!("{} with {}", Count(sum.count, "datagram"), bytes(sum.bytes))
}

/// What a server has done, in one line.
fn totals(stats: &Stats) -> String {
    let up = Duration::from_millis(stats.up.as_millis() as u64);
    let mut text = format!(
        "{} ({} open, {} refused), received {}, sent {}; {}",
        Count(stats.accepted, "connection"),
        stats.open,
        stats.refused.iter().sum::<u64>(),
        bytes(stats.received_bytes),
        bytes(stats.sent_bytes),
        Count(stats.datagrams, "datagram"),
    );
    let dropped = DropReason::CODES.into_iter().zip(stats.dropped);
    for (reason, count) in dropped.chain([("overflow", stats.overflowed)]) {
        if count > 0 {
            let _ = write!(text, ", {count} not answered: {reason}");
        }
    }
    let _ = write!(text, "; up for {}", Timespan(up));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Events, PeerAddress, Reason, Refusal, Stop};
    use crate::log::digest::READABLE;
    use crate::log::tests as sample;
    use std::collections::BTreeSet;
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

    #[test]
    fn a_line_is_told_in_the_language_that_is_asked_for() {
        let mut text = Text::new(Level::Traffic, Lang::Es, false, Instant::now());
        let (mut told, time) = (String::new(), UNIX_EPOCH);
        for kind in [sample::accepted(1), sample::closed(1, 1, 2)] {
            text.event(&Event { time, kind }, &mut told);
        }
        assert_eq!(
            told,
            "Conectado desde: 127.0.0.1:53412 (#1)\n\
             Cerrado: 127.0.0.1:53412 (#1): recibió 1 byte, envió 2 bytes: el otro lado terminó\n"
        );
    }

    /// What is the same in both languages: units, protocols, and names of settings and faults.
    const NAMES: &str = "byte bytes ms MiB ulimit overflow tcp udp unix TCP UDP PROXY unicast STAMP socket sockets systemd \
                         api web hello no error drop corrupt rate duplicate truncate delay merge split stall";

    /// The words of a line that no punctuation joins to others.
    fn words(line: &str) -> BTreeSet<&str> {
        let words = line.split_whitespace();
        let words =
            words.map(|word| word.trim_matches(|c: char| c.is_ascii_punctuation() && c != '-'));
        words
            .filter(|word| word.len() > 1 && word.bytes().all(|b| b.is_ascii_alphabetic()))
            .collect()
    }

    #[test]
    fn no_line_has_english_words_in_spanish() {
        let (now, time) = (Instant::now(), UNIX_EPOCH);
        let reasons: Vec<_> = sample::events()
            .iter()
            .map(|kind| serde_json::to_value(kind).unwrap()["reason"].to_string())
            .collect();
        let codes = [&Reason::CODES[..], &DropReason::CODES, &Refusal::CODES];
        for code in codes.concat().into_iter().chain(Stop::CODES) {
            assert!(reasons.contains(&format!("\"{code}\"")), "{code}");
        }
        // Of many the first are told, and the others summed up.
        let ends = (1..=100).map(sample::accepted).chain((1..=100).map(ended));
        let [english, spanish] = [Lang::En, Lang::Es].map(|lang| {
            let mut told = String::new();
            let mut tell = |level, kinds: Vec<Kind>| {
                let mut text = Text::new(level, lang, false, now);
                for kind in kinds {
                    text.event(&Event { time, kind }, &mut told);
                }
                text.turn(now, time, true, &mut told);
            };
            tell(Level::Traffic, sample::events());
            tell(Level::Connections, ends.clone().collect());
            told
        });
        assert!(english.lines().count() > 80, "{english}");
        for (english, spanish) in english.lines().zip(spanish.lines()) {
            let mut left = &words(english) & &words(spanish);
            left.retain(|word| !NAMES.split(' ').any(|name| name == *word));
            // Of what was not answered, the names in documents and metrics are told.
            left.retain(|word| !(DropReason::CODES.contains(word) && english.contains("up for")));
            assert!(left.is_empty() && english != spanish, "{left:?}: {spanish}");
        }
    }

    /// The end of a connection; each third one has gone well.
    fn ended(id: u64) -> Kind {
        Kind::Closed {
            id,
            peer: PeerAddress::Unix,
            reason: [Reason::Reset, Reason::Finished, Reason::Defect][id as usize % 3],
            received: 0,
            sent: 0,
            lasted: Duration::ZERO,
        }
    }

    fn written(level: Level, kinds: impl IntoIterator<Item = Kind>) -> String {
        let (events, reader) = Events::channel(level);
        for kind in kinds {
            events.tell(|| kind);
        }
        drop(events);
        let mut out = Vec::new();
        let render = &mut Text::new(level, Lang::En, false, Instant::now());
        crate::log::tell(render, &reader, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn more_connections_than_one_can_read_are_summed_up() {
        let connections =
            (1..=1000).flat_map(|id| [sample::accepted(id), sample::closed(id, 3, 3)]);
        let kinds: Vec<_> = connections
            .chain([Kind::Stopped {
                why: Stop::Asked,
                stats: sample::stats().into(),
            }])
            .collect();
        let text = written(Level::Connections, kinds.clone());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len() as u64, READABLE + 2, "{text}");
        assert_eq!(
            lines[READABLE as usize],
            "In the last second: 975 connections opened, 975 closed, 0 refused; received 2925 bytes, \
             sent 2925 bytes"
        );
        assert!(lines[READABLE as usize + 1].starts_with("Stopped: asked to; 0 connections"));
        let text = written(Level::Traffic, kinds);
        assert_eq!(text.lines().count(), 2001, "at a finer level all are told");
    }

    #[test]
    fn a_sum_has_the_time_of_the_event_that_it_stands_before() {
        let mut text = Text::new(Level::Connections, Lang::En, true, Instant::now());
        let (mut told, time) = (String::new(), UNIX_EPOCH);
        for kind in (0..=READABLE).map(sample::accepted) {
            text.event(&Event { time, kind }, &mut told);
        }
        told.clear();
        let stats = sample::stats().into();
        let why = Stop::Asked;
        let kind = Kind::Stopped { why, stats };
        text.event(&Event { time, kind }, &mut told);
        assert_eq!(told.lines().count(), 2, "{told}");
        let mut lines = told.lines();
        assert!(lines.all(|line| line.starts_with("1970-")), "{told}");
    }

    #[test]
    fn a_sum_says_how_often_something_went_wrong() {
        let kinds = (1..=100).map(ended);
        let text = written(Level::Connections, kinds);
        let last = text.lines().last().unwrap();
        assert!(
            last.contains("; 17 of them: the peer reset the connection"),
            "{last}"
        );
    }
}
