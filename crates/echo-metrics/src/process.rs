//! What the system says of this process, under the names that every exporter gives it.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, getrlimit};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::time::{ClockId, clock_gettime};

use crate::text::{Text, Type};

/// When the process began, in seconds since 1970: looked up once, for the clocks that it follows from
/// are read one after the other, and a beginning that moves would look like a restart.
pub(crate) fn began() -> Option<f64> {
    let up = Duration::try_from(clock_gettime(ClockId::Boottime)).ok()?;
    let age = up.as_secs_f64() - stat(19)? / clock_ticks_per_second() as f64;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(now.as_secs_f64() - age)
}

/// Adds what can be found out; what is hidden from this process is left out.
pub(crate) fn add(text: &mut Text, began: Option<f64>) {
    let mut one = |name, kind, help, value: Option<f64>| {
        if let Some(value) = value {
            text.family(name, kind, help, [(String::new(), value)]);
        }
    };
    let cpu = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime));
    one(
        "process_cpu_seconds_total",
        Type::Counter,
        "Time on a CPU, in user and in system mode",
        cpu.ok().map(|cpu| cpu.as_secs_f64()),
    );
    let limit = getrlimit(Resource::RLIMIT_NOFILE).ok();
    one(
        "process_max_fds",
        Type::Gauge,
        "Descriptors that may be open",
        limit.map(|(soft, _)| soft as f64),
    );
    // One of them is the list's.
    let open = fs::read_dir("/proc/self/fd").ok().map(|list| list.count());
    one(
        "process_open_fds",
        Type::Gauge,
        "Descriptors that are open",
        open.map(|count| count.saturating_sub(1) as f64),
    );
    one(
        "process_resident_memory_bytes",
        Type::Gauge,
        "Memory in use",
        stat(21).map(|pages| pages * page_size() as f64),
    );
    one(
        "process_virtual_memory_bytes",
        Type::Gauge,
        "Address space in use",
        stat(20),
    );
    one("process_threads", Type::Gauge, "Threads", stat(17));
    one(
        "process_start_time_seconds",
        Type::Gauge,
        "When the process began, in seconds since 1970",
        began,
    );
}

/// A number of `/proc/self/stat`, counted from 0 after the program's name, which may have spaces.
fn stat(index: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, numbers) = stat.rsplit_once(") ")?;
    numbers.split(' ').nth(index)?.trim().parse().ok()
}
