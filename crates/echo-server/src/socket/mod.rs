//! The only place that asks the system for something about a socket; each call tells itself.

pub(crate) mod datagram;
pub(crate) mod listener;
pub(crate) mod opening;
pub(crate) mod pipe;
pub(crate) mod stream;
