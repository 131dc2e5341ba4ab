//! Looks for changes of the lists, in a thread of its own: names may take long to resolve.

use std::collections::BTreeMap;
use std::io;
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
    /// Whether somebody wants to know how it is going, with these.
    pub is_asked: bool,
}

/// The lists of all sources, as they were when they could be had last.
pub struct Lists(Vec<Listed>);

/// One of them.
struct Listed {
    source: Source,
    /// `None` until it could be had.
    peers: Option<Vec<Peer>>,
    /// What was told of it last.
    told: String,
}

impl Lists {
    /// No list yet.
    pub fn new(sources: &[Source]) -> Self {
        let listed = |source: &Source| Listed {
            source: source.clone(),
            peers: None,
            told: String::new(),
        };
        Lists(sources.iter().map(listed).collect())
    }

    /// Looks at all sources. What cannot be had stays as it was; it is told, and where nobody asked only
    /// once for as long as it lasts. Returns how many they are.
    ///
    /// # Errors
    /// A file could never be had: that is a slip of whoever names it.
    pub fn look(&mut self, is_asked: bool) -> Result<usize, String> {
        let mut failures = 0;
        for listed in &mut self.0 {
            let tells = match list(&listed.source) {
                Ok(peers) => listed.take(peers),
                Err(error) => {
                    let source = &listed.source;
                    let otherwise = match (&listed.peers, source) {
                        (Some(_), _) => "the last list stays",
                        (None, Source::Dns(..)) => "it is looked up again",
                        (None, Source::File(_)) => {
                            return Err(format!(
                                "cannot take {source}: {error}; write a list there first"
                            ));
                        }
                    };
                    failures += 1;
                    format!("cannot take {source}: {error}; {otherwise}")
                }
            };
            if !tells.is_empty() && (is_asked || tells != listed.told) {
                note(format_args!("echo-client: {tells}"));
            }
            listed.told = tells;
        }
        Ok(failures)
    }

    /// All peers. Where two sources have the same name, it is the first one's.
    pub fn known(&self) -> BTreeMap<Arc<str>, Peer> {
        let peers = self.0.iter().rev().flat_map(|listed| &listed.peers);
        let named = peers
            .flatten()
            .map(|peer| (peer.name.clone(), peer.clone()));
        named.collect()
    }
}

impl Listed {
    /// Takes what its source has. Returns what there is to tell of that.
    fn take(&mut self, mut peers: Vec<Peer>) -> String {
        let before = self.peers.take().unwrap_or_default();
        // A name that cannot be looked up now has the address that it had.
        for peer in peers.iter_mut().filter(|peer| peer.address.is_none()) {
            let known = before.iter().find(|known| known.name == peer.name);
            peer.address = known.and_then(|known| known.address);
        }
        let (source, many) = (&self.source, peers.len());
        self.peers = Some(peers);
        match source {
            Source::Dns(..) if many >= MANY_ADDRESSES => format!(
                "{source} has {many} addresses: a resolver returns 4,090 at most, and leaves out the \
                 others in silence; list them in a file (--targets file:PATH)"
            ),
            _ => String::new(),
        }
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
    let (mut known, mut is_asked) = (BTreeMap::new(), false);
    loop {
        let now = lists.known();
        if now != known || is_asked {
            let (own, peers) = watched(mesh, &now);
            let list = List {
                own,
                peers,
                is_asked,
            };
            // An agent that has ended needs none.
            let _ = agent.send(list);
            known = now;
        }
        // Woken, an agent sees at once what is new, be it the wish to stop.
        let _: io::Result<()> = waker.wake();
        if interrupt.wait_or_asked(mesh.refresh.0) {
            let _: io::Result<()> = waker.wake();
            return;
        }
        is_asked = interrupt.take_question();
        if let Ok(failures) = lists.look(is_asked) {
            books.open().looked(lists.known().len(), failures);
        }
    }
}
