//! Tells each socket call, for `--explain`, once it has ended.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use echo_explain::{Audience, Call, Explain, Lang, Story, Trouble, Witness};

use rustix::io::Errno;

use crate::connection::{TICK, is_readable};
use crate::interrupt::Interrupt;
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
    /// Whoever reads along and asks for each call with a line on standard input, until he goes; he may be
    /// interrupted.
    reader: Option<Interrupt>,
}

impl Narrator {
    /// One that explains as asked, on standard error, and says at once how to read it. With a
    /// `reader`, no call is made before he asks for it.
    pub fn new(explain: Explain, lang: Lang, colour: bool, reader: Option<Interrupt>) -> Self {
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
            reader,
        }))))
    }
}

/// Waits until the next call is asked for. False: it never will be.
fn is_asked_for(interrupt: &Interrupt, prompt: &str) -> bool {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        output::prompt(prompt);
    }
    while interrupt.why().is_none() {
        if !is_readable(&stdin, TICK) {
            continue;
        }
        // A byte at a time, for a buffer would hide what follows from the poll.
        let mut byte = [0];
        match rustix::io::read(&stdin, &mut byte) {
            Ok(1..) if byte == *b"\n" => return true,
            // What else is typed on the line, or a read that was interrupted.
            Ok(1..) | Err(Errno::INTR | Errno::AGAIN) => {}
            _ => return false,
        }
    }
    false
}

impl Audience for Narrator {
    fn listens(&self) -> bool {
        self.0.is_some()
    }

    /// When the reader wants the call, where there is one.
    fn now(&self) -> SystemTime {
        if let Some(state) = &self.0 {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let prompt = state.story.text("step", &[]);
            state
                .reader
                .take_if(|reader| !is_asked_for(reader, &prompt));
        }
        SystemTime::now()
    }

    fn hear(&self, time: SystemTime, socket: i32, call: Call, error: Option<Trouble>) {
        let Some(state) = &self.0 else { return };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let step = state.witness.step(time, socket, call, error);
        output::note(match state.explain {
            // A step has no map whose keys are not text, which is all that JSON cannot hold.
            Explain::Json => serde_json::to_string(&step).unwrap_or_default(),
            _ => {
                let telling = state.story.tell(&step);
                telling.paragraph(state.colour)
            }
        });
    }
}
