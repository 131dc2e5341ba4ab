//! The step `echo`: whether what takes connections is an echo server, how soon it answers, and what
//! became of the options that the two ends offered each other.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::libc;
use nix::{getsockopt_impl, sockopt_impl, sys::socket::getsockopt};
use rustix::net::sockopt::{ip_mtu, ipv6_mtu};
use socket2::Socket;

use super::Told;
use super::dial::{Call, dial};
use super::finding::{Finding, Findings, Verdict};
use super::path::Path;
use super::talk::{Heard, Talk};
use crate::report::format;

/// Bytes of a message, and how many are sent, each once the one before is back.
const MESSAGE: usize = 64;
const MESSAGES: usize = 10;
/// How long an answer may take, and making a connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// A server that is slow takes longer than this for its answer, and longer than the network.
const SLOW: Duration = Duration::from_millis(5);

/// What came of the messages.
#[derive(Debug)]
struct Echoes {
    /// How long the quickest handshake took.
    handshake: Duration,
    /// What came of each message, up to the first that was not as it should be.
    heard: Vec<Heard>,
}

/// Sends a few messages over one connection.
pub fn echo(path: &mut Path<'_>, findings: &mut Findings) -> Result<Told> {
    let Some(remote) = path.remote.filter(|_| path.has_tcp) else {
        return Ok(Told::LeftOut("TCP does not connect".to_owned()));
    };
    let (handshake, socket) = connect(path, remote, None).context("no connection was made")?;
    let mut echoes = Echoes {
        handshake,
        heard: Vec::new(),
    };
    let mut talk = Talk::begin(path, socket, MESSAGE);
    for _ in 0..MESSAGES {
        let heard = talk.echo(path, 1, path.patience(PATIENCE));
        let is_good = heard.is_good(MESSAGE);
        echoes.heard.push(heard);
        if !is_good {
            break;
        }
    }
    if path.interrupt.why().is_none() {
        findings.extend(echoes.judge());
    }
    if let Ok(options) = Options::of(talk.socket(), remote) {
        findings.extend(options.judge());
    }
    Ok(Told::Seen(echoes.told()))
}

/// The quickest of a few connections to `remote`, with segments of so many bytes at most.
pub fn connect(
    path: &mut Path<'_>,
    remote: SocketAddr,
    segment: Option<u32>,
) -> Option<(Duration, Socket)> {
    let call = Call {
        segment,
        ..Call::to(remote)
    };
    // Several, since some ports may never get through.
    let made = dial(path, &[call; 4], 2, path.patience(PATIENCE)).into_iter();
    let made = made.filter_map(|(answer, socket)| Some((answer.time()?, socket?)));
    made.min_by_key(|(time, _)| *time)
}

impl Heard {
    /// Whether so many bytes came back, and each was right.
    fn is_good(&self, len: usize) -> bool {
        self.back >= len as u64 && self.wrong.is_none() && self.ended.is_none()
    }
}

impl Echoes {
    /// What they say of the peer.
    fn judge(&self) -> Option<Finding> {
        let heard = self.heard.last()?;
        let verdict = match (heard.wrong, heard.is_good(MESSAGE)) {
            (None, true) => return self.slow(),
            // An echo with a few wrong bytes shares most with what was sent, and by chance one in 256.
            (Some((_, right)), _) if right * 2 > heard.back => Verdict::Corruption,
            (Some(_), _) => Verdict::NotEcho,
            (None, _) => Verdict::TcpNoEcho,
        };
        let sent = format!("message {} of {MESSAGE} bytes", self.heard.len());
        let mut finding = Finding::problem(verdict).seen(sent, heard.told());
        if let Some((offset, _)) = heard.wrong {
            finding = finding.with("offset", offset);
        }
        Some(finding.tested("each byte was compared", None))
    }

    /// Whether the program takes its time while its system answers at once.
    fn slow(&self) -> Option<Finding> {
        let (network, time) = (self.handshake, self.quickest()?);
        let is_slow = time > network * 2 && time > network + SLOW;
        let sent = format!(
            "a connection, and {} messages one after another",
            self.heard.len()
        );
        let came = format!(
            "the first was made in {}, the quickest came back in {}",
            format::time(network),
            format::time(time)
        );
        let finding = Finding::problem(Verdict::ServerSlow).seen(sent, came);
        let test = "the quickest message took twice the handshake, and 5 ms more";
        let values = |finding: Finding| {
            finding
                .with("time", format::time(time))
                .with("network", format::time(network))
        };
        is_slow.then(|| values(finding.tested(test, None)))
    }

    fn quickest(&self) -> Option<Duration> {
        self.heard.iter().map(|heard| heard.elapsed).min()
    }

    fn told(&self) -> String {
        match (self.heard.last(), self.quickest()) {
            (Some(last), Some(time)) if last.is_good(MESSAGE) => format!(
                "{} messages came back whole, the quickest in {}; connecting took {}",
                self.heard.len(),
                format::time(time),
                format::time(self.handshake)
            ),
            (Some(last), _) => last.told(),
            (None, _) => "nothing was sent".to_owned(),
        }
    }
}

