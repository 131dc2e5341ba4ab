//! Serving: one event loop a thread, the peers and sockets it serves, and who may come in.

mod acceptor;
mod backoff;
#[cfg(test)]
mod defect;
pub(crate) mod guard;
mod handshakes;
pub(crate) mod inbox;
pub(crate) mod limits;
pub(crate) mod memory;
mod outbox;
mod peer;
mod peers;
pub mod proxy;
pub(crate) mod rate;
pub(crate) mod shared;
#[cfg(test)]
mod simulation;
mod spin;
mod timers;
mod turn;
pub(crate) mod udp;
pub(crate) mod worker;
