//! What a server tells monitors at the address of `--metrics`: what it has done, whether it lives and
//! whether it is ready.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use echo_core::{Failure, remedied};
use echo_metrics::{Answers, Rounds, Text, monitors};

use crate::event::{Kind, Stats};
use crate::pulse::Pulse;
use crate::serve::shared::Shared;
use crate::thread;

/// Starts a thread that answers monitors, until what is returned is dropped.
///
/// # Errors
/// A [`Failure`] when the system grants no descriptors or no thread.
pub(crate) fn start(listeners: Vec<TcpListener>, server: Arc<Shared>) -> Result<Rounds, Failure> {
    let pulse = Pulse::new(server.totals.clone(), server.shutdown.clone());
    let desk = Desk { server, pulse };
    let (rounds, answering) = monitors(listeners, desk).map_err(|error| {
        Failure::bad(anyhow!(
            "cannot answer monitors: {}",
            remedied(&error, "leave out --metrics")
        ))
    })?;
    thread::start("metrics", answering)?;
    Ok(rounds)
}

/// What answers follow from.
struct Desk {
    server: Arc<Shared>,
    pulse: Pulse,
}

impl Answers for Desk {
    fn metrics(&mut self, text: &mut Text) {
        add(text, &self.server.totals.stats(), self.is_ready());
    }

    fn is_live(&mut self) -> bool {
        self.pulse.beats(Instant::now())
    }

    fn is_ready(&self) -> bool {
        !self.server.shutdown.is_requested()
    }

    fn accept_failed(&self, error: String, retry_in: Duration) {
        let failed = || Kind::AcceptFailed { error, retry_in };
        self.server.events.tell(failed);
    }
}

/// Adds what a server has done, and whether it is ready.
fn add(text: &mut Text, stats: &Stats, ready: bool) {
    text.build_info("echo_server_build_info", env!("CARGO_PKG_VERSION"));
    let mut add = |name: &str, help: &str, codes: &[&str], counts: &[u64]| {
        let label = |code: &str| match code {
            "" => String::new(),
            code => format!("{{reason=\"{code}\"}}"),
        };
        let figures = codes.iter().zip(counts);
        let figures = figures.map(|(code, count)| (label(code), *count as f64));
        let figures: Vec<_> = figures.collect();
        text.family(&format!("echo_server_{name}"), help.trim(), &figures);
    };
    let ready_help = "1 while connections are accepted, 0 while the server is stopping";
    add("ready", ready_help, &[""], &[ready.into()]);
    stats.families(add);
}
