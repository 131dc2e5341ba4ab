//! Standard error: one thread writes to it, and the end never waits long for one that takes nothing.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use echo_core::{Exit, Failure, Patient};
use echo_server::thread;

/// How long the end waits for a standard stream that takes nothing any more.
pub const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often as long it waits for a log that goes on, or has not come to write, because the machine is
/// busy.
const TURNS: usize = 10;

/// Standard error, and how often something began or ended to be written: while that is odd a write is
/// under way.
#[derive(Default)]
pub struct Stderr {
    writes: Arc<AtomicU64>,
}

impl Stderr {
    /// Whatever `work` does, it writes to standard error.
    pub fn during<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let done = work();
        self.writes.fetch_add(1, Ordering::Relaxed);
        done
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.during(|| Patient(io::stderr()).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.during(|| Patient(io::stderr()).flush())
    }
}

/// The thread that writes to standard error.
pub struct Log {
    last_words: Sender<String>,
    written: Receiver<()>,
    writes: Arc<AtomicU64>,
}

impl Log {
    /// Has `work` write to standard error, and after it whatever there is to say at the end.
    ///
    /// # Errors
    /// A [`Failure`] when the system grants no thread.
    pub fn start(work: impl FnOnce(&mut Stderr) + Send + 'static) -> Result<Self, Failure> {
        let (last_words, words) = channel::<String>();
        let (done, written) = channel::<()>();
        let mut stderr = Stderr::default();
        let writes = stderr.writes.clone();
        thread::start("log", move || {
            work(&mut stderr);
            for text in words {
                // Nobody is left to be told that standard error is closed; the exit code still tells.
                let _: io::Result<()> = stderr.write_all(text.as_bytes());
            }
            drop(done);
        })?;
        Ok(Log {
            last_words,
            written,
            writes,
        })
    }

    /// Says why the program fails, if it does, and waits until everything is written.
    pub fn end(self, outcome: Result<Exit, Failure>) -> Exit {
        let exit = match outcome {
            Ok(exit) => exit,
            Err(failure) => {
                // The log takes it as long as this is here.
                let _ = self.last_words.send(format!("echo-server: {failure}\n"));
                failure.exit
            }
        };
        drop(self.last_words);
        for _ in 0..TURNS {
            let before = self.writes.load(Ordering::Relaxed);
            let waited = self.written.recv_timeout(LAST_WORDS);
            let stuck = before % 2 == 1 && before == self.writes.load(Ordering::Relaxed);
            if waited == Err(RecvTimeoutError::Disconnected) || stuck {
                break;
            }
        }
        exit
    }
}
