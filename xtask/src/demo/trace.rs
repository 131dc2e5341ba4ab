//! What a run's recorded calls say together: sockets, and what travelled between them.

use std::collections::BTreeMap;

use echo_explain::{Call, Known, SocketKind, Step};

/// Which program a call is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// `echo-server`.
    Server,
    /// `echo-client`.
    Client,
}

/// A call, and the process that made it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The program.
    pub side: Side,
    /// The process.
    pub process: u32,
    /// The call.
    pub step: Step,
}

/// A socket over its life.
#[derive(Clone, Debug)]
pub struct Socket {
    /// The program.
    pub side: Side,
    /// The process.
    pub process: u32,
    /// Its number there.
    pub number: i32,
    /// Its kind and its ends.
    pub known: Known,
    /// The row of its first call, and of its last.
    pub rows: (usize, usize),
    /// Whether the system still lists it once it is closed.
    pub waits: bool,
}

/// Something that went from one socket to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// The row of the call that sent it.
    pub from: usize,
    /// The row of the call that saw it.
    pub to: usize,
    /// What it was.
    pub what: Cargo,
}

/// What travelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cargo {
    /// The greeting of two systems.
    Handshake,
    /// Bytes, as many as one read returned: of a stream, or a datagram.
    Bytes(u64),
    /// The end of one direction.
    End,
}

/// A run in order of time: a row for each call.
#[derive(Debug, Default)]
pub struct Trace {
    /// The calls.
    pub rows: Vec<Seen>,
    /// The sockets, in the order in which they came up.
    pub sockets: Vec<Socket>,
    /// The socket of each row: that of `accept` is the new one.
    pub of_row: Vec<usize>,
    /// What travelled.
    pub arrows: Vec<Arrow>,
}

impl Trace {
    /// Puts calls of several processes in order, and together.
    pub fn new(mut rows: Vec<Seen>) -> Self {
        rows.sort_by_key(|seen| seen.step.time_unix_ns);
        let mut trace = Trace::default();
        let mut open = BTreeMap::new();
        for (row, seen) in rows.iter().enumerate() {
            let socket = trace.note(row, seen, &mut open);
            trace.of_row.push(socket);
        }
        trace.rows = rows;
        trace.arrows = trace.travelled();
        trace
    }

    fn note(&mut self, row: usize, seen: &Seen, open: &mut BTreeMap<(u32, i32), usize>) -> usize {
        let number = match &seen.step.call {
            Call::Accept { accepted, .. } => *accepted,
            _ => seen.step.socket,
        };
        let key = (seen.process, number);
        let index = match open.get(&key) {
            Some(index) => *index,
            None => {
                let known = Known::new(&seen.step.call);
                let accepted = known.accepted(&seen.step.call);
                self.sockets.push(Socket {
                    side: seen.side,
                    process: seen.process,
                    number,
                    known: accepted.map_or(known, |(_, accepted)| accepted),
                    rows: (row, row),
                    waits: false,
                });
                open.insert(key, self.sockets.len() - 1);
                self.sockets.len() - 1
            }
        };
        let socket = &mut self.sockets[index];
        socket.rows.1 = row;
        socket.known.note(&seen.step.call);
        if seen.step.call == Call::Close {
            socket.waits = seen.step.listed.as_ref().is_some_and(|row| !row.is_empty());
            open.remove(&key);
        }
        index
    }

    fn travelled(&self) -> Vec<Arrow> {
        let all = 0..self.sockets.len();
        let pairs = all
            .clone()
            .flat_map(|from| all.clone().map(move |to| (from, to)));
        let mut arrows: Vec<Arrow> = pairs
            .flat_map(|(from, to)| self.between(from, to))
            .collect();
        arrows.sort_by_key(|arrow| arrow.from);
        arrows
    }

    /// The sizes of what arrived at a client's socket, or left it and arrived.
    pub fn carried(&self, client: usize, to_client: bool) -> impl Iterator<Item = u64> {
        let own = move |arrow: &&Arrow| {
            let row = if to_client { arrow.to } else { arrow.from };
            self.of_row[row] == client
        };
        self.arrows
            .iter()
            .filter(own)
            .filter_map(|arrow| match arrow.what {
                Cargo::Bytes(bytes) => Some(bytes),
                Cargo::Handshake | Cargo::End => None,
            })
    }

    /// The calls of a socket, with their rows.
    fn calls(&self, socket: usize) -> impl Iterator<Item = (usize, &Call)> {
        let rows = self.rows.iter().zip(&self.of_row).enumerate();
        rows.filter(move |(_, (_, of))| **of == socket)
            .map(|(row, (seen, _))| (row, &seen.step.call))
    }

