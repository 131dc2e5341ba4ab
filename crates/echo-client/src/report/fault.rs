//! What ended a run early, or made its answer bad.

use serde::Serialize;

use crate::connection::{ConnectError, ErrorKind};

/// What ended a run early, or made its answer bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its class, for programs.
    pub kind: ErrorKind,
    /// Subject, cause and remedy, for a person.
    pub message: String,
}

impl Fault {
    /// A fault of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Fault {
            kind,
            message: message.into(),
        }
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        Fault::new(error.kind, error.to_string())
    }
}
