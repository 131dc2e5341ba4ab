//! Events as they are written to standard error: lines for people, or JSON lines for programs.

mod count;
mod digest;
mod explain;
mod json;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, Write};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime};

use echo_explain::{Explain, Lang};

use crate::event::flood::earlier;
use crate::event::{Event, EventReader, Kind, Level};
use explain::Explained;
use json::Json;
use text::Text;

/// How events are told.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// In lines for people, up to a level, in a language; each with its time or not.
    Text(Level, Lang, bool),
    /// In JSON lines.
    Json,
    /// As explanations in a language, in colour or not.
    Explained(Explain, Lang, bool),
}

/// Writes every event to `out` until the server is gone. Where `out` takes nothing for a while (a full disk), what does not go is counted, and
/// told when it takes something again.
///
/// # Errors
/// The one of an `out` that is closed.
pub fn write(style: Style, events: &EventReader, out: impl Write) -> io::Result<()> {
    let render: &mut dyn Render = match style {
        Style::Text(level, lang, timed) => &mut Text::new(level, lang, timed, Instant::now()),
        Style::Json => &mut Json { only_calls: false },
        Style::Explained(Explain::Json, ..) => &mut Json { only_calls: true },
        Style::Explained(_, lang, colour) => &mut Explained::new(lang, colour),
    };
    tell(render, events, out)
}

/// What turns events into lines.
trait Render {
    /// What comes before the first event.
    fn intro(&self) -> String {
        String::new()
    }

    /// Adds an event.
    fn event(&mut self, event: &Event, out: &mut String);

    /// When something must be added even if no event comes.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Adds what is due, or at the end what is left, as of `time` by the clock of the events. Returns for
    /// how many of them that stands.
    fn turn(&mut self, _now: Instant, _time: SystemTime, _over: bool, _out: &mut String) -> u64 {
        0
    }
}

/// Lines are written together while they come fast, but not without limit.
const MOST: usize = 64 << 10;

/// While events come so fast that they are summed up, nobody waits for a line. Whoever tells one to
/// a writer that waits for it has to wake it, which costs more than the telling.
const REST: Duration = Duration::from_millis(5);

/// When a log that takes nothing is tried again, if nothing happens before.
const RETRY: Duration = Duration::from_secs(1);

fn tell(render: &mut dyn Render, events: &EventReader, out: impl Write) -> io::Result<()> {
    let mut lines = Lines::new(out);
    lines.text.push_str(&render.intro());
    lines.end(0);
    loop {
        let event = match earlier(render.due(), lines.retry) {
            None => events.next().ok_or(RecvTimeoutError::Disconnected),
            Some(due) => events.next_before(due),
        };
        let over = matches!(event, Err(RecvTimeoutError::Disconnected));
        // What comes before an event is not later than that.
        let time = event
            .as_ref()
            .map_or_else(|_| events.now(), |event| event.time);
        lines.tell_lost(render, time);
        let summed_up = render.turn(Instant::now(), time, over, &mut lines.text);
        lines.end(summed_up);
        let mut next = event.ok();
        while let Some(event) = next {
            lines.add(render, &event);
            next = match lines.text.len() < MOST {
                true => events.try_next(),
                false => None,
            };
        }
        lines.write()?;
        if over {
            return Ok(());
        }
        if render.due().is_some() {
            std::thread::sleep(REST);
        }
    }
}

/// Lines on their way out.
struct Lines<W> {
    out: W,
    text: String,
    /// How much of it has been written: up to the midst of a line that had no room.
    written: usize,
    /// Where each event's lines end, and for how many events they stand.
    ends: Vec<(usize, u64)>,
    /// Events that could not be written.
    lost: u64,
    /// When to try again, after a failure.
    retry: Option<Instant>,
}

impl<W: Write> Lines<W> {
    fn new(out: W) -> Self {
        Lines {
            out,
            text: String::new(),
            written: 0,
            ends: Vec::new(),
            lost: 0,
            retry: None,
        }
    }

    /// What was added since the last call stands for so many events.
    fn end(&mut self, events: u64) {
        if self.text.len() > self.ends.last().map_or(0, |(end, _)| *end) {
            self.ends.push((self.text.len(), events));
        }
    }

    fn add(&mut self, render: &mut dyn Render, event: &Event) {
        render.event(event, &mut self.text);
        self.end(match event.kind {
            Kind::Lost { events } => events,
            _ => 1,
        });
    }

    /// Says what could not be written, if something could not.
    fn tell_lost(&mut self, render: &mut dyn Render, time: SystemTime) {
        let events = std::mem::take(&mut self.lost);
        if events > 0 {
            let kind = Kind::Lost { events };
            self.add(render, &Event { time, kind });
        }
    }

    /// Writes all there is. What does not go is lost, but for the rest of lines that have begun.
    fn write(&mut self) -> io::Result<()> {
        let mut failed = false;
        while self.written < self.text.len() && !failed {
            match self.out.write(&self.text.as_bytes()[self.written..]) {
                Ok(n @ 1..) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(error),
                Ok(_) | Err(_) => failed = true,
            }
        }
        // The end of the line that has begun.
        let ends = [0].into_iter().chain(self.ends.iter().map(|(end, _)| *end));
        let begun = ends.into_iter().find(|end| *end >= self.written);
        let begun = begun.unwrap_or(self.written);
        let missing = self.ends.iter().filter(|(end, _)| *end > begun);
        self.lost += missing.map(|(_, events)| events).sum::<u64>();
        self.retry = failed.then(|| Instant::now() + RETRY);
        match begun > self.written {
            true => self.text.truncate(begun),
            false => {
                self.text.clear();
                self.written = 0;
            }
        }
        self.ends.retain(|(end, _)| *end <= self.text.len());
        self.out.flush()
    }
}
