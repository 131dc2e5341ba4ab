//! What a run tells while it goes on: a line for a person, or a JSON event a line for programs.
//!
//! A thread of its own writes them, so that whoever reads them slowly delays no measurement. What
//! its queue has no room for is counted, and told at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use echo_core::units::unix_ns;
use echo_core::{Clock, Failure};
use echo_explain::Phrases;
use serde_json::json;

use super::Watch;
use crate::engine::{Class, Event, Peer, Sink, What};
use crate::output;
use crate::report::{Report, document};
use crate::thread;

/// Events that may wait to be written: some seconds of a thousand a second, at 200 bytes each. Only
/// those that do wait take memory.
const QUEUE: usize = 1 << 14;

/// Where the lines go, and in which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// For a person.
    Text,
    /// For programs.
    Events,
    /// None.
    #[default]
    Nothing,
}

/// How lines look.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// For whom they are.
    pub form: Form,
    /// The time before each line.
    pub time_of_day: bool,
    /// What is not well stands out.
    pub color: bool,
    /// Both ends of each connection, on standard error.
    pub verbose: bool,
    /// What the headline says of the requests, where there is one.
    pub headline: Option<String>,
    /// A line on standard error that overwrites itself.
    pub progress: bool,
    /// What people are told it in.
    pub phrases: Phrases,
}

/// Tells what happens.
#[derive(Debug)]
pub struct Lines {
    form: Form,
    clock: Clock,
    sender: Sender<Event>,
    /// Events that wait.
    waiting: Arc<AtomicUsize>,
    writer: JoinHandle<Result<(), Failure>>,
    /// Events there was no room for.
    missed: AtomicU64,
    /// Whether nothing more can be written.
    is_closed: Arc<AtomicBool>,
    watch: Watch,
}

impl Lines {
    /// Starts to tell in this style.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(style: Style) -> Result<Self, Failure> {
        let (sender, events) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let is_closed = Arc::new(AtomicBool::new(false));
        let (form, closed, left) = (style.form, is_closed.clone(), waiting.clone());
        let watch = Watch::new(style.progress);
        let work = move || {
            let peer = String::new();
            let mut writer = Writer { style, peer };
            let events = events.iter().inspect(|_| {
                left.fetch_sub(1, Ordering::Relaxed);
            });
            let mut events = in_order(events);
            let outcome = events.try_for_each(|event| writer.write(&event));
            closed.store(outcome.is_err(), Ordering::Relaxed);
            outcome
        };
        let writer = thread::start("lines", work)?;
        Ok(Lines {
            form,
            clock: Clock::new(),
            sender,
            waiting,
            writer,
            missed: AtomicU64::new(0),
            is_closed,
            watch,
        })
    }

    /// Tells what has just happened, with one of many peers or the only one.
    pub fn tell_of(&self, peer: Option<Peer>, what: What) {
        let event = Event {
            what,
            peer,
            time_unix_ns: unix_ns(self.clock.now()),
        };
        // Before it is there to be taken: nothing leaves that has not come.
        let has_room = self.waiting.fetch_add(1, Ordering::Relaxed) < QUEUE;
        if !has_room || self.sender.send(event).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// Standard output takes no more.
    pub fn finish(self) -> Result<(), Failure> {
        self.watch.clear();
        drop(self.sender);
        self.writer
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        match (self.missed.into_inner(), self.form) {
            (0, _) => Ok(()),
            (count, Form::Events) => output::line(json!({"event": "missed", "count": count})),
            (count, _) => output::line(format_args!(
                "{count} more lines: standard output did not take them in time"
            )),
        }
    }
}

impl Sink for Lines {
    fn tell(&self, what: What) {
        self.tell_of(None, what);
    }

