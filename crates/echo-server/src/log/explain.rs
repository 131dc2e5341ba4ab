//! Calls, explained.

use std::fmt::Display;

use echo_core::Zoned;
use echo_explain::{Lang, Story};

use super::Render;
use crate::event::{DropReason, Event, Kind, PeerAddress, Refusal};

/// Each call, and what stands beside it.
pub(super) struct Explained {
    story: Story,
    colour: bool,
}

impl Explained {
    pub(super) fn new(lang: Lang, colour: bool) -> Self {
        let story = Story::new(lang);
        Explained { story, colour }
    }
}

impl Render for Explained {
    fn intro(&self) -> String {
        self.story.intro()
    }

    fn event(&mut self, event: &Event, out: &mut String) {
        match &event.kind {
            Kind::Call(step) => {
                let told = self.story.tell(step).paragraph(self.colour);
                out.push_str(&format!("\n{told}"));
            }
            _ => out.push_str(&beside(&self.story, event)),
        }
    }
}

/// What is no call, but explains one that follows, or that no other follows.
fn beside(story: &Story, event: &Event) -> String {
    let text = match &event.kind {
        Kind::Draining { .. } => story.aside("stopping", &[]),
        Kind::Refused { peer, reason, .. } => {
            let (peer, why) = (name(story, peer), reason.to_string());
            match reason {
                Refusal::Connections(_) | Refusal::PerIp(_) | Refusal::Memory(_) => {
                    let setting = why.trim_end_matches(" reached");
                    story.aside("one-too-many", &[("peer", &peer), ("setting", &setting)])
                }
                _ => story.aside("no-header", &[("peer", &peer), ("reason", &why)]),
            }
        }
        Kind::DatagramsDropped { reason, sum } => {
            let error = match reason {
                DropReason::Failed(kind) => kind.to_string(),
                _ => String::new(),
            };
            let key = format!("unanswered-{}", reason.code());
            let reason = story.text(&key, &[("error", &error)]);
            let datagrams = story.datagrams(sum.count);
            let values: &[(_, &dyn Display)] = &[
                ("datagrams", &datagrams),
                ("peer", &Zoned(sum.peer)),
                ("reason", &reason),
            ];
            story.aside("unanswered", values)
        }
        Kind::DatagramsOverflowed { count, .. } => {
            story.aside("overflowed", &[("datagrams", &story.datagrams(*count))])
        }
        Kind::AcceptFailed { error, retry_in } => {
            let ms = retry_in.as_millis();
            story.aside("accept-failed", &[("error", error), ("ms", &ms)])
        }
        Kind::Fault {
            what,
            transport,
            connection,
            peer,
            message,
        } => {
            let key = match (peer, message) {
                (None, _) => "fault-from-now",
                (_, None) => "fault-connection",
                _ => "fault-message",
            };
            let peer = peer.map_or_else(String::new, |peer| name(story, &peer));
            let values: &[(_, &dyn Display)] = &[
                ("what", what),
                ("transport", transport),
                ("connection", connection),
                ("peer", &peer),
                ("message", &message.unwrap_or_default()),
            ];
            story.aside(key, values)
        }
        Kind::Lost { events } => story.aside("lost", &[("count", events)]) + "\n",
        _ => return String::new(),
    };
    format!("\n{text}")
}

fn name(story: &Story, peer: &PeerAddress) -> String {
    match peer {
        PeerAddress::Inet(_) => peer.to_string(),
        PeerAddress::Unix => story.text("unix-peer", &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests as sample;
    use std::time::UNIX_EPOCH;

    #[test]
    fn what_stands_beside_the_calls_is_told_in_each_language() {
        let [english, spanish] = [Lang::En, Lang::Es].map(|lang| {
            let story = Story::new(lang);
            let one = |kind| {
                let time = UNIX_EPOCH;
                beside(&story, &Event { time, kind })
            };
            sample::events().into_iter().map(one).collect::<Vec<_>>()
        });
        let told = english.iter().filter(|text| !text.is_empty()).count();
        assert!(told >= 2 + 6 + 1 + 8, "{told}");
        let limit = "--max-memory 64MiB";
        assert!(
            english.iter().any(|text| text.contains(limit)),
            "{english:?}"
        );
        for (english, spanish) in english.iter().zip(&spanish) {
            assert_eq!(english.is_empty(), spanish.is_empty(), "{english}");
            for text in [english, spanish] {
                assert!(!text.contains(['{', '}']), "{text}");
                // A text that is missing would be told as its key.
                assert!(text.is_empty() || text.contains(' '), "{text}");
                assert!(!text.contains("unanswered-"), "{text}");
            }
            assert!(english.is_empty() || english != spanish, "{english}");
        }
    }
}
