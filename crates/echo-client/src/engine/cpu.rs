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

/// The processor time of all the threads that a process and its children have, where the system
/// tells. What a thread or a child has used that is no more is not in it, nor is what this process
/// uses.
pub fn of_process(pid: u32) -> Option<Duration> {
    let mut ran = Duration::ZERO;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))
        .ok()?
        .flatten()
    {
        ran += schedstat(&thread.path()).map_or(Duration::ZERO, |cpu| cpu.ran);
        // Servers that fork for each connection, or have workers, do the work there.
        let children = std::fs::read_to_string(thread.path().join("children"));
        let children = children.unwrap_or_default();
        let children = children.split(' ').filter_map(|child| child.parse().ok());
        ran += children
            .filter(|child| *child != std::process::id())
            .filter_map(of_process)
            .sum::<Duration>();
    }
    Some(ran)
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
    fn a_process_is_its_children_too() {
        if !Path::new("/proc/thread-self/children").exists() {
            eprintln!("skipped: this system does not tell the children of a process");
            return;
        }
        // A shell that only waits, for one that counts for a second or so.
        let count = "(i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done); true";
        let shell = std::process::Command::new("sh").args(["-c", count]).spawn();
        let mut shell = shell.unwrap();
        let mut most = Duration::ZERO;
        while shell.try_wait().unwrap().is_none() {
            most = most.max(of_process(shell.id()).unwrap_or_default());
            std::thread::yield_now();
        }
        assert!(most >= Duration::from_millis(50), "{most:?}");
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
