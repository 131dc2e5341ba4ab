//! The exit codes both programs promise, and the error that carries one.

use std::process::ExitCode;
use std::{fmt, io};

use crate::cause;

/// How a program ended, as its caller sees it: by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Success = 0,
    /// It ran, and the answer is bad: a mismatch, loss, a timeout; for the server, cannot listen.
    Bad = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The target could not be resolved or connected to.
    Unreachable = 3,
    /// A second interrupt ended it at once.
    Interrupted = 130,
}

impl Exit {
    /// The number given to the system.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// An error together with the exit code it deserves. `main` alone turns one into text.
#[derive(Debug)]
pub struct Failure {
    /// The code to exit with.
    pub exit: Exit,
    /// Subject, cause and remedy.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure that exits with `exit`.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Failure {
            exit,
            error: error.into(),
        }
    }

    /// The command line or the configuration is wrong.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Failure::new(Exit::Usage, error)
    }

    /// It ran, and the answer is bad.
    pub fn bad(error: impl Into<anyhow::Error>) -> Self {
        Failure::new(Exit::Bad, error)
    }

    /// The target could not be resolved or connected to.
    pub fn unreachable(error: impl Into<anyhow::Error>) -> Self {
        Failure::new(Exit::Unreachable, error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let links = self
            .error
            .chain()
            .map(|link| match link.downcast_ref::<io::Error>() {
                // Without the number that std appends.
                Some(error) => cause(error),
                None => link.to_string(),
            });
        f.write_str(&links.collect::<Vec<_>>().join(": "))
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_failure_is_told_without_the_numbers_of_the_system() {
        let refused: io::Result<()> = Err(io::Error::from_raw_os_error(24));
        let failure = Failure::bad(refused.context("cannot open it").unwrap_err());
        let told = failure.to_string();
        assert!(told.starts_with("cannot open it: "), "{told}");
        assert!(!told.contains("os error"), "{told}");
    }
}
