//! Threads, for which the system may have no room.

use std::thread::JoinHandle;

use anyhow::anyhow;
use echo_core::{Failure, cause};

/// Bytes of address space for the stack of each thread.
pub const STACK: usize = 1 << 20;

/// Starts a thread, which ends with the process if nobody waits for it.
///
/// # Errors
/// A [`Failure`] when the system grants none; a plain `std::thread::spawn` would panic.
pub fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(work);
    thread.map_err(|error| {
        Failure::bad(anyhow!(
            "cannot start a thread: {}; raise the limit of processes or of memory (ulimit -u, -v, or \
             TasksMax= of a service), or use fewer --workers",
            cause(&error)
        ))
    })
}
