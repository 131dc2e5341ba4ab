//! The options that every mode shares: what to connect to, and how.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum, value_parser};
use echo_core::framing::Framing;
use echo_core::stamp::Key;
use echo_core::units::{Size, Timespan};
use echo_core::{Color, Endpoint, Failure, FilePath, Transport, Zoned, as_text};
use echo_explain::{Lang, Phrases};
use serde::{Deserialize, Serialize};

use crate::config::{Keys, Settings, by_flags};
use crate::narrator::Narrator;

/// What to connect to, and how.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Connection")]
pub struct Connect {
    /// HOST:PORT, tcp://HOST:PORT, udp://HOST:PORT, stamp://HOST, unix:PATH or unix:@NAME
    #[arg(default_value_t, value_parser = OsStringValueParser::new().try_map(Endpoint::try_from))]
    pub target: Endpoint,
    /// Send datagrams over UDP instead of a TCP stream
    #[arg(short, long)]
    pub udp: bool,
    /// Send test packets of STAMP (RFC 8762) to a reflector, at port 862 unless another is given: it
    /// tells the way there from the way back
    #[arg(long)]
    pub stamp: bool,
    /// Sign STAMP packets with the key in this file, and take none that are not: 16 bytes or more
    #[arg(long, value_name = "FILE")]
    pub stamp_key: Option<FilePath>,
    /// That key.
    #[arg(skip)]
    #[serde(skip)]
    pub key: Option<Key>,
    /// What is read of this: that file, and the one that these settings are in.
    #[arg(skip)]
    #[serde(skip)]
    pub read: Vec<FilePath>,
    /// Which addresses of a name to try: any, ipv4 or ipv6
    #[arg(long, hide_possible_values = true, default_value = "any")]
    pub family: Family,
    /// The same as --family ipv4
    #[arg(short = '4', conflicts_with_all = ["family", "ipv6"])]
    #[serde(skip)]
    pub ipv4: bool,
    /// The same as --family ipv6
    #[arg(short = '6', conflicts_with = "family")]
    #[serde(skip)]
    pub ipv6: bool,
    /// Connect from this local address, ADDRESS or ADDRESS:PORT
    #[arg(short = 'B', long, value_name = "ADDRESS")]
    pub bind: Option<LocalAddress>,
    /// Send by way of this network interface only, such as eth0
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// How many routers a packet may pass (TTL, hop limit)
    #[arg(long, value_name = "HOPS", value_parser = value_parser!(u8).range(1..))]
    pub ttl: Option<u8>,
    /// Mark packets with this class of service, from 0 to 63; 46 is for what is urgent (EF)
    #[arg(long, value_name = "CLASS", value_parser = value_parser!(u8).range(..64))]
    pub dscp: Option<u8>,
    /// Whose time stamps datagrams are timed by: kernel, user (those of this program) or auto, which
    /// leaves the kernel's of sending out where they would slow a load
    #[arg(
        long,
        value_name = "WHOSE",
        hide_possible_values = true,
        default_value = "auto"
    )]
    pub timestamps: Timestamps,
    /// Let no router cut packets into fragments (DF): one that is too large is refused
    #[arg(long)]
    pub df: bool,
    /// Give up resolving, or connecting to one address, after this long
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub connect_timeout: Timespan,
    /// How long a reply may take, or of a stream that is sent its next bytes
    #[arg(short = 'W', long, value_name = "DURATION", default_value = "5s")]
    pub timeout: Timespan,
    /// Sum up and stop after this long in all; 0 sets no limit
    #[arg(short = 'w', long, value_name = "DURATION", default_value = "0s")]
    pub deadline: Timespan,
    /// How long to keep trying until the server is up
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub wait: Timespan,
    /// How messages are framed: raw, lines or length
    #[arg(long, value_name = "FRAMING", default_value = "raw")]
    pub framing: Framing,
    /// The longest frame to send
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    pub max_frame: Size,
    /// Show both ends of the socket: local and remote address and port
    #[arg(short, long)]
    pub verbose: bool,
    /// Colours: auto, always or never; NO_COLOR turns auto off
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Speak `en` or `es` to people; auto goes by the locale
    #[arg(long, value_name = "LANG", default_value = "auto")]
    pub lang: Lang,
    /// What is said in that language.
    #[arg(skip)]
    #[serde(skip)]
    pub phrases: Phrases,
    /// Who is told of each call, for those who ask for explanations.
    #[arg(skip)]
    #[serde(skip)]
    pub narrator: Narrator,
}

/// Which of a name's addresses count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// All of them.
    #[default]
    Any,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

/// Whose time stamps datagrams are timed by, where the system has any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timestamps {
    /// The kernel's of receiving, and those of sending unless they would slow a load.
    #[default]
    Auto,
    /// The kernel's of sending and receiving.
    Kernel,
    /// This program's: when it asked to send, and when it got to read.
    User,
}

