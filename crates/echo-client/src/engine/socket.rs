//! A connected socket that never blocks, of any transport.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Type;

#[cfg(test)]
use super::simulated::Line;
use crate::connection::{Watched, ancillary};

/// A connected socket; one system call a method.
#[derive(Debug)]
pub struct Socket {
    socket: socket2::Socket,
    /// What a test has put in its place.
    #[cfg(test)]
    line: Option<Line>,
}

impl Socket {
    /// Takes over a connection's socket. The system notes when each datagram comes, and has room
    /// for `room` bytes of them if it may.
    pub fn new(socket: Watched, room: usize) -> Self {
        let socket = Socket {
            socket: socket.into_inner(),
            #[cfg(test)]
            line: Line::open(),
        };
        if socket.is_datagram() {
            let socket = &socket.socket;
            // Without either the figures are less good, and no worse than they would be.
            let _: io::Result<()> = ancillary::note_times(socket);
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

    /// Receives one datagram. Says how long ago it came, where the system has noted that: a wake-up
    /// that is late is no part of its round trip.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Duration)> {
        #[cfg(test)]
        if let Some(line) = &self.line {
            return line.receive(buffer);
        }
        let arrival = ancillary::receive(&self.socket, buffer)?;
        let age = arrival
            .stamp
            .and_then(|stamp| SystemTime::now().duration_since(stamp).ok());
        Ok((arrival.len, age.unwrap_or_default()))
    }

    /// Datagrams that came for this socket and that it had no room for, as /proc/net tells.
    pub fn overflowed(&self) -> u64 {
        if !self.is_datagram() {
            return 0;
        }
        let file = self.as_fd().try_clone_to_owned().map(File::from);
        let Ok(inode) = file.and_then(|file| Ok(file.metadata()?.ino().to_string())) else {
            return 0;
        };
        let lists = ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"];
        let drops = |list: &&str| {
            let text = fs::read_to_string(list).ok()?;
            let mut rows = text
                .lines()
                .map(|row| row.split_whitespace().collect::<Vec<_>>());
            // The tenth column is the inode, and the last one the drops.
            let row = rows.find(|row| row.get(9) == Some(&inode.as_str()))?;
            row.last()?.parse().ok()
        };
        lists.iter().find_map(drops).unwrap_or(0)
    }

    /// Writes bytes, or sends one datagram.
    #[inline]
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(line) = &self.line {
            return line.write(bytes);
        }
        Ok(retry_on_intr(|| send(self, bytes, SendFlags::empty()))?)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
