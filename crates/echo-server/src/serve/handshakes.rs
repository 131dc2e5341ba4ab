//! Connections behind a load balancer, until their PROXY header has come.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use echo_explain::Audience;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use slab::Slab;

use crate::event::{Events, PeerAddress, Refusal};
use crate::serve::inbox::Newcomer;
use crate::serve::proxy::{Header, MAX_HEADER};
use crate::serve::shared::Shared;
use crate::serve::timers::Timers;

/// How long a header is waited for. The protocol asks for three seconds at least, in which a segment
/// that is lost is sent again.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection whose header has not come.
struct Handshake {
    newcomer: Newcomer,
    /// The other end sends no more.
    over: bool,
}

/// The connections whose header has not come, of the worker that accepts.
pub(crate) struct Handshakes {
    registry: Registry,
    first_token: usize,
    open: Slab<Handshake>,
    timers: Timers,
    /// Those that are to be looked at: new ones, and those on which something has come.
    ready: Vec<usize>,
}

impl Handshakes {
    /// None yet. Those to come get tokens from `first_token` on.
    pub(crate) fn new(registry: &Registry, first_token: usize) -> io::Result<Self> {
        Ok(Handshakes {
            registry: registry.try_clone()?,
            first_token,
            open: Slab::new(),
            timers: Timers::default(),
            ready: Vec::new(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Takes in a connection that has just come, where there is room for one more.
    pub(crate) fn begin(&mut self, shared: &Shared, mut newcomer: Newcomer, now: Instant) {
        let place = match shared.limits.place() {
            Ok(place) => place,
            Err(full) => return shared.turn_away(newcomer, full),
        };
        newcomer.place = Some(place);
        let entry = self.open.vacant_entry();
        let (key, token) = (entry.key(), Token(self.first_token + entry.key()));
        let mut source = SourceFd(&newcomer.stream.as_raw_fd());
        let registered = self
            .registry
            .register(&mut source, token, Interest::READABLE);
        if registered.is_err() {
            return shared.turn_away(newcomer, Refusal::NoHeader);
        }
        entry.insert(Handshake {
            newcomer,
            over: false,
        });
        self.timers.arm(key, now + PATIENCE);
        // Who has waited in the queue has often said it already.
        self.ready.push(key);
    }

    /// Takes note that something has come on one, and whether that was all.
    pub(crate) fn note(&mut self, key: usize, over: bool) {
        if let Some(handshake) = self.open.get_mut(key) {
            handshake.over |= over;
            self.ready.push(key);
        }
    }

    /// When one must be looked at.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        match self.ready.is_empty() {
            true => self.timers.next(),
            false => Some(now),
        }
    }

    /// The next one of which it is known who is behind it. Whoever does not say so is turned away.
    pub(crate) fn next(&mut self, shared: &Shared, now: Instant) -> Option<Newcomer> {
        while let Some(key) = self.ready.pop() {
            let Some(handshake) = self.open.get_mut(key) else {
                continue;
            };
            match handshake.hear(&shared.events) {
                Ok(false) => {}
                Ok(true) => return Some(self.end(key)),
                Err(refusal) => self.refuse(key, shared, refusal),
            }
        }
        while let Some(key) = self.timers.expired(now) {
            self.refuse(key, shared, Refusal::LateHeader);
        }
        None
    }

    fn refuse(&mut self, key: usize, shared: &Shared, why: Refusal) {
        let newcomer = self.end(key);
        shared.turn_away(newcomer, why);
    }

    /// Takes one out.
    fn end(&mut self, key: usize) -> Newcomer {
        let handshake = self.open.remove(key);
        self.timers.disarm(key);
        let stream = &handshake.newcomer.stream;
        // It was registered, so that this cannot fail.
        let _: io::Result<()> = self.registry.deregister(&mut SourceFd(&stream.as_raw_fd()));
        handshake.newcomer
    }

    /// Closes them all: the server stops.
    pub(crate) fn close(self, events: &Events) {
        for (_, handshake) in self.open {
            events.close(handshake.newcomer.stream);
        }
    }
}

impl Handshake {
    /// Looks at what has come, and takes the header from it once it is whole. Returns whether it is.
    fn hear(&mut self, events: &Events) -> Result<bool, Refusal> {
        let mut bytes = [0; MAX_HEADER];
        let n = match self.newcomer.stream.peek(&mut bytes) {
            Ok(0) => return Err(Refusal::NoHeader),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Err(Refusal::NoHeader),
        };
        let Some(header) = Header::of(&bytes[..n]).map_err(Refusal::BadHeader)? else {
            return match self.over {
                true => Err(Refusal::NoHeader),
                false => Ok(false),
            };
        };
        let mut rest = &mut bytes[..header.len];
        while !rest.is_empty() {
            match self.newcomer.stream.read(rest, events) {
                Ok(taken @ 1..) => rest = &mut rest[taken..],
                _ => return Err(Refusal::NoHeader),
            }
        }
        if let Some(peer) = header.peer {
            self.newcomer.address = PeerAddress::Inet(peer);
        }
        Ok(true)
    }
}
