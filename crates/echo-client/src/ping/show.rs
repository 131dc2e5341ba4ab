//! What `ping` tells while it runs: a line for a person, or a JSON event a line for programs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use echo_core::Failure;
use serde::Serialize;

use super::book::{Class, Entry};
use super::settings::Ping;
use crate::connection::ErrorKind;
use crate::output;
use crate::report::Target;

/// Where the lines go, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Events,
    Nothing,
}

/// Tells what happens.
#[derive(Debug)]
pub struct Show {
    form: Form,
    timestamps: bool,
    /// What is not well stands out.
    color: bool,
    /// Who answers, in text.
    peer: String,
}

/// An event as a line of JSON; `event` says which keys it has.
#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    time_unix_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<ErrorKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a Target>,
}

impl Show {
    /// Tells as `config` says, in `color` or not.
    pub fn new(config: &Ping, color: bool) -> Self {
        let form = match config {
            Ping { jsonl: true, .. } => Form::Events,
            Ping { json: true, .. } | Ping { quiet: true, .. } => Form::Nothing,
            _ => Form::Text,
        };
        Show {
            form,
            timestamps: config.timestamps,
            color,
            peer: String::new(),
        }
    }

    /// The target has been found. In text this is the headline, which even `--quiet` has.
    pub fn start(&mut self, target: &Target, config: &Ping) -> Result<(), Failure> {
        self.peer.clone_from(&target.address);
        if self.form == Form::Events {
            let event = Event {
                target: Some(target),
                ..event("start")
            };
            return self.event(event);
        }
        if config.json {
            return Ok(());
        }
        let busy = if config.busy { ", busy polling" } else { "" };
        let line = format!("PING {}: {} bytes{busy}", target.told(), config.size.0);
        output::line(line).map_err(output::failure)
    }

    /// Something came back.
    pub fn reply(
        &self,
        entry: Entry,
        bytes: usize,
        connect: Option<Duration>,
        detail: Option<&str>,
    ) -> Result<(), Failure> {
        let Entry { class, answers } = entry;
        match self.form {
            Form::Nothing => Ok(()),
            Form::Events => self.event(Event {
                seq: answers.map(|(number, _)| number),
                class: Some(class.name()),
                bytes: Some(bytes),
                rtt_ns: answers.map(|(_, rtt)| nanos(rtt)),
                connect_ns: connect.map(nanos),
                detail,
                ..event("reply")
            }),
            Form::Text => {
                let mut line = format!("{bytes} bytes from {}:", self.peer);
                if let Some((number, rtt)) = answers {
                    line += &format!(" seq={number}");
                    if let Some(connect) = connect {
                        line += &format!(" connect={} ms", Millis(connect));
                    }
                    line += &format!(" time={} ms", Millis(rtt));
                }
                match (class, detail) {
                    (Class::Ok, _) => {}
                    (_, None) => line += &format!(" ({})", class.name()),
                    (_, Some(detail)) => line += &format!(" ({}: {detail})", class.name()),
                }
                self.line(&line, class == Class::Ok)
            }
        }
    }

    /// A request got no reply; `kind` says why. Text calls it by its number, where that is known.
    pub fn lost(&self, seq: Option<u64>, kind: ErrorKind, detail: &str) -> Result<(), Failure> {
        match self.form {
            Form::Nothing => Ok(()),
            Form::Events => self.event(Event {
                seq,
                kind: Some(kind),
                detail: Some(detail),
                ..event("error")
            }),
            Form::Text => match seq {
                Some(seq) => self.line(&format!("from {}: seq={seq} {detail}", self.peer), false),
                None => self.line(&format!("from {}: {detail}", self.peer), false),
            },
        }
    }

    /// The last line of the events.
    pub fn document(&self, json: &str) -> Result<(), Failure> {
        let document: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        let line = serde_json::json!({"event": "summary", "report": document});
        output::line(line).map_err(output::failure)
    }

    fn event(&self, event: Event<'_>) -> Result<(), Failure> {
        // Strings and numbers always serialize.
        let line = serde_json::to_string(&event).unwrap_or_default();
        output::line(line).map_err(output::failure)
    }

    fn line(&self, text: &str, is_well: bool) -> Result<(), Failure> {
        let mut line = String::new();
        if self.timestamps {
            let now = since_epoch();
            line += &format!("[{}.{:06}] ", now.as_secs(), now.subsec_micros());
        }
        if self.color && !is_well {
            line += &format!("{RED}{text}{PLAIN}");
        } else {
            line += text;
        }
        output::line(line).map_err(output::failure)
    }
}

const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

fn event<'a>(name: &'static str) -> Event<'a> {
    Event {
        event: name,
        time_unix_ns: nanos(since_epoch()),
        seq: None,
        class: None,
        bytes: None,
        rtt_ns: None,
        connect_ns: None,
        kind: None,
        detail: None,
        target: None,
    }
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds, as `ping` shows them: to the microsecond below a second.
struct Millis(Duration);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0.as_secs_f64() * 1e3;
        if ms < 1e3 {
            write!(f, "{ms:.3}")
        } else {
            write!(f, "{ms:.0}")
        }
    }
}
