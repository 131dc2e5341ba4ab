//! What holds one answer back.

use std::time::{Duration, Instant};

/// What holds an answer back, each with its fault's number: a fault that is gone holds nothing.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    received: Instant,
    delays: Vec<(u64, Duration)>,
    /// What holds the answers that are joined with it.
    others: Vec<Hold>,
    /// The pieces in which it leaves, in bytes.
    pub(super) split: Option<(u64, usize)>,
}

impl Hold {
    /// Nothing holds the answer to what was received then.
    pub(super) fn none(received: Instant) -> Self {
        Hold {
            received,
            delays: Vec::new(),
            others: Vec::new(),
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
        let others = self.others.iter().map(Hold::at);
        others.fold(self.received + delays.sum(), Instant::max)
    }

    /// Of this answer and a later one that is joined with none yet: both leave once both may, in the pieces
    /// of the first that has some.
    pub(super) fn join(mut self, mut later: Hold) -> Hold {
        later.split = self.split.or(later.split);
        let mut others = std::mem::take(&mut self.others);
        others.push(self);
        // Most are held by the same for as long: then the later one has all.
        others.retain(|hold| !hold.is_within(&later));
        later.others = others;
        later
    }

    /// Whether the other holds for as long at least, whatever faults go.
    fn is_within(&self, other: &Hold) -> bool {
        let is_longer = |&(fault, by)| {
            other
                .delays
                .iter()
                .any(|held| held.0 == fault && held.1 >= by)
        };
        self.received <= other.received && self.delays.iter().all(is_longer)
    }

    /// Goes on with the faults that are left.
    pub(super) fn revise(&mut self, is_left: impl Fn(u64) -> bool) {
        self.delays.retain(|(fault, _)| is_left(*fault));
        self.split.take_if(|(fault, _)| !is_left(*fault));
        for hold in &mut self.others {
            hold.delays.retain(|(fault, _)| is_left(*fault));
        }
    }

    /// What it costs besides itself, in bytes, with what the allocator adds.
    pub(super) fn cost(&self) -> usize {
        let delays = match self.delays.capacity() {
            0 => 0,
            delays => delays * size_of::<(u64, Duration)>() + 16,
        };
        let others = self
            .others
            .iter()
            .map(|hold| size_of::<Hold>() + hold.cost());
        delays + others.sum::<usize>()
    }
}
