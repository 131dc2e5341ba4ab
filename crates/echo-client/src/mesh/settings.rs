//! The options of `mesh`.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::str::FromStr;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use echo_core::units::Timespan;
use echo_core::{Endpoint, FilePath, Transport, Zoned};

/// A path is not probed more often than a poll of many can tell moments apart.
const SHORTEST: Duration = Duration::from_millis(1);

/// Watches the paths to many peers, for a monitor that asks
#[derive(Clone, Debug, Args)]
pub struct Mesh {
    /// Where peers are listed: dns:NAME:PORT, or file:PATH of a list for Prometheus (file_sd, with the
    /// labels `name` and `zone`); any number
    #[arg(long, value_name = "SOURCE", required = true)]
    #[arg(value_parser = OsStringValueParser::new().try_map(Source::try_from))]
    pub targets: Vec<Source>,
    /// How many peers to watch: those that come next by the hashes of their names; 0 watches all
    #[arg(long, value_name = "NUMBER", default_value = "32")]
    pub peers: usize,
    /// What to probe them over
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "tcp,udp"
    )]
    #[arg(value_parser = transport)]
    pub transport: Vec<Transport>,
    /// Time from one probe of a peer to the next; at least 1ms
    #[arg(short, long, value_name = "DURATION", default_value = "1s")]
    pub interval: Timespan,
    /// Take a probe for lost after this long; at most the interval
    #[arg(short = 'W', long, value_name = "DURATION", default_value = "1s")]
    pub timeout: Timespan,
    /// Look for changes of the lists this often; SIGHUP has it look at once
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub refresh: Timespan,
    /// Probe from a new port after this long: balancers choose ways by ports
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub reconnect: Timespan,
    /// Which listed peer is this one: ADDRESS or ADDRESS:PORT; auto asks the system
    #[arg(long = "self", value_name = "ADDRESS", default_value = "auto")]
    pub own: Own,
    /// Answer monitors there over HTTP: /metrics, /livez and /readyz
    #[arg(long, value_name = "ADDRESS", value_parser = for_http)]
    pub metrics: Option<(String, u16)>,
    /// Print one JSON event a line for each reply and each loss
    #[arg(long)]
    pub jsonl: bool,
    /// Only print who watches whom by these lists, a pair of names a line
    #[arg(long, conflicts_with_all = ["metrics", "jsonl"])]
    pub plan: bool,
}

/// Where peers are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// All addresses of a name.
    Dns(String, u16),
    /// A file in the form of Prometheus's `file_sd_configs`.
    File(FilePath),
}

/// Which of the peers is this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Those that have an address of this machine.
    Auto,
    /// That of this address; port 0 stands for any.
    At(SocketAddr),
}

impl Mesh {
    /// Refuses what contradicts itself.
    pub fn check(&self) -> anyhow::Result<()> {
        let (interval, timeout) = (self.interval, self.timeout);
        ensure!(
            interval.0 >= SHORTEST,
            "--interval {interval} is shorter than 1ms; give a longer one"
        );
        ensure!(
            !timeout.0.is_zero(),
            "--timeout 0s leaves no time for an answer; give a longer one"
        );
        ensure!(
            timeout <= interval,
            "--timeout {timeout} is longer than --interval {interval}: one probe is over before the \
             next; give a shorter one"
        );
        ensure!(
            !self.refresh.0.is_zero(),
            "--refresh 0s never rests; give a longer one"
        );
        ensure!(
            self.metrics.is_some() || self.jsonl || self.plan,
            "nobody would hear of it: give --metrics ADDRESS, or --jsonl"
        );
        Ok(())
    }
}

/// The address of a listener for HTTP.
fn for_http(text: &str) -> Result<(String, u16), String> {
    match text.parse()? {
        Endpoint::Inet {
            transport: None | Some(Transport::Tcp),
            host,
            port,
        } => Ok((host, port)),
        _ => Err("that is no address for HTTP; write HOST:PORT".to_owned()),
    }
}

fn transport(text: &str) -> Result<Transport, String> {
    match text {
        "tcp" => Ok(Transport::Tcp),
        "udp" => Ok(Transport::Udp),
        _ => Err("write tcp, udp or tcp,udp".to_owned()),
    }
}

impl TryFrom<OsString> for Source {
    type Error = String;

    fn try_from(typed: OsString) -> Result<Self, Self::Error> {
        const WRITE: &str = "write dns:NAME:PORT or file:PATH";
        if let Some(path) = typed.as_bytes().strip_prefix(b"file:")
            && !path.is_empty()
        {
            let path = OsString::from_vec(path.to_vec());
            return Ok(Source::File(FilePath(path.into())));
        }
        let name = typed.to_str().and_then(|text| text.strip_prefix("dns:"));
        host_and_port(name.ok_or(WRITE)?).map(|(host, port)| Source::Dns(host, port))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Dns(host, port) => write!(f, "dns:{}", Endpoint::inet(None, host, *port)),
            Source::File(path) => write!(f, "file:{path}"),
        }
    }
}

/// The host and the port of a peer.
pub fn host_and_port(text: &str) -> Result<(String, u16), String> {
    const ALONE: &str = "write HOST:PORT alone; --transport says over what";
    // No URL has a spelling that is taken here.
    if text.contains("://") {
        return Err(ALONE.to_owned());
    }
    match text.parse()? {
        Endpoint::Inet { port: 0, .. } => {
            Err("nothing listens on port 0; give the server's".to_owned())
        }
        Endpoint::Inet {
            transport: None,
            host,
            port,
        } => Ok((host, port)),
        _ => Err(ALONE.to_owned()),
    }
}

impl FromStr for Own {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Own::Auto),
            _ => Zoned::with_or_without_port(text)
                .map(|address| Own::At(address.0))
                .map_err(|cause| format!("{cause}; write ADDRESS, ADDRESS:PORT or auto")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Result<Source, String> {
        Source::try_from(OsString::from(text))
    }

    #[test]
    fn a_path_of_any_bytes_is_taken_as_it_is_typed() {
        for bytes in [b"file:run/\xff".to_vec(), br"file:a\xff".to_vec()] {
            let Ok(Source::File(path)) = Source::try_from(OsString::from_vec(bytes.clone())) else {
                panic!("{bytes:?}");
            };
            assert_eq!(path.as_os_str().as_bytes(), &bytes[5..]);
        }
    }

    #[test]
    fn a_source_is_shown_as_it_is_written() {
        for text in [
            "dns:echo.svc:5346",
            "dns:[::1]:7",
            "file:/etc/peers.json",
            "file:a:b",
        ] {
            assert_eq!(source(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "echo:7",
            "dns:echo",
            "dns:echo:0",
            "dns:udp://h:7",
            "dns:unix:x",
            "file:",
        ] {
            assert!(source(text).is_err(), "{text:?}");
        }
    }
}
