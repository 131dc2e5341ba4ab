//! Calls, explained.

use std::io::{self, Write};

use echo_core::explain::{Explain, Lang, Step, Story};

use super::text;
use crate::event::{Event, EventReader, Kind};

/// Writes every call to `out` until the server is gone.
pub(super) fn write(
    explain: Explain,
    lang: Lang,
    colour: bool,
    events: &EventReader,
    mut out: impl Write,
) -> io::Result<()> {
    let mut story = Story::new(lang);
    if explain == Explain::Text {
        out.write_all(story.intro().as_bytes())?;
    }
    while let Some(event) = events.next() {
        let missed = events.take_missed();
        let mut text = match (&event.kind, explain) {
            (Kind::Call(step), Explain::Json) => json(step),
            (_, Explain::Json) => continue,
            (Kind::Call(step), _) => format!("\n{}", story.tell(step).paragraph(colour)),
            _ => beside(&story, &event),
        };
        if missed > 0 && explain == Explain::Text {
            text.push_str(&format!("\n{}\n", story.missing(missed)));
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

fn json(step: &Step) -> String {
    // A step has no map whose keys are not text, which is all that JSON cannot hold.
    let step = serde_json::to_string(step).unwrap_or_default();
    format!("{step}\n")
}

/// What is no call, but explains one that follows, or that no other follows.
fn beside(story: &Story, event: &Event) -> String {
    match event.kind {
        Kind::Draining { .. } => format!("\n{}", story.stopping()),
        Kind::Refused { .. }
        | Kind::DatagramsDropped { .. }
        | Kind::AcceptFailed { .. }
        | Kind::Fault { .. } => {
            format!("\n{}", text::one(event))
        }
        _ => String::new(),
    }
}
