//! The faults of one stream: what stands between its reading and its writing.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use echo_core::Framing;

use super::hold::Hold;
use super::pace::Pace;
use super::plan::{Plan, Script};
use super::{Action, After, Ending, HELD_MAX, Subject};
use crate::event::{Done, Events};

/// What a chunk costs besides its bytes: itself, and what the allocator adds.
const CHUNK_COST: usize = size_of::<Chunk>() + 16;

/// Turns what was read into what is to be written, and when.
#[derive(Debug)]
pub(crate) struct StreamFaults {
    script: Script,
    framing: Framing,
    merge: Option<usize>,
    pace: Pace,
    /// Each with its fault's number; sums since the connection came.
    ends: Vec<(u64, Ending, After)>,
    /// What concerns the whole connection, and is told once it makes a difference.
    untold: Vec<Action>,
    accepted: Instant,
    /// Nothing is answered, as a fault has it.
    stalled: bool,
    /// Nothing is answered any more: the connection is being ended.
    over: bool,
    /// Messages so far, and those that are answered.
    messages: u64,
    answered: u64,
    /// Read, and waiting for room. Nothing is read meanwhile.
    input: Vec<u8>,
    /// Answers waiting for others to be joined with.
    merging: Option<Chunk>,
    queue: VecDeque<Chunk>,
    /// What the queue and the merging answers cost, in bytes.
    held: usize,
    /// Bytes sent.
    sent: u64,
    /// Nothing more will be pushed: no answer waits for others any more.
    finished: bool,
}

/// An answer on its way. It leaves behind those before it, whenever it is due.
#[derive(Debug)]
struct Chunk {
    hold: Hold,
    bytes: Vec<u8>,
    sent: usize,
    /// The last message that is answered with it.
    message: u64,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due<'a> {
    /// Write these; [`StreamFaults::wrote`] must be told how many were taken.
    Bytes(&'a [u8]),
    /// Ending the connection.
    End(Ending),
    /// Nothing, for now.
    Nothing,
}

impl StreamFaults {
    /// The faults of a connection that was accepted at `now`; `None` when there are none.
    pub(crate) fn new(
        plan: &Arc<Plan>,
        subject: &Subject,
        framing: Framing,
        now: Instant,
    ) -> Option<Box<Self>> {
        let script = Script::new(plan, subject.clone());
        if script.is_empty() {
            return None;
        }
        let mut faults = StreamFaults {
            script,
            framing,
            merge: None,
            pace: Pace::default(),
            ends: Vec::new(),
            untold: Vec::new(),
            accepted: now,
            stalled: false,
            over: false,
            messages: 0,
            answered: 0,
            input: Vec::new(),
            merging: None,
            queue: VecDeque::new(),
            held: 0,
            sent: 0,
            finished: false,
        };
        faults.set_up(|_| true, now);
        Some(Box::new(faults))
    }

    /// Of several faults of one kind that concern the whole connection, the first holds. Those that
    /// are new count from `now` on.
    fn set_up(&mut self, is_new: impl Fn(u64) -> bool, now: Instant) {
        let before = (self.pace.trickle, self.pace.rate);
        let mut pace = Pace::default();
        (self.stalled, self.merge) = (false, None);
        for (number, action) in self.script.whole() {
            match *action {
                Action::Stall if !self.stalled => self.stalled = true,
                Action::Trickle(bytes, pause) if pace.trickle.is_none() => {
                    pace.trickle = Some((bytes, pause));
                }
                Action::Rate(rate) if pace.rate.is_none() => pace.rate = Some(rate),
                Action::Merge(bytes) => {
                    self.merge = self.merge.or(Some(bytes));
                    continue;
                }
                Action::End(ending, after) => {
                    if is_new(number) {
                        let after = match after {
                            After::Bytes(bytes) => After::Bytes(bytes.saturating_add(self.sent)),
                            After::Messages(messages) => {
                                After::Messages(messages.saturating_add(self.messages))
                            }
                            After::Time(time) => After::Time(time + (now - self.accepted)),
                        };
                        self.ends.push((number, ending, after));
                    }
                    continue;
                }
                _ => continue,
            }
            if is_new(number) {
                self.untold.push(action.clone());
            }
        }
        if (pace.trickle, pace.rate) != before {
            self.pace = pace;
        }
    }

    /// Goes on with the faults of `plan`. What one that is gone has held back leaves.
    pub(crate) fn revise(&mut self, plan: Option<&Arc<Plan>>, now: Instant, events: &Events) {
        let numbers: Vec<u64> = self.script.numbers().collect();
        self.script.revise(plan, self.messages);
        let is_left = |number| plan.is_some_and(|plan| plan.has(number));
        for chunk in self.queue.iter_mut().chain(&mut self.merging) {
            chunk.hold.revise(is_left);
        }
        self.untold.clear();
        self.ends.retain(|(number, ..)| is_left(*number));
        self.set_up(|number| !numbers.contains(&number), now);
        self.join_enough(events);
    }

