//! A connected socket that never blocks, of any transport.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::SystemTime;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Type;

use super::clock::{Clock, Wall};
use super::plan::Plan;
#[cfg(test)]
use super::simulated::Line;
use crate::connection::{Watched, ancillary, packets};
use crate::report::Whose;

/// A datagram that came. Times are in nanoseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Its bytes.
    pub len: usize,
    /// When it came, as the system says.
    pub at: Option<u64>,
    /// When it was read.
    pub read: u64,
    /// Its mark (TOS, traffic class), where the system was asked for it.
    pub tos: Option<u8>,
}

/// What a reflector may see of this end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    /// Its address.
    pub local: Option<SocketAddr>,
    /// How many routers each packet may pass.
    pub ttl: u8,
}

/// A connected socket; one system call a method.
#[derive(Debug)]
pub struct Socket {
    socket: socket2::Socket,
    wall: Wall,
    stamps: Whose,
    /// Datagrams that the system has taken.
    pub sent: u64,
    /// Those of which it has said when they left.
    told: u64,
    numbers: Numbers,
    /// Datagrams that it had no room for before measuring began, where the system tells.
    before: Option<u32>,
    /// What a test has put in its place.
    #[cfg(test)]
    line: Option<Line>,
}

impl Socket {
    /// Takes over a connection's socket. The system makes those stamps of datagrams that `plan` needs,
    /// and has room for as many, if it may.
    pub fn new(socket: Watched, plan: &Plan) -> Self {
        let (room, stamps) = (plan.buffer(), plan.stamps());
        let socket = Socket {
            socket: socket.into_inner(),
            wall: Wall::default(),
            stamps,
            sent: 0,
            told: 0,
            numbers: Numbers::default(),
            before: Some(0),
            #[cfg(test)]
            line: Line::open(),
        };
        if socket.is_datagram() {
            let socket = &socket.socket;
            // Without any of this the figures are less good, and no worse than they would be.
            if stamps != Whose::User {
                let _: io::Result<()> = ancillary::note_times(socket);
            }
            if stamps == Whose::Kernel {
                let _: io::Result<()> = ancillary::note_departures(socket);
            }
            if plan.connect.is_stamp() {
                let _: io::Result<()> = ancillary::note_states(socket, is_ipv4(socket));
            }
            if socket.recv_buffer_size().is_ok_and(|size| size < room) {
                let _: io::Result<()> = socket.set_recv_buffer_size(room);
            }
        }
        socket
    }

    /// Has the poll tell, once for each change, when it can be read or written again.
    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        #[cfg(test)]
        if let Some(line) = &self.line {
            line.register(token.0);
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&self.socket.as_raw_fd()), token, interest)
    }

    fn is_datagram(&self) -> bool {
        self.socket.r#type().is_ok_and(|kind| kind == Type::DGRAM)
    }

    /// Reads bytes, or receives one datagram.
    #[inline]
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(line) = &self.line {
            return line.read(buffer);
        }
        let (len, _) = retry_on_intr(|| recv(self, &mut *buffer, RecvFlags::empty()))?;
        Ok(len)
    }

    /// Receives one datagram.
    pub fn receive(&mut self, buffer: &mut [u8], clock: Clock) -> io::Result<Received> {
        #[cfg(test)]
        if let Some(line) = &self.line {
            let (len, age) = line.receive(buffer)?;
            let read = clock.now();
            let at = Some(read - age.as_nanos() as u64);
            let tos = None;
            return Ok(Received { len, at, read, tos });
        }
        let arrival = match ancillary::receive(&self.socket, buffer) {
            Err(error) => {
                if error.kind() == io::ErrorKind::WouldBlock {
                    self.wall.settle();
                }
                return Err(error);
            }
            Ok(arrival) => arrival,
        };
        let (at, read) = self.when(arrival.stamp, clock);
        Ok(Received {
            len: arrival.len,
            at,
            read,
            tos: arrival.tos,
        })
    }

    /// The next of the datagrams of which the system has not yet said when they left: its number,
    /// from 0 on, when it left, and the time now.
    pub fn departed(&mut self, clock: Clock) -> Option<(u64, u64, u64)> {
        while self.stamps == Whose::Kernel && self.told < self.sent {
            // Anything else that becomes of a datagram is told as an error of the socket.
            let Some(departure) = ancillary::departure(&self.socket).ok()? else {
                continue;
            };
            let numbers = &mut self.numbers;
            let number = numbers.own(departure.number, self.told, self.sent)?;
            self.told = number + 1;
            if let (Some(at), now) = self.when(Some(departure.stamp), clock) {
                return Some((number, at, now));
            }
        }
        None
    }

    fn when(&mut self, stamp: Option<SystemTime>, clock: Clock) -> (Option<u64>, u64) {
        match stamp {
            Some(stamp) => self.wall.moment(stamp, clock),
            None => (None, clock.now()),
        }
    }

    /// What it had no room for before this moment is none of what is measured.
    pub fn begin(&mut self) {
        self.before = self.dropped();
    }

    /// Datagrams that came for this socket while measuring, and that it had no room for: 0 where the system
    /// does not tell, which excuses no loss.
    pub fn overflowed(&self) -> u64 {
        let both = self.dropped().zip(self.before);
        both.map_or(0, |(dropped, before)| dropped.wrapping_sub(before).into())
    }

    fn dropped(&self) -> Option<u32> {
        #[cfg(test)]
        if let Some(line) = &self.line {
            return line.overflowed();
        }
        self.is_datagram().then(|| ancillary::drops(&self.socket))?
    }

    /// The most bytes of a datagram that fit its path in one packet, as far as the system knows.
    pub fn most(&self) -> Option<usize> {
        packets::most(&self.socket)
    }

    /// What can be seen of it.
    pub fn ends(&self) -> Ends {
        let socket = &self.socket;
        let ttl = match is_ipv4(socket) {
            true => socket.ttl_v4(),
            false => socket.unicast_hops_v6(),
        };
        let local = socket.local_addr().ok().and_then(|local| local.as_socket());
        Ends {
            // Others see no zone.
            local: local.map(|local| SocketAddr::new(local.ip(), local.port())),
            ttl: ttl.ok().and_then(|ttl| ttl.try_into().ok()).unwrap_or(0),
        }
    }

    /// Writes bytes, or sends one datagram.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(line) = &self.line {
            let taken = line.write(bytes)?;
            self.sent += 1;
            return Ok(taken);
        }
        let taken = retry_on_intr(|| send(&*self, bytes, SendFlags::empty()));
        if taken.is_err() && self.stamps == Whose::Kernel {
            self.numbers.refuse(self.sent);
        }
        let taken = taken?;
        self.sent += 1;
        Ok(taken)
    }
}

