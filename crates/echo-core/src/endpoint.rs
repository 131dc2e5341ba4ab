//! Endpoints as people write them: `HOST:PORT`, `tcp://HOST:PORT`, `udp://HOST:PORT`, `stamp://HOST`,
//! `unix:PATH`.

use std::ffi::OsString;
use std::fmt;
use std::net::Ipv6Addr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::escape::printable;
use crate::path::{FilePath, of_socket, shown};
use crate::{as_text, named, stamp};

/// The host both programs use when none is given.
pub const DEFAULT_HOST: &str = "127.0.0.1";
/// The port both programs use when none is given: the tutorial's.
pub const DEFAULT_PORT: u16 = 5346;

/// Where a server listens, or what a client talks to.
///
/// A host stays as it was written: it is resolved where it is used, to all its addresses.
///
/// ```
/// use echo_core::{Endpoint, Transport};
///
/// let endpoint: Endpoint = "udp://[::1]:7".parse().unwrap();
/// assert_eq!(endpoint, Endpoint::inet(Some(Transport::Udp), "::1", 7));
/// assert_eq!(endpoint.to_string(), "udp://[::1]:7");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An internet host and port.
    Inet {
        /// The one transport, or `None` where none was written: TCP and UDP on a server
        /// (RFC 862 defines both), TCP on a client.
        transport: Option<Transport>,
        /// A name or an address; an IPv6 address without its brackets.
        host: String,
        /// 0 lets the system choose, on a server.
        port: u16,
    },
    /// A Unix stream socket's path; `unix:@NAME` begins with a zero byte, as the system has it.
    Unix(PathBuf),
}

/// What carries bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A byte stream (RFC 9293).
    #[default]
    Tcp,
    /// Datagrams (RFC 768).
    Udp,
    /// Test packets of STAMP, which are datagrams (RFC 8762); at port 862 unless another is written.
    Stamp,
    /// A byte stream within one machine; an endpoint of it has a path.
    Unix,
}

impl Endpoint {
    /// An internet endpoint from its parts.
    pub fn inet(transport: Option<Transport>, host: impl Into<String>, port: u16) -> Self {
        Endpoint::Inet {
            transport,
            host: host.into(),
            port,
        }
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Endpoint::inet(None, DEFAULT_HOST, DEFAULT_PORT)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Inet {
                transport,
                host,
                port,
            } => {
                if let Some(transport) = transport {
                    write!(f, "{transport}://")?;
                }
                if host.contains(':') {
                    write!(f, "[{host}]:{port}")
                } else {
                    write!(f, "{host}:{port}")
                }
            }
            Endpoint::Unix(path) => write!(f, "unix:{}", shown(path)),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(FilePath::from_text(path));
        }
        let text = text.trim();
        let (transport, address) = match text.split_once("://") {
            Some((name, address)) => {
                let name = name.to_ascii_lowercase();
                let transport = scheme(&name).ok_or_else(|| {
                    let place = address.split('/').next().unwrap_or_default();
                    let place = such(None, place).unwrap_or("HOST:PORT".to_owned());
                    format!(
                        "{name:?} is not a transport; write tcp://{place} or udp://{place}, \
                         stamp://HOST or unix:PATH"
                    )
                })?;
                if transport == Transport::Stamp && address.is_empty() {
                    return Err("the host is missing; write stamp://HOST".into());
                }
                // As in a URL, whose path is nothing.
                let address = address.strip_suffix('/').unwrap_or(address);
                (Some(transport), address)
            }
            None => (None, unscoped(text)?),
        };
        let default = (transport == Some(Transport::Stamp)).then_some(stamp::PORT);
        let (host, port) = host_and_port(address, transport, default)?;
        Ok(Endpoint::inet(transport, host, port))
    }
}

/// As it is typed: a path may have bytes that no text has.
impl TryFrom<OsString> for Endpoint {
    type Error = String;

    fn try_from(typed: OsString) -> Result<Self, Self::Error> {
        match typed.as_bytes().strip_prefix(b"unix:") {
            Some(path) => unix(OsString::from_vec(path.to_vec()).into()),
            None => typed
                .to_str()
                .ok_or("it is not UTF-8; write HOST:PORT")?
                .parse(),
        }
    }
}