    fn wants_each(&self) -> bool {
        self.form != Form::Nothing
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn so_far(&self, measured: Option<Duration>, books: &Report, is_asked: bool) {
        self.watch.so_far(measured, books, is_asked);
    }
}

/// The last line of the events.
pub fn summary(report: &Report) -> Result<(), Failure> {
    let report = document::value(report);
    output::line(json!({"event": "summary", "report": report}))
}

/// The same events, none of them before the one that it follows: between a look at the clock and the
/// queue a thread may lose its core, and another overtake it.
fn in_order(events: impl Iterator<Item = Event>) -> impl Iterator<Item = Event> {
    events.scan(0, |last, mut event| {
        event.time_unix_ns = event.time_unix_ns.max(*last);
        *last = event.time_unix_ns;
        Some(event)
    })
}

/// What the thread does.
struct Writer {
    style: Style,
    /// Who answers, in text.
    peer: String,
}

impl Writer {
    fn write(&mut self, event: &Event) -> Result<(), Failure> {
        match (&event.what, self.style.form) {
            (What::Connected(ends), _) => {
                if self.style.verbose {
                    output::note(self.style.phrases.say(&format!("connected {ends}")));
                }
                Ok(())
            }
            // Strings and numbers always serialize.
            (_, Form::Events) => output::line(serde_json::to_string(event).unwrap_or_default()),
            // In text this is told even by `--quiet`.
            (What::Start { target }, _) => {
                self.peer.clone_from(&target.address);
                let headline = self.style.headline.as_ref();
                headline.map_or(Ok(()), |what| {
                    output::line(format_args!("PING {}: {what}", target.told()))
                })
            }
            (_, Form::Nothing) => Ok(()),
            (what, Form::Text) => {
                let (text, is_well) = self.text(what);
                let text = self.style.phrases.say(&text);
                let mut line = String::new();
                if self.style.time_of_day {
                    let micros = event.time_unix_ns / 1_000;
                    line += &format!("[{}.{:06}] ", micros / 1_000_000, micros % 1_000_000);
                }
                line += &match self.style.color && !is_well {
                    true => format!("{RED}{text}{PLAIN}"),
                    false => text,
                };
                output::line(line)
            }
        }
    }

    /// What a person reads of a reply or an error, and whether all is well.
    fn text(&self, what: &What) -> (String, bool) {
        let peer = &self.peer;
        match what {
            What::Reply {
                seq,
                class,
                bytes,
                rtt_ns,
                connect_ns,
                residence_ns,
                detail,
                ..
            } => {
                let mut text = format!("{bytes} bytes from {peer}:");
                if let (Some(number), Some(rtt_ns)) = (seq, rtt_ns) {
                    text += &format!(" seq={number}");
                    if let Some(connect_ns) = connect_ns {
                        text += &format!(" connect={} ms", millis(*connect_ns));
                    }
                    text += &format!(" time={} ms", millis(*rtt_ns));
                    if let Some(held) = residence_ns {
                        text += &format!(" held={} ms", millis(*held));
                    }
                }
                let is_well = *class == Class::Ok;
                match detail {
                    _ if is_well => {}
                    None => text += &format!(" ({class})"),
                    Some(detail) => text += &format!(" ({class}: {detail})"),
                }
                (text, is_well)
            }
            What::Error { seq, detail, .. } => {
                let text = match seq {
                    Some(seq) => format!("from {peer}: seq={seq} {detail}"),
                    None => format!("from {peer}: {detail}"),
                };
                (text, false)
            }
            What::Start { .. } | What::Connected(_) => (String::new(), true),
        }
    }
}

const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Nanoseconds as milliseconds, as `ping` shows them: to the microsecond below a second.
fn millis(ns: u64) -> String {
    match ns as f64 / 1e6 {
        ms if ms < 1e3 => format!("{ms:.3}"),
        ms => format!("{ms:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_before_the_one_that_it_follows() {
        let events = [3, 5, 4, 5, 7].map(|time_unix_ns| Event {
            what: What::Connected(String::new()),
            peer: None,
            time_unix_ns,
        });
        let told: Vec<_> = in_order(events.into_iter())
            .map(|event| event.time_unix_ns)
            .collect();
        assert_eq!(told, [3, 5, 5, 5, 7]);
    }
}
