//! Calls to the system, told where they are made, for `--explain`.

use std::sync::PoisonError;
use std::time::SystemTime;

use echo_explain::{Audience, Call, Trouble};

use super::channel::{Events, Level};
use super::{Event, Kind};

impl Audience for Events {
    fn listens(&self) -> bool {
        self.wants(Level::Calls)
    }

    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    fn hear(&self, time: SystemTime, socket: i32, call: Call, error: Option<Trouble>) {
        let Some(witness) = &self.witness else { return };
        let mut witness = witness.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = Kind::Call(Box::new(witness.step(time, socket, call, error)));
        self.put(Event { time, kind });
    }
}
