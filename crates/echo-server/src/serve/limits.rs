//! How many connections may be open, in all and from one address, and how much they may hold.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use echo_core::units::Size;
use echo_metrics::FILES;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::io::Errno;

use crate::config::{self, Config};
use crate::event::{PeerAddress, Refusal, Stop};
use crate::shutdown::Shutdown;
use crate::socket::pipe::MAX_PIPES;
use crate::thread::STACK;

/// Descriptors that are opened now and then: a connection that is turned away, a socket to ask the
/// system with, a list that it keeps.
const SPARE: usize = 4;

/// Clients of the control socket at once. One more is turned away.
pub(crate) const CLIENTS: usize = 32;

const CONNECTION: usize = config::CONNECTION.0 as usize;

/// Threads that start beside the workers: of signals, the log, the record, the metrics, commands
/// and the notifications.
const OTHER_THREADS: u64 = 6;

/// The caps, and what is open now. Shared by all workers.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) max_connections: usize,
    /// Pipes that each worker may have.
    pub(crate) pipes: usize,
    max_per_ip: usize,
    /// Connections left before the server has served what it was asked to; `None`: no limit.
    left: Option<AtomicUsize>,
    open: AtomicUsize,
    per_ip: Mutex<HashMap<IpAddr, usize>>,
    max_memory: usize,
    /// Bytes of all connections.
    memory: AtomicUsize,
    /// Asked to stop once the last connection of `--max-total` has ended.
    shutdown: Shutdown,
}

/// A connection's place among those that may be open: given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    limits: Arc<Limits>,
    /// The address it counts against.
    ip: Option<IpAddr>,
    /// Bytes that its connection holds, beyond what each costs.
    held: usize,
}

impl Limits {
    /// The caps of a server that has opened all that it needs to start, and has `memory` bytes.
    pub(crate) fn new(config: &Config, memory: u64, shutdown: Shutdown) -> io::Result<Arc<Self>> {
        let files = raise_open_files();
        let open = open_files(files);
        let metrics = match config.metrics.is_empty() {
            true => 0,
            false => FILES,
        };
        // Beside its clients a control socket has both ends of what tells its end.
        let spare = SPARE + metrics + config.control_path().map_or(0, |_| CLIENTS + 2);
        let room = files.saturating_sub(open + spare);
        if room == 0 {
            return Err(io::Error::other(format!(
                "of the {files} files that may be open, {open} are, and {spare} more are needed"
            )));
        }
        // Pipes, with two ends each, are only there for speed: they get what those leave who were asked
        // for. Whoever came beyond the room would wait, and never know for what.
        let left = match config.max_connections {
            0 => room / 2,
            max => room.saturating_sub(max),
        };
        let pipes = (left / 2 / config.loops()).min(MAX_PIPES);
        let max_connections = match config.max_connections {
            0 => room - 2 * pipes * config.loops(),
            max => max.min(room),
        };
        // The rest is for all that is small, and could not be done without.
        let stacks = (config.loops() as u64 + OTHER_THREADS) * STACK as u64;
        let most = memory.saturating_sub(stacks) / 4 * 3;
        let max_memory = match config.max_memory.0 {
            0 => most,
            max => max.min(most),
        };
        let max_memory = usize::try_from(max_memory).unwrap_or(usize::MAX);
        Ok(Arc::new(Limits {
            max_connections,
            pipes,
            max_per_ip: config.max_per_ip,
            left: config.total().map(|total| AtomicUsize::new(total.get())),
            open: AtomicUsize::new(0),
            per_ip: Mutex::default(),
            max_memory,
            memory: AtomicUsize::new(0),
            shutdown,
        }))
    }

