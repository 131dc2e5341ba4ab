//! Sends one datagram and checks the one that answers it.

use std::io::{self, Read, Write};
use std::time::Instant;

use anyhow::{Context, anyhow};
use echo_core::Failure;

use super::difference;
use super::show::Show;
use super::source::Source;
use super::watched::Watched;
use crate::connection::{Address, Connect, ConnectError, Connection, TICK, connect};
use crate::interrupt::Interrupt;
use crate::output;

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
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let message = Message::read(source)?;
    let connection = connect(config, interrupt)?;
    let is_ipv4 = matches!(connection.remote, Address::Udp(remote) if remote.is_ipv4());
    message.check(is_ipv4, "the message")?;
    if config.verbose {
        output::note(format_args!("connected {}", connection.ends()));
    }
    try_one(connection, config, &message, show, interrupt)
}

/// A message that fits a datagram.
struct Message {
    bytes: Vec<u8>,
    /// Without the line end that was added.
    payload: usize,
}

impl Message {
    fn read(mut source: Source) -> Result<Self, Failure> {
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
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let watched = Watched::new(connection.socket, &config.narrator);
    let mut socket = &watched;
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
                    if start.elapsed() >= config.timeout.0 || interrupt.is_raised() {
                        return Ok(None);
                    }
                }
                result => return result.map(Some),
            }
        }
    });
    match result {
        Ok(Some(len)) => check(&buffer[..len], message, &peer, show),
        Ok(None) => Err(Failure::bad(match interrupt.why() {
            Some(why) => anyhow!("{peer}: {why} before the reply came"),
            None => anyhow!(
                "{peer}: no reply within {}: 0 of {} bytes came back; UDP loses datagrams without \
                 a word: send again, or allow more time with --timeout",
                config.timeout,
                message.bytes.len()
            ),
        })),
        Err(error) => Err(ConnectError::on(&connection.remote, &error).into()),
    }
}

fn is_tick(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

fn check(reply: &[u8], message: &Message, peer: &str, show: &mut Show) -> Result<(), Failure> {
    let sent = &message.bytes[..];
    let same = reply.iter().zip(sent).take_while(|(a, b)| a == b).count();
    show.take(&reply[..same.min(message.payload)])?;
    if same == sent.len() && same == reply.len() {
        return show.end();
    }
    show.unexpected(&reply[same..])?;
    let offset = same as u64;
    Err(if same == reply.len() {
        let how = "the reply's datagram ends";
        difference::short(peer, offset, sent.len() as u64, &sent[same..], how)
    } else {
        difference::differs(peer, offset, &sent[same..], &reply[same..])
    })
}
