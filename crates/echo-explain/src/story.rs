//! Steps in words: what one process did with its sockets, told to someone who sees it first.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::socket::{Known, Role, Side, Sockets};
use super::telling::{Forms, Telling, paragraph, tuple};
use super::text::{Texts, Values};
use echo_core::Zoned;
use echo_core::address::End;

use super::{Call, Family, Lang, Phrases, SocketKind, Step, Trouble};

/// One process's steps so far. What is told at length the first time is told in short after that.
#[derive(Debug)]
pub struct Story {
    texts: Texts,
    phrases: Phrases,
    forms: Forms,
    sockets: Sockets,
    /// The texts that were told at length.
    told: BTreeSet<String>,
    count: usize,
}

impl Story {
    /// A story in `lang`, with nothing in it yet.
    pub fn new(lang: Lang) -> Self {
        Story {
            texts: Texts::of(lang),
            phrases: Phrases::of(lang),
            forms: Forms::new(),
            sockets: Sockets::default(),
            told: BTreeSet::new(),
            count: 0,
        }
    }

    /// What is told before the first step.
    pub fn intro(&self) -> String {
        self.aside("intro", &[])
    }

    /// A paragraph on what is no step: the text of `key` with its values.
    pub fn aside(&self, key: &str, values: &[(&str, &dyn Display)]) -> String {
        paragraph(&self.text(key, values))
    }

    /// The text of `key`, with each `{name}` replaced by its value, which is said in the same language.
    pub fn text(&self, key: &str, values: &[(&str, &dyn Display)]) -> String {
        let said = |(name, value): &(&str, &dyn Display)| {
            ((*name).to_owned(), self.phrases.value(&value.to_string()))
        };
        self.texts.filled(key, &values.iter().map(said).collect())
    }

    /// A number of datagrams.
    pub fn datagrams(&self, count: u64) -> String {
        self.texts.count(count, "datagram", "datagrams")
    }

    /// Tells the next step.
    pub fn tell(&mut self, step: &Step) -> Telling {
        self.count += 1;
        let before = self.sockets.before(step.socket, &step.call);
        let keys = match &step.error {
            None => self.meaning(&step.call, &before),
            Some(trouble) => self.failure(&step.call, trouble, &before),
        };
        let is_failed = step.error.is_some();
        let socket = self.sockets.follow(step.socket, &step.call, is_failed);
        let values = self.values(step, &socket);
        let (python, system) = self.forms.of(step, &values, !socket.is_stream());
        let texts = keys.iter().map(|key| self.texts.filled(key, &values));
        let text = texts.collect::<Vec<_>>().join(" ");
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
    fn failure(&mut self, call: &Call, trouble: &Trouble, socket: &Known) -> Vec<String> {
        let (kind, carrier) = (&trouble.kind, socket.carrier());
        let on = match call {
            Call::Bind { .. } => "-bind",
            Call::Connect { .. } => "-connect",
            _ => "",
        };
        // The most particular one that there is.
        let reasons = [
            format!("{kind}-{carrier}"),
            format!("{kind}{on}"),
            kind.clone(),
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
    fn meaning(&mut self, call: &Call, socket: &Known) -> Vec<String> {
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
                if self.told.insert("stream".to_owned()) {
                    more.extend([if is_unix { "stream-unix" } else { "stream-tcp" }, "stream"]);
                }
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

    /// What there is to tell of a step, by name: its call's fields, and what follows from them and from
    /// its socket.
    fn values(&self, step: &Step, socket: &Known) -> Values {
        // A call has no map whose keys are not text, which is all that TOML cannot hold.
        let call = toml::Table::try_from(&step.call).unwrap_or_default();
        let mut values = Values::new();
        let mut add = |name: &str, value: String| drop(values.insert(name.to_owned(), value));
        for (key, value) in call {
            if let Some(count) = value.as_integer().map(i64::cast_unsigned) {
                match key.strip_suffix("_bytes") {
                    Some(what) => add(what, self.bytes(count)),
                    None if key == "datagrams" => add("messages", self.datagrams(count)),
                    None => {}
                }
            }
            let text = value.as_str().map(str::to_owned);
            add(&key, text.unwrap_or_else(|| value.to_string()));
        }
        add("socket", step.socket.to_string());
        let name = match (socket.role, socket.kind) {
            (Role::Accepted, _) => "conn",
            (_, SocketKind::Datagram) => "u",
            (_, SocketKind::Stream) => "s",
        };
        add("name", name.to_owned());
        add("total_sent", self.bytes(socket.sent));
        add("total_received", self.bytes(socket.received));
        if let Some(trouble) = &step.error {
            add("error", self.phrases.say(&trouble.words));
        }
        match &step.call {
            Call::Socket { family, kind } => {
                let (ip, protocol) = match (family, kind) {
                    (Family::Unix, _) => ("", "0"),
                    (Family::Inet, SocketKind::Stream) => ("IPv4", "IPPROTO_TCP"),
                    (Family::Inet, SocketKind::Datagram) => ("IPv4", "IPPROTO_UDP"),
                    (Family::Inet6, SocketKind::Stream) => ("IPv6", "IPPROTO_TCP"),
                    (Family::Inet6, SocketKind::Datagram) => ("IPv6", "IPPROTO_UDP"),
                };
                add("ip", ip.to_owned());
                add("protocol", protocol.to_owned());
            }
            Call::Shutdown { both: true } => add("how", "SHUT_RDWR".to_owned()),
            Call::Shutdown { both: false } => add("how", "SHUT_WR".to_owned()),
            _ => {}
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
        for (name, end) in [("local", &socket.local), ("peer", &socket.peer)] {
            let known = || end.as_ref().map_or_else(String::new, End::to_string);
            values.entry(name.to_owned()).or_insert_with(known);
        }
        let address = values.get("asked").unwrap_or(&values["peer"]).clone();
        values.insert("end".to_owned(), tuple(&address.clone().into()));
        values.insert("address".to_owned(), address);
        values
    }

    fn bytes(&self, count: u64) -> String {
        self.texts.count(count, "byte", "bytes")
    }
}

#[cfg(test)]
mod tests;
