//! The servers that are compared: how each is started, and what it calls itself.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::lab::Running;
use super::machine;
use crate::cargo::{Programs, root};
use crate::process::Process;
use crate::server::Server;

/// The longest that a server may take to listen.
pub const START: Duration = Duration::from_secs(10);

/// A server to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// Ours with events off, one worker.
    Echo,
    /// Ours as it starts by default, but for the one worker.
    EchoTold,
    /// Ours with events off and a fault that never strikes: it copies what it would splice.
    EchoCopying,
    /// A thread for each connection, blocking calls.
    Blocking,
    /// The least an event loop must do.
    Mio,
    /// tokio on one thread.
    Tokio,
    /// The tutorial's, with a thread for each connection.
    Python,
    /// socat with a process for each connection.
    Socat,
    /// ncat with a `cat` for each connection.
    Ncat,
    /// recv_from, send_to.
    UdpPlain,
}

use Contender::*;

/// Everything that speaks TCP.
pub const STREAM: &[Contender] = &[Echo, Blocking, Mio, Tokio, Python, Socat, Ncat];

impl Contender {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Echo => "echo-server -q",
            EchoTold => "echo-server",
            EchoCopying => "echo-server -q, copying",
            Blocking => "blocking threads",
            Mio => "bare mio loop",
            Tokio => "tokio, 1 thread",
            Python => "tutorial (Python)",
            Socat => "socat",
            Ncat => "ncat",
            UdpPlain => "plain UDP loop",
        }
    }

    /// Whether it is this repository's server.
    pub fn is_ours(self) -> bool {
        matches!(self, Echo | EchoTold | EchoCopying)
    }

    /// What was built or found, or why there is none.
    pub fn version(self) -> Result<String, String> {
        let found = |program, flag| {
            machine::version(program, flag).ok_or(format!("{program} is not on this machine"))
        };
        match self {
            Echo | EchoTold | EchoCopying => Ok(env!("CARGO_PKG_VERSION").to_owned()),
            Blocking | UdpPlain => Ok("std".to_owned()),
            Mio => Ok(format!("mio {}", locked("mio"))),
            Tokio => Ok(format!("tokio {}", locked("tokio"))),
            Python => found("python3", "--version"),
            Socat => found("socat", "-V"),
            Ncat => found("ncat", "--version"),
        }
    }

    /// Starts it and waits until it listens.
    pub fn start(self, programs: &Programs) -> Result<Running> {
        let (mut command, announces) = self.command(programs)?;
        let Some(address) = announces else {
            let server = Server::start(&mut command, START)?;
            let address = server.ipv4("tcp").or_else(|_| server.ipv4("udp"))?;
            let process = server.process;
            return Ok(Running { process, address });
        };
        let process = Process::start(&mut command)?;
        wait_for_listener(address)?;
        Ok(Running { process, address })
    }

    /// The command; for one that cannot say where it listens, also the address it was given.
    fn command(self, programs: &Programs) -> Result<(Command, Option<SocketAddr>)> {
        let peer = |name| Ok((programs.command(name)?, None));
        match self {
            Echo | EchoTold | EchoCopying => {
                let mut command = programs.command("echo-server")?;
                command.args(["--listen", "127.0.0.1:0", "--workers", "1"]);
                if self != EchoTold {
                    command.arg("-q");
                }
                if self == EchoCopying {
                    command.args(["--fault", "drop=0%"]);
                }
                Ok((command, None))
            }
            Blocking => peer("blocking"),
            Mio => peer("mio-loop"),
            Tokio => peer("tokio-loop"),
            UdpPlain => peer("udp-plain"),
            Python => {
                let mut command = Command::new("python3");
                command.arg(root().join("xtask/peers/tutorial.py"));
                Ok((command, None))
            }
            Socat => {
                let address = free_address()?;
                let mut command = Command::new("socat");
                command.arg(format!(
                    "TCP-LISTEN:{},bind=127.0.0.1,backlog=1024,fork,nodelay",
                    address.port()
                ));
                command.arg("PIPE");
                Ok((command, Some(address)))
            }
            Ncat => {
                let address = free_address()?;
                let mut command = Command::new("ncat");
                command.args(["--listen", "--keep-open", "--max-conns", "2000", "--exec"]);
                command.args(["/bin/cat", "127.0.0.1", &address.port().to_string()]);
                Ok((command, Some(address)))
            }
        }
    }
}

/// A port that was free a moment ago, for servers that cannot tell which one they got.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn wait_for_listener(address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + START;
    while TcpStream::connect_timeout(&address, START).is_err() {
        ensure!(
            Instant::now() < deadline,
            "nothing listens on {address} after {START:?}"
        );
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The version of a package in the peers' lock file.
fn locked(package: &str) -> String {
    let lock = std::fs::read_to_string(root().join("xtask/peers/Cargo.lock")).unwrap_or_default();
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| **line != *name).skip(1);
    let version = lines.next().and_then(|line| line.split('"').nth(1));
    version.unwrap_or("of an unknown version").to_owned()
}
