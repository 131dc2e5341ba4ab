//! Tells each socket call, for `--explain`, once it has ended.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use echo_explain::{Audience, Call, Explain, Lang, Story, Trouble, Witness};

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
        }))))
    }
}

impl Audience for Narrator {
    type Begun = SystemTime;

    /// A call begins now. One that waits for the other side is taken to begin when that has come:
    /// what it waited for came before.
    fn begin(&self) -> SystemTime {
        SystemTime::now()
    }

    /// One that only found nothing to do is not told.
    fn ended<T: Copy + Default>(
        &self,
        begun: SystemTime,
        socket: i32,
        outcome: &io::Result<T>,
        call: impl FnOnce(T) -> Call,
    ) {
        use io::ErrorKind::{Interrupted, WouldBlock};
        let Some(state) = &self.0 else { return };
        let (value, error) = match outcome {
            Ok(value) => (*value, None),
            Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => return,
            Err(error) => (T::default(), Some(Trouble::of(error))),
        };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let step = state.witness.step(begun, socket, call(value), error);
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
