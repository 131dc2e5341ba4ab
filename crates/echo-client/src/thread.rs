//! Threads, whose refusal is an error in words.

use std::io;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

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

/// Starts a thread that ends before its scope does.
///
/// # Errors
/// The system refuses it.
pub fn start_in<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    let started = Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, work);
    started.map_err(|error| io::Error::other(refused(&error).error))
}

/// Why there is no thread, and what helps.
pub fn refused(error: &io::Error) -> Failure {
    Failure::bad(anyhow!(
        "cannot start a thread: {}; raise the limit of processes (ulimit -u)",
        cause(error)
    ))
}
