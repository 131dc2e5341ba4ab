//! Who is told what happens while it happens.

use std::time::{Duration, SystemTime};

use super::recorder::Slice;
use crate::connection::ErrorKind;
use crate::report::Target;

/// Who is told. A worker calls it between one request and the next, so it must not block.
pub trait Sink: Sync {
    /// Something has happened.
    fn tell(&self, event: Event);

    /// Whether to be told of each reply and each loss, which costs time.
    fn wants_each(&self) -> bool;

    /// Whether nobody listens any more, so that the run may end.
    fn is_closed(&self) -> bool;

    /// How it is going: some ten times a second, and when somebody has asked.
    fn so_far(&self, so_far: SoFar<'_>, is_asked: bool);
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub time: SystemTime,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// The target has been found.
    Start(Target),
    /// A connection was opened, with these ends.
    Connected(String),
    /// Something came back.
    Reply {
        /// What it is: a name of [`super::ledger::Class`].
        class: &'static str,
        /// The request it answers, and the time since that was sent.
        answers: Option<(u64, Duration)>,
        /// How many bytes.
        bytes: usize,
        /// How long connecting took, of the first reply on a connection of its own.
        connect: Option<Duration>,
        /// What is wrong with it, where more can be said than the class does.
        detail: Option<String>,
    },
    /// A request got no reply, or a connection failed.
    Error {
        /// The request.
        seq: Option<u64>,
        /// Why.
        kind: ErrorKind,
        /// Why, in words.
        detail: String,
    },
}

/// How a run is going.
#[derive(Clone, Copy, Debug)]
pub struct SoFar<'a> {
    /// Time since warm-up; `None` before its end.
    pub measured: Option<Duration>,
    /// The books so far.
    pub total: &'a Slice,
}
