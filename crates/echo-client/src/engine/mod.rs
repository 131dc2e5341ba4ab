//! What makes load and measures it: one worker loop, a pacer that decides when to send, and the
//! books.

mod cpu;
mod datagrams;
pub(crate) mod dial;
pub(crate) mod drive;
mod flow;
mod pacer;
pub(crate) mod recorder;
mod socket;
mod stream;
mod timer;
mod worker;