impl Heard {
    /// What came back, in words.
    pub fn told(&self) -> String {
        let came = match self.wrong {
            Some((offset, _)) => {
                format!("{} bytes came back, and byte {offset} was wrong", self.back)
            }
            None => format!("{} bytes came back", self.back),
        };
        match self.ended {
            Some(None) => format!("{came}, then the connection was closed"),
            Some(Some(kind)) => format!("{came}, then: {kind}"),
            None => came,
        }
    }
}

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

/// How many segments were sent on a connection and are not acknowledged.
///
/// # Errors
/// The system does not tell.
pub fn unacknowledged(socket: &Socket) -> io::Result<u32> {
    Ok(getsockopt(socket, Info)?[UNACKED])
}

/// What the two ends have agreed on.
#[derive(Debug)]
struct Options {
    /// The options in use, as bits.
    used: u8,
    /// The same, of those that this machine offers.
    offered: u8,
    /// The largest segment, and the packet that it would fill, in bytes.
    segment: u32,
    packet: u32,
    /// The largest packet that fits the link.
    mtu: u32,
}

impl Options {
    fn of(socket: &Socket, remote: SocketAddr) -> io::Result<Self> {
        let used = getsockopt(socket, Info)?[OPTIONS].to_ne_bytes()[1];
        let is_on = |(_, _, name): &&(u8, &str, &str)| {
            let setting = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
            setting.is_ok_and(|value| value.trim() != "0")
        };
        let offered = OFFERED.iter().filter(is_on).map(|(bit, ..)| bit).sum();
        // The system gives what is left for data beside a time stamp.
        let data = socket.tcp_mss()?;
        let segment = data + if used & OFFERED[0].0 > 0 { 12 } else { 0 };
        let (headers, mtu) = match remote {
            SocketAddr::V4(_) => (40, ip_mtu(socket)?),
            SocketAddr::V6(_) => (60, ipv6_mtu(socket)?),
        };
        Ok(Options {
            used,
            offered,
            segment,
            packet: segment + headers,
            mtu,
        })
    }

    fn judge(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let sent = "a connection with the options that this system offers";
        if self.packet < self.mtu {
            let came = format!(
                "segments of {} bytes at most, where {} byte packets fit the link",
                self.segment, self.mtu
            );
            let finding = Finding::fact(Verdict::Mss).seen(sent, came);
            found.push(
                finding
                    .tested("the system tells (TCP_MAXSEG, IP_MTU)", None)
                    .with("mss", self.segment),
            );
        }
        let missing: Vec<_> = OFFERED
            .iter()
            .filter(|(bit, ..)| self.offered & !self.used & bit > 0)
            .map(|(_, name, _)| *name)
            .collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            let finding =
                Finding::fact(Verdict::TcpOptions).seen(sent, format!("{missing}: not agreed on"));
            found.push(
                finding
                    .tested("the system tells (TCP_INFO)", None)
                    .with("options", missing),
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(back: u64, wrong: Option<(u64, u64)>, ms: u64) -> Heard {
        Heard {
            back,
            wrong,
            elapsed: Duration::from_millis(ms),
            ..Heard::default()
        }
    }

    fn verdict(handshake_ms: u64, heard: Vec<Heard>) -> Option<Verdict> {
        let handshake = Duration::from_millis(handshake_ms);
        Echoes { handshake, heard }
            .judge()
            .map(|finding| finding.verdict)
    }

    #[test]
    fn what_comes_back_tells_an_echo_from_other_servers() {
        assert_eq!(verdict(1, vec![heard(64, None, 1)]), None);
        assert_eq!(
            verdict(1, vec![heard(64, Some((20, 63)), 1)]),
            Some(Verdict::Corruption)
        );
        assert_eq!(
            verdict(1, vec![heard(50, Some((0, 1)), 1)]),
            Some(Verdict::NotEcho)
        );
        assert_eq!(
            verdict(1, vec![heard(0, None, 2000)]),
            Some(Verdict::TcpNoEcho)
        );
    }

    #[test]
    fn a_server_is_slow_only_if_its_quickest_answer_is() {
        let quick_once = vec![heard(64, None, 50), heard(64, None, 1)];
        assert_eq!(verdict(1, quick_once), None);
        let slow = vec![heard(64, None, 50), heard(64, None, 51)];
        assert_eq!(verdict(1, slow.clone()), Some(Verdict::ServerSlow));
        assert_eq!(verdict(49, slow), None);
        assert_eq!(verdict(1, vec![heard(64, None, 3)]), None);
    }

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
            "time stamps, selective acknowledgements"
        );
        let never_offered = Options {
            used: 4,
            offered: 4,
            ..whole
        };
        assert_eq!(never_offered.judge(), []);
    }
}