    /// From one socket to another: each read with the write that its first byte was written by.
    fn between(&self, from: usize, to: usize) -> Vec<Arrow> {
        let [sender, receiver] = [from, to].map(|socket| &self.sockets[socket].known);
        let (here, there) = (sender.local.as_ref(), receiver.local.as_ref());
        // One that waits for others has the same address as their connections, and sends nothing.
        let is_apart = sender.kind == SocketKind::Stream && sender.peer.as_ref() != there;
        if sender.kind != receiver.kind || here.is_none() || is_apart {
            return Vec::new();
        }
        let (mut writes, mut written) = (Vec::new(), 0);
        let (mut end, mut connected) = (None, None);
        for (row, call) in self.calls(from) {
            let (peer, bytes) = match call {
                Call::Send { sent_bytes, .. } => (sender.peer.as_ref(), sent_bytes),
                Call::SendTo {
                    peer, sent_bytes, ..
                } => (Some(peer), sent_bytes),
                Call::Connect { .. } => {
                    connected = Some(row);
                    continue;
                }
                Call::Shutdown { .. } | Call::Close => {
                    end = end.or(Some(row));
                    continue;
                }
                _ => continue,
            };
            if peer == there {
                writes.push((written, row));
                written += bytes;
            }
        }
        let mut read = 0;
        let arrow = |(to, call): (usize, &Call)| {
            let (peer, bytes) = match call {
                Call::Accept { peer, .. } => (Some(peer), None),
                Call::Receive { received_bytes, .. } => {
                    (receiver.peer.as_ref(), Some(*received_bytes))
                }
                Call::ReceiveFrom {
                    peer,
                    received_bytes,
                    ..
                } => (Some(peer), Some(*received_bytes)),
                _ => return None,
            };
            let (from, what) = match bytes {
                _ if peer != here => return None,
                None => (connected?, Cargo::Handshake),
                Some(0) if receiver.kind == SocketKind::Stream => (end?, Cargo::End),
                Some(bytes) => {
                    let write = writes.iter().rfind(|(start, _)| *start <= read);
                    read += bytes;
                    (write?.1, Cargo::Bytes(bytes))
                }
            };
            Some(Arrow { from, to, what })
        };
        self.calls(to).filter_map(arrow).collect()
    }
}

/// A run, for tests: 19 bytes, of which a read takes 16 at most.
#[cfg(test)]
pub mod sample {
    use super::*;
    use echo_core::address::End;
    use echo_explain::Family;

    const SERVER: &str = "127.0.0.1:5346";
    const CLIENT: &str = "127.0.0.1:53412";

    fn end(text: &str) -> End {
        text.to_owned().into()
    }

    fn seen(time_unix_ns: u64, side: Side, socket: i32, call: Call) -> Seen {
        Seen {
            side,
            process: 100 + side as u32,
            step: Step {
                time_unix_ns,
                socket,
                call,
                error: None,
                listed: None,
            },
        }
    }

    fn stream() -> Call {
        Call::Socket {
            family: Family::Inet,
            kind: SocketKind::Stream,
        }
    }

    fn send(bytes: u64) -> Call {
        Call::Send {
            sent_bytes: bytes,
            offered_bytes: bytes,
            data: "Hello".into(),
        }
    }

    fn receive(bytes: u64) -> Call {
        Call::Receive {
            received_bytes: bytes,
            room_bytes: 16,
            data: "Hello".into(),
        }
    }

    /// The calls, a side at a time.
    pub fn trace() -> Trace {
        use Side::{Client, Server};
        let accept = Call::Accept {
            accepted: 7,
            local: end(SERVER),
            peer: end(CLIENT),
        };
        let connect = Call::Connect {
            local: end(CLIENT),
            peer: end(SERVER),
        };
        let closed = Seen {
            step: Step {
                listed: Some("tcp 0 0 127.0.0.1:53412 127.0.0.1:5346 TIME_WAIT".into()),
                ..seen(22, Client, 3, Call::Close).step
            },
            ..seen(22, Client, 3, Call::Close)
        };
        let bind = Call::Bind {
            asked: end(SERVER),
            local: end(SERVER),
        };
        Trace::new(vec![
            seen(0, Server, 3, stream()),
            seen(1, Server, 3, bind),
            seen(23, Server, 3, Call::Close),
            seen(10, Client, 3, stream()),
            seen(11, Client, 3, connect),
            seen(13, Client, 3, send(19)),
            seen(16, Client, 3, receive(4)),
            seen(17, Client, 3, Call::Shutdown { both: false }),
            seen(21, Client, 3, receive(0)),
            closed,
            seen(12, Server, 3, accept),
            seen(14, Server, 7, receive(16)),
            seen(15, Server, 7, send(16)),
            seen(18, Server, 7, receive(3)),
            seen(19, Server, 7, receive(0)),
            seen(20, Server, 7, Call::Close),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_followed_from_write_to_reads_however_they_are_cut() {
        let trace = sample::trace();
        let arrow = |from, to, what| Arrow { from, to, what };
        assert_eq!(
            trace.arrows,
            [
                arrow(3, 4, Cargo::Handshake),
                arrow(5, 6, Cargo::Bytes(16)),
                arrow(5, 10, Cargo::Bytes(3)),
                arrow(7, 8, Cargo::Bytes(4)),
                arrow(9, 11, Cargo::End),
                arrow(12, 13, Cargo::End),
            ]
        );
        assert_eq!(trace.sockets.len(), 3);
        assert_eq!(trace.sockets[2].number, 7, "accept makes a socket");
        assert!(trace.sockets[1].waits, "in TIME_WAIT");
        assert_eq!(trace.carried(1, false).collect::<Vec<_>>(), [16, 3]);
        assert_eq!(trace.carried(1, true).collect::<Vec<_>>(), [4]);
    }
}
