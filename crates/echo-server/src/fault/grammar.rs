//! How a fault is written: what happens and where, separated by commas, in any order.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use echo_core::nearest;
use echo_core::units::{Size, Timespan};

use super::action::{WORDS, Word};
use super::text::{Bad, Text};
use super::{Action, After, Corruption, Delay, Ending, Fault, HELD_MAX, PeerFilter, Pick, Place};

/// The words that say where.
const PLACES: &str = "tcp, udp, unix, on=, peer=, conn=, msg=";

/// What other tools call what happens.
const OTHERS: &[(&str, &str)] = &[
    ("latency", "delay"),
    ("lag", "delay"),
    ("jitter", "delay"),
    ("loss", "drop"),
    ("packet-loss", "drop"),
    ("bitflip", "corrupt"),
    ("bandwidth", "rate"),
    ("throttle", "rate"),
    ("limit", "rate"),
    ("slow", "rate"),
    ("timeout", "stall"),
    ("hang", "stall"),
    ("blackhole", "stall"),
    ("down", "refuse"),
    ("reset", "reset-after"),
    ("reset_peer", "reset-after"),
    ("rst", "reset-after"),
    ("close", "close-after"),
    ("hangup", "close-after"),
    ("limit_data", "close-after"),
    ("slicer", "split"),
    ("chunk", "split"),
    ("half-close", "half-close-after"),
    ("welcome", "banner"),
    ("connection", "conn"),
    ("message", "msg"),
];

/// Why a text is no fault: where it stops being one, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseFaultError {
    spec: String,
    /// In characters, from 0.
    at: usize,
    cause: String,
}

impl ParseFaultError {
    /// The character that is wrong, counted from 1; one past the end where something is missing.
    pub fn character(&self) -> usize {
        self.at + 1
    }
}

impl fmt::Display for ParseFaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, cause) = (self.at, &self.cause);
        let shown = self.spec.replace(char::is_control, "\u{fffd}");
        write!(
            f,
            "at character {}: {cause}\n  {shown}\n  {:at$}^",
            at + 1,
            ""
        )
    }
}

impl std::error::Error for ParseFaultError {}

impl FromStr for Fault {
    type Err = ParseFaultError;

    fn from_str(spec: &str) -> Result<Self, Self::Err> {
        parse(spec).map_err(|Bad { at, cause }| ParseFaultError {
            at: spec[..at].chars().count(),
            spec: spec.to_owned(),
            cause,
        })
    }
}

fn parse(spec: &str) -> Result<Fault, Bad> {
    let mut draft = Draft::default();
    let mut at = 0;
    for part in parts(spec) {
        draft.take(Text::new(at, part))?;
        at += part.len() + 1;
    }
    draft.finish(spec)
}

/// What is between commas, but for one behind a backslash.
fn parts(spec: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    spec.split(move |c| {
        let splits = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    })
}

/// How the right word is written that is nearest to a wrong one, if any is near.
fn meant(wrong: &str) -> Option<&'static str> {
    let wrong = wrong.to_lowercase();
    let forms = PLACES.split(", ");
    let places = forms.map(|form| (form.trim_end_matches('='), form));
    let actions = WORDS.iter().map(|word| (word.name, word.form));
    let words: Vec<_> = actions.chain(places).collect();
    let known = words.iter().chain(OTHERS).map(|(word, _)| *word);
    let near = nearest(&wrong, known)?;
    let other = OTHERS.iter().find(|(other, _)| *other == near);
    let near = other.map_or(near, |(_, word)| word);
    let mut words = words.into_iter();
    words.find_map(|(word, form)| (word == near).then_some(form))
}

/// What has been read of a fault.
#[derive(Default)]
struct Draft<'a> {
    action: Option<Action>,
    place: Place,
    /// The words so far, a share and a range apart.
    seen: Vec<(&'static str, Text<'a>)>,
}

impl<'a> Draft<'a> {
    fn take(&mut self, part: Text<'a>) -> Result<(), Bad> {
        let (name, value) = match part.split("=") {
            Some((name, value)) => (name, Some(value)),
            None => (part, None),
        };
        match name.text {
            "tcp" | "udp" | "unix" => {
                if let Some(value) = value {
                    return Err(value.bad(format_args!("{} takes no value", name.text)));
                }
                self.once("the kind of socket", name)?;
                self.place.transport = name.text.parse().ok();
            }
            "on" => {
                self.once("on", name)?;
                let value = value.ok_or_else(|| missing(name, "on=NAME"))?;
                self.place.on = Some(value.value(|cause| cause)?);
            }
            "peer" => {
                self.once("peer", name)?;
                let value = value.ok_or_else(|| missing(name, "peer=192.0.2.1"))?;
                self.place.peer = Some(peer(value)?);
            }
            "conn" | "msg" => {
                let (pick, words) = match name.text {
                    "conn" => (&mut self.place.connections, ["conn", "conn=%"]),
                    _ => (&mut self.place.messages, ["msg", "msg=%"]),
                };
                let word = name.text;
                let form = format!("{word}=3, {word}=..3 or {word}=20%");
                let value = value.ok_or_else(|| missing(name, &form))?;
                pick_from(pick, value)?;
                self.once(words[usize::from(value.share().is_some())], name)?;
            }
            "" => return Err(name.bad("a word is missing; a fault is written as drop=20%,udp")),
            _ => self.act(name, value)?,
        }
        Ok(())
    }