fn unix(path: FilePath) -> Result<Endpoint, String> {
    let rest = path.as_os_str().as_bytes().strip_prefix(b"//");
    if path.is_none() || rest == Some(b"") {
        return Err("the path is missing; write unix:PATH".into());
    }
    if path.as_os_str() == "@" {
        return Err("the name is missing; write unix:@NAME".into());
    }
    // As a URL has a host. A path below a directory is one, however many slashes it begins with.
    if let Some(rest) = rest.filter(|rest| !rest.contains(&b'/')) {
        let rest = printable(&String::from_utf8_lossy(rest));
        return Err(format!(
            "a path is no URL; write unix:{rest} or unix:/{rest}"
        ));
    }
    if path.as_os_str().as_bytes().contains(&0) {
        return Err("a path cannot hold a zero byte".into());
    }
    Ok(Endpoint::Unix(of_socket(path)))
}

/// The transport that stands before an address under this name.
fn scheme(name: &str) -> Option<Transport> {
    let named = name.parse().ok();
    named.filter(|transport| *transport != Transport::Unix)
}

/// The same, unless it only looks like a host and a port.
fn unscoped(address: &str) -> Result<&str, String> {
    if address.starts_with(['/', '.']) {
        return Err(format!("it is a path; write unix:{}", printable(address)));
    }
    let first = address.split_once(':');
    let last = address.rsplit_once('/').map(|(place, name)| (name, place));
    let mut parts = first.into_iter().chain(last);
    let meant = parts.find_map(|(name, place)| Some((scheme(name)?, place)));
    match meant {
        Some((transport, place)) => Err(match such(Some(transport), place) {
            Some(endpoint) => format!("write {endpoint}"),
            None if transport == Transport::Stamp => "write stamp://HOST".to_owned(),
            None => format!("write {transport}://HOST:PORT"),
        }),
        None => Ok(address),
    }
}

/// The port of a transport where none is written.
fn default_port(transport: Option<Transport>) -> u16 {
    match transport {
        Some(Transport::Stamp) => stamp::PORT,
        _ => DEFAULT_PORT,
    }
}

/// An endpoint that is at `place`, as it is to be written.
fn such(transport: Option<Transport>, place: &str) -> Option<String> {
    let default = default_port(transport);
    let (host, port) = host_and_port(place, transport, Some(default)).ok()?;
    Some(Endpoint::inet(transport, host, port).to_string())
}

/// A host and a port that were typed as two words, as the one that they are: an IPv6 address goes in
/// brackets, and a transport stands before an address.
pub fn joined(host: &str, port: u16) -> String {
    match scheme(host) {
        Some(transport) => format!("{transport}://{DEFAULT_HOST}:{port}"),
        None if is_ipv6(host) => format!("[{host}]:{port}"),
        None => format!("{host}:{port}"),
    }
}

/// Whether it is an IPv6 address, with or without a zone.
fn is_ipv6(host: &str) -> bool {
    let address = host.split('%').next().map(Ipv6Addr::from_str);
    address.is_some_and(|address| address.is_ok())
}

