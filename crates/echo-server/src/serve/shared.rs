//! What all workers share.

use std::sync::Arc;

use crate::config::Config;
use crate::event::Events;
use crate::serve::inbox::Inbox;
use crate::serve::limits::Limits;
use crate::shutdown::Shutdown;

/// What all workers share: how to serve, whom to tell, and how connections reach each of them.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) events: Events,
    pub(crate) limits: Arc<Limits>,
    pub(crate) shutdown: Shutdown,
    pub(crate) inboxes: Vec<Inbox>,
}
