//! A server that says where it listens, and then that it is ready.

use std::fmt;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use rustix::process::Signal;

use crate::process::{Finished, Process};

/// A server that is ready.
pub struct Server {
    /// The running program.
    pub process: Process,
    addresses: Vec<(String, String)>,
}

/// It ended before it was ready.
#[derive(Debug)]
pub struct Refused(pub Finished);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finished { status, stderr, .. } = &self.0;
        write!(f, "it was never ready: {status}; its stderr:\n{stderr}")
    }
}

impl std::error::Error for Refused {}

impl Server {
    /// Starts a server, which `command` runs as this task's own child, and waits until it is ready.
    ///
    /// # Errors
    /// [`Refused`] when it ends instead.
    pub fn start(command: &mut Command, limit: Duration) -> Result<Self> {
        Server::await_ready(Process::start(command)?, limit).or_else(|(process, error)| {
            let finished = process.wait(limit).map_err(|_| error)?;
            Err(Refused(finished).into())
        })
    }

    /// The server that a process is once it is ready; otherwise what it still is.
    pub fn await_ready(mut process: Process, limit: Duration) -> Result<Self, (Process, Error)> {
        let address = |line: &String| match line.splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["listening", kind, address] => Ok((kind.to_owned(), address.to_owned())),
            _ => bail!("expected \"listening KIND ADDRESS\" from the server, saw {line:?}"),
        };
        let lines = process.lines_before("ready", limit);
        match lines.and_then(|lines| lines.iter().map(address).collect()) {
            Ok(addresses) => Ok(Server { process, addresses }),
            Err(error) => Err((process, error)),
        }
    }

    /// The ready lines' addresses of a kind: `tcp`, `udp` or `unix`.
    pub fn addresses(&self, kind: &str) -> impl Iterator<Item = &str> {
        let of_kind = self.addresses.iter().filter(move |(k, _)| k == kind);
        of_kind.map(|(_, address)| address.as_str())
    }

    /// The internet addresses of a kind.
    pub fn sockets(&self, kind: &str) -> Result<Vec<SocketAddr>> {
        let parsed = self.addresses(kind).map(|text| {
            text.parse()
                .with_context(|| format!("the ready line of {kind} {text} is no IP:port"))
        });
        parsed.collect()
    }

    /// Where it is reached over IPv4.
    pub fn ipv4(&self, kind: &str) -> Result<SocketAddr> {
        let found = self.sockets(kind)?.into_iter().find(SocketAddr::is_ipv4);
        let mut address = found.with_context(|| format!("no ready line names {kind} over IPv4"))?;
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        Ok(address)
    }

    /// The ready lines, as they were printed.
    pub fn ready_lines(&self) -> String {
        let lines = self.addresses.iter();
        lines
            .map(|(kind, address)| format!("listening {kind} {address}\n"))
            .chain(["ready".to_owned()])
            .collect()
    }

    /// The error of one that has ended, with exit code 1, though it was ready once.
    pub fn refused(self) -> Option<anyhow::Error> {
        // It may have given back its memory, and not have ended yet.
        let finished = self.process.wait(Duration::from_secs(1)).ok()?;
        let told = finished.status.code() == Some(1);
        told.then(|| Refused(finished).into())
    }

    /// Asks it to stop, and checks that it does so as it should.
    pub fn stop(self, limit: Duration) -> Result<Finished> {
        self.process.signal(Signal::TERM)?;
        let finished = self.process.wait(limit)?;
        let stderr = &finished.stderr;
        ensure!(
            finished.status.code() == Some(0) && !stderr.contains("panicked"),
            "expected exit code 0 after SIGTERM, saw {}; its stderr:\n{stderr}",
            finished.status,
        );
        Ok(finished)
    }
}
