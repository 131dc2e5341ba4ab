//! The only place that asks the system for something about a socket; each call tells itself.

pub(crate) mod bind;
pub(crate) mod datagram;
mod inherited;
pub(crate) mod listener;
pub(crate) mod pipe;
mod places;
#[cfg(test)]
pub(crate) mod simulated;
pub(crate) mod stamped;
pub(crate) mod stream;
pub(crate) mod unix;

use std::io;

use echo_explain::Watched;
use socket2::{Domain, Protocol, Type};

use crate::event::Events;

/// A new socket that does not block.
pub(crate) fn open(
    events: &Events,
    domain: Domain,
    kind: Type,
    protocol: Option<Protocol>,
) -> io::Result<Watched<Events>> {
    let opening = Watched::new(events, domain, kind, protocol)?;
    opening.socket().set_nonblocking(true)?;
    Ok(opening)
}
