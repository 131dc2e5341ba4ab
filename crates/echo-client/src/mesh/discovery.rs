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
pub struct Lists(Vec<Listed>);

/// One of them.
struct Listed {
    source: Source,
    /// What was read at the start, until that is looked up.
    read: Option<Vec<(Peer, Host)>>,
    /// `None` until it could be had.
    peers: Option<Vec<Peer>>,
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
            let read = list(source).map_err(wrong)?;
            Ok(Listed {
                source: source.clone(),
                // A name that stands for its addresses has none yet.
                peers: located(source, &read, &Found::new()).ok(),
                read: Some(read),
                told: String::new(),
            })
        };
        sources
            .iter()
            .map(listed)
            .collect::<Result<_, _>>()
            .map(Lists)
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
        let read = |listed: &mut Listed| match listed.read.take() {
            Some(read) if !is_asked => Ok(read),
            _ => list(&listed.source),
        };
        let read: Vec<_> = self.0.iter_mut().map(read).collect();
        let names = read.iter().flatten().flatten();
        let names = names.filter(|(peer, _)| peer.address.is_none());
        let names: BTreeSet<_> = names.map(|(_, host)| host.clone()).collect();
        let found = look_up(&names, |found| {
            for (listed, read) in self.0.iter_mut().zip(&read) {
                // What fails is told at the end.
                if let Ok(read) = read
                    && let Ok(peers) = located(&listed.source, read, found)
                {
                    listed.take(peers);
                }
            }
            known(self.known());
        });
        for (listed, read) in self.0.iter_mut().zip(read) {
            let source = &listed.source;
            let tells = match read.and_then(|read| located(source, &read, &found)) {
                Ok(peers) => listed.take(peers),
                Err(error) => {
                    let otherwise = match listed.peers {
                        Some(_) => "the last list stays",
                        None => "it is looked up again",
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
        failures
    }

    /// Whether each source has been had.
    pub fn are_whole(&self) -> bool {
        self.0.iter().all(|listed| listed.peers.is_some())
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
        let before = before.iter().map(|peer| (&peer.name, peer));
        let before: BTreeMap<_, _> = before.collect();
        // A name that cannot be looked up now has the address that it had.
        for peer in peers.iter_mut().filter(|peer| peer.address.is_none()) {
            if let Some(known) = before.get(&peer.name) {
                peer.address = known.address;
                peer.is_awaited &= known.is_awaited;
            }
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
