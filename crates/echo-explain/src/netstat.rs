//! The sockets that the system lists, as `netstat -an` shows them; read from /proc/net itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::{fmt, fs};

/// The heading over rows.
pub const HEADER: &str = "Proto Recv-Q Send-Q Local Address         Foreign Address       State";

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `tcp`, `tcp6`, `udp` or `udp6`.
    pub protocol: &'static str,
    /// This end.
    pub local: SocketAddr,
    /// The other end; all zero where there is none.
    pub remote: SocketAddr,
    /// As netstat names it; empty for a UDP socket without a peer.
    pub state: &'static str,
    /// What identifies the socket among a process's descriptors; 0 once no process holds it.
    inode: u64,
    /// Datagrams that the system dropped, because nobody read those before them in time.
    pub drops: u64,
    recv_queue: u64,
    send_queue: u64,
}

/// Every internet socket, or `None` where the system does not list them in /proc/net.
pub fn rows() -> Option<Vec<Row>> {
    let tables = ["tcp", "tcp6", "udp", "udp6"].map(|protocol| table(protocol, ""));
    // A system without IPv6 has no list of its sockets.
    let tables = tables.into_iter().flatten();
    tables.reduce(|all, table| [all, table].concat())
}

/// The sockets of one table, of the lines that hold `part`.
fn table(protocol: &'static str, part: &str) -> Option<Vec<Row>> {
    let table = fs::read_to_string(format!("/proc/net/{protocol}")).ok()?;
    let lines = table.lines().skip(1).filter(|line| line.contains(part));
    Some(lines.filter_map(|line| parse(protocol, line)).collect())
}

/// The row of a socket with these ends; a listening or unconnected one has no other. Of two with the
/// same, the one that a process still holds.
pub fn find(protocol: &str, local: SocketAddr, remote: Option<SocketAddr>) -> Option<Row> {
    let is = |row: &Row| {
        let joined = match remote {
            Some(remote) => same(row.remote, remote),
            None => row.remote.port() == 0,
        };
        same(row.local, local) && joined
    };
    let protocol = match (protocol, local) {
        ("tcp", SocketAddr::V4(_)) => "tcp",
        ("tcp", SocketAddr::V6(_)) => "tcp6",
        (_, SocketAddr::V4(_)) => "udp",
        (_, SocketAddr::V6(_)) => "udp6",
    };
    // A busy machine has very many.
    let port = format!(":{:04X} ", local.port());
    let rows = table(protocol, &port)?.into_iter();
    rows.filter(is).max_by_key(|row| row.inode != 0)
}

/// The lists know no scope of an IPv6 address.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    (a.ip(), a.port()) == (b.ip(), b.port())
}

impl Row {
    /// Whether the process has this socket among its descriptors.
    pub fn is_held_by(&self, process: u32) -> bool {
        fs::read_dir(format!("/proc/{process}/fd"))
            .into_iter()
            .flatten()
            .flatten()
            .any(|descriptor| {
                fs::read_link(descriptor.path()).is_ok_and(|target| self.is_link(&target))
            })
    }

    /// Whether a descriptor's link in /proc leads to this socket.
    pub fn is_link(&self, target: &Path) -> bool {
        target.as_os_str() == format!("socket:[{}]", self.inode).as_str()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<5} {:>6} {:>6} {:<WIDTH$} {:<WIDTH$} {}",
            self.protocol,
            self.recv_queue,
            self.send_queue,
            end(self.local),
            end(self.remote),
            self.state
        )
    }
}

/// The columns of an address: as many as IPv4's longest takes. A row and the margin of a telling then
/// fit a terminal of 80 columns; netstat itself takes two more.
const WIDTH: usize = 21;

/// An end as netstat writes it: no brackets, `*` for no port, and a long IPv6 address cut short.
fn end(address: SocketAddr) -> String {
    let port = match address.port() {
        0 => "*".to_owned(),
        port => port.to_string(),
    };
    let mut ip = address.ip().to_string();
    ip.truncate(WIDTH - 1 - port.len());
    format!("{ip}:{port}")
}

fn parse(protocol: &'static str, line: &str) -> Option<Row> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (send_queue, recv_queue) = fields.get(4)?.split_once(':')?;
    Some(Row {
        protocol,
        local: address(fields.get(1)?)?,
        remote: address(fields.get(2)?)?,
        state: state(protocol, fields.get(3)?)?,
        inode: fields.get(9)?.parse().ok()?,
        drops: match protocol {
            "udp" | "udp6" => fields.get(12)?.parse().ok()?,
            _ => 0,
        },
        recv_queue: u64::from_str_radix(recv_queue, 16).ok()?,
        send_queue: u64::from_str_radix(send_queue, 16).ok()?,
    })
}

/// `0100007F:14E2`: the address in 32-bit words of the machine's own byte order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let bytes: Vec<u8> = (0..ip.len())
        .step_by(8)
        .map(|at| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok())
        .collect::<Option<Vec<u32>>>()?
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    let ip = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(octets) => IpAddr::from(Ipv4Addr::from(octets)),
        Err(_) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?)),
    };
    Some(SocketAddr::new(ip, port))
}

/// As netstat names them, by the kernel's numbers from include/net/tcp_states.h.
const STATES: &str = "ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT \
                      LAST_ACK LISTEN CLOSING SYN_RECV";

fn state(protocol: &str, code: &str) -> Option<&'static str> {
    let number = usize::from_str_radix(code, 16).ok()?;
    match STATES.split(' ').nth(number.checked_sub(1)?) {
        Some("CLOSE") if protocol.starts_with("udp") => Some(""),
        state => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_the_kernel_reads_as_netstat_shows_it() {
        let line = "   0: 0100007F:14E2 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 4242 1 0 100 0 0 10 0";
        let row = parse("tcp", line).unwrap();
        assert_eq!(
            row.to_string(),
            "tcp        3      0 127.0.0.1:5346        0.0.0.0:*             LISTEN"
        );
        let line = "   1: 00000000000000000000000001000000:14E2 00000000000000000000000001000000:D0A4 01 00000005:00000000 00:00000000 00000000 0 0 4243 1";
        let row = parse("tcp6", line).unwrap();
        assert_eq!(
            row.to_string(),
            "tcp6       0      5 ::1:5346              ::1:53412             ESTABLISHED"
        );
        let (ip, port) = (Ipv6Addr::from([0x2001; 8].map(|_: u16| 0xfd00)), 53412);
        let longest = Row {
            local: (ip, port).into(),
            remote: (ip, port).into(),
            ..row
        };
        assert_eq!(longest.to_string().len(), 75);
        assert_eq!(parse("tcp", "nonsense"), None);
    }

    #[test]
    fn a_socket_of_this_process_is_listed_and_held_by_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let rows = rows().unwrap();
        let row = rows.iter().find(|row| row.local == local).unwrap();
        assert_eq!((row.protocol, row.state), ("tcp", "LISTEN"));
        assert!(row.is_held_by(std::process::id()));
        assert!(!row.is_held_by(1) || std::process::id() == 1);
    }
}
