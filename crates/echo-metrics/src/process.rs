//! What the system says of this process, under the names that every exporter gives it.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, getrlimit};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::time::{ClockId, clock_gettime};

use crate::text::Text;

/// When the process began, in seconds since 1970: looked up once, for the clocks that it follows from
/// are read one after the other, and a beginning that moves would look like a restart.
pub(crate) fn began() -> Option<f64> {
    let age = echo_core::since_boot().as_secs_f64() - stat(19)? / clock_ticks_per_second() as f64;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(now.as_secs_f64() - age)
}

/// Adds what can be found out; what is hidden from this process is left out.
pub(crate) fn add(text: &mut Text, began: Option<f64>) {
    let cpu = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).ok();
    let limit = getrlimit(Resource::RLIMIT_NOFILE).ok();
    // One of them is the list's.
    let open = fs::read_dir("/proc/self/fd").ok();
    let open = open.map(|list| list.count().saturating_sub(1) as f64);
    let mut one = |name: &str, help: &str, figure: Option<f64>| {
        if let Some(figure) = figure {
            text.one(&format!("process_{name}"), help, figure);
        }
    };
    let help = "Time on a CPU, in user and in system mode";
    one("cpu_seconds_total", help, cpu.map(|cpu| cpu.as_secs_f64()));
    let most = limit.map(|(soft, _)| soft as f64);
    one("max_fds", "Descriptors that may be open", most);
    one("open_fds", "Descriptors that are open", open);
    let resident = stat(21).map(|pages| pages * page_size() as f64);
    one("resident_memory_bytes", "Memory in use", resident);
    one("virtual_memory_bytes", "Address space in use", stat(20));
    one("threads", "Threads", stat(17));
    let help = "When the process began, in seconds since 1970";
    one("start_time_seconds", help, began);
}

/// A number of `/proc/self/stat`, counted from 0 after the program's name, which may have spaces.
fn stat(index: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, numbers) = stat.rsplit_once(") ")?;
    numbers.split(' ').nth(index)?.trim().parse().ok()
}
