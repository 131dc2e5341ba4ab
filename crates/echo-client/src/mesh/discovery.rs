//! Looks for changes of the lists, in a thread of its own: names may take long to resolve.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use mio::Waker;

use super::books::Books;
use super::settings::{Mesh, Source};
use super::targets::{Found, Host, MANY_ADDRESSES, Peer, list, located, look_up, watched};
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
pub struct Lists {
    listed: Vec<Listed>,
    /// The addresses of the names in them.
    found: Found,
    /// Whether the files have been read for the first look.
    are_read: bool,
}

/// One of them.
struct Listed {
    source: Source,
    peers: Vec<(Peer, Host)>,
    /// What was told of it last.
    told: String,
}

impl Lists {
    /// Reads the files, before any name is looked up.
    ///
    /// # Errors
    /// One of them cannot be had: that is a slip of whoever names it.
    pub fn read(sources: &[Source]) -> Result<Self, String> {
        let listed = |source: &Source| {
            let wrong = |error| format!("cannot take {source}: {error}; write a list there first");
            Ok(Listed {
                source: source.clone(),
                peers: list(source).map_err(wrong)?,
                told: String::new(),
            })
        };
        Ok(Lists {
            listed: sources.iter().map(listed).collect::<Result<_, String>>()?,
            found: Found::new(),
            are_read: true,
        })
    }

    /// Looks at all sources, and looks up all names. What cannot be had stays as it was; it is told, and
    /// where nobody asked only once for as long as it lasts. Returns how many they are. Meanwhile it
    /// tells now and then who is `known` by then.
    pub fn look(
        &mut self,
        is_asked: bool,
        mut known: impl FnMut(BTreeMap<Arc<str>, Peer>),
    ) -> usize {
        let mut failures = 0;
        let are_read = std::mem::take(&mut self.are_read);
        let take = |listed: &mut Listed| match are_read {
            true => Ok(()),
            false => list(&listed.source).map(|peers| listed.peers = peers),
        };
        let taken: Vec<_> = self.listed.iter_mut().map(take).collect();
        let names = self.listed.iter().flat_map(|listed| &listed.peers);
        let names = names.filter(|(peer, _)| peer.address.is_none());
        let names: BTreeSet<_> = names.map(|(_, host)| host.clone()).collect();
        self.found.retain(|host, _| names.contains(host));
        let failed = look_up(&names, &mut self.found, |found| {
            known(all(&self.listed, found));
        });
        for (listed, taken) in self.listed.iter_mut().zip(taken) {
            let Listed { source, peers, .. } = listed;
            // The host of a name that stands for its addresses.
            let host = peers.first().map(|(_, host)| host);
            let host = host.filter(|_| matches!(source, Source::Dns(..)));
            let many = host.map(|host| self.found[host].len());
            let unknown = host.and_then(|host| failed.get(host)).cloned();
            let tells = match (taken.err().or(unknown), many) {
                (Some(error), many) => {
                    let otherwise = match many {
                        Some(0) => "it is looked up again",
                        _ => "the last list stays",
                    };
                    failures += 1;
                    format!("cannot take {source}: {error}; {otherwise}")
                }
                (None, Some(MANY_ADDRESSES..)) => format!(
                    "{source} has {} addresses: a resolver returns 4,090 at most, and leaves out the \
                     others in silence; list them in a file (--targets file:PATH)",
                    many.unwrap_or_default()
                ),
                (None, _) => String::new(),
            };
            if !tells.is_empty() && (is_asked || tells != listed.told) {
                note(format_args!("echo-client: {tells}"));
            }
            listed.told = tells;
        }
        failures
    }

    /// All peers. Where two sources have the same name, it is the first one's.
    pub fn known(&self) -> BTreeMap<Arc<str>, Peer> {
        all(&self.listed, &self.found)
    }
}

fn all(listed: &[Listed], found: &Found) -> BTreeMap<Arc<str>, Peer> {
    let located = |listed: &Listed| located(&listed.source, &listed.peers, found);
    let peers = listed.iter().rev().flat_map(located);
    peers.map(|peer| (peer.name.clone(), peer)).collect()
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
    let mut known = BTreeMap::new();
    let mut tell = |now: BTreeMap<_, _>, is_asked| {
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
    };
    tell(lists.known(), false);
    // Names are looked up at once, while peers are watched that have an address.
    let mut rest = Duration::ZERO;
    while !interrupt.wait_or_asked(rest) {
        rest = mesh.refresh.0;
        let is_asked = interrupt.take_question();
        let failures = lists.look(is_asked, |known| tell(known, false));
        let known = lists.known();
        books.open().looked(known.len(), failures);
        tell(known, is_asked);
    }
    let _: io::Result<()> = waker.wake();
}
