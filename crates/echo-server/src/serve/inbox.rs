//! What comes to a worker from outside: connections to serve, and orders.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mio::Waker;
use serde::Serialize;

use crate::event::stats::Counters;
use crate::event::{Address, ConnectionId, PeerAddress, fields};
use crate::fault::Plan;
use crate::serve::limits::Permit;
use crate::shutdown::wake;
use crate::socket::stream::Stream;
use crate::{Listen, Name};

/// A connection that has come in, and may not be served yet.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) stream: Stream,
    /// Who is at the other end, as far as is known.
    pub(crate) address: PeerAddress,
    /// The listener that it came to.
    pub(crate) listen: Arc<Listen>,
    /// This end, where its listener has but one address: the system need not be asked then.
    pub(crate) local: Option<SocketAddr>,
    /// Its place among those that may be open, where it has one already.
    pub(crate) place: Option<Permit>,
}

/// A connection on its way to a worker.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) id: ConnectionId,
    pub(crate) newcomer: Newcomer,
    pub(crate) permit: Permit,
}

/// What comes to a worker.
pub(crate) enum Mail {
    Accepted(Accepted),
    /// Something to do, and where to tell what came of it. Whoever asked waits until this is dropped.
    Order(Order, Sender<Vec<Connection>>),
}

/// What a worker is asked to do by whoever controls the server.
#[derive(Clone)]
pub(crate) enum Order {
    /// Have these faults apply.
    Revise(Option<Arc<Plan>>),
    /// Tell of its connections.
    List,
    /// End a connection, or all; with a reset?
    Close(Option<ConnectionId>, bool),
    /// Take nothing more from the listeners of this name, or again.
    Pause(Option<Name>, bool),
}

/// A connection that is open.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Connection {
    /// Its number.
    #[serde(rename = "connection")]
    pub id: ConnectionId,
    /// This end.
    #[serde(flatten, serialize_with = "fields::local")]
    pub local: Address,
    /// The other end.
    pub peer: PeerAddress,
    /// The name of the listener that it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<Name>,
    /// Bytes received.
    #[serde(rename = "received_bytes")]
    pub received: u64,
    /// Bytes sent back.
    #[serde(rename = "sent_bytes")]
    pub sent: u64,
    /// Time since it was accepted.
    #[serde(rename = "duration_ns", serialize_with = "fields::ns")]
    pub lasted: Duration,
}

/// How connections reach a worker, and how many it has.
pub(crate) struct Inbox {
    pub(crate) waker: Arc<Waker>,
    /// Connections given to the worker that have not ended.
    pub(crate) load: AtomicUsize,
    /// Bytes that the worker's peers hold, beyond what each costs.
    pub(crate) held: AtomicUsize,
    /// `None` once the worker has ended.
    queue: Mutex<Option<Vec<Mail>>>,
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

    /// Gives the worker something, or gives it back when the worker has ended.
    pub(crate) fn offer(&self, mail: Mail) -> Option<Mail> {
        match &mut *self.queue() {
            Some(queue) => queue.push(mail),
            None => return Some(mail),
        }
        wake(&self.waker);
        None
    }

    /// What has been given since the last call.
    pub(crate) fn take(&self) -> Vec<Mail> {
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

    /// Takes no more, and drops what waits: nobody will look at it.
    pub(crate) fn abandon(&self) {
        self.queue().take();
    }

    fn queue(&self) -> MutexGuard<'_, Option<Vec<Mail>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