    /// Says what is said first, on a connection that has just come.
    pub(crate) fn greet(&mut self, now: Instant, events: &Events) {
        let is_banner = |action: &&Action| matches!(action, Action::Banner(_));
        let actions = self.script.whole().map(|(_, action)| action);
        let banners: Vec<Action> = actions.filter(is_banner).cloned().collect();
        for action in banners {
            self.script.tell(events, None, &action, Done::Plainly);
            if let Action::Banner(bytes) = action {
                self.owe(bytes, now);
            }
        }
    }

    /// Owes `bytes` that were read before there were faults.
    pub(crate) fn owe(&mut self, bytes: Vec<u8>, now: Instant) {
        if !bytes.is_empty() {
            self.held += bytes.len();
            self.enqueue(Chunk {
                hold: Hold::none(now),
                bytes,
                sent: 0,
                message: self.messages,
            });
        }
    }

    /// Whether no fault is left, nor anything that one has held back.
    pub(crate) fn is_spent(&self) -> bool {
        self.script.is_empty() && self.is_empty() && !self.over
    }

    /// Takes complete frames that were read; with raw framing, what one read returned. It decides about
    /// as many as `most` says, which is less then.
    ///
    /// # Errors
    /// There is no memory for them.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        now: Instant,
        events: &Events,
        most: &mut usize,
    ) -> io::Result<()> {
        for action in self.untold.drain(..) {
            self.script.tell(events, None, &action, Done::Plainly);
        }
        if !self.stalled && !self.over {
            let taken = self.take_messages(bytes, now, events, most)?;
            let rest = &bytes[taken..];
            self.input.try_reserve(rest.len())?;
            self.input.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Takes note that nothing more will be pushed.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether more may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.input.is_empty() && self.held < HELD_MAX
    }

    /// Whether there is more to decide about, which waits for nothing but another turn.
    pub(crate) fn is_interrupted(&self) -> bool {
        !self.input.is_empty() && self.held < HELD_MAX
    }

    /// Bytes of memory that all this takes.
    pub(crate) fn held(&self) -> usize {
        self.held + self.input.capacity()
    }

    /// Whether all that was read is answered, or never will be.
    pub(crate) fn is_empty(&self) -> bool {
        self.only_joins() && self.merging.is_none()
    }

    /// Whether all that is left waits for others to be joined with.
    pub(crate) fn only_joins(&self) -> bool {
        self.input.is_empty() && self.queue.is_empty()
    }

    /// When there will be something due; only an end, while the socket is full.
    pub(crate) fn wake(&self, blocked: bool) -> Option<Instant> {
        let ends = self.ends.iter().filter_map(|(_, _, after)| match after {
            After::Time(time) => Some(self.accepted + *time),
            After::Bytes(bytes) if *bytes <= self.sent => Some(self.accepted),
            After::Messages(messages) if *messages <= self.answered => Some(self.accepted),
            After::Bytes(_) | After::Messages(_) => None,
        });
        let chunk = self.queue.front().filter(|_| !blocked);
        ends.chain(chunk.map(|chunk| self.due_at(chunk))).min()
    }

    /// What is to be done now. Call it until there is nothing, or the socket is full. Where there was no
    /// room for messages it decides about as many as `most` says, which is less then.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        events: &Events,
        most: &mut usize,
    ) -> io::Result<Due<'_>> {
        let reached = |(_, _, after): &(u64, Ending, After)| match *after {
            After::Bytes(bytes) => self.sent >= bytes,
            After::Messages(messages) => self.answered >= messages,
            After::Time(time) => now >= self.accepted + time,
        };
        if let Some(first) = self.ends.iter().position(reached) {
            let (_, end, after) = self.ends.remove(first);
            let action = Action::End(end, after);
            self.script.tell(events, None, &action, Done::Plainly);
            self.give_up();
            return Ok(Due::End(end));
        }
        if self.is_interrupted() {
            let mut input = std::mem::take(&mut self.input);
            let taken = self.take_messages(&input, now, events, most)?;
            input.drain(..taken);
            self.input = input;
        }
        if self.finished && self.input.is_empty() {
            self.join(events);
        }
        let until_end = self.ends.iter().filter_map(|(_, _, after)| match after {
            After::Bytes(bytes) => Some(bytes - self.sent),
            After::Messages(_) | After::Time(_) => None,
        });
        let most = until_end.min().unwrap_or(u64::MAX);
        Ok(match self.queue.front() {
            Some(chunk) if self.due_at(chunk) <= now => {
                let rest = &chunk.bytes[chunk.sent..];
                let piece = self.pace.piece(rest.len(), chunk.split());
                Due::Bytes(&rest[..usize::try_from(most).unwrap_or(piece).min(piece)])
            }
            _ => Due::Nothing,
        })
    }

    /// Takes note that the socket took `taken` bytes of what was due.
    pub(crate) fn wrote(&mut self, taken: usize, now: Instant) {
        let Some(chunk) = self.queue.front_mut().filter(|_| taken > 0) else {
            return;
        };
        self.sent += taken as u64;
        chunk.sent += taken;
        self.pace.left(now, taken, chunk.split());
        if chunk.sent == chunk.bytes.len() {
            self.answered = chunk.message;
            self.held -= chunk.bytes.len() + chunk.cost();
            self.queue.pop_front();
        }
    }

    fn due_at(&self, chunk: &Chunk) -> Instant {
        let at = chunk.hold.at();
        self.pace.next().map_or(at, |next| next.max(at))
    }

    /// Answers nothing any more.
    fn give_up(&mut self) {
        self.over = true;
        self.input = Vec::new();
        self.merging = None;
        self.queue = VecDeque::new();
        self.held = 0;
    }

    /// Takes the messages for which there is room. Returns their bytes.
    fn take_messages(
        &mut self,
        bytes: &[u8],
        now: Instant,
        events: &Events,
        most: &mut usize,
    ) -> io::Result<usize> {
        let mut taken = 0;
        for message in self.framing.frames(bytes) {
            if self.held >= HELD_MAX || *most == 0 {
                break;
            }
            *most -= 1;
            taken += message.len();
            self.message(copies(message, 1)?, now, events)?;
        }
        Ok(taken)
    }

    fn message(&mut self, mut bytes: Vec<u8>, now: Instant, events: &Events) -> io::Result<()> {
        self.messages += 1;
        let verdict = self
            .script
            .judge(self.messages, &mut bytes, now, false, events);
        if verdict.copies != 1 {
            bytes = copies(&bytes, verdict.copies)?;
        }
        if bytes.is_empty() {
            self.skip();
            return Ok(());
        }
        self.held += bytes.len();
        let answer = Chunk {
            hold: verdict.hold,
            bytes,
            sent: 0,
            message: self.messages,
        };
        if self.merge.is_none() {
            self.enqueue(answer);
            return Ok(());
        }
        self.merging = Some(match self.merging.take() {
            Some(first) => first.join(answer)?,
            None => answer,
        });
        self.join_enough(events);
        Ok(())
    }

    /// Sends the answers that wait for others on their way, where there are as many as are waited for.
    fn join_enough(&mut self, events: &Events) {
        let bytes = self.merging.as_ref().map_or(0, |chunk| chunk.bytes.len());
        if self.merge.is_none_or(|least| bytes >= least) {
            self.join(events);
        }
    }

    /// A message without an answer counts as answered once those before it are.
    fn skip(&mut self) {
        match self.merging.as_mut().or(self.queue.back_mut()) {
            Some(chunk) => chunk.message = self.messages,
            None => self.answered = self.messages,
        }
    }

    /// Sends the answers that wait for others on their way.
    pub(crate) fn join(&mut self, events: &Events) {
        if let Some(joined) = self.merging.take() {
            let bytes = joined.bytes.len();
            let merge = Action::Merge(bytes);
            let merged = Done::Merged { bytes };
            self.script
                .tell(events, Some(joined.message), &merge, merged);
            self.enqueue(joined);
        }
    }

    /// Queues an answer whose bytes are counted already.
    fn enqueue(&mut self, chunk: Chunk) {
        self.held += chunk.cost();
        self.queue.push_back(chunk);
    }
}

impl Chunk {
    /// What it costs besides its bytes.
    fn cost(&self) -> usize {
        CHUNK_COST + self.hold.cost()
    }

    /// The pieces in which it leaves, in bytes.
    fn split(&self) -> Option<usize> {
        self.hold.split.map(|(_, size)| size)
    }

    /// Both as one, which is due when the later of them is.
    fn join(mut self, mut later: Chunk) -> io::Result<Chunk> {
        self.bytes.try_reserve(later.bytes.len())?;
        self.bytes.append(&mut later.bytes);
        self.hold = self.hold.join(later.hold);
        self.message = later.message;
        Ok(self)
    }
}

/// `bytes` so many times, where there is memory for them.
fn copies(bytes: &[u8], times: usize) -> io::Result<Vec<u8>> {
    let mut copies = Vec::new();
    copies.try_reserve_exact(bytes.len().saturating_mul(times))?;
    (0..times).for_each(|_| copies.extend_from_slice(bytes));
    Ok(copies)
}

#[cfg(test)]
mod tests;
