//! What is asked of a server, by whom, and what came of it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cargo::Programs;

/// What is asked of a server.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Messages from `echo-client bench`, which verifies each.
    Client(Shape),
    /// The same from the plainest generator, which counts bytes whether or not they make a whole
    /// message.
    Plain(Shape),
    /// Connect, one echo, close: our client, on as many connections at a time.
    Churn(Shape),
    /// Datagrams from our client, a system call each.
    Datagrams(Shape),
    /// One message after another from `echo-client ping`.
    Ping { size: usize },
    /// The same from the least client of blocking calls.
    Blocking { size: usize },
    /// A ping each millisecond, beside two bulk transfers.
    Beside,
    /// Datagrams sent by GSO, as many as it takes to a train.
    Trains { size: usize, trains: usize },
}

/// Messages on connections.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many connections.
    pub connections: usize,
    /// Bytes in a message.
    pub size: usize,
    /// Messages under way on each connection.
    pub depth: usize,
}

/// What came of it, between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Echoes, or connections where that is what is asked.
    pub echoes: f64,
    /// Bytes that came back.
    pub bytes: f64,
    /// Datagrams that did not.
    pub lost: f64,
    /// Half of the round trips took at most this, where each was timed.
    pub round_trip: Option<Duration>,
    /// All but a hundredth took at most this.
    pub slow_round_trip: Option<Duration>,
    /// When its CPU time is to be read, in nanoseconds since 1970.
    pub window: (u128, u128),
}

/// CPU time is read this much before the load counts. A steady load costs the same a little
/// earlier, the warm-up is longer than this, and the load's process still has a clock to read. The
/// client tells how long it counted, not when; it ends well within this after it.
const STEP_BACK: Duration = Duration::from_millis(20);

impl Load {
    /// The program that makes this load for `time`.
    pub fn command(
        self,
        ours: &Programs,
        peers: &Programs,
        address: String,
        time: Duration,
    ) -> Result<Command> {
        let (mode, numbers) = match self {
            Load::Client(shape) => return client(ours, shape, &[], &address, time),
            Load::Churn(shape) => {
                return client(ours, shape, &["--new-connection"], &address, time);
            }
            Load::Datagrams(shape) => return client(ours, shape, &["--udp"], &address, time),
            Load::Ping { size } => return ping(ours, size, "0", &address, time),
            Load::Beside => return ping(ours, 64, "1ms", &address, time),
            Load::Plain(s) => ("tcp", vec![s.connections, s.size, s.depth]),
            Load::Blocking { size } => ("blocking", vec![size]),
            Load::Trains { size, trains } => ("trains", vec![size, trains]),
        };
        let mut command = peers.command("load")?;
        command.args([mode, &address]);
        command.args(numbers.iter().map(usize::to_string));
        command.arg(time.as_millis().to_string());
        Ok(command)
    }

    /// What goes on beside it until it ends. It gives way, so that the load waits for the server and
    /// not for a core.
    pub fn beside(self, ours: &Programs, address: &str) -> Result<Vec<Command>> {
        let Load::Beside = self else {
            return Ok(Vec::new());
        };
        let shape = Shape {
            connections: 2,
            size: 1 << 20,
            depth: 2,
        };
        let bulk = client(ours, shape, &[], address, Duration::from_secs(600))?;
        let mut command = Command::new("nice");
        command
            .args(["-n", "19"])
            .arg(bulk.get_program())
            .args(bulk.get_args());
        Ok(vec![command])
    }

    /// Whether the program ended as it should: what a datagram is lost to is for the table to tell.
    pub fn is_good(self, code: Option<i32>) -> bool {
        code == Some(0) || (matches!(self, Load::Datagrams(_)) && code == Some(1))
    }

    /// Reads what the program printed before it ended at `ended`.
    pub fn outcome(self, stdout: &[u8], ended: u128) -> Result<Outcome> {
        let document: Value = serde_json::from_slice(stdout)?;
        let number = |key: &str| {
            let number = document[key].as_f64();
            number.with_context(|| format!("the load's report has no {key}"))
        };
        let (echoes, bytes, from, to) = match self {
            Load::Client(_)
            | Load::Churn(_)
            | Load::Datagrams(_)
            | Load::Ping { .. }
            | Load::Beside => {
                let from = ended.saturating_sub(number("elapsed_ns")? as u128);
                ("unique", "received_bytes", from, ended)
            }
            // A double is exact to 256 ns here, far below what a clock of CPU time resolves.
            _ => {
                let (from, to) = (number("from_unix_ns")?, number("to_unix_ns")?);
                ("echoes", "bytes", from as u128, to as u128)
            }
        };
        // A ping has no warm-up before which it could be read.
        let is_ping = matches!(self, Load::Ping { .. } | Load::Beside);
        let step = STEP_BACK.as_nanos();
        let from = from + if is_ping { 2 * step } else { 0 };
        let round_trip = |key: &str| document[key].as_u64().map(Duration::from_nanos);
        Ok(Outcome {
            echoes: number(echoes)?,
            bytes: number(bytes)?,
            lost: number("lost")?,
            round_trip: round_trip("rtt_p50_ns"),
            slow_round_trip: round_trip("rtt_p99_ns"),
            window: (from.saturating_sub(step), to.saturating_sub(step)),
        })
    }
}

fn client(
    ours: &Programs,
    shape: Shape,
    flags: &[&str],
    address: &str,
    time: Duration,
) -> Result<Command> {
    let warmup = (time / 5).max(2 * STEP_BACK);
    let mut command = ours.command("echo-client")?;
    command
        .args(["bench", address, "--json"])
        .args(flags)
        .args(["--parallel", &shape.connections.to_string()])
        .args(["--size", &shape.size.to_string()])
        .args(["--depth", &shape.depth.to_string()])
        .args(["--duration", &format!("{}ms", time.as_millis())])
        .args(["--warmup", &format!("{}ms", warmup.as_millis())]);
    Ok(command)
}

fn ping(
    ours: &Programs,
    size: usize,
    interval: &str,
    address: &str,
    time: Duration,
) -> Result<Command> {
    let mut command = ours.command("echo-client")?;
    command
        .args(["ping", address, "--json", "--interval", interval])
        .args(["--size", &size.to_string()])
        .args(["--duration", &format!("{}ms", time.as_millis())]);
    Ok(command)
}
