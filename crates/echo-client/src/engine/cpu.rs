//! What a thread has cost, and how long it was kept waiting for a core.

use std::path::Path;
use std::time::Duration;

/// A thread's use of processor time so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// Time it ran.
    pub ran: Duration,
    /// Time it was ready to run but had no core, where the system tells.
    pub waited: Option<Duration>,
}

impl Cpu {
    /// The calling thread's use so far.
    pub fn of_thread() -> Self {
        schedstat(Path::new("/proc/thread-self")).unwrap_or_else(|| Cpu {
            ran: clock(),
            waited: None,
        })
    }

    /// What was used since `earlier`.
    pub fn since(self, earlier: Cpu) -> Cpu {
        Cpu {
            ran: self.ran.saturating_sub(earlier.ran),
            waited: self
                .waited
                .zip(earlier.waited)
                .map(|(now, then)| now.saturating_sub(then)),
        }
    }
}

/// The processor time of all the threads that a process has, where the system tells. What a thread
/// has used that is no more is not in it.
pub fn of_process(pid: u32) -> Option<Duration> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let ran = threads.filter_map(|thread| Some(schedstat(&thread.ok()?.path())?.ran));
    Some(ran.sum())
}

/// Linux tells both: nanoseconds on a core, and nanoseconds on a run queue.
fn schedstat(thread: &Path) -> Option<Cpu> {
    let text = std::fs::read_to_string(thread.join("schedstat")).ok()?;
    let mut fields = text.split_whitespace().map(str::parse);
    let mut next = || Some(Duration::from_nanos(fields.next()?.ok()?));
    Some(Cpu {
        ran: next()?,
        waited: Some(next()?),
    })
}

fn clock() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::ThreadCPUTime)
        .try_into()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_process_is_all_its_threads() {
        if !Path::new("/proc/self/task").exists() {
            eprintln!("skipped: this system does not tell what other processes use");
            return;
        }
        let all = of_process(std::process::id()).unwrap();
        assert!(all >= Cpu::of_thread().ran.min(all) && all > Duration::ZERO);
        assert_eq!(of_process(u32::MAX), None);
    }

    #[test]
    fn a_busy_thread_is_seen_to_be_busy() {
        let (start, before) = (Instant::now(), Cpu::of_thread());
        while start.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let used = Cpu::of_thread().since(before);
        assert!(used.ran > Duration::ZERO && used.ran <= start.elapsed());
    }
}