/// A local address to connect from; port 0 lets the system choose one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress(pub SocketAddr);

by_flags!(Connect);

impl Settings for Connect {
    const TABLE: &str = "connect";

    /// `-4` and `-6` are short for a family.
    fn complete(&mut self, keys: &mut Keys) -> Result<()> {
        for (is_meant, family) in [(self.ipv4, Family::Ipv4), (self.ipv6, Family::Ipv6)] {
            if is_meant {
                self.family = family;
                keys.insert("family".to_owned());
            }
        }
        Ok(())
    }
}

impl Connect {
    /// Refuses the first of these options that is out of place: given, though it does not fit what
    /// carries the bytes.
    pub fn refuse(&self, options: &[(&str, bool)]) -> Result<()> {
        let over = match self.transport() {
            Transport::Tcp => "TCP",
            Transport::Udp | Transport::Stamp => "UDP",
            Transport::Unix => "a Unix socket",
        };
        match options.iter().find(|(_, is_misplaced)| *is_misplaced) {
            None => Ok(()),
            Some((option, _)) => {
                bail!("{option} means nothing over {over}; leave one of them out")
            }
        }
    }

    /// Refuses what contradicts itself.
    pub fn check(&self) -> Result<()> {
        let (target, tcp) = (&self.target, Some(Transport::Tcp));
        let is_tcp = matches!(target, Endpoint::Inet { transport, .. } if *transport == tcp);
        let is_unix = matches!(target, Endpoint::Unix(_));
        let is_portless = matches!(target, Endpoint::Inet { port: 0, .. });
        ensure!(
            !is_portless,
            "{target}: nothing listens on port 0; give the server's port"
        );
        ensure!(
            !(is_tcp && self.udp),
            "{target}: tcp:// contradicts --udp; leave one of them out"
        );
        ensure!(
            !(is_tcp || is_unix) || !self.stamp,
            "{target}: STAMP is spoken over UDP; leave --stamp out, or write stamp://HOST"
        );
        ensure!(
            self.stamp_key.is_none() || self.is_stamp(),
            "--stamp-key signs packets of STAMP only; add --stamp"
        );
        ensure!(
            !(is_unix && self.udp),
            "{target}: a Unix socket here is a stream; leave --udp out"
        );
        for (option, limit) in [
            ("--timeout", self.timeout),
            ("--connect-timeout", self.connect_timeout),
        ] {
            ensure!(
                !limit.0.is_zero(),
                "{option} 0s leaves no time for an answer; give a longer one"
            );
        }
        let kernel = self.timestamps == Timestamps::Kernel;
        self.refuse(&[
            ("--timestamps kernel", kernel && !self.is_udp()),
            ("--family", is_unix && self.family != Family::Any),
            ("--bind", is_unix && self.bind.is_some()),
            ("--interface", is_unix && self.interface.is_some()),
            ("--ttl", is_unix && self.ttl.is_some()),
            ("--dscp", is_unix && self.dscp.is_some()),
            ("--df", is_unix && self.df),
        ])
    }

    /// Reads the key of `--stamp-key`.
    pub fn read_key(&mut self) -> Result<(), Failure> {
        let key = self.stamp_key.as_ref().map(|file| Key::read(file));
        self.key = key.transpose()?;
        Ok(())
    }

    /// Whether messages travel as datagrams.
    pub fn is_udp(&self) -> bool {
        matches!(self.transport(), Transport::Udp | Transport::Stamp)
    }

    /// Whether they are packets of STAMP.
    pub fn is_stamp(&self) -> bool {
        self.transport() == Transport::Stamp
    }

    /// What carries messages, as the target says, or an option.
    pub fn transport(&self) -> Transport {
        match &self.target {
            Endpoint::Unix(_) => Transport::Unix,
            _ if self.stamp => Transport::Stamp,
            Endpoint::Inet { transport, .. } if !self.udp => transport.unwrap_or(Transport::Tcp),
            Endpoint::Inet { transport, .. } => transport.unwrap_or(Transport::Udp),
        }
    }
}

impl FromStr for LocalAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Zoned(address) = Zoned::with_or_without_port(text).map_err(|cause| {
            format!("{cause}; write 192.0.2.1, 192.0.2.1:4000 or [2001:db8::1]:4000")
        })?;
        Ok(LocalAddress(address))
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.port() {
            0 => f.write_str(&Zoned(self.0).ip()),
            _ => Zoned(self.0).fmt(f),
        }
    }
}

as_text!(LocalAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_address_is_shown_as_it_is_written() {
        for text in ["127.0.0.1", "127.0.0.1:4000", "::1", "[::1]:4000"] {
            assert_eq!(text.parse::<LocalAddress>().unwrap().to_string(), text);
        }
        for text in ["", "localhost", "1.2.3.4:x", "[127.0.0.1", "::1:99999:"] {
            assert!(text.parse::<LocalAddress>().is_err(), "{text:?}");
        }
    }
}
