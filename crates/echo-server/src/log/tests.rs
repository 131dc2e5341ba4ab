//! One of each event, for the renderers' tests; and a log that finds no room.

use super::*;
use crate::event::{
    Address, Applied, ConnectionId, Datagrams, Done, DropReason, Events, GivenUp, Kind,
    PeerAddress, Reason, Refusal, Stats, Stop,
};
use crate::fault::Numbered;
use echo_core::Transport;
use echo_core::framing::FrameError;
use echo_core::units::Size;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};

fn local() -> SocketAddr {
    "127.0.0.1:5346".parse().unwrap()
}

fn remote() -> SocketAddr {
    "127.0.0.1:53412".parse().unwrap()
}

pub(super) fn accepted(id: ConnectionId) -> Kind {
    let (local, peer) = (Address::Tcp(local()), PeerAddress::Inet(remote()));
    Kind::Accepted {
        id,
        local,
        peer,
        listener: "api".parse().ok(),
    }
}

pub(super) fn closed(id: ConnectionId, received: u64, sent: u64) -> Kind {
    let (peer, reason) = (PeerAddress::Inet(remote()), Reason::Finished);
    Kind::Closed {
        id,
        peer,
        reason,
        received,
        sent,
        lasted: Duration::from_secs(1),
    }
}

pub(super) fn events() -> Vec<Kind> {
    let (local, peer) = (local(), remote());
    let unix = Address::Unix("run/e.sock".into());
    let id = 1;
    let sum = Datagrams {
        local,
        peer,
        count: 2,
        bytes: 10,
    };
    let mut kinds = vec![
        Kind::Listening {
            local: unix.clone(),
            listener: None,
        },
        accepted(1),
        Kind::Received {
            id,
            bytes: 5,
            data: "hello".into(),
        },
        Kind::Sent { id, bytes: 5 },
        Kind::PeerFinished { id },
        Kind::AcceptFailed {
            error: "too many open files".into(),
            retry_in: Duration::from_millis(5),
        },
        Kind::ReceiveFailed {
            local: Address::Udp(local),
            error: "cannot allocate memory".into(),
            retry_in: Duration::from_millis(5),
        },
        Kind::DatagramsAnswered(sum),
        Kind::DatagramsAnswered(Datagrams { count: 1, ..sum }),
        Kind::DatagramsReceived {
            sum,
            data: "hello".into(),
        },
        Kind::DatagramsSent(sum),
        Kind::DatagramsSent(Datagrams { count: 1, ..sum }),
        Kind::DatagramsOverflowed {
            local: Address::Udp(local),
            count: 3,
        },
        Kind::Stats(stats().into()),
        Kind::Stats(Box::new(Stats {
            accepted: 1,
            datagrams: 1,
            dropped: [2; DropReason::CODES.len()],
            overflowed: 1,
            ..stats()
        })),
    ];
    let given_up = (0..7).map(|bits| GivenUp {
        files: bits & 1 > 0,
        tcp: bits & 2 > 0,
        privileges: bits & 4 > 0,
    });
    kinds.extend(given_up.map(Kind::Confined));
    kinds.extend(
        [
            Refusal::Connections(1),
            Refusal::PerIp(1),
            Refusal::Memory(Size(64 << 20)),
            Refusal::Fault,
            Refusal::NoHeader,
            Refusal::BadHeader("its PROXY header is no text"),
            Refusal::LateHeader,
        ]
        .map(|reason| Kind::Refused {
            local: unix.clone(),
            peer: PeerAddress::Unix,
            reason,
        }),
    );
    let reasons = [
        Reason::Finished,
        Reason::Reset,
        Reason::FrameTooLong(FrameError::TooLong { len: 2, max: 1 }),
        Reason::FrameTruncated(FrameError::Truncated { held: 1 }),
        Reason::Idle,
        Reason::Unread,
        Reason::Memory,
        Reason::Shutdown,
        Reason::Asked,
        Reason::Failed(ErrorKind::Other),
        Reason::Defect,
        Reason::Fault("close-after"),
    ];
    kinds.extend(reasons.map(|reason| Kind::Closed {
        id,
        peer: PeerAddress::Unix,
        reason,
        received: 1,
        sent: 0,
        lasted: Duration::ZERO,
    }));
    let reasons = [
        DropReason::ServicePort,
        DropReason::OwnSocket,
        DropReason::NotUnicast,
        DropReason::Rate,
        DropReason::Loop,
        DropReason::NotStamp,
        DropReason::Unauthentic,
        DropReason::Shutdown,
        DropReason::Failed(ErrorKind::Other),
    ];
    kinds.extend(reasons.map(|reason| Kind::DatagramsDropped { reason, sum }));
    let sum = Datagrams { count: 1, ..sum };
    kinds.extend(reasons.map(|reason| Kind::DatagramsDropped { reason, sum }));
    for count in 1..3 {
        let names = vec!["web".to_owned(); count];
        kinds.push(Kind::Unused { names });
        kinds.push(Kind::Faults { count, seed: 7 });
        let events = count as u64;
        kinds.push(Kind::Lost { events });
        kinds.push(Kind::Draining {
            why: Stop::Command,
            connections: 2 * (count - 1),
            at_most: Duration::from_secs(1),
        });
    }
    kinds.push(Kind::ConnectionsCapped { max: 7, asked: 9 });
    let fault = Numbered {
        number: 1,
        fault: "drop".parse().unwrap(),
    };
    kinds.push(Kind::FaultAdded(fault.clone().into()));
    kinds.push(Kind::FaultRemoved(fault.into()));
    let listener = "api".parse().ok();
    kinds.push(Kind::Paused {
        listener: listener.clone(),
    });
    kinds.push(Kind::Resumed { listener });
    kinds.push(Kind::Paused { listener: None });
    kinds.push(Kind::Resumed { listener: None });
    let peer = Some(PeerAddress::Unix);
    let fault = |name, done, peer, message| Kind::Fault {
        what: Applied { name, done },
        transport: Transport::Unix,
        connection: id,
        peer,
        message,
    };
    kinds.extend([
        fault("no-accept", Done::Plainly, None, None),
        fault("stall", Done::Plainly, peer, None),
    ]);
    let (offset, bytes, pieces) = (3, 1, 2);
    let by = Duration::from_millis(50);
    kinds.extend(
        [
            ("drop", Done::Plainly),
            ("corrupt", Done::Corrupted { offset, bytes }),
            ("corrupt", Done::Corrupted { offset, bytes: 2 }),
            ("rate", Done::Plainly),
            ("duplicate", Done::Plainly),
            ("truncate", Done::Truncated { to: 4 }),
            ("delay", Done::Delayed { by }),
            ("merge", Done::Merged { bytes }),
            ("split", Done::Split { pieces }),
        ]
        .map(|(name, done)| fault(name, done, peer, Some(1))),
    );
    let stops = [
        Stop::Asked,
        Stop::Signal,
        Stop::StdinClosed,
        Stop::TimeUp,
        Stop::Served,
        Stop::RecordFailed,
        Stop::Failed,
    ];
    kinds.extend(stops.map(|why| Kind::Draining {
        why,
        connections: 1,
        at_most: Duration::from_secs(1),
    }));
    kinds.extend(stops.map(|why| Kind::Stopped {
        why,
        stats: stats().into(),
    }));
    kinds
}

