//! Who is told what happens while it happens.

use std::time::Duration;

use echo_core::Transport;
use serde::Serialize;

use super::ledger::Class;
use crate::connection::ErrorKind;
use crate::report::{Report, Target};

/// Who is told. A worker calls it between one request and the next, so it must not block.
pub trait Sink: Sync {
    /// Something has happened, just now.
    fn tell(&self, _: What) {}

    /// Whether to be told of each reply and each loss, which costs time.
    fn wants_each(&self) -> bool {
        false
    }

    /// Whether nobody listens any more, so that the run may end.
    fn is_closed(&self) -> bool {
        false
    }

    /// What the books say so far, some ten times a second, and when somebody has asked. The time
    /// is that since warm-up; `None` before its end. What is lost may become fewer: a late reply takes
    /// its request out of there again.
    fn so_far(&self, _measured: Option<Duration>, _books: &Report, _is_asked: bool) {}
}

/// Something that happened. Serialized it is a line of `--jsonl`.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// What.
    #[serde(flatten)]
    pub what: What,
    /// With which peer of many, and over which transport.
    #[serde(flatten)]
    pub peer: Option<Peer>,
    /// When, in nanoseconds since 1970.
    pub time_unix_ns: u64,
}

/// One of many peers, as events name it.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    /// Its name.
    pub peer: String,
    /// What carries bytes there.
    pub transport: Transport,
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum What {
    /// The target has been found.
    Start {
        /// What it is.
        target: Target,
    },
    /// A connection was opened, with these ends.
    #[serde(skip)]
    Connected(String),
    /// Something came back.
    Reply {
        /// The request it answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        /// What it is.
        class: Class,
        /// How many bytes.
        bytes: usize,
        /// The time since that request was sent, in nanoseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        rtt_ns: Option<u64>,
        /// How long connecting took, of the first reply on a connection of its own, in nanoseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        connect_ns: Option<u64>,
        /// The number that a STAMP reflector has given it.
        #[serde(skip_serializing_if = "Option::is_none")]
        reflector_seq: Option<u32>,
        /// How long a STAMP reflector held its request, in nanoseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        residence_ns: Option<u64>,
        /// What is wrong with it, where more can be said than the class does.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// A request got no reply, or a connection failed.
    Error {
        /// The request.
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        /// Why.
        kind: ErrorKind,
        /// Why, in words.
        detail: String,
    },
}