/// So many places at which datagrams were not taken are remembered until departures are told.
const REFUSED: usize = 1024;

/// The numbers that the system gives to datagrams, in 32 bits. Systems before Linux 6.9 use one up for a
/// datagram that they do not take.
#[derive(Debug, Default)]
struct Numbers {
    /// How many have been used up, as far as is known.
    skipped: u32,
    /// Datagrams that were not taken since: how many had been sent before, and how often in a row.
    refused: VecDeque<(u64, u32)>,
}

impl Numbers {
    /// The system has not taken a datagram, after so many that were `sent`.
    fn refuse(&mut self, sent: u64) {
        let last = self.refused.back_mut().filter(|(at, _)| *at == sent);
        if let Some((_, times)) = last {
            *times = times.saturating_add(1);
        } else if self.refused.len() < REFUSED {
            self.refused.push_back((sent, 1));
        }
    }

    /// Which of the datagrams that were `sent` has this number of the system's, where `next` is expected.
    fn own(&mut self, theirs: u32, next: u64, sent: u64) -> Option<u64> {
        let newest = sent.checked_sub(1)?;
        let ahead = theirs.wrapping_sub(self.skipped).wrapping_sub(next as u32) as i32;
        let mut number = next.checked_add_signed(ahead.into())?;
        while let Some((_, times)) = self.refused.pop_front_if(|(at, _)| *at <= number) {
            // Where none is missing, none has been used up.
            let missing = number.saturating_sub(next).min(times.into());
            number -= missing;
            self.skipped = self.skipped.wrapping_add(missing as u32);
        }
        // One beyond those that were sent shows that more were used up.
        let beyond = number.saturating_sub(newest);
        self.skipped = self.skipped.wrapping_add(beyond as u32);
        Some(number - beyond)
    }
}

fn is_ipv4(socket: &socket2::Socket) -> bool {
    socket.local_addr().is_ok_and(|local| local.is_ipv4())
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_that_was_not_taken_shifts_no_departure() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.own(0, 0, 2), Some(0));
        assert_eq!(numbers.own(1, 1, 2), Some(1));
        // The third one was refused, and its number is used up; three more left before any was told of.
        numbers.refuse(2);
        assert_eq!(numbers.own(3, 2, 5), Some(2));
        assert_eq!(numbers.own(4, 3, 5), Some(3));
        assert_eq!(numbers.own(5, 4, 5), Some(4));
        // Of one nobody tells, and none was refused.
        assert_eq!(numbers.own(7, 5, 8), Some(6));
        // One was refused thrice.
        (0..3).for_each(|_| numbers.refuse(8));
        assert_eq!(numbers.own(8, 7, 9), Some(7));
        assert_eq!(numbers.own(12, 8, 9), Some(8));
        let beyond = (1 << 32) + 7;
        assert_eq!(
            numbers.own(9, beyond - 2, beyond),
            Some(beyond - 2),
            "of 32 bits"
        );
    }

    #[test]
    fn a_refused_datagram_that_used_up_no_number_shifts_no_departure() {
        let mut numbers = Numbers::default();
        numbers.refuse(0);
        assert_eq!(numbers.own(0, 0, 3), Some(0));
        assert_eq!(numbers.own(2, 1, 3), Some(2), "nobody tells of one");
        assert_eq!(numbers.own(3, 3, 4), Some(3));
    }
}
