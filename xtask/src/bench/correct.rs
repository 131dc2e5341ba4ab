//! Whether a server is one at all: two cases that fast loops break.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::contender::Contender;
use super::lab::Lab;
use crate::traffic::{self, Exchange, Pace};
use echo_core::splitmix::Random;

/// The longest that a server may be silent while it owes bytes.
const SILENCE: Duration = Duration::from_secs(5);

/// What a server passed.
pub struct Checked<'a> {
    /// The server.
    pub contender: &'a Contender,
    /// 10 MB, the sending half closed, read slowly: whether every byte came back, then the end.
    pub half_close: Result<(), String>,
    /// A peer that sends and never reads: whether another is still served.
    pub stalled_neighbour: Result<(), String>,
}

impl Checked<'_> {
    /// What it did wrong, in words.
    pub fn faults(&self) -> Vec<String> {
        let name = &self.contender.name;
        let cases = [
            ("half-close", &self.half_close),
            ("stalled peer", &self.stalled_neighbour),
        ];
        let failed = cases.into_iter().filter_map(|(case, result)| {
            let error = result.as_ref().err()?;
            Some(format!("{name}, {case}: {error}"))
        });
        failed.collect()
    }
}

/// Checks every server that is on this machine.
pub fn check_all(lab: &Lab) -> Vec<Checked<'_>> {
    let is_found = |key: &&String| lab.plan.server(key).version().is_ok();
    let found = lab.plan.peers.iter().filter(is_found);
    found.map(|key| check(lab, key)).collect()
}

fn check<'a>(lab: &'a Lab, key: &str) -> Checked<'a> {
    let on_own = |case: fn(SocketAddr) -> Result<()>| {
        let server = lab.start(key)?;
        case(server.address)
    };
    let told = |result: Result<()>| result.map_err(|error| format!("{error:#}"));
    Checked {
        contender: lab.plan.server(key),
        half_close: told((0..3).try_for_each(|_| on_own(half_close))),
        stalled_neighbour: told(on_own(stalled_neighbour)),
    }
}

fn half_close(address: SocketAddr) -> Result<()> {
    let pace = Pace {
        // By then every buffer on the way is full, and the server has had to hold something back.
        start: Duration::from_millis(100),
        pause: Duration::from_millis(1),
        patience: SILENCE,
    };
    let message = Random(0).bytes(10_000_000);
    let Exchange { back, whole, .. } = traffic::exchange_at(address, &message, pace)?;
    let missing = message.len() - back;
    ensure!(
        missing == 0,
        "{missing} of {} bytes never came back",
        message.len()
    );
    ensure!(whole, "no end of the stream after the last byte");
    Ok(())
}

fn stalled_neighbour(address: SocketAddr) -> Result<()> {
    let stalled = traffic::connect(address)?;
    traffic::fill(&stalled, &Random(0).bytes(1_000_000))?;
    let other = traffic::connect(address)?;
    other.set_read_timeout(Some(SILENCE))?;
    (0..100).try_for_each(|round| {
        traffic::echo(&other, b"hello").with_context(|| format!("in round {round}"))
    })
}
