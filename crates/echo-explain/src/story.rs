//! Steps in words: what one process did with its sockets, told to someone who sees it first.

use std::collections::{BTreeSet, HashMap};
use std::fmt::{Display, Write};

use super::telling::{Telling, paragraph, python, system};
use super::text::{Lang, Texts};
use echo_core::Zoned;
use echo_core::address::End;

use super::{Call, Family, SocketKind, Step, Trouble};

/// One process's steps so far. What is told at length the first time is told in short after that.
#[derive(Debug)]
pub struct Story {
    texts: Texts,
    sockets: HashMap<i32, Socket>,
    told: BTreeSet<&'static str>,
    count: usize,
}

/// What is known of a socket.
#[derive(Clone, Debug)]
struct Socket {
    family: Family,
    kind: SocketKind,
    name: &'static str,
    role: Role,
    local: Option<End>,
    peer: Option<End>,
    received: u64,
    sent: u64,
    /// Who has said that it sends no more, in order.
    finished: Vec<Side>,
    broken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Fresh,
    Bound,
    Listening,
    Accepted,
    Connected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    This,
    Other,
}

impl Story {
    /// A story in `lang`, with nothing in it yet.
    pub fn new(lang: Lang) -> Self {
        Story {
            texts: Texts::of(lang),
            sockets: HashMap::new(),
            told: BTreeSet::new(),
            count: 0,
        }
    }

    /// What is told before the first step.
    pub fn intro(&self) -> String {
        self.aside("intro", &[])
    }

    /// What is told where `count` steps are missing.
    pub fn missing(&self, count: u64) -> String {
        self.aside("lost", &[("count", &count)])
    }

    /// A paragraph on what is no step: the text of `key` with its values.
    pub fn aside(&self, key: &str, values: &[(&str, &dyn Display)]) -> String {
        paragraph(&self.text(key, values))
    }

    /// Tells the next step.
    pub fn tell(&mut self, step: &Step) -> Telling {
        self.count += 1;
        let known = match &step.call {
            Call::Socket { .. } => None,
            _ => self.sockets.get(&step.socket).cloned(),
        };
        let mut socket = known.unwrap_or_else(|| Socket::new(&step.call));
        let mut python = python(socket.name, socket.kind, &step.call);
        if let Some(trouble) = &step.error {
            // What it would have returned is not there.
            let call = python.split("  # ").next().unwrap_or_default();
            python = format!("{call}  # raises {}", trouble.kind.exception());
        }
        let mut text = match &step.error {
            None => self.meaning(step, &mut socket),
            Some(trouble) => self.failure(&step.call, trouble, &socket),
        };
        // The last thing that is known of it.
        socket.broken |= step.error.is_some();
        match &step.call {
            Call::Close => drop(self.sockets.remove(&step.socket)),
            _ => drop(self.sockets.insert(step.socket, socket)),
        }
        text.truncate(text.trim_end().len());
        let listed = step.listed.as_ref().map(|row| {
            let key = if row.is_empty() { "unlisted" } else { "listed" };
            (self.text(key, &[]), row.clone())
        });
        Telling {
            number: self.count,
            python,
            system: system(step),
            text,
            listed,
        }
    }

    /// What went wrong; why, the first time.
    fn failure(&mut self, call: &Call, trouble: &Trouble, socket: &Socket) -> String {
        let mut text = self.text("failed", &[("error", &trouble.words)]);
        let key = trouble.kind.key(call, socket.family, socket.kind);
        if let Some(key) = key.filter(|key| self.told.insert(key)) {
            let address = match call {
                Call::Bind { asked, .. } => Some(asked),
                Call::Connect { peer, .. } => Some(peer),
                _ => socket.peer.as_ref(),
            };
            let address = address.map_or_else(String::new, End::to_string);
            let why = self.text(key, &[("address", &address)]);
            let _ = write!(text, " {why}");
        }
        text
    }

    /// The text of `key`, with each `{name}` replaced by its value.
    pub fn text(&self, key: &str, values: &[(&str, &dyn Display)]) -> String {
        self.texts.text(key, values)
    }

    /// As [`Story::text`], and from the second time on in short.
    fn once(&mut self, key: &'static str, again: &str, values: &[(&str, &dyn Display)]) -> String {
        let key = if self.told.insert(key) { key } else { again };
        self.text(key, values)
    }

    fn bytes(&self, count: u64) -> String {
        self.texts.count(count, "byte", "bytes")
    }

    /// A number of datagrams.
    pub fn datagrams(&self, count: u64) -> String {
        self.texts.count(count, "datagram", "datagrams")
    }

