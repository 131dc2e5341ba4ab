//! What a run tells while it goes on: a line for a person, or a JSON event a line for programs.
//!
//! A thread of its own writes them, so that whoever reads them slowly delays no measurement. What
//! its queue has no room for is counted, and told at the end.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use echo_core::Failure;
use serde::Serialize;

use crate::connection::ErrorKind;
use crate::engine::{Event, Sink, SoFar, What};
use crate::output;
use crate::progress::Progress;
use crate::report::Target;
use crate::thread;

/// Events that wait to be written: some seconds of a thousand a second, at 200 bytes each.
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
    pub timestamps: bool,
    /// What is not well stands out.
    pub color: bool,
    /// Both ends of each connection, on standard error.
    pub verbose: bool,
    /// What the headline says of the requests, where there is one.
    pub headline: Option<String>,
    /// A line on standard error that overwrites itself.
    pub progress: bool,
}

/// Tells what happens.
#[derive(Debug)]
pub struct Lines {
    form: Form,
    sender: SyncSender<Event>,
    writer: JoinHandle<Result<(), Failure>>,
    /// Events there was no room for.
    missed: AtomicU64,
    /// Whether nothing more can be written.
    is_closed: Arc<AtomicBool>,
    progress: Option<Mutex<Progress>>,
}

impl Lines {
    /// Starts to tell in this style.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(style: Style) -> Result<Self, Failure> {
        let (sender, events) = sync_channel(QUEUE);
        let is_closed = Arc::new(AtomicBool::new(false));
        let (form, closed) = (style.form, is_closed.clone());
        let progress = style.progress.then(|| Mutex::new(Progress::new()));
        let work = move || {
            let outcome = Writer::new(style).write_all(&events);
            closed.store(outcome.is_err(), Ordering::Relaxed);
            outcome
        };
        let writer = thread::start("lines", work)?;
        Ok(Lines {
            form,
            sender,
            writer,
            missed: AtomicU64::new(0),
            is_closed,
            progress,
        })
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// Standard output takes no more.
    pub fn finish(self) -> Result<(), Failure> {
        if let Some(progress) = &self.progress {
            progress
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
        }
        drop(self.sender);
        self.writer
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let told = match (self.missed.into_inner(), self.form) {
            (0, _) => return Ok(()),
            (count, Form::Events) => {
                serde_json::json!({"event": "missed", "count": count}).to_string()
            }
            (count, _) => format!("{count} more lines: standard output did not take them in time"),
        };
        output::line(told).map_err(output::failure)
    }
}

