//! Sends one datagram and checks the one that answers it.

use std::io::{self, Read, Write};
use std::time::Instant;

use anyhow::{Context, anyhow};
use echo_core::Failure;

use super::difference;
use super::show::Show;
use super::source::Source;
use super::watched::Watched;
use super::{End, Trouble};
use crate::connection::{Address, Connect, ConnectError, Connection, ErrorKind, TICK, connect};
use crate::interrupt::Interrupt;
use crate::output;
use crate::report::{Fault, Report};

/// The most that UDP carries: the 65,535 of its length field less its 8-byte header, and over
/// IPv4 less the 20-byte header of the packet, whose length field counts that too.
const fn limit_of(is_ipv4: bool) -> usize {
    if is_ipv4 { 65_535 - 8 - 20 } else { 65_535 - 8 }
}

/// Sends all of `source` in one datagram, to the first address that is not known to refuse it.
pub fn exchange(
    config: &Connect,
    source: Source,
    show: &mut Show,
    report: &mut Report,
    interrupt: &Interrupt,
) -> Result<End, Trouble> {
    let message = Message::read(source)?;
    let connection = connect(config, interrupt).map_err(Fault::from)?;
    let is_ipv4 = matches!(connection.remote, Address::Udp(remote) if remote.is_ipv4());
    message.check(is_ipv4, "the message")?;
    if config.verbose {
        output::note(format_args!("connected {}", connection.ends()));
    }
    try_one(connection, config, &message, show, report, interrupt)
}

/// A message that fits a datagram.
struct Message {
    bytes: Vec<u8>,
    /// Without the line end that was added.
    payload: usize,
}

impl Message {
    fn read(mut source: Source) -> Result<Self, Trouble> {
        let mut message = Message {
            bytes: Vec::new(),
            payload: 0,
        };
        while let Some(piece) = source.next()? {
            message.bytes.extend_from_slice(&piece.bytes);
            if !piece.is_padding {
                message.payload = message.bytes.len();
            }
            message.check(false, &source.name)?;
        }
        Ok(message)
    }

    fn check(&self, is_ipv4: bool, name: &str) -> Result<(), Failure> {
        if self.bytes.len() <= limit_of(is_ipv4) {
            return Ok(());
        }
        Err(Failure::usage(anyhow!(
            "{name} does not fit a UDP datagram: {} bytes or more, and at most {} fit over IPv4, \
             {} over IPv6; send less, or leave --udp out",
            self.bytes.len(),
            limit_of(true),
            limit_of(false),
        )))
    }
}

fn try_one(
    connection: Connection,
    config: &Connect,
    message: &Message,
    show: &mut Show,
    report: &mut Report,
    interrupt: &Interrupt,
) -> Result<End, Trouble> {
    let watched = Watched::new(connection.socket, &config.narrator);
    let mut socket = &watched;
    report.target.found(&connection.remote);
    report.counts.connections = 1;
    report.counts.sent_bytes = message.bytes.len() as u64;
    let peer = connection.remote.to_string();
    socket
        .set_read_timeout(Some(TICK.min(config.timeout.0)))
        .context("cannot limit the time of a read")
        .map_err(Failure::bad)?;
    // One byte more than can be sent, so that an excess shows.
    let mut buffer = vec![0; limit_of(false) + 1];
    let start = Instant::now();
    let result = socket.write(&message.bytes).and_then(|_| {
        loop {
            match socket.read(&mut buffer) {
                Err(error) if is_tick(&error) => {
                    if interrupt.take_question() {
                        output::note(format_args!("{peer}: no reply so far"));
                    }
                    if start.elapsed() >= config.timeout.0 || interrupt.is_raised() {
                        return Ok(None);
                    }
                }
                result => return result.map(Some),
            }
        }
    });
    report.elapsed = start.elapsed();
    match result {
        Ok(Some(len)) => {
            report.counts.received_bytes = len as u64;
            check(&buffer[..len], message, &peer, show)
        }
        Ok(None) => Err(unanswered(config, message, &peer, interrupt).into()),
        Err(error) => Err(Fault::from(ConnectError::on(&connection.remote, &error)).into()),
    }
}

fn unanswered(config: &Connect, message: &Message, peer: &str, interrupt: &Interrupt) -> Fault {
    if let Some(why) = interrupt.why() {
        let message = format!("{peer}: {why} before the reply came");
        return Fault::new(ErrorKind::Interrupted, message);
    }
    let message = format!(
        "{peer}: no reply within {}: 0 of {} bytes came back; UDP loses datagrams without a word: \
         send again, or allow more time with --timeout",
        config.timeout,
        message.bytes.len()
    );
    Fault::new(ErrorKind::Timeout, message)
}

fn is_tick(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

fn check(reply: &[u8], message: &Message, peer: &str, show: &mut Show) -> Result<End, Trouble> {
    let sent = &message.bytes[..];
    let same = reply.iter().zip(sent).take_while(|(a, b)| a == b).count();
    show.take(&reply[..same.min(message.payload)])?;
    if same == sent.len() && same == reply.len() {
        return End::whole(show);
    }
    show.unexpected(&reply[same..])?;
    let offset = same as u64;
    Err(if same == reply.len() {
        let how = Fault::new(ErrorKind::Mismatch, "the reply's datagram ends");
        difference::short(peer, offset, sent.len() as u64, &sent[same..], &how)
    } else {
        difference::differs(peer, offset, &sent[same..], &reply[same..])
    }
    .into())
}
