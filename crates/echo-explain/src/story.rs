//! Steps in words: what one process did with its sockets, told to someone who sees it first.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;

use super::telling::{Forms, Telling, paragraph, values};
use super::text::{Texts, Values};
use echo_core::Zoned;
use echo_core::address::End;

use super::{Call, Family, Lang, SocketKind, Step, Trouble};

/// One process's steps so far. What is told at length the first time is told in short after that.
#[derive(Debug)]
pub struct Story {
    texts: Texts,
    forms: Forms,
    sockets: HashMap<i32, Socket>,
    /// The texts that were told at length.
    told: BTreeSet<String>,
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
            forms: Forms::new(),
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

    /// The text of `key`, with each `{name}` replaced by its value.
    pub fn text(&self, key: &str, values: &[(&str, &dyn Display)]) -> String {
        self.texts.text(key, values)
    }

    /// A number of datagrams.
    pub fn datagrams(&self, count: u64) -> String {
        self.texts.count(count, "datagram", "datagrams")
    }

    /// Tells the next step.
    pub fn tell(&mut self, step: &Step) -> Telling {
        self.count += 1;
        let known = match &step.call {
            Call::Socket { .. } => None,
            _ => self.sockets.get(&step.socket).cloned(),
        };
        let mut socket = known.unwrap_or_else(|| Socket::new(&step.call));
        let keys = match &step.error {
            None => self.meaning(&step.call, &socket),
            Some(trouble) => self.failure(&step.call, trouble, &socket),
        };
        match step.error {
            None => socket.note(&step.call),
            Some(_) => socket.broken = true,
        }
        let values = self.values(step, &socket);
        let (python, system) = self.forms.of(step, &values, !socket.is_stream());
        let texts = keys.iter().map(|key| self.texts.filled(key, &values));
        let text = texts.collect::<Vec<_>>().join(" ");
        match &step.call {
            // The last thing that is known of it.
            Call::Close => drop(self.sockets.remove(&step.socket)),
            call => {
                let accepted = socket.accepted(call);
                self.sockets
                    .extend(accepted.filter(|_| step.error.is_none()));
                self.sockets.insert(step.socket, socket);
            }
        }
        let listed = step.listed.as_ref().map(|row| {
            let key = if row.is_empty() { "unlisted" } else { "listed" };
            (self.text(key, &[]), row.clone())
        });
        Telling {
            number: self.count,
            python,
            system,
            text,
            listed,
        }
    }

    /// The texts of what went wrong, and the first time of why.
    fn failure(&mut self, call: &Call, trouble: &Trouble, socket: &Socket) -> Vec<String> {
        let (kind, carrier) = (trouble.kind, socket.carrier());
        let on = match call {
            Call::Bind { .. } => "-bind",
            Call::Connect { .. } => "-connect",
            _ => "",
        };
        // The most particular one that there is.
        let reasons = [
            format!("{kind}-{carrier}"),
            format!("{kind}{on}"),
            kind.to_string(),
        ];
        let reason = reasons.into_iter().find(|key| self.texts.has(key));
        let reason = reason.filter(|key| self.told.insert(key.clone()));
        ["failed".to_owned()].into_iter().chain(reason).collect()
    }

