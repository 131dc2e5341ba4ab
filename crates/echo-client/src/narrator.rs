//! Tells each socket call, for `--explain`, once it has ended.

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
    fn listens(&self) -> bool {
        self.0.is_some()
    }

    fn now(&self) -> SystemTime {
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
