//! Tells each socket call, for `--explain`, in the order in which they began.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use echo_explain::{Audience, Call, Explain, Lang, Step, Story, Trouble, Witness};

use crate::output;

/// Whom calls are told to. With explanations off, telling costs a comparison.
#[derive(Clone, Debug, Default)]
pub struct Narrator(Option<Arc<Mutex<State>>>);

#[derive(Debug)]
struct State {
    witness: Witness,
    story: Story,
    explain: Explain,
    colour: bool,
    /// Calls that have begun and have not been told, in order. A reader may return before the
    /// writer whose bytes it returns: its call then waits here.
    calls: VecDeque<Option<Ended>>,
    /// The number of the first of them.
    first: usize,
}

/// What came of a call that has ended. `None`: nothing worth telling.
type Ended = Option<Step>;

/// A call that has begun.
pub struct Begun<'a> {
    state: Option<&'a Mutex<State>>,
    number: usize,
    time: SystemTime,
}

impl Narrator {
    /// One that explains as asked, on standard error, and says at once how to read it.
    pub fn new(explain: Explain, lang: Lang, colour: bool) -> Self {
        if explain == Explain::Off {
            return Narrator::default();
        }
        let story = Story::new(lang.resolve(|name| std::env::var_os(name)));
        if explain == Explain::Text {
            output::note(story.intro());
        }
        Narrator(Some(Arc::new(Mutex::new(State {
            witness: Witness::default(),
            story,
            explain,
            colour,
            calls: VecDeque::new(),
            first: 0,
        }))))
    }

    /// A call begins now. One that waits for the other side is taken to begin when that has come:
    /// what it waited for came before.
    pub fn begin(&self) -> Begun<'_> {
        let state = self.0.as_deref();
        let number = state.map_or(0, |state| {
            let mut state = lock(state);
            state.calls.push_back(None);
            state.first + state.calls.len() - 1
        });
        Begun {
            state,
            number,
            time: SystemTime::now(),
        }
    }
}

impl Begun<'_> {
    /// The call was made on `socket`. `call` gets what it returned; one that only ran into its
    /// limit of time is not told.
    pub fn ended<T: Copy + Default>(
        self,
        socket: i32,
        outcome: &io::Result<T>,
        call: impl FnOnce(T) -> Call,
    ) {
        use io::ErrorKind::{Interrupted, WouldBlock};
        let Some(state) = self.state else { return };
        let (value, error) = match outcome {
            Ok(value) => (*value, None),
            Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => return,
            Err(error) => (T::default(), Some(Trouble::of(error))),
        };
        let mut state = lock(state);
        let step = state.witness.step(self.time, socket, call(value), error);
        state.ended(self.number, Some(step));
    }
}

impl Audience for Narrator {
    type Begun<'a> = Begun<'a>;

    fn begin(&self) -> Begun<'_> {
        Narrator::begin(self)
    }

    fn ended<T: Copy + Default>(
        &self,
        begun: Begun<'_>,
        socket: i32,
        outcome: &io::Result<T>,
        call: impl FnOnce(T) -> Call,
    ) {
        begun.ended(socket, outcome, call);
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.state {
            lock(state).ended(self.number, None);
        }
    }
}

impl State {
    /// Takes note of an end, of which only the first counts, and tells what is next.
    fn ended(&mut self, number: usize, ended: Ended) {
        let waiting = number.checked_sub(self.first);
        if let Some(slot) = waiting.and_then(|at| self.calls.get_mut(at)) {
            slot.get_or_insert(ended);
        }
        while let Some(Some(_)) = self.calls.front() {
            self.first += 1;
            if let Some(Some(Some(step))) = self.calls.pop_front() {
                self.tell(&step);
            }
        }
    }

    fn tell(&mut self, step: &Step) {
        match self.explain {
            Explain::Json => {
                // A step has no map whose keys are not text, which is all that JSON cannot hold.
                output::note(serde_json::to_string(step).unwrap_or_default());
            }
            _ => output::note(self.story.tell(step).paragraph(self.colour)),
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_in_the_order_in_which_they_began() {
        let narrator = Narrator::new(Explain::Json, Lang::En, false);
        let (first, second, third) = (narrator.begin(), narrator.begin(), narrator.begin());
        let waiting = || lock(narrator.0.as_deref().unwrap()).calls.len();
        third.ended(3, &Ok(()), |()| Call::Close);
        assert_eq!(waiting(), 3);
        first.ended(3, &Err::<(), _>(io::ErrorKind::WouldBlock.into()), |()| {
            Call::Close
        });
        assert_eq!(waiting(), 2, "what came to nothing holds nobody up");
        drop(second);
        assert_eq!(waiting(), 0);
    }
}