impl Sink for Lines {
    fn tell(&self, event: Event) {
        if self.sender.try_send(event).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn wants_each(&self) -> bool {
        self.form != Form::Nothing
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn so_far(&self, so_far: SoFar<'_>, is_asked: bool) {
        let progress = self.progress.as_ref();
        let mut progress = progress.map(|one| one.lock().unwrap_or_else(PoisonError::into_inner));
        if is_asked {
            if let Some(progress) = &mut progress {
                progress.clear();
            }
            let counts = so_far.total.counts;
            output::note(format_args!(
                "{} sent, {} received, {} lost; {so_far}",
                counts.sent, counts.received, counts.lost
            ));
        } else if let Some(progress) = &mut progress {
            progress.show(so_far);
        }
    }
}

/// The last line of the events.
pub fn summary(json: &str) -> io::Result<()> {
    let document: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    output::line(serde_json::json!({"event": "summary", "report": document}))
}

/// What the thread does.
struct Writer {
    style: Style,
    /// Who answers, in text.
    peer: String,
}

/// An event as a line of JSON; `event` says which keys it has.
#[derive(Serialize)]
struct Line<'a> {
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

impl Writer {
    fn new(style: Style) -> Self {
        Writer {
            style,
            peer: String::new(),
        }
    }

    fn write_all(mut self, events: &Receiver<Event>) -> Result<(), Failure> {
        events.iter().try_for_each(|event| {
            let time = event.time.duration_since(UNIX_EPOCH).unwrap_or_default();
            self.write(time, event.what).map_err(output::failure)
        })
    }

    fn write(&mut self, time: Duration, what: What) -> io::Result<()> {
        match (what, self.style.form) {
            (What::Connected(ends), _) => {
                if self.style.verbose {
                    output::note(format_args!("connected {ends}"));
                }
                Ok(())
            }
            (What::Start(target), Form::Events) => self.json(Line {
                target: Some(&target),
                ..line("start", time)
            }),
            (What::Start(target), _) => self.headline(&target),
            (_, Form::Nothing) => Ok(()),
            (what, Form::Events) => self.event(time, what),
            (what, Form::Text) => self.text(time, what),
        }
    }

    fn event(&self, time: Duration, what: What) -> io::Result<()> {
        match what {
            What::Reply {
                class,
                answers,
                bytes,
                connect,
                detail,
            } => self.json(Line {
                seq: answers.map(|(number, _)| number),
                class: Some(class),
                bytes: Some(bytes),
                rtt_ns: answers.map(|(_, rtt)| nanos(rtt)),
                connect_ns: connect.map(nanos),
                detail: detail.as_deref(),
                ..line("reply", time)
            }),
            What::Error { seq, kind, detail } => self.json(Line {
                seq,
                kind: Some(kind),
                detail: Some(&detail),
                ..line("error", time)
            }),
            What::Start(_) | What::Connected(_) => Ok(()),
        }
    }

    fn json(&self, line: Line<'_>) -> io::Result<()> {
        // Strings and numbers always serialize.
        output::line(serde_json::to_string(&line).unwrap_or_default())
    }

    /// In text this is told even by `--quiet`.
    fn headline(&mut self, target: &Target) -> io::Result<()> {
        self.peer.clone_from(&target.address);
        let Some(what) = &self.style.headline else {
            return Ok(());
        };
        output::line(format_args!("PING {}: {what}", target.told()))
    }

    fn text(&self, time: Duration, what: What) -> io::Result<()> {
        let peer = &self.peer;
        match what {
            What::Reply {
                class,
                answers,
                bytes,
                connect,
                detail,
            } => {
                let mut text = format!("{bytes} bytes from {peer}:");
                if let Some((number, rtt)) = answers {
                    text += &format!(" seq={number}");
                    if let Some(connect) = connect {
                        text += &format!(" connect={} ms", Millis(connect));
                    }
                    text += &format!(" time={} ms", Millis(rtt));
                }
                match (class, detail) {
                    ("ok", _) => {}
                    (_, None) => text += &format!(" ({class})"),
                    (_, Some(detail)) => text += &format!(" ({class}: {detail})"),
                }
                self.line(time, &text, class == "ok")
            }
            What::Error { seq, detail, .. } => match seq {
                Some(seq) => self.line(time, &format!("from {peer}: seq={seq} {detail}"), false),
                None => self.line(time, &format!("from {peer}: {detail}"), false),
            },
            What::Start(_) | What::Connected(_) => Ok(()),
        }
    }

    fn line(&self, time: Duration, text: &str, is_well: bool) -> io::Result<()> {
        let mut line = String::new();
        if self.style.timestamps {
            line += &format!("[{}.{:06}] ", time.as_secs(), time.subsec_micros());
        }
        if self.style.color && !is_well {
            line += &format!("{RED}{text}{PLAIN}");
        } else {
            line += text;
        }
        output::line(line)
    }
}

/// What the line says: the time measured, the rate, the latency and the errors so far.
impl fmt::Display for SoFar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(measured) = self.measured else {
            return f.write_str("warming up");
        };
        let echoes = self.total.counts.unique;
        let rate = echoes as f64 / measured.as_secs_f64().max(1e-3);
        write!(f, "{:.1} s  {rate:.0} echoes/s", measured.as_secs_f64())?;
        if let Some(p99) = self.total.rtt.percentile(0.99) {
            write!(f, "  p99 {:.3} ms", p99.as_secs_f64() * 1e3)?;
        }
        let errors: u64 = self.total.errors.values().sum();
        if errors > 0 {
            write!(f, "  {errors} errors")?;
        }
        Ok(())
    }
}

const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

fn line<'a>(event: &'static str, time: Duration) -> Line<'a> {
    Line {
        event,
        time_unix_ns: nanos(time),
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
