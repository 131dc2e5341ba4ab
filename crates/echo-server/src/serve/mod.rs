//! Serving: one event loop a thread, the peers and sockets it serves, and who may come in.

mod acceptor;
#[cfg(test)]
mod defect;
pub(crate) mod guard;
mod inbox;
pub(crate) mod limits;
pub(crate) mod peer;
mod spin;
pub(crate) mod timers;
pub(crate) mod udp;
pub(crate) mod worker;