pub(super) fn stats() -> Stats {
    crate::event::stats::Totals::new(1, &Events::off()).stats()
}

/// A disk that has as much room as it is given, and none before.
struct Disk {
    room: Receiver<usize>,
    left: usize,
    holds: Vec<u8>,
}

impl Write for &mut Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left += self.room.try_iter().sum::<usize>();
        let n = bytes.len().min(self.left);
        self.left -= n;
        self.holds.extend_from_slice(&bytes[..n]);
        match n {
            0 => Err(io::ErrorKind::StorageFull.into()),
            n => Ok(n),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_was_full_gets_whole_lines_and_what_is_missing_first() {
    for room in 0..200 {
        let (give, take) = channel();
        let mut disk = Disk {
            room: take,
            left: room,
            holds: Vec::new(),
        };
        let mut lines = Lines::new(&mut disk);
        let (events, reader) = Events::channel(Level::Connections);
        let mut json = Json { only_calls: false };
        let mut told = |lines: &mut Lines<_>, ids: std::ops::Range<u64>| {
            lines.tell_lost(&mut json, reader.now());
            for id in ids {
                events.tell(|| Kind::PeerFinished { id });
                lines.add(&mut json, &reader.try_next().unwrap());
            }
            lines.write().unwrap();
        };
        told(&mut lines, 0..3);
        told(&mut lines, 3..4);
        give.send(1 << 20).unwrap();
        told(&mut lines, 4..5);
        let text = String::from_utf8(disk.holds).unwrap();
        let lines = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["events"]
                .as_u64()
                .or(line["connection"].as_u64().map(|_| 1))
        });
        let lines: Vec<_> = lines.map(Option::unwrap).collect();
        assert_eq!(lines.iter().sum::<u64>(), 5, "{text}");
    }
}

/// How often it was written to.
#[derive(Default)]
struct Batches {
    count: usize,
    text: String,
}

impl Write for &mut Batches {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text += std::str::from_utf8(bytes).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.count += 1;
        Ok(())
    }
}

#[test]
fn ends_that_nobody_read_in_time_are_told_together_after_what_is_missing() {
    let (events, reader) = Events::channel(Level::Connections);
    // More than can wait, so that the ends do not.
    for id in 0..5_000 {
        events.tell(|| accepted(id));
    }
    for id in 0..100 {
        events.tell(|| closed(id, 5, 5));
    }
    drop(events);
    let mut batches = Batches::default();
    let style = Style::Text(Level::Connections, Lang::En, false);
    write(style, &reader, &mut batches).unwrap();
    assert!(batches.count < 10, "{} batches", batches.count);
    assert!(batches.text.contains("100 closed"), "{}", batches.text);
}
