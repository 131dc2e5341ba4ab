//! What the echo server and the echo client share. Pure: no sockets, no threads, no printing.

pub mod address;
mod cause;
pub mod config;
pub mod endpoint;
pub mod escape;
pub mod exit;
pub mod framing;
pub mod splitmix;
pub mod units;
mod whole;

pub use address::Address;
pub use cause::cause;
pub use endpoint::{Endpoint, Transport};
pub use exit::{Exit, Failure};
pub use framing::Framing;
pub use whole::Whole;
