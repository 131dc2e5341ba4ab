//! What one worker gives another: connections to serve.

use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::Waker;

use crate::Listen;
use crate::event::stats::Counters;
use crate::event::{ConnectionId, PeerAddress};
use crate::fault::Subject;
use crate::serve::limits::Permit;
use crate::socket::stream::Stream;

/// A connection on its way to a worker.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) id: ConnectionId,
    pub(crate) address: PeerAddress,
    /// The listener that it came to.
    pub(crate) listen: Arc<Listen>,
    pub(crate) permit: Permit,
}

impl Accepted {
    /// What faults are asked about.
    pub(crate) fn subject(&self) -> Subject {
        Subject {
            transport: self.stream.transport(),
            listener: self.listen.name.clone(),
            number: self.id,
            peer: Some(self.address),
        }
    }
}

/// How connections reach a worker, and how many it has.
pub(crate) struct Inbox {
    pub(crate) waker: Arc<Waker>,
    /// Connections given to the worker that have not ended.
    pub(crate) load: AtomicUsize,
    /// Bytes that the worker's peers hold, beyond what each costs.
    pub(crate) held: AtomicUsize,
    /// `None` once the worker has ended.
    queue: Mutex<Option<Vec<Accepted>>>,
    pub(crate) counters: Arc<Counters>,
}

impl Inbox {
    pub(crate) fn new(waker: Arc<Waker>, counters: Arc<Counters>) -> Self {
        Inbox {
            waker,
            load: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            queue: Mutex::new(Some(Vec::new())),
            counters,
        }
    }

    /// Gives the worker a connection, or gives it back when the worker has ended.
    pub(crate) fn offer(&self, accepted: Accepted) -> Option<Accepted> {
        match &mut *self.queue() {
            Some(queue) => queue.push(accepted),
            None => return Some(accepted),
        }
        // Fails only when the worker is gone, and then so is its queue.
        let _: io::Result<()> = self.waker.wake();
        None
    }

    /// What has been given since the last call.
    pub(crate) fn take(&self) -> Vec<Accepted> {
        self.queue()
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Takes no more from now on, unless something waits.
    pub(crate) fn close(&self) -> bool {
        let mut queue = self.queue();
        if queue.as_ref().is_some_and(|queue| !queue.is_empty()) {
            return false;
        }
        *queue = None;
        true
    }

    fn queue(&self) -> MutexGuard<'_, Option<Vec<Accepted>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
