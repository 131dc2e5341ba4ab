//! What a server holds, as the system sees it from outside.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Server, connect, echo, eventually};

/// A message that is complete in every framing: four bytes of length, then a line that long.
const MESSAGE: &[u8] = b"\0\0\0\x05hey!\n";

/// The most workers that a server has which an account is opened for.
const WORKERS: usize = 4;

/// What a quiet server holds. The memory is what it has kept from earlier work.
#[derive(Debug)]
pub struct Account {
    id: u32,
    address: SocketAddr,
    descriptors: usize,
    sockets: usize,
    threads: usize,
    memory_kib: u64,
}

impl Account {
    /// What `server` holds between connections.
    pub fn open(server: &Server) -> Self {
        let (id, address) = (server.id(), server.tcp());
        // One for each worker, so that all of them are there.
        let greeted = [(); WORKERS].map(|()| connect(address));
        greeted.iter().for_each(|stream| echo(stream, MESSAGE));
        // All but these connections, on which the server has nothing left to do.
        let idle = descriptors(id) - WORKERS;
        drop(greeted);
        eventually("the warm-up is over", || descriptors(id) == idle);
        Account {
            id,
            address,
            descriptors: idle,
            sockets: sockets(id),
            threads: status(id, "Threads:") as usize,
            memory_kib: status(id, "VmRSS:"),
        }
    }

    /// KiB of memory that the server holds beyond what it held then.
    pub fn grown_kib(&self) -> u64 {
        status(self.id, "VmRSS:").saturating_sub(self.memory_kib)
    }

    /// Connections that the server has open now.
    pub fn connections(&self) -> usize {
        sockets(self.id).saturating_sub(self.sockets)
    }

    /// Waits until `count` connections are open.
    pub fn holds(&self, count: usize) {
        eventually(&format!("{count} connections are open"), || {
            self.connections() == count
        });
    }

    /// Checks that nothing is left of what happened meanwhile: descriptors and threads are as
    /// before, memory within `kib` of it, and a fresh client is served at once.
    pub fn balances(&self, kib: u64) {
        eventually("descriptors are back", || {
            descriptors(self.id) <= self.descriptors
        });
        assert_eq!(descriptors(self.id), self.descriptors);
        assert_eq!(status(self.id, "Threads:") as usize, self.threads);
        assert!(self.grown_kib() <= kib, "{} KiB kept", self.grown_kib());
        self.serves_within(Duration::from_secs(1));
    }

    /// Checks that a fresh client has its echo before `limit` is over.
    pub fn serves_within(&self, limit: Duration) {
        let start = Instant::now();
        echo(connect(self.address), MESSAGE);
        let took = start.elapsed();
        assert!(took < limit, "a fresh client waited {took:?}");
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id)).unwrap();
        // The name, in parentheses, may hold spaces; user and system time are fields 14 and 15.
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split(' ').collect();
        let ticks: u64 = fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

/// The sockets among the descriptors: bulk transfers have pipes too.
fn sockets(id: u32) -> usize {
    let links = links(id).into_iter();
    links.filter(|link| link.starts_with("socket:")).count()
}

/// All but those with which its threads give up what they do not need: on a busy machine that of the
/// log comes to it late.
pub fn descriptors(id: u32) -> usize {
    let is_of_serving = |link: &String| !link.contains("landlock") && !link.starts_with("/proc/");
    links(id).into_iter().filter(is_of_serving).count()
}

fn links(id: u32) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{id}/fd")).unwrap().flatten();
    let links = descriptors.flat_map(|descriptor| fs::read_link(descriptor.path()));
    links
        .map(|link| link.to_string_lossy().into_owned())
        .collect()
}

fn status(id: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Lets this process, which holds the other end of every connection, have all it may.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}