    /// Counts a connection in, until its permit is dropped. It may have had a place before.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: PeerAddress,
        place: Option<Permit>,
    ) -> Result<Permit, Refusal> {
        let mut permit = place.map_or_else(|| self.place(), Ok)?;
        permit.ip = self.count(peer)?;
        if let Some(left) = &self.left {
            left.fetch_sub(1, Ordering::Release);
        }
        Ok(permit)
    }

    /// A place for a connection of which it is not known yet whose it is.
    pub(crate) fn place(self: &Arc<Self>) -> Result<Permit, Refusal> {
        // Only the acceptor adds, so this check and the addition cannot race.
        if self.open.load(Ordering::Relaxed) >= self.max_connections {
            return Err(Refusal::Connections(self.max_connections));
        }
        // What others hold does not count: the largest of it is given up for whoever comes.
        if (self.open() + 1) * CONNECTION > self.max_memory {
            return Err(Refusal::Memory(Size(self.max_memory as u64)));
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        self.memory.fetch_add(CONNECTION, Ordering::Relaxed);
        let limits = self.clone();
        Ok(Permit {
            limits,
            ip: None,
            held: 0,
        })
    }

    /// Counts a peer in among those of its address. Returns what it counts against, if anything.
    fn count(&self, peer: PeerAddress) -> Result<Option<IpAddr>, Refusal> {
        let Some(address) = peer.socket().filter(|_| self.max_per_ip > 0) else {
            return Ok(None);
        };
        let ip = network(address.ip());
        let mut per_ip = self.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        let count = per_ip.entry(ip).or_default();
        if *count >= self.max_per_ip {
            return Err(Refusal::PerIp(self.max_per_ip));
        }
        *count += 1;
        Ok(Some(ip))
    }

    /// Whether the last connection of `--max-total` has been admitted.
    pub(crate) fn is_last_admitted(&self) -> bool {
        let left = self.left.as_ref();
        left.is_some_and(|left| left.load(Ordering::Acquire) == 0)
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many bytes connections hold beyond what they may.
    pub(crate) fn excess_memory(&self) -> Option<usize> {
        let held = self.memory.load(Ordering::Relaxed);
        let excess = held.checked_sub(self.max_memory);
        excess.filter(|bytes| *bytes > 0)
    }
}

impl Permit {
    /// Bytes that its connection holds, as was last noted.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes note of how many bytes its connection holds now.
    pub(crate) fn hold(&mut self, bytes: usize) {
        let memory = &self.limits.memory;
        match bytes.checked_sub(self.held) {
            Some(more) => memory.fetch_add(more, Ordering::Relaxed),
            None => memory.fetch_sub(self.held - bytes, Ordering::Relaxed),
        };
        self.held = bytes;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let limits = &self.limits;
        let memory = CONNECTION + self.held;
        limits.memory.fetch_sub(memory, Ordering::Relaxed);
        limits.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(ip) = self.ip {
            let mut per_ip = limits.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = per_ip.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    per_ip.remove(&ip);
                }
            }
        }
        if limits.is_last_admitted() && limits.open() == 0 {
            limits.shutdown.request_for(Stop::Served);
        }
    }
}

/// Who is behind an address: itself, a v4-mapped one as IPv4. Whoever has one of IPv6 has the 2^64
/// of its network; but the network of link-local ones is everybody's.
pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) if !v6.is_unicast_link_local() && !v6.is_loopback() => {
            Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into()
        }
        ip => ip,
    }
}

/// Raises the soft open-file limit to the hard one, and returns it.
fn raise_open_files() -> usize {
    // A filter of system calls may refuse this, for which rustix has no error but a panic. What a
    // system grants at the least is then taken for granted.
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1024;
    };
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    let files = if raised.is_ok() { hard } else { soft };
    usize::try_from(files).unwrap_or(usize::MAX)
}

/// Descriptors that are open now, of as many as may be.
fn open_files(most: usize) -> usize {
    match std::fs::read_dir("/dev/fd") {
        // Of which one is the list's.
        Ok(list) => list.count().saturating_sub(1),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::MFILE) => most,
        // Where there is no list: more than are ever needed to start.
        Err(_) => 48,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> PeerAddress {
        PeerAddress::Inet(text.parse().unwrap())
    }

    fn limits(config: Config) -> Arc<Limits> {
        Limits::new(&config, u64::MAX, Shutdown::new()).unwrap()
    }

    #[test]
    fn a_v4_mapped_address_counts_as_ipv4() {
        let limits = limits(Config {
            max_per_ip: 1,
            ..Config::default()
        });
        let refused = Some(Refusal::PerIp(1));
        let first = limits.admit(peer("127.0.0.1:1"), None).unwrap();
        assert_eq!(
            limits.admit(peer("[::ffff:127.0.0.1]:2"), None).err(),
            refused
        );
        let other = limits.admit(peer("127.0.0.2:3"), None).unwrap();
        drop(first);
        let again = limits.admit(peer("[::ffff:127.0.0.1]:2"), None).unwrap();
        assert_eq!(limits.admit(peer("127.0.0.1:1"), None).err(), refused);
        drop((other, again));
        assert_eq!(limits.open(), 0);
        assert!(limits.per_ip.lock().unwrap().is_empty());
    }

    #[test]
    fn a_cap_holds_until_a_connection_ends() {
        let limits = limits(Config {
            max_connections: 1,
            ..Config::default()
        });
        let permit = limits.admit(PeerAddress::Unix, None).unwrap();
        let refused = limits.admit(PeerAddress::Unix, None).err();
        assert_eq!(refused, Some(Refusal::Connections(1)));
        drop(permit);
        assert!(limits.admit(PeerAddress::Unix, None).is_ok());
    }

    #[test]
    fn the_last_permit_that_is_given_back_asks_for_the_end() {
        let limits = limits(Config {
            max_total: 2,
            ..Config::default()
        });
        let last = |limits: &Arc<Limits>| limits.shutdown.why();
        drop(limits.admit(PeerAddress::Unix, None).unwrap());
        assert_eq!(last(&limits), None);
        drop(limits.admit(PeerAddress::Unix, None).unwrap());
        assert_eq!(last(&limits), Some(Stop::Served));
    }
}
