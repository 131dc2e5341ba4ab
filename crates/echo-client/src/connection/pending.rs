//! A socket on its way to being connected, each call told where it is made.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use echo_explain::{Audience, Begun};
use rustix::io::Errno;
use socket2::SockAddr;

use super::Watched;
use crate::narrator::Narrator;

/// A socket that is being connected. It does not block.
pub(super) struct Pending {
    socket: Watched,
    begun: Begun,
    peer: SockAddr,
    is_connected: bool,
}

impl Pending {
    /// Begins to connect it.
    pub(super) fn new(socket: Watched, narrator: &Narrator, peer: SockAddr) -> io::Result<Self> {
        socket.socket().set_nonblocking(true)?;
        let mut pending = Pending {
            begun: narrator.begin(),
            socket,
            peer,
            is_connected: false,
        };
        match pending.connect() {
            Err(error) => pending
                .end(Err(error))
                .map(|_| unreachable!("it has failed")),
            Ok(()) => Ok(pending),
        }
    }

    fn connect(&mut self) -> io::Result<()> {
        let under_way = match self.peer.is_unix() {
            // The listener's queue is full: nobody will tell when it has room.
            true => Errno::AGAIN,
            false => Errno::INPROGRESS,
        };
        match self.socket.socket().connect(&self.peer) {
            Err(error) if error.raw_os_error() == Some(under_way.raw_os_error()) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                self.is_connected = true;
                Ok(())
            }
        }
    }

    /// Whether it is connected by now, or has failed.
    pub(super) fn is_connected(&mut self, is_ready: bool) -> io::Result<bool> {
        if self.peer.is_unix() && !self.is_connected {
            self.connect()?;
        } else if is_ready && !self.is_connected {
            match self.socket.socket().take_error()? {
                Some(error) => return Err(error),
                None => self.is_connected = true,
            }
        }
        Ok(self.is_connected)
    }

    /// Tells what came of it, and returns the socket; unless it is connected, it is closed.
    pub(super) fn end(self, outcome: io::Result<()>) -> io::Result<Watched> {
        self.socket.connected(self.begun, &self.peer, &outcome);
        outcome.map(|()| self.socket)
    }
}

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.socket().as_fd()
    }
}
