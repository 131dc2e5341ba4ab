//! Events as lines of text that a person reads.

use std::io::{self, Write};

use crate::event::{Event, EventReader, Kind, PeerAddress};
use crate::fault::{Applied, Network};

/// Writes every event to `out` until the server is gone.
///
/// # Errors
/// The first one of `out`.
pub fn write_text(events: &EventReader, mut out: impl Write) -> io::Result<()> {
    while let Some(event) = events.next() {
        write_line(&mut out, &event)?;
        while let Some(event) = events.try_next() {
            write_line(&mut out, &event)?;
        }
        let missed = events.take_missed();
        if missed > 0 {
            writeln!(
                out,
                "({missed} events not shown: they came faster than they could be written)"
            )?;
        }
        out.flush()?;
    }
    Ok(())
}

fn write_line(out: &mut impl Write, event: &Event) -> io::Result<()> {
    match &event.kind {
        Kind::Accepted { id, peer } => writeln!(out, "Connected by: {peer} (#{id})"),
        Kind::Refused { peer, limit } => writeln!(out, "Refused: {peer}: {limit}"),
        Kind::Received { id, bytes } => writeln!(out, "  #{id} received {bytes} bytes"),
        Kind::Sent { id, bytes } => writeln!(out, "  #{id} sent {bytes} bytes"),
        Kind::Closed {
            id,
            peer,
            reason,
            received,
            sent,
        } => writeln!(
            out,
            "Closed: {peer} (#{id}): received {received} bytes, sent {sent} bytes: {reason}"
        ),
        Kind::Datagrams {
            peer,
            count: 1,
            bytes,
        } => {
            writeln!(out, "Datagram from: {peer}: {bytes} bytes, echoed")
        }
        Kind::Datagrams { peer, count, bytes } => {
            writeln!(
                out,
                "Datagrams: {count} with {bytes} bytes, echoed; the last from {peer}"
            )
        }
        Kind::DatagramDropped {
            peer,
            why,
            count: 1,
        } => {
            writeln!(out, "Datagram from {peer} not answered: {why}")
        }
        Kind::DatagramDropped { peer, why, count } => {
            writeln!(
                out,
                "Datagrams not answered: {count}; the last from {peer}: {why}"
            )
        }
        Kind::Faults { count, seed } => writeln!(
            out,
            "Faults: {count} configured; --seed {seed} repeats what chance decides"
        ),
        Kind::Fault {
            what,
            network,
            connection,
            peer,
            message,
        } => {
            let message = (*message > 0).then_some(*message);
            write_fault(out, what, *network, *connection, *peer, message)
        }
        Kind::AcceptFailed { error, retry_in } => writeln!(
            out,
            "Cannot accept: {error}; trying again in {} ms. Raise the open-file limit (ulimit -n) \
             or lower --max-connections",
            retry_in.as_millis()
        ),
        Kind::Draining { connections: 0, .. } => writeln!(out, "Stopping"),
        Kind::Draining {
            connections,
            at_most,
        } => writeln!(
            out,
            "Stopping: {connections} open connections may go on for {} s at most",
            at_most.as_secs_f64()
        ),
        Kind::Stopped => writeln!(out, "Stopped"),
    }
}

/// What was done, then to what: `Fault: drop: message 3 from 127.0.0.1:50000 (#1)`.
fn write_fault(
    out: &mut impl Write,
    what: &Applied,
    network: Network,
    connection: u64,
    peer: Option<PeerAddress>,
    message: Option<u64>,
) -> io::Result<()> {
    write!(out, "Fault: {what}: ")?;
    match (message, peer) {
        (Some(message), Some(peer)) => {
            writeln!(
                out,
                "{network} message {message} from {peer} (#{connection})"
            )
        }
        (_, Some(peer)) => writeln!(out, "{network} {peer} (#{connection})"),
        (_, None) => writeln!(out, "{network} connections from #{connection} on"),
    }
}
