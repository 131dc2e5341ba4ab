//! What holds one answer back.

use std::time::{Duration, Instant};

/// What holds an answer back, each with its fault's number: a fault that is gone holds nothing.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    received: Instant,
    delays: Vec<(u64, Duration)>,
    /// The pieces in which it leaves, in bytes.
    pub(super) split: Option<(u64, usize)>,
}

impl Hold {
    /// Nothing holds the answer to what was received then.
    pub(super) fn none(received: Instant) -> Self {
        Hold {
            received,
            delays: Vec::new(),
            split: None,
        }
    }

    /// It comes later, by this much more.
    pub(super) fn delay(&mut self, fault: u64, by: Duration) {
        self.delays.push((fault, by));
    }

    /// When the answer may leave.
    pub(super) fn at(&self) -> Instant {
        let delays = self.delays.iter().map(|(_, by)| by);
        self.received + delays.sum()
    }

    /// Goes on with the faults that are left.
    pub(super) fn revise(&mut self, is_left: impl Fn(u64) -> bool) {
        self.delays.retain(|(fault, _)| is_left(*fault));
        self.split.take_if(|(fault, _)| !is_left(*fault));
    }

    /// What it costs besides itself, in bytes, with what the allocator adds.
    pub(super) fn cost(&self) -> usize {
        match self.delays.capacity() {
            0 => 0,
            delays => delays * size_of::<(u64, Duration)>() + 16,
        }
    }
}