    /// Takes a word that may be said once.
    fn once(&mut self, word: &'static str, at: Text<'a>) -> Result<(), Bad> {
        if self.seen.iter().any(|(seen, _)| *seen == word) {
            return Err(at.bad(format_args!("{word} is said already; give another --fault")));
        }
        self.seen.push((word, at));
        Ok(())
    }

    fn act(&mut self, name: Text<'a>, value: Option<Text<'a>>) -> Result<(), Bad> {
        let Some(word) = WORDS.iter().find(|word| word.name == name.text) else {
            let is_word = |value: &Text<'_>| WORDS.iter().any(|word| word.name == value.text);
            if let Some(value) = value.filter(is_word) {
                let (value, word) = (name.text, value.text);
                return Err(name.bad(format_args!(
                    "what happens goes first; write {word}={value}"
                )));
            }
            let names: Vec<&str> = WORDS.iter().map(|word| word.name).collect();
            let meant = meant(name.text);
            return Err(name.bad(format_args!(
                "no such word{}. What happens is one of {}; where is one of {PLACES}. \
                 `echo-server fault help` tells of each",
                meant.map_or_else(String::new, |form| format!("; write {form}")),
                names.join(", ")
            )));
        };
        if let Some(action) = &self.action {
            return Err(name.bad(format_args!(
                "what happens is said already: {}; give another --fault",
                action.name()
            )));
        }
        let share = value.filter(|_| word.takes_share()).and_then(Text::share);
        let share = share.transpose()?;
        if let Some(share) = share {
            let (pick, said) = match word.per_message {
                true => (&mut self.place.messages, "msg=%"),
                false => (&mut self.place.connections, "conn=%"),
            };
            pick.share = share;
            self.once(said, name)?;
        }
        if word.name == "hold" {
            (self.place.messages.first, self.place.messages.last) = (1, 1);
            self.once("msg", name)?;
        }
        self.action = Some(match value.filter(|_| share.is_none()) {
            Some(value) => with_value(word, value)?,
            None => plain(word).ok_or_else(|| missing(name, word.form))?,
        });
        self.once("what happens", name)
    }

    /// The fault, if its parts go together.
    fn finish(self, spec: &str) -> Result<Fault, Bad> {
        let place = self.place;
        let Some(action) = self.action else {
            return Err(Bad {
                at: spec.trim_end().len(),
                cause: "what happens is missing; add it, such as drop".to_owned(),
            });
        };
        let Word {
            name,
            sockets,
            per_message,
            ..
        } = action.word();
        // Where a word was said; at its start if it was not.
        let said = |words: &[&str]| {
            let found = self.seen.iter().find(|(word, _)| words.contains(word));
            found.map(|(_, at)| *at)
        };
        if let Some(transport) = place.transport
            && !sockets.contains(&transport)
        {
            let able: Vec<String> = sockets.iter().map(ToString::to_string).collect();
            let at = said(&["the kind of socket"]).unwrap_or(Text::new(0, spec));
            return Err(at.bad(format_args!(
                "{name} cannot happen on {transport}, only on {}",
                able.join(" and ")
            )));
        }
        if let Some(at) = said(&["msg", "msg=%"])
            && !per_message
        {
            return Err(at.bad(format_args!(
                "{name} happens to whole connections; choose some with conn="
            )));
        }
        if matches!(action, Action::NoAccept(_)) {
            let endless = place.connections.last == u64::MAX;
            let at = said(&["peer", "conn=%"]).or(said(&["conn"]).filter(|_| !endless));
            if let Some(at) = at {
                return Err(at.bad(
                    "a connection that waits holds up all behind it, and its peer is not known; \
                     write no-accept alone, or with conn=3.. to accept the first two",
                ));
            }
        }
        Ok(Fault { action, place })
    }
}

fn missing(name: Text<'_>, form: &str) -> Bad {
    Bad {
        at: name.at + name.text.len(),
        cause: format!("a value is missing; write {form}"),
    }
}

