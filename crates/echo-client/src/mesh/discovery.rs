//! Looks for changes of the lists, in a thread of its own: names may take long to resolve.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use mio::Waker;

use super::books::Books;
use super::settings::{Mesh, Source};
use super::targets::{MANY_ADDRESSES, Peer, list, watched};
use crate::interrupt::Interrupt;
use crate::output::note;

/// Whom to watch, and by which name.
#[derive(Debug)]
pub struct List {
    /// What this one is called.
    pub own: String,
    /// Whom it watches.
    pub peers: Vec<Peer>,
}

/// The lists of all sources, as they were when they could be had last.
#[derive(Debug, Default)]
pub struct Lists {
    lists: Vec<Vec<Peer>>,
    /// What was told of each source last.
    told: Vec<String>,
}

impl Lists {
    /// Looks at all sources. What cannot be had stays as it was; it is told, and counted.
    ///
    /// # Errors
    /// A file cannot be had the first time: that is a slip of whoever names it.
    pub fn look(&mut self, sources: &[Source]) -> Result<usize, String> {
        let is_first = self.lists.is_empty();
        self.lists.resize_with(sources.len(), Vec::new);
        self.told.resize_with(sources.len(), String::new);
        let mut failures = 0;
        for (index, source) in sources.iter().enumerate() {
            let mut told = String::new();
            match list(source) {
                Err(error) if is_first && matches!(source, Source::File(_)) => {
                    return Err(format!(
                        "cannot take {source}: {error}; write a list there first"
                    ));
                }
                Err(error) => {
                    failures += 1;
                    let stays = match is_first {
                        true => "it is looked up again",
                        false => "the last list stays",
                    };
                    told = format!("cannot take {source}: {error}; {stays}");
                }
                Ok(peers) => {
                    if matches!(source, Source::Dns(..)) && peers.len() >= MANY_ADDRESSES {
                        told = format!(
                            "{source} has {} addresses: a resolver returns 4,090 at most, and leaves \
                             out the others in silence; list them in a file (--targets file:PATH)",
                            peers.len()
                        );
                    }
                    let before = std::mem::replace(&mut self.lists[index], peers);
                    for peer in self.lists[index]
                        .iter_mut()
                        .filter(|peer| peer.address.is_none())
                    {
                        let known = before.iter().find(|known| known.name == peer.name);
                        peer.address = known.and_then(|known| known.address);
                    }
                }
            }
            // What lasts is told once.
            if self.told[index] != told && !told.is_empty() {
                note(format_args!("echo-client: {told}"));
            }
            self.told[index] = told;
        }
        Ok(failures)
    }

    /// All peers. Where two sources have the same name, it is the first one's.
    pub fn known(&self) -> BTreeMap<Arc<str>, Peer> {
        let peers = self.lists.iter().rev().flatten();
        peers
            .map(|peer| (peer.name.clone(), peer.clone()))
            .collect()
    }
}

/// Tells `agent` whom to watch, first of all and after each change, until somebody asks to stop.
pub fn keep_looking(
    mesh: &Mesh,
    mut lists: Lists,
    books: &Books,
    agent: &Sender<List>,
    waker: &Waker,
    interrupt: &Interrupt,
) {
    let mut last = None;
    loop {
        let known = lists.known();
        if last.as_ref() != Some(&known) {
            let (own, peers) = watched(mesh, &known);
            books.knows(known.len());
            // An agent that has ended needs neither.
            let _ = agent.send(List { own, peers });
            last = Some(known);
        }
        // Woken, an agent sees at once that it is to stop.
        let _: std::io::Result<()> = waker.wake();
        if interrupt.wait_or_asked(mesh.refresh.0) {
            let _: std::io::Result<()> = waker.wake();
            return;
        }
        if interrupt.take_question() {
            note(format_args!("echo-client: {}", books.summary()));
        }
        // Only the first look can be a slip.
        books.looked(lists.look(&mesh.targets).unwrap_or_default());
    }
}
