//! STAMP (RFC 8762, RFC 8972): packets that a reflector numbers and stamps before it returns them.
//!
//! Both ends use this: a sender writes a [`Request`] and [TLVs](tlv), a reflector writes a [`Reply`] over
//! them in the same datagram.

mod key;
mod packet;
mod reflector;
mod time;
pub mod tlv;

pub use key::{Key, TAG_LEN};
pub use packet::{Mode, Reply, Request};
pub use reflector::{Arrival, MAX_SESSIONS, Reflector, Refusal, class_wanted};
pub use time::{ErrorEstimate, Format, Stamp};

/// Where reflectors are, unless something else is agreed upon.
pub const PORT: u16 = 862;
