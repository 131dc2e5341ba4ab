//! What the echo server and the echo client share. Pure: no sockets, no threads, no printing.

pub mod address;
mod cause;
mod clock;
mod color;
#[cfg(feature = "cli")]
mod completions;
#[cfg(feature = "config")]
pub mod config;
pub mod endpoint;
pub mod escape;
pub mod exit;
pub mod framing;
mod nearest;
pub mod path;
mod patient;
pub mod release;
mod signals;
pub mod splitmix;
pub mod stamp;
pub mod statistics;
pub mod text;
#[cfg(feature = "cli")]
pub mod tip;
pub mod units;
mod whole;
mod wish;
mod zone;

pub use address::Address;
pub use cause::{cause, remedied, remedy, told};
pub use clock::{Clock, Discipline, since_boot};
pub use color::Color;
#[cfg(feature = "cli")]
pub use completions::completions;
pub use endpoint::{Endpoint, Transport};
pub use exit::{Exit, Failure};
pub use framing::Framing;
pub use nearest::nearest;
pub use path::FilePath;
pub use patient::Patient;
pub use signals::{Signals, survive_limits};
pub use whole::Whole;
pub use wish::{Wish, Wishes};
pub use zone::Zoned;
