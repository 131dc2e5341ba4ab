//! What a service manager is told, where it wants to know (`Type=notify`): sd_notify(3).

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use echo_core::Failure;
use echo_core::path::of_socket;
use sd_notify::NotifyState::{self, Ready, Status, Stopping, Watchdog};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::event::Stats;
use crate::event::stats::Totals;
use crate::pulse::Pulse;
use crate::shutdown::Shutdown;
use crate::thread;

/// How often the counts are told.
const EVERY: Duration = Duration::from_secs(5);

/// Tells that the server is ready, how it is doing, and that it stops; and feeds the watchdog as long
/// as every worker takes a turn when it is woken: from the first word on, and not at all without one.
/// Does nothing where no manager listens.
///
/// # Errors
/// A [`Failure`] when the system grants no thread.
pub(crate) fn start(totals: Arc<Totals>, shutdown: Shutdown) -> Result<Sender<()>, Failure> {
    let (go, ready) = channel();
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(go);
    }
    let work = move || {
        if ready.recv().is_err() {
            return;
        }
        let mut pulse = Pulse::new(totals.clone(), shutdown.clone());
        // Twice as often as is asked for, as systemd advises.
        let every = sd_notify::watchdog_enabled().map_or(EVERY, |limit| (limit / 2).min(EVERY));
        tell(&[Ready, Status(&doing(&totals.stats()))]);
        pulse.beats(Instant::now());
        while !shutdown.wait_for(every) {
            let doing = doing(&totals.stats());
            match pulse.beats(Instant::now()) {
                true => tell(&[Status(&doing), Watchdog]),
                false => tell(&[Status("A worker hangs")]),
            }
        }
        tell(&[
            Stopping,
            Status(&format!("Stopping; {}", doing(&totals.stats()))),
        ]);
    };
    thread::start("notify", work).map(|_| go)
}

fn tell(state: &[NotifyState<'_>]) {
    let text: String = state.iter().map(|state| format!("{state}\n")).collect();
    // A manager that is gone or does not listen is nothing that peers should feel.
    let _: io::Result<usize> = to_manager(text.as_bytes());
}

/// Sends it where `NOTIFY_SOCKET` says, which sd-notify takes for a path even where it is a name (`@`).
fn to_manager(text: &[u8]) -> io::Result<usize> {
    let place = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    let place = SockAddr::unix(of_socket(place.into()))?;
    Socket::new(Domain::UNIX, Type::DGRAM, None)?.send_to(text, &place)
}

fn doing(stats: &Stats) -> String {
    format!(
        "{} connections open, {} accepted, {} refused; {} datagrams received",
        stats.open,
        stats.accepted,
        stats.refused.iter().sum::<u64>(),
        stats.datagrams
    )
}
