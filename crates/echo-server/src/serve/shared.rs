//! What all workers share.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use echo_explain::Audience;

use crate::config::Config;
use crate::event::stats::Totals;
use crate::event::{Events, Kind, Refusal};
use crate::fault::Faults;
use crate::serve::inbox::{Connection, Inbox, Mail, Newcomer, Order};
use crate::serve::limits::Limits;
use crate::shutdown::Shutdown;

/// What all workers share: how to serve, whom to tell, and how connections and orders reach each of
/// them.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) events: Arc<Events>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) shutdown: Shutdown,
    pub(crate) inboxes: Vec<Inbox>,
    pub(crate) totals: Arc<Totals>,
    /// As whoever controls the server has them; workers are given what follows from them.
    pub(crate) faults: Mutex<Faults>,
}

impl Shared {
    /// Has every worker do something, and waits until all have, or have ended. Returns the connections
    /// that it was about.
    pub(crate) fn ask(&self, order: Order) -> Vec<Connection> {
        let (answer, answers) = channel();
        for inbox in &self.inboxes {
            // One that has ended has nothing to do.
            drop(inbox.offer(Mail::Order(order.clone(), answer.clone())));
        }
        drop(answer);
        let mut connections: Vec<_> = answers.iter().flatten().collect();
        connections.sort_by_key(|connection| connection.id);
        connections
    }

    /// Closes a connection that is not to be served, and says why.
    pub(crate) fn turn_away(&self, newcomer: Newcomer, reason: Refusal) {
        self.events.tell(|| Kind::Refused {
            local: newcomer.stream.local(newcomer.local),
            peer: newcomer.address,
            reason,
        });
        self.inboxes[0].counters.refused[reason.index()].add(1);
        self.events.close(newcomer.stream);
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