fn host_and_port(
    address: &str,
    transport: Option<Transport>,
    default: Option<u16>,
) -> Result<(&str, u16), String> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest
                .split_once(']')
                .ok_or("the closing bracket is missing; write [ADDRESS]:PORT")?;
            if !host.contains(':') {
                return Err("brackets are for IPv6 addresses; write HOST:PORT".into());
            }
            (host, after.strip_prefix(':'))
        }
        None => match address.rsplit_once(':') {
            Some((host, port)) if host.contains(':') => {
                let (host, port) = match (is_ipv6(host), is_ipv6(address)) {
                    (true, _) => (host, port.to_owned()),
                    (_, true) => (address, default_port(transport).to_string()),
                    _ => return Err("there are too many colons; write HOST:PORT".into()),
                };
                let scheme = transport.map(|transport| format!("{transport}://"));
                return Err(format!(
                    "an IPv6 address goes in brackets; write {}[{}]:{}",
                    scheme.unwrap_or_default(),
                    printable(host),
                    printable(&port)
                ));
            }
            // A port alone is one of this machine, for this machine alone.
            Some(("", port)) => (DEFAULT_HOST, Some(port)),
            Some((host, port)) => (host, Some(port)),
            None if is_number(address) => (DEFAULT_HOST, Some(address)),
            None => (address, None),
        },
    };
    let default = default.filter(|_| port.is_none() && !host.is_empty());
    let default = default.map(|port| port.to_string());
    let port = port.or(default.as_deref());
    let port = port.ok_or_else(|| match host {
        "" => "nothing is named; write HOST:PORT".to_owned(),
        _ => {
            let such = Endpoint::inet(transport, printable(host), DEFAULT_PORT);
            format!("the port is missing; write HOST:PORT, such as {such}")
        }
    })?;
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || "[]/\\@?#".contains(c)) {
        return Err("the host holds a character no host name has; write HOST:PORT".into());
    }
    // `u16::from_str` takes a leading plus sign, which no port has.
    if !is_number(port) {
        return Err("the port is not a number; it goes from 0 to 65535".into());
    }
    let port = port
        .parse()
        .map_err(|_| "the port is too large; it goes from 0 to 65535")?;
    Ok((host, port))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

as_text!(Endpoint);
named!(Transport);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in [
            "127.0.0.1:5346",
            "tcp://localhost:0",
            "udp://[::]:7",
            "stamp://[::]:7",
            "[::ffff:127.0.0.1]:1",
            "[fe80::1%eth0]:65535",
            "unix:run/e.sock",
            // As a script writes it, below a folder that happens to be the root.
            "unix://run/e.sock",
            "unix:/tmp/with space:and:colons",
            r"unix:/tmp/\xff\x1b",
            "unix:@name",
            "unix:./@name",
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        for text in ["7", ":7", "tcp://7", "tcp://:7"] {
            let transport = text.starts_with("tcp").then_some(Transport::Tcp);
            let endpoint = Endpoint::inet(transport, "127.0.0.1", 7);
            assert_eq!(text.parse(), Ok(endpoint), "{text}");
        }
    }

    #[test]
    fn stamp_has_a_port_of_its_own() {
        for (text, shown) in [
            ("stamp://localhost", "stamp://localhost:862"),
            ("stamp://[::1]", "stamp://[::1]:862"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        assert!("stamp://".parse::<Endpoint>().is_err());
        assert!("stamp://localhost:".parse::<Endpoint>().is_err());
    }

    #[test]
    fn an_error_says_what_to_write_instead() {
        for (text, remedy) in [
            ("", "HOST:PORT"),
            ("127.0.0.1", "the port is missing"),
            ("[::1]", "the port is missing"),
            ("[::1]5346", "the port is missing"),
            (":", "not a number"),
            (":65536", "too large"),
            ("65536", "too large"),
            ("::1:5346", "[::1]:5346"),
            ("[::1:5346", "closing bracket"),
            ("[localhost]:1", "brackets are for IPv6"),
            ("localhost:http", "not a number"),
            ("localhost:+1", "not a number"),
            ("localhost:65536", "too large"),
            ("local host:1", "no host name has"),
            ("http://localhost:1", "tcp://"),
            ("://localhost:1", "write tcp://localhost:1"),
            ("tcp://localhost", "tcp://localhost:5346"),
            ("udp://::1:7", "write udp://[::1]:7"),
            ("stamp://2001:db8::1", "write stamp://[2001:db8::1]:862"),
            ("stamp:", "write stamp://HOST"),
            ("stamp:localhost", "write stamp://localhost:862"),
            ("stamp:2001:db8::1", "write stamp://HOST"),
            ("tcp:", "write tcp://HOST:PORT"),
            ("localhost:7/udp", "write udp://localhost:7"),
            ("127.0.0.1:5346:5347", "too many colons; write HOST:PORT"),
            ("unix:", "unix:PATH"),
            ("unix:@", "unix:@NAME"),
            ("unix://", "the path is missing; write unix:PATH"),
            (
                "unix://found.sock",
                "write unix:found.sock or unix:/found.sock",
            ),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(remedy), "{text:?} gave {error:?}");
        }
    }
}
