//! The only place that asks the system for something about a socket; each call tells itself.

pub(crate) mod datagram;
pub(crate) mod listener;
pub(crate) mod opening;
pub(crate) mod pipe;
#[cfg(test)]
pub(crate) mod simulated;
pub(crate) mod stream;
