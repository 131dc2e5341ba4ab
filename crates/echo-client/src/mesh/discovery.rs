//! Looks for changes of the lists, in a thread of its own: names may take long to resolve.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use mio::Waker;

use super::books::Books;
use super::settings::{Mesh, Source};
use super::targets::{MANY_ADDRESSES, Peer, list, watched};
use crate::interrupt::Interrupt;
use crate::output::note;

/// How long an agent may take to follow a list before the figures that are told are those of the last.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whom to watch, and by which name.
#[derive(Debug)]
pub struct List {
    /// What this one is called.
    pub own: String,
    /// Whom it watches.
    pub peers: Vec<Peer>,
    /// Gone once the agent follows it.
    #[expect(dead_code, reason = "its end tells")]
    pub taken: Sender<()>,
}

/// The lists of all sources, as they were when they could be had last.
pub struct Lists(Vec<Listed>);

/// One of them.
struct Listed {
    source: Source,
    peers: Vec<Peer>,
    /// What was told of it last.
    told: String,
}

impl Lists {
    /// No list yet.
    pub fn new(sources: &[Source]) -> Self {
        let listed = |source: &Source| Listed {
            source: source.clone(),
            peers: Vec::new(),
            told: String::new(),
        };
        Lists(sources.iter().map(listed).collect())
    }

    /// Looks at all sources, for the first time.
    ///
    /// # Errors
    /// A file cannot be had: that is a slip of whoever names it.
    pub fn first(&mut self) -> Result<usize, String> {
        let mut failures = 0;
        for listed in &mut self.0 {
            let list = list(&listed.source);
            if let (Source::File(_), Err(error)) = (&listed.source, &list) {
                let source = &listed.source;
                return Err(format!(
                    "cannot take {source}: {error}; write a list there first"
                ));
            }
            failures += usize::from(!listed.take(list, "it is looked up again", false));
        }
        Ok(failures)
    }

    /// Looks at all sources again. What cannot be had stays as it was; it is told, and where nobody
    /// `asked` only once for as long as it lasts. Returns how many they are.
    pub fn again(&mut self, asked: bool) -> usize {
        let look = |listed: &mut Listed| {
            let list = list(&listed.source);
            listed.take(list, "the last list stays", asked)
        };
        self.0.iter_mut().map(look).filter(|had| !had).count()
    }

    /// All peers. Where two sources have the same name, it is the first one's.
    pub fn known(&self) -> BTreeMap<Arc<str>, Peer> {
        let peers = self.0.iter().rev().flat_map(|listed| &listed.peers);
        let named = peers.map(|peer| (peer.name.clone(), peer.clone()));
        named.collect()
    }
}

impl Listed {
    /// Takes what its source has, or tells why that cannot be had and what follows. Returns whether it
    /// could be had.
    fn take(&mut self, list: Result<Vec<Peer>, String>, otherwise: &str, asked: bool) -> bool {
        let source = &self.source;
        let had = list.is_ok();
        let told = match list {
            Err(error) => format!("cannot take {source}: {error}; {otherwise}"),
            Ok(mut peers) => {
                for peer in peers.iter_mut().filter(|peer| peer.address.is_none()) {
                    let before = self.peers.iter().find(|known| known.name == peer.name);
                    peer.address = before.and_then(|known| known.address);
                }
                self.peers = peers;
                match (source, self.peers.len()) {
                    (Source::Dns(..), many @ MANY_ADDRESSES..) => format!(
                        "{source} has {many} addresses: a resolver returns 4,090 at most, and leaves out \
                         the others in silence; list them in a file (--targets file:PATH)"
                    ),
                    _ => String::new(),
                }
            }
        };
        if !told.is_empty() && (asked || self.told != told) {
            note(format_args!("echo-client: {told}"));
        }
        self.told = told;
        had
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
    let (mut known, mut asked) = (lists.known(), false);
    loop {
        let (own, peers) = watched(mesh, &known);
        let (taken, follows) = channel();
        // An agent that has ended needs neither.
        let _ = agent.send(List { own, peers, taken });
        // Woken, an agent sees at once that it is to stop.
        let _: std::io::Result<()> = waker.wake();
        if asked {
            let _ = follows.recv_timeout(PATIENCE);
            note(format_args!("echo-client: {}", books.summary()));
        }
        loop {
            let is_over = interrupt.wait_or_asked(mesh.refresh.0);
            if is_over {
                let _: std::io::Result<()> = waker.wake();
                return;
            }
            asked = interrupt.take_question();
            let failures = lists.again(asked);
            let now = lists.known();
            books.looked(now.len(), failures);
            if now != known || asked {
                known = now;
                break;
            }
        }
    }
}