/// An action that needs no value.
fn plain(word: &Word) -> Option<Action> {
    Some(match word.name {
        "no-accept" => Action::NoAccept(0),
        "refuse" => Action::Refuse,
        "stall" => Action::Stall,
        "drop" => Action::Drop,
        "corrupt" => Action::Corrupt(Corruption::Bit),
        "duplicate" => Action::Duplicate,
        "reorder" => Action::Reorder,
        _ => return None,
    })
}

const MAY_WAIT: &str = "write how many connections may wait, from 0 to 65535";

/// An action with its value.
fn with_value(word: &Word, value: Text<'_>) -> Result<Action, Bad> {
    let lacks = |what: &str| Bad {
        at: value.at + value.text.len(),
        cause: format!("{what} is missing; write {}", word.form),
    };
    Ok(match word.name {
        "no-accept" => {
            let Size(waiting) = value.value(|_: <Size as FromStr>::Err| MAY_WAIT.to_owned())?;
            Action::NoAccept(u16::try_from(waiting).map_err(|_| value.bad(MAY_WAIT))?)
        }
        "corrupt" => Action::Corrupt(Corruption::Bytes(value.size(1, u64::MAX)?)),
        "banner" => Action::Banner(value.unescaped()?),
        "truncate" => Action::Truncate(value.size(0, u64::MAX)?),
        "delay" => Action::Delay(delay(value)?),
        "hold" => Action::Delay(Delay::Fixed(value.time()?)),
        "merge" => Action::Merge(value.size(1, HELD_MAX as u64)? as usize),
        "split" => Action::Split(value.size(1, HELD_MAX as u64)? as usize),
        "trickle" => {
            let parts = value.split("/");
            let (bytes, every) = parts.ok_or_else(|| lacks("the time between two pieces"))?;
            Action::Trickle(bytes.size(1, HELD_MAX as u64)? as usize, every.time()?)
        }
        "rate" => Action::Rate(value.before("/s").unwrap_or(value).size(1, u64::MAX)?),
        "half-close-after" => Action::End(Ending::HalfClose, after(value)?),
        "close-after" => Action::End(Ending::Close, after(value)?),
        "reset-after" => Action::End(Ending::Reset, after(value)?),
        _ => return Err(lacks("a %")),
    })
}

fn delay(value: Text<'_>) -> Result<Delay, Bad> {
    if let Some((mean, deviation)) = value.split("±").or_else(|| value.split("+-")) {
        return Ok(Delay::Normal(mean.time()?, deviation.time()?));
    }
    if let Some((least, most)) = value.split("..") {
        let bounds = (least.time()?, most.time()?);
        if bounds.0 > bounds.1 {
            return Err(most.bad("the longest delay is shorter than the shortest"));
        }
        return Ok(Delay::Uniform(bounds.0, bounds.1));
    }
    Ok(Delay::Fixed(value.time()?))
}

fn after(value: Text<'_>) -> Result<After, Bad> {
    if let Some(messages) = value.before("msg") {
        return Ok(After::Messages(messages.value(|_: ParseIntError| {
            "write a number of messages such as 3msg".to_owned()
        })?));
    }
    if let Ok(bytes) = value.size(0, u64::MAX) {
        return Ok(After::Bytes(bytes));
    }
    let form = "write bytes such as 1k, messages such as 3msg, or a time such as 200ms";
    let is_time =
        value.text.parse::<Timespan>().is_ok() && value.text.ends_with(char::is_alphabetic);
    match value.time() {
        outcome if is_time => outcome.map(After::Time),
        _ if value.text.starts_with('-') => {
            Err(value.bad(format_args!("it cannot be negative; {form}")))
        }
        Ok(_) => Err(value.bad(form)),
        Err(bad) => Err(Bad {
            cause: form.to_owned(),
            ..bad
        }),
    }
}

fn peer(value: Text<'_>) -> Result<PeerFilter, Bad> {
    let remedy = "write an IP address, with or without a port: 192.0.2.1, [2001:db8::1]:4000";
    value.value(|cause| format!("{cause}; {remedy}"))
}

fn pick_from(pick: &mut Pick, value: Text<'_>) -> Result<(), Bad> {
    if let Some(share) = value.share() {
        pick.share = share?;
        return Ok(());
    }
    let Some((first, last)) = value.split("..") else {
        let number = value.number()?;
        (pick.first, pick.last) = (number, number);
        return Ok(());
    };
    if first.text.is_empty() && last.text.is_empty() {
        return Err(value.bad("a number is missing; write ..3, 3.. or 1..3"));
    }
    if !first.text.is_empty() {
        pick.first = first.number()?;
    }
    if !last.text.is_empty() {
        pick.last = last.number()?;
    }
    if pick.first > pick.last {
        return Err(last.bad("the last one comes before the first"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
