//! Threads, whose refusal is an error in words.

use std::io;
use std::thread::{Builder, JoinHandle};

use anyhow::anyhow;
use echo_core::{Failure, cause};

/// Starts a thread.
///
/// # Errors
/// The system refuses it.
pub fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    let builder = Builder::new().name(name.to_owned());
    builder.spawn(work).map_err(|error| refused(&error))
}

/// Why there is no thread, and what helps.
pub fn refused(error: &io::Error) -> Failure {
    Failure::bad(anyhow!(
        "cannot start a thread: {}; raise the limit of processes (ulimit -u)",
        cause(error)
    ))
}
