//! The servers that are compared: how each is started, and which version it is.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::machine;
use crate::cargo::{Programs, root};
use crate::process::{Process, until};
use crate::server::Server;

/// The longest that a server may take to listen.
const START: Duration = Duration::from_secs(10);

/// A server to measure.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contender {
    /// Its name in tables.
    pub name: String,
    command: String,
    /// Whether it is this repository's server.
    #[serde(default)]
    pub ours: bool,
    package: Option<String>,
    asks: Option<String>,
}

/// A server that listens.
pub struct Running {
    /// The running program.
    pub process: Process,
    /// Where it listens over TCP, or else over UDP, or to STAMP.
    pub address: SocketAddr,
}

impl Running {
    /// Starts a server that says where it listens.
    pub fn start(command: &mut Command) -> Result<Self> {
        let server = Server::start(command, START)?;
        let mut kinds = ["tcp", "udp", "stamp"].into_iter();
        let address = kinds.find_map(|kind| server.ipv4(kind).ok());
        Ok(Running {
            address: address.context("it listens to nothing that is measured")?,
            process: server.process,
        })
    }
}

impl Contender {
    /// What was built or found, or why there is none.
    pub fn version(&self) -> Result<String, String> {
        match (&self.package, &self.asks) {
            (Some(package), _) => Ok(format!("{package} {}", locked(package))),
            (_, Some(words)) => {
                machine::version(words).ok_or_else(|| format!("`{words}` tells nothing here"))
            }
            _ if self.ours => Ok(env!("CARGO_PKG_VERSION").to_owned()),
            _ => Ok("std".to_owned()),
        }
    }

    /// Starts it and waits until it listens.
    pub fn start(&self, programs: &Programs) -> Result<Running> {
        let mut command = programs.typed("", &self.command)?;
        if !self.command.contains("PORT") {
            return Running::start(&mut command);
        }
        // A port that was free a moment ago, for it cannot tell which one it got.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let words = self.command.replace("PORT", &address.port().to_string());
        let process = Process::start(&mut programs.typed("", &words)?)?;
        let listens = || Ok(TcpStream::connect_timeout(&address, START).ok());
        until(START, listens, || format!("nothing listens on {address}"))?;
        Ok(Running { process, address })
    }
}

/// The version of a package in the peers' lock file.
fn locked(package: &str) -> String {
    let lock = std::fs::read_to_string(root().join("xtask/peers/Cargo.lock")).unwrap_or_default();
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| **line != *name).skip(1);
    let version = lines.next().and_then(|line| line.split('"').nth(1));
    version.unwrap_or("of an unknown version").to_owned()
}