    fn meaning(&mut self, step: &Step, socket: &mut Socket) -> String {
        let number = step.socket;
        match &step.call {
            Call::Socket { family, kind } => self.socket(number, *family, *kind),
            Call::Bind { asked, local } => {
                (socket.role, socket.local) = (Role::Bound, Some(local.clone()));
                self.bind(socket.kind, asked, local)
            }
            Call::Listen { backlog } => {
                socket.role = Role::Listening;
                self.text("listen", &[("backlog", backlog)])
            }
            Call::Accept {
                accepted,
                local,
                peer,
            } => self.accept(number, socket, *accepted, local, peer),
            Call::Connect { local, peer } => {
                let bound = socket.role == Role::Bound;
                socket.join(Role::Connected, local, peer);
                self.connect(socket, local, peer, bound)
            }
            Call::Send {
                sent_bytes,
                offered_bytes,
            } => self.send(socket, *sent_bytes, *offered_bytes),
            Call::Receive {
                received_bytes,
                room_bytes,
            } => self.receive(socket, *received_bytes, *room_bytes),
            Call::SendTo { .. } => self.once("send-to", "send-to-again", &[]),
            Call::ReceiveFrom {
                peer,
                datagrams,
                received_bytes,
            } => {
                let bytes = self.bytes(*received_bytes);
                if *datagrams > 1 {
                    let datagrams = self.datagrams(*datagrams);
                    let values: &[(_, &dyn Display)] =
                        &[("datagrams", &datagrams), ("bytes", &bytes), ("peer", peer)];
                    return self.text("receive-from-many", values);
                }
                let values: &[(_, &dyn Display)] = &[("bytes", &bytes), ("peer", peer)];
                self.once("receive-from", "receive-from-again", values)
            }
            Call::Shutdown { both } => {
                let key = match (both, socket.family, socket.finished.is_empty()) {
                    (true, ..) => "shutdown-both",
                    (_, Family::Unix, _) => "shutdown-unix",
                    (_, _, true) => "shutdown-first",
                    (_, _, false) => "shutdown-second",
                };
                socket.finished.push(Side::This);
                self.text(key, &[])
            }
            Call::Close => self.close(socket),
        }
    }

    fn socket(&self, number: i32, family: Family, kind: SocketKind) -> String {
        let (key, ip) = match (family, kind) {
            (Family::Unix, _) => ("socket-unix", ""),
            (_, SocketKind::Stream) => ("socket-tcp", family.ip()),
            (_, SocketKind::Datagram) => ("socket-udp", family.ip()),
        };
        self.text(
            key,
            &[("family", &family), ("ip", &ip), ("socket", &number)],
        )
    }

    fn bind(&self, kind: SocketKind, asked: &End, local: &End) -> String {
        let End::Inet(address) = local else {
            return self.text("bind-unix", &[("local", local)]);
        };
        let place = match address.ip() {
            ip if ip.is_loopback() => "where-loopback",
            ip if ip.is_unspecified() => "where-any",
            _ => "where-one",
        };
        let (ip, port) = (Zoned(*address).ip(), address.port());
        let place = self.text(place, &[]);
        let mut text = self.text("bind", &[("ip", &ip), ("port", &port), ("where", &place)]);
        let mut add = |key, values: &[(&str, &dyn Display)]| {
            text.push(' ');
            text.push_str(&self.text(key, values));
        };
        if asked.socket().is_some_and(|asked| asked.port() == 0) {
            add("bind-chosen", &[("port", &port)]);
        }
        if kind == SocketKind::Datagram {
            add("bind-udp", &[]);
        }
        text
    }

    fn accept(
        &mut self,
        number: i32,
        listener: &Socket,
        accepted: i32,
        local: &End,
        peer: &End,
    ) -> String {
        let mut socket = Socket {
            name: "conn",
            ..listener.clone()
        };
        socket.join(Role::Accepted, local, peer);
        self.sockets.insert(accepted, socket);
        let values: &[(_, &dyn Display)] = &[
            ("accepted", &accepted),
            ("socket", &number),
            ("local", local),
            ("peer", peer),
        ];
        match local {
            End::Inet(_) => self.once("accept", "accept-again", values),
            End::Unix(_) => self.text("accept-unix", values),
        }
    }

