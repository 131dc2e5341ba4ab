//! What the two ends of a connection have agreed on, as the system tells.

use std::io;
use std::net::SocketAddr;

use nix::libc;
use nix::{getsockopt_impl, sockopt_impl, sys::socket::getsockopt};
use rustix::net::sockopt::{ip_mtu, ipv6_mtu};
use socket2::Socket;

use super::finding::{Finding, Verdict, finding};

sockopt_impl!(
    /// The words of the kernel's `struct tcp_info`, as far as every Linux has them.
    Info, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, [u32; INFO]
);
const INFO: usize = 26;
/// Where they are: options in the second byte of the second word, the other end's unacknowledged
/// segments, and ours that were sent again.
const OPTIONS: usize = 1;
const UNACKED: usize = 6;
/// In `tcpi_options`: time stamps, selective acknowledgements, window scaling.
const OFFERED: [(u8, &str, &str); 3] = [
    (1, "time stamps", "tcp_timestamps"),
    (2, "selective acknowledgements", "tcp_sack"),
    (4, "window scaling", "tcp_window_scaling"),
];

/// How many segments were sent on a connection and are not acknowledged, if the system tells.
pub fn unacknowledged(socket: &Socket) -> io::Result<u32> {
    Ok(getsockopt(socket, Info)?[UNACKED])
}

/// What the two ends have agreed on.
#[derive(Debug)]
pub struct Options {
    /// The options in use, as bits, and those that this machine offers.
    used: u8,
    offered: u8,
    /// The largest segment, and the largest packet that fits the link, in bytes.
    segment: u32,
    mtu: u32,
    /// The packet that such a segment fills.
    pub packet: u32,
}

impl Options {
    /// What the system tells of a connection, if it does.
    pub fn of(socket: &Socket, remote: SocketAddr) -> io::Result<Self> {
        let used = getsockopt(socket, Info)?[OPTIONS].to_ne_bytes()[1];
        let is_on = |(_, _, name): &&(u8, &str, &str)| {
            let setting = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
            setting.is_ok_and(|value| value.trim() != "0")
        };
        // The system gives what is left for data beside a time stamp.
        let stamp = if used & OFFERED[0].0 > 0 { 12 } else { 0 };
        let segment = socket.tcp_mss()? + stamp;
        let (headers, mtu) = match remote {
            SocketAddr::V4(_) => (40, ip_mtu(socket)?),
            SocketAddr::V6(_) => (60, ipv6_mtu(socket)?),
        };
        Ok(Options {
            used,
            offered: OFFERED.iter().filter(is_on).map(|(bit, ..)| bit).sum(),
            segment,
            packet: segment + headers,
            mtu,
        })
    }

    /// What is worth telling of them.
    pub fn judge(&self) -> Vec<Finding> {
        let Options { segment, mtu, .. } = self;
        let mut found = Vec::new();
        if self.packet < self.mtu {
            found.push(finding!(Verdict::Mss; mss: segment, mtu));
        }
        let is_missing = |bit| self.offered & !self.used & bit > 0;
        let missing = OFFERED.iter().filter(|(bit, ..)| is_missing(bit));
        let missing: Vec<&str> = missing.map(|(_, name, _)| *name).collect();
        if !missing.is_empty() {
            found.push(finding!(Verdict::TcpOptions; options: missing.join("; ")));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_nobody_took_out_are_no_news() {
        let whole = Options {
            used: 7,
            offered: 7,
            segment: 1460,
            packet: 1500,
            mtu: 1500,
        };
        assert_eq!(whole.judge(), []);
        let clamped = Options {
            segment: 1200,
            packet: 1240,
            ..whole
        };
        assert_eq!(clamped.judge()[0].values["mss"], "1200");
        let stripped = Options { used: 4, ..whole };
        assert_eq!(
            stripped.judge()[0].values["options"],
            "time stamps; selective acknowledgements"
        );
        let never_offered = Options {
            used: 4,
            offered: 4,
            ..whole
        };
        assert_eq!(never_offered.judge(), []);
    }
}
