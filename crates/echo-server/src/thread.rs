//! Threads that run beside the server for as long as the process does.

use anyhow::anyhow;
use echo_core::Failure;

/// Starts a thread that nobody waits for.
///
/// # Errors
/// A [`Failure`] when the system grants none; a plain `std::thread::spawn` would panic.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work);
    thread.map(drop).map_err(|error| {
        Failure::bad(anyhow!(
            "cannot start a thread: {error}; raise the limit of processes (ulimit -u, or TasksMax= of a service)"
        ))
    })
}
