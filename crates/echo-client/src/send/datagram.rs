//! Sends one datagram, or one for each line that is typed, and checks what answers it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::time::Instant;

use anyhow::anyhow;
use echo_core::Failure;

use super::Ended;
use super::difference;
use super::show::Show;
use super::source::{Piece, Source};
use super::window::Window;
use crate::connection::{
    Address, Connect, Connection, ErrorKind, Fault, TICK, cause, connect, is_for_now, is_readable,
    packets, unconnected,
};
use crate::interrupt::Interrupt;
use crate::output;
use crate::report::Report;

/// The most that UDP carries: the 65,535 of its length field less its 8-byte header, and over
/// IPv4 less the 20-byte header of the packet, whose length field counts that too.
const fn limit_of(is_ipv4: bool) -> usize {
    if is_ipv4 { 65_535 - 8 - 20 } else { 65_535 - 8 }
}

/// Lines of which a late copy is known: at the longest a line can be, a megabyte of them.
const REMEMBERED: usize = 16;

/// Sends all of `source` in one datagram, or each line of it, to the first address that is not known
/// to refuse it.
pub fn exchange(
    config: &Connect,
    mut source: Source,
    show: &mut Show,
    report: &mut Report,
    interrupt: &Interrupt,
) -> Ended {
    let mut message = Vec::new();
    while !source.by_line {
        source.wait(interrupt)?;
        let Some(piece) = source.next()? else { break };
        message.push(piece);
        check(&message, false, &source.name)?;
    }
    let mut connection = connect(config, interrupt)?;
    let is_ipv4 = matches!(connection.remote, Address::Udp(remote) if remote.is_ipv4());
    check(&message, is_ipv4, "the message")?;
    super::connected(&connection, config, source.by_line, report);
    if !source.by_line {
        let way = (&mut connection, &VecDeque::new());
        return ask(way, message, config, show, report, interrupt);
    }
    let mut earlier = VecDeque::new();
    while source.wait(interrupt).is_ok()
        && let Some(line) = source.next()?
    {
        // One that is yet to end is no message.
        if line.bytes.is_empty() {
            continue;
        }
        let bytes = line.bytes.clone();
        let message = vec![line];
        check(&message, is_ipv4, "the line")?;
        let way = (&mut connection, &earlier);
        ask(way, message, config, show, report, interrupt)?;
        earlier.truncate(REMEMBERED - 1);
        earlier.push_front(bytes);
    }
    Ok(interrupt.why())
}

/// Sends a message and compares the answer, which is no other copy of one to an `earlier` message.
fn ask(
    (connection, earlier): (&mut Connection, &VecDeque<Vec<u8>>),
    pieces: Vec<Piece>,
    config: &Connect,
    show: &mut Show,
    report: &mut Report,
    interrupt: &Interrupt,
) -> Ended {
    let (mut message, mut window) = (Vec::new(), Window::default());
    for piece in pieces {
        message.extend_from_slice(&piece.bytes);
        window.push(piece);
        window.wrote(window.outgoing().len());
    }
    report.counts.sent_bytes += message.len() as u64;
    let peer = connection.remote.to_string();
    // One byte more than can be sent, so that an excess shows.
    let mut buffer = vec![0; limit_of(false) + 1];
    let is_copy = |reply: &[u8]| reply != message && earlier.iter().any(|line| line == reply);
    let (socket, start) = (&mut connection.socket, Instant::now());
    let outcome = socket.write(&message).and_then(|_| {
        loop {
            if is_readable(socket, TICK.min(config.timeout.0)) {
                match socket.read(&mut buffer) {
                    Err(error) if is_for_now(&error) => {}
                    Err(error) => return Err(error),
                    Ok(len) => {
                        report.counts.received_bytes += len as u64;
                        if !is_copy(&buffer[..len]) {
                            return Ok(Some(len));
                        }
                        report.counts.duplicate += 1;
                    }
                }
            }
            if interrupt.take_question() {
                output::note(format_args!("{peer}: no reply so far"));
            }
            if start.elapsed() >= config.timeout.0 || interrupt.why().is_some() {
                return Ok(None);
            }
        }
    });
    report.elapsed += start.elapsed();
    let reply = match outcome {
        Ok(Some(len)) => &buffer[..len],
        Ok(None) => return Err(unanswered(config, message.len(), &peer, interrupt).into()),
        Err(error) => {
            let fault = unconnected(&connection.remote, &error);
            return Err(
                match (fault.kind, packets::most(connection.socket.socket())) {
                    (ErrorKind::TooLarge, Some(most)) => {
                        let message = format!("{peer}: {}: {most} bytes fit", cause(&error));
                        Fault::new(fault.kind, message).advise("send less, or leave --df out")
                    }
                    _ => fault,
                }
                .into(),
            );
        }
    };
    let same = window.take(reply, |payload| show.take(payload))?;
    if same == message.len() && same == reply.len() {
        show.end()?;
        return Ok(None);
    }
    show.unexpected(&reply[same..])?;
    let (offset, expected) = (same as u64, window.expected());
    Err(if same == reply.len() {
        let how = Fault::new(ErrorKind::Mismatch, "the reply's datagram ends");
        difference::short(&peer, offset, message.len() as u64, &expected, &how)
    } else {
        difference::differs(&peer, offset, &expected, &reply[same..])
    }
    .into())
}

fn check(message: &[Piece], is_ipv4: bool, name: &str) -> Result<(), Failure> {
    let len = message.iter().map(|piece| piece.bytes.len()).sum::<usize>();
    if len <= limit_of(is_ipv4) {
        return Ok(());
    }
    Err(Failure::usage(anyhow!(
        "{name} does not fit a UDP datagram: {len} bytes or more, and at most {} fit over IPv4, \
         {} over IPv6; send less, or leave --udp out",
        limit_of(true),
        limit_of(false),
    )))
}

fn unanswered(config: &Connect, len: usize, peer: &str, interrupt: &Interrupt) -> Fault {
    if let Some(why) = interrupt.why() {
        let message = format!("{peer}: {why} before the reply came");
        return Fault::new(ErrorKind::Interrupted, message);
    }
    let message = format!(
        "{peer}: no reply within {}: 0 of {len} bytes came back; UDP loses datagrams without a \
         word: send again, or allow more time with --timeout",
        config.timeout,
    );
    Fault::new(ErrorKind::Timeout, message)
}
