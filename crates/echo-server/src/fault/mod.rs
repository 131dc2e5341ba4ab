//! What goes wrong on purpose: a fault says what happens, and where. See `docs/FAULTS.md`.

mod action;
mod datagram;
mod dice;
mod grammar;
mod hold;
mod list;
mod pace;
mod place;
mod plan;
mod seed;
mod stream;
mod table;
mod text;

use std::fmt;
use std::ops::RangeBounds;

use serde::{Serialize, Serializer};

use crate::name::Name;

pub use action::{Action, After, Corruption, Delay, Ending};
pub(crate) use datagram::DatagramFaults;
#[cfg(test)]
pub(crate) use dice::dice;
pub use grammar::ParseFaultError;
pub(crate) use list::Faults;
pub(crate) use place::Subject;
pub use place::{PeerFilter, Pick, Place, Share};
pub(crate) use plan::Plan;
pub use seed::Seed;

pub(crate) use stream::{Due, StreamFaults};

/// The most that may be held back of one connection, in bytes; nothing more is read while it is.
pub const HELD_MAX: usize = 256 << 10;

/// One fault: what happens, and where.
///
/// ```
/// use echo_server::fault::Fault;
///
/// let fault: Fault = "delay = 50ms±10ms, udp, msg = ..100".parse().unwrap();
/// assert_eq!(fault.to_string(), "delay=50ms±10ms,udp,msg=..100");
/// let same = Fault::from(fault.action.clone()).msg(..=100);
/// assert_eq!(same.to_string(), "delay=50ms±10ms,msg=..100");
/// let error = "delay=50mx".parse::<Fault>().unwrap_err().to_string();
/// assert!(error.starts_with("at character 10: "), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub action: Action,
    /// Where.
    pub place: Place,
}

/// The two tables of the manual, what happens and where, for whoever has but the program.
pub fn help() -> String {
    let manual = include_str!("../../../../docs/FAULTS.md");
    let tables = manual
        .lines()
        .skip_while(|line| !line.starts_with("| what happens"))
        .take_while(|line| !line.starts_with("**A connection**"));
    let mut help = String::new();
    for line in tables.map(|line| line.replace('`', "")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        help += &match cells[..] {
            [head, ..] if head.starts_with("---") => continue,
            [word, "on", _] => format!("{word}\n"),
            [word, on, what] => format!("  {word} ({on})\n      {what}\n"),
            ["where", _] => "where\n".to_owned(),
            [word, what] => format!("  {word}\n      {what}\n"),
            _ => format!("{line}\n"),
        };
    }
    help
}

/// A fault and its number, counted from 1 over the life of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Numbered {
    /// The number, by which it can be taken away.
    pub number: u64,
    /// The fault.
    #[serde(rename = "spec")]
    pub fault: Fault,
}

/// What happens, everywhere that it can.
impl From<Action> for Fault {
    fn from(action: Action) -> Self {
        let place = Place::default();
        Fault { action, place }
    }
}

impl Fault {
    /// Only on the listeners of this name.
    pub fn on(mut self, listener: Name) -> Self {
        self.place.on = Some(listener);
        self
    }

    /// Only for these connections, counted from 1, such as `..=3`.
    pub fn conn(mut self, numbers: impl RangeBounds<u64>) -> Self {
        self.place.connections = Pick::within(numbers);
        self
    }

    /// Only for these messages of each connection, counted from 1, such as `2..`.
    pub fn msg(mut self, numbers: impl RangeBounds<u64>) -> Self {
        self.place.messages = Pick::within(numbers);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.action, self.place)
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