    /// From the second time on in short.
    fn once(&mut self, key: &'static str, again: &'static str) -> &'static str {
        match self.told.insert(key.to_owned()) {
            true => key,
            false => again,
        }
    }

    /// The texts of what a call means, on a socket as it was before.
    fn meaning(&mut self, call: &Call, socket: &Socket) -> Vec<String> {
        let is_unix = socket.family == Family::Unix;
        let mut more = Vec::new();
        let key = match call {
            Call::Socket { .. } => return vec![format!("socket-{}", socket.carrier())],
            Call::Bind { .. } if is_unix => "bind-unix",
            Call::Bind { asked, .. } => {
                let is_chosen = asked.socket().is_some_and(|asked| asked.port() == 0);
                more.extend(is_chosen.then_some("bind-chosen"));
                more.extend((!socket.is_stream()).then_some("bind-udp"));
                "bind"
            }
            Call::Listen { .. } => "listen",
            Call::Accept { .. } if is_unix => "accept-unix",
            Call::Accept { .. } => self.once("accept", "accept-again"),
            Call::Connect { .. } => match socket.carrier() {
                "unix" => "connect-unix",
                "udp" => "connect-udp",
                _ if socket.role == Role::Bound => "connect-bound",
                _ => "connect",
            },
            Call::Send { .. } if !socket.is_stream() => "send-datagram",
            Call::Send {
                sent_bytes,
                offered_bytes,
                ..
            } => match sent_bytes < offered_bytes {
                true => "send-part",
                false => self.once("send", "send-again"),
            },
            Call::Receive { .. } if !socket.is_stream() => "receive-datagram",
            Call::Receive {
                received_bytes: 0, ..
            } => match (is_unix, socket.finished.contains(&Side::This)) {
                (true, true) => "receive-end-both-unix",
                (true, false) => "receive-end-unix",
                (false, true) => "receive-end-both",
                (false, false) => "receive-end",
            },
            Call::Receive {
                received_bytes,
                room_bytes,
                ..
            } => {
                // Whoever connected knows what should come back.
                if socket.role == Role::Connected && socket.sent > 0 {
                    more.push(match socket.received + received_bytes < socket.sent {
                        true => "receive-partly-back",
                        false => "receive-all-back",
                    });
                }
                more.extend(self.told.insert("stream".to_owned()).then_some("stream"));
                match received_bytes < room_bytes {
                    true => self.once("receive", "receive-again"),
                    false => self.once("receive-full", "receive-full-again"),
                }
            }
            Call::SendTo { .. } => self.once("send-to", "send-to-again"),
            Call::ReceiveFrom { datagrams: 2.., .. } => "receive-from-many",
            Call::ReceiveFrom { .. } => self.once("receive-from", "receive-from-again"),
            Call::Shutdown { both: true } => "shutdown-both",
            Call::Shutdown { .. } if is_unix => "shutdown-unix",
            Call::Shutdown { .. } if socket.finished.is_empty() => "shutdown-first",
            Call::Shutdown { .. } => "shutdown-second",
            Call::Close => match (socket.role, &socket.finished[..]) {
                _ if !socket.is_stream() => "close-udp",
                (Role::Listening, _) => "close-listener",
                (Role::Fresh | Role::Bound, _) => "close-plain",
                _ if socket.broken || is_unix => "close-plain",
                (_, [Side::Other, ..]) => "close-second",
                (_, [Side::This, ..]) if socket.finished.contains(&Side::Other) => "close-first",
                _ => "close-early",
            },
        };
        [key].into_iter().chain(more).map(str::to_owned).collect()
    }

    /// The values of all texts that a step may be told with.
    fn values(&self, step: &Step, socket: &Socket) -> Values {
        let mut values = values(step);
        let mut add = |name: &str, value: String| drop(values.insert(name.to_owned(), value));
        let bytes = |count: u64| self.texts.count(count, "byte", "bytes");
        let shown = |end: Option<&End>| end.map_or_else(String::new, End::to_string);
        let mut address = socket.peer.as_ref();
        match &step.call {
            Call::Socket { family, .. } => add("ip", family.ip().to_owned()),
            Call::Bind { asked, .. } => address = Some(asked),
            Call::Connect { peer, .. } => address = Some(peer),
            Call::Send {
                sent_bytes,
                offered_bytes,
                ..
            } => {
                add("bytes", bytes(*sent_bytes));
                add("total", bytes(socket.sent));
                add("offered", bytes(*offered_bytes));
            }
            Call::Receive {
                received_bytes,
                room_bytes,
                ..
            } => {
                add("bytes", bytes(*received_bytes));
                add("total", bytes(socket.received));
                add("room", bytes(*room_bytes));
                add("sent", bytes(socket.sent));
                let which = if socket.family == Family::Unix {
                    "unix"
                } else {
                    "tcp"
                };
                add("which", self.text(&format!("stream-{which}"), &[]));
            }
            Call::ReceiveFrom {
                datagrams,
                received_bytes,
                ..
            } => {
                add("bytes", bytes(*received_bytes));
                add("datagrams", self.datagrams(*datagrams));
            }
            Call::Close => {
                add("local", shown(socket.local.as_ref()));
                add("peer", shown(socket.peer.as_ref()));
            }
            _ => {}
        }
        add("address", shown(address));
        if let Some(trouble) = &step.error {
            add("error", trouble.words.clone());
        }
        if let Some(local) = socket.local.as_ref().and_then(End::socket) {
            let place = match local.ip() {
                ip if ip.is_loopback() => "where-loopback",
                ip if ip.is_unspecified() => "where-any",
                _ => "where-one",
            };
            add("ip", Zoned(local).ip());
            add("port", local.port().to_string());
            add("where", self.text(place, &[]));
        }
        add("name", socket.name.to_owned());
        values
    }
}

impl Socket {
    /// A socket whose first call is `call`.
    fn new(call: &Call) -> Self {
        let (family, kind) = match call {
            Call::Socket { family, kind } => (*family, *kind),
            Call::Bind {
                asked: End::Unix(_),
                ..
            }
            | Call::Accept {
                local: End::Unix(_),
                ..
            }
            | Call::Connect {
                peer: End::Unix(_), ..
            } => (Family::Unix, SocketKind::Stream),
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

    /// Takes note of a call that was made.
    fn note(&mut self, call: &Call) {
        let (local, peer) = match call {
            Call::Bind { local, .. } => {
                (self.role, self.local) = (Role::Bound, Some(local.clone()));
                return;
            }
            Call::Connect { local, peer } => {
                self.role = Role::Connected;
                (local, peer)
            }
            Call::Listen { .. } => return self.role = Role::Listening,
            Call::Send { sent_bytes, .. } => return self.sent += sent_bytes,
            Call::Receive {
                received_bytes: 0, ..
            } if self.is_stream() => return self.finished.push(Side::Other),
            Call::Receive { received_bytes, .. } => return self.received += received_bytes,
            Call::Shutdown { .. } => return self.finished.push(Side::This),
            _ => return,
        };
        (self.local, self.peer) = (Some(local.clone()), Some(peer.clone()));
    }

    /// The socket that a call returned, with its number.
    fn accepted(&self, call: &Call) -> Option<(i32, Socket)> {
        let Call::Accept {
            accepted,
            local,
            peer,
        } = call
        else {
            return None;
        };
        let conversation = Socket {
            name: "conn",
            role: Role::Accepted,
            local: Some(local.clone()),
            peer: Some(peer.clone()),
            ..self.clone()
        };
        Some((*accepted, conversation))
    }

    fn is_stream(&self) -> bool {
        self.kind == SocketKind::Stream
    }

    /// What carries its bytes, as in the keys of texts.
    fn carrier(&self) -> &'static str {
        match (self.family, self.kind) {
            (Family::Unix, _) => "unix",
            (_, SocketKind::Stream) => "tcp",
            (_, SocketKind::Datagram) => "udp",
        }
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
