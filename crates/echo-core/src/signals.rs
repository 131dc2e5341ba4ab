//! The signals that a program hears, where they would end it.

use std::thread::sleep;
use std::time::Duration;

use anyhow::anyhow;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::{Failure, remedied};

/// How often in a row it is tried to hear the next one, and the time between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(10);

/// What asks a program for something, and what ends it by default: a time or a use of the processor that
/// is up, or the power. Not those with which a profiler or a library samples, which must reach its
/// handler (SIGPROF, SIGVTALRM, SIGIO), nor real-time signals, which mean nothing by themselves.
const HEARD: [Signal; 10] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGXCPU,
    Signal::SIGPWR,
    Signal::SIGSTKFLT,
];

/// Signals that wait until somebody hears them.
#[derive(Debug)]
pub struct Signals(SigSet, SignalFd);

impl Signals {
    /// From now on SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU, SIGPWR and
    /// SIGSTKFLT wait: for this thread, and for all that it starts. What the one who started the
    /// program has ignored stays so, and what he has blocked is heard.
    ///
    /// # Errors
    /// The system grants no descriptor.
    pub fn hold() -> Result<Self, Failure> {
        let ignored = ignored();
        let is_heard = |signal: &Signal| ignored >> (*signal as i32 - 1) & 1 == 0;
        let heard: SigSet = HEARD.into_iter().filter(is_heard).collect();
        let file = SignalFd::with_flags(&heard, SfdFlags::SFD_CLOEXEC);
        let held = file.and_then(|file| heard.thread_block().map(|()| Signals(heard, file)));
        held.map_err(|error| {
            let cause = remedied(&error.into(), "raise the open-file limit (ulimit -n)");
            Failure::bad(anyhow!("cannot listen for signals: {cause}"))
        })
    }

    /// The next one. Where the system cannot tell which it is, from then on each ends the program, as
    /// it would by itself.
    pub fn next(&self) -> Signal {
        let Signals(held, file) = self;
        loop {
            for _ in 0..ATTEMPTS {
                if let Ok(Some(told)) = file.read_signal()
                    && let Ok(signal) = Signal::try_from(told.ssi_signo as i32)
                {
                    return signal;
                }
                sleep(PAUSE);
            }
            // It was possible to block them.
            let _: nix::Result<()> = held.thread_unblock();
        }
    }
}

/// Has a file that grows over its limit (`ulimit -f`) fail like a full disk, instead of ending the
/// program: in this thread, and in all that it starts.
pub fn survive_limits() {
    // Where that fails, nothing is worse than it was.
    let _: nix::Result<()> = SigSet::from(Signal::SIGXFSZ).thread_block();
}

/// The signals that the one who started this program has ignored, as `nohup` does, a bit for each from 1 on:
/// known where the system tells it in /proc.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.unwrap_or_default()
}
