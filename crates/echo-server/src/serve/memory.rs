//! How much memory this process may have.

use std::fs::read_to_string;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};

/// Bytes that the limits of the process, its control groups and the machine leave to it; no end
/// where none of them can be asked.
pub(crate) fn spare() -> u64 {
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    // The program and the threads that it has so far count against the limits of a process.
    let left = |resource, key: &str| {
        let limit = getrlimit(resource).map_or(u64::MAX, |(soft, _)| soft);
        limit.saturating_sub(kib(&status, key) << 10)
    };
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let bounds = [
        left(Resource::RLIMIT_AS, "VmSize:"),
        left(Resource::RLIMIT_DATA, "VmData:"),
        group(Path::new("/sys/fs/cgroup"), &groups),
        machine(),
    ];
    bounds.into_iter().min().unwrap_or(u64::MAX)
}

/// What a line of `status` says, in KiB.
fn kib(status: &str, key: &str) -> u64 {
    let mut lines = status.lines().filter_map(|line| line.strip_prefix(key));
    let value = lines
        .next()
        .and_then(|value| value.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The least that the process's groups, or any above them, may have. In a container its own group
/// is at `root`, whatever the list of groups calls it.
fn group(root: &Path, groups: &str) -> u64 {
    let bounds = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or("/"));
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ => (root.join("memory"), "memory.limit_in_bytes"),
        };
        let is_of_memory = controllers
            .split(',')
            .any(|c| c.is_empty() || c == "memory");
        let groups = Path::new(path.trim_start_matches('/')).ancestors();
        // A group without a limit says `max`, which is no number.
        let bound = move |group| {
            let text = read_to_string(root.join(group).join(file));
            text.ok()?.trim().parse::<u64>().ok()
        };
        groups.filter(move |_| is_of_memory).filter_map(bound)
    });
    bounds.min().unwrap_or(u64::MAX)
}

fn machine() -> u64 {
    nix::sys::sysinfo::sysinfo().map_or(u64::MAX, |info| info.ram_total())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};

    #[test]
    fn the_tightest_group_above_a_process_bounds_it() {
        let root = std::env::temp_dir().join(format!("echo-groups-{}", std::process::id()));
        create_dir_all(root.join("a/b")).unwrap();
        create_dir_all(root.join("memory/old")).unwrap();
        write(root.join("a/memory.max"), "5000\n").unwrap();
        write(root.join("a/b/memory.max"), "max\n").unwrap();
        write(root.join("memory/old/memory.limit_in_bytes"), "700\n").unwrap();
        assert_eq!(group(&root, "0::/a/b\n"), 5000);
        assert_eq!(group(&root, "0::/\n"), u64::MAX);
        assert_eq!(group(&root, "4:cpu,memory:/old\n0::/a/b\n"), 700);
        assert_eq!(group(&root, "4:cpu:/old\n"), u64::MAX);
        // A container is told the name that its group has outside.
        write(root.join("memory.max"), "300\n").unwrap();
        assert_eq!(group(&root, "0::/outer/name\n"), 300);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_line_of_status_is_found_by_its_key() {
        let status = "VmPeak:\t  9 kB\nVmSize:\t 204 kB\n";
        assert_eq!(kib(status, "VmSize:"), 204);
        assert_eq!(kib(status, "VmData:"), 0);
    }
}
