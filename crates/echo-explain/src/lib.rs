//! What happens to sockets, call by call, and what each call means: for those who want to see it.
//!
//! A program tells its calls to a [`Witness`], which makes [`Step`]s of them; a [`Story`] puts
//! steps into words. Steps can travel in between, as JSON.

mod audience;
mod lang;
pub mod netstat;
#[cfg(feature = "words")]
mod phrases;
mod socket;
#[cfg(feature = "words")]
mod story;
#[cfg(feature = "words")]
mod telling;
#[cfg(feature = "words")]
mod text;
mod trouble;
mod watched;
mod witness;

use std::net::SocketAddr;

use echo_core::address::End;
use echo_core::named;
use serde::{Deserialize, Serialize};

pub use audience::{Audience, Begun};
pub use lang::Lang;
#[cfg(feature = "words")]
pub use phrases::Phrases;
pub use socket::Known;
#[cfg(feature = "words")]
pub use story::Story;
#[cfg(feature = "words")]
pub use telling::Telling;
#[cfg(feature = "words")]
pub use text::{Texts, Values, wrap};
pub use trouble::Trouble;
pub use watched::{Watched, end};
pub use witness::Witness;

/// Whether and how calls are explained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Explain {
    /// They are not.
    #[default]
    Off,
    /// In words.
    Text,
    /// As JSON lines, a [`Step`] each.
    Json,
}

/// One call to the system about a socket, and what it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When it began, in nanoseconds since 1970; for those that wait for the other side (accept and
    /// the receiving ones), when it ended.
    pub time_unix_ns: u64,
    /// The socket's number in its process: its file descriptor.
    pub socket: i32,
    /// The call.
    #[serde(flatten)]
    pub call: Call,
    /// Why it failed, where it did.
    #[serde(flatten)]
    pub error: Option<Trouble>,
    /// The socket's row in `netstat -an` right after; empty: it is not listed. Not every call is
    /// worth a look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<String>,
}

/// A call, with what was asked and what the system answered. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case")]
pub enum Call {
    /// A new socket.
    Socket {
        /// What its addresses are.
        family: Family,
        /// How it carries bytes.
        kind: SocketKind,
    },
    /// An address for it.
    Bind {
        /// The one asked for; port 0 leaves the choice to the system.
        asked: End,
        /// The one it got.
        local: End,
    },
    /// Others may connect.
    Listen {
        /// How many of them may wait.
        backlog: i32,
    },
    /// Another has connected.
    Accept {
        /// The new socket's number.
        accepted: i32,
        /// This end.
        local: End,
        /// The other end.
        peer: End,
    },
    /// Joined to another socket.
    Connect {
        /// This end; not known where it failed.
        local: End,
        /// The other end.
        peer: End,
    },
    /// Bytes handed to the system.
    Send {
        /// How many it took.
        sent_bytes: u64,
        /// How many it was offered.
        offered_bytes: u64,
        /// The first of them, as a literal of Python has them.
        #[serde(default)]
        data: String,
    },
    /// Bytes taken from the system; 0 on a stream is its end.
    Receive {
        /// How many there were.
        received_bytes: u64,
        /// How many there was room for.
        room_bytes: u64,
        /// The first of them, as a literal of Python has them.
        #[serde(default)]
        data: String,
    },
    /// Datagrams handed to the system.
    SendTo {
        /// Where to.
        peer: End,
        /// How many datagrams.
        datagrams: u64,
        /// Their bytes.
        sent_bytes: u64,
        /// The first of them, as a literal of Python has them.
        #[serde(default)]
        data: String,
    },
    /// Datagrams taken from the system.
    ReceiveFrom {
        /// Where from.
        peer: End,
        /// How many datagrams.
        datagrams: u64,
        /// Their bytes.
        received_bytes: u64,
        /// The first of them, as a literal of Python has them.
        #[serde(default)]
        data: String,
    },
    /// No more is sent.
    Shutdown {
        /// Nor received.
        both: bool,
    },
    /// The socket is given back.
    Close,
}

/// What a socket's addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "AF_INET")]
    Inet,
    /// IPv6.
    #[serde(rename = "AF_INET6")]
    Inet6,
    /// Paths.
    #[serde(rename = "AF_UNIX")]
    Unix,
}

/// How a socket carries bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketKind {
    /// In a stream.
    #[serde(rename = "SOCK_STREAM")]
    Stream,
    /// In single messages.
    #[serde(rename = "SOCK_DGRAM")]
    Datagram,
}

impl Family {
    /// The family of an IP address.
    pub fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Family::Inet,
            SocketAddr::V6(_) => Family::Inet6,
        }
    }
}

named!(Explain);
named!(Family);
named!(SocketKind);