    fn connect(&self, socket: &Socket, local: &End, peer: &End, bound: bool) -> String {
        let key = match (local, socket.kind, bound) {
            (End::Unix(_), ..) => "connect-unix",
            (_, SocketKind::Datagram, _) => "connect-udp",
            (_, SocketKind::Stream, true) => "connect-bound",
            (_, SocketKind::Stream, false) => "connect",
        };
        let port = local.socket().map_or(0, |local| local.port());
        self.text(key, &[("local", local), ("peer", peer), ("port", &port)])
    }

    fn send(&mut self, socket: &mut Socket, sent: u64, offered: u64) -> String {
        socket.sent += sent;
        let (bytes, total) = (self.bytes(sent), self.bytes(socket.sent));
        let offered_bytes = self.bytes(offered);
        let values: &[(_, &dyn Display)] = &[
            ("bytes", &bytes),
            ("total", &total),
            ("offered", &offered_bytes),
        ];
        match socket.kind {
            SocketKind::Datagram => self.text("send-datagram", values),
            SocketKind::Stream if sent < offered => self.text("send-part", values),
            SocketKind::Stream => self.once("send", "send-again", values),
        }
    }

    fn receive(&mut self, socket: &mut Socket, received: u64, room: u64) -> String {
        let bytes = self.bytes(received);
        if socket.kind == SocketKind::Datagram {
            return self.text("receive-datagram", &[("bytes", &bytes)]);
        }
        if received == 0 {
            let key = match (socket.family, socket.finished.contains(&Side::This)) {
                (Family::Unix, true) => "receive-end-both-unix",
                (Family::Unix, false) => "receive-end-unix",
                (_, true) => "receive-end-both",
                (_, false) => "receive-end",
            };
            socket.finished.push(Side::Other);
            return self.text(key, &[]);
        }
        socket.received += received;
        let room_bytes = self.bytes(room);
        let (total, sent) = (self.bytes(socket.received), self.bytes(socket.sent));
        let values: &[(_, &dyn Display)] = &[
            ("bytes", &bytes),
            ("total", &total),
            ("room", &room_bytes),
            ("sent", &sent),
        ];
        let mut text = match received < room {
            true => self.once("receive", "receive-again", values),
            false => self.once("receive-full", "receive-full-again", values),
        };
        // Whoever connected knows what should come back.
        if socket.role == Role::Connected && socket.sent > 0 {
            let key = match socket.received < socket.sent {
                true => "receive-partly-back",
                false => "receive-all-back",
            };
            let _ = write!(text, " {}", self.text(key, values));
        }
        if self.told.insert("stream") {
            let which = match socket.family {
                Family::Unix => "stream-unix",
                Family::Inet | Family::Inet6 => "stream-tcp",
            };
            let which = self.text(which, &[]);
            let _ = write!(text, " {}", self.text("stream", &[("which", &which)]));
        }
        text
    }

    fn close(&self, socket: &Socket) -> String {
        let key = match (socket.kind, socket.role, &socket.finished[..]) {
            (SocketKind::Datagram, ..) => "close-udp",
            (_, Role::Listening, _) => "close-listener",
            (_, Role::Fresh | Role::Bound, _) => "close-plain",
            _ if socket.broken || socket.family == Family::Unix => "close-plain",
            (_, _, [Side::Other, ..]) => "close-second",
            (_, _, [Side::This, ..]) if socket.finished.contains(&Side::Other) => "close-first",
            _ => "close-early",
        };
        let nowhere = End::Unix("".into());
        let local = socket.local.as_ref().unwrap_or(&nowhere);
        let peer = socket.peer.as_ref().unwrap_or(&nowhere);
        self.text(key, &[("local", local), ("peer", peer)])
    }
}

impl Socket {
    /// A socket whose first call is `call`.
    fn new(call: &Call) -> Self {
        let (family, kind) = match call {
            Call::Socket { family, kind } => (*family, *kind),
            Call::SendTo { .. } | Call::ReceiveFrom { .. } => (Family::Inet, SocketKind::Datagram),
            _ => (Family::Inet, SocketKind::Stream),
        };
        Socket {
            family,
            kind,
            name: if kind == SocketKind::Datagram {
                "u"
            } else {
                "s"
            },
            role: Role::Fresh,
            local: None,
            peer: None,
            received: 0,
            sent: 0,
            finished: Vec::new(),
            broken: false,
        }
    }

    fn join(&mut self, role: Role, local: &End, peer: &End) {
        self.role = role;
        (self.local, self.peer) = (Some(local.clone()), Some(peer.clone()));
    }
}

impl Family {
    fn ip(self) -> &'static str {
        match self {
            Family::Inet => "IPv4",
            Family::Inet6 => "IPv6",
            Family::Unix => "",
        }
    }
}

#[cfg(test)]
mod tests;
