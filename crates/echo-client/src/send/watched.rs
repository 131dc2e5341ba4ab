//! A connected socket, each call on it told.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use echo_explain::Call;

use crate::connection::Socket;
use crate::narrator::Narrator;

/// A socket, and who is told of what is done with it.
#[derive(Debug)]
pub struct Watched {
    /// `None` only while it is dropped.
    socket: Option<Socket>,
    number: i32,
    narrator: Narrator,
    /// We have said that we send no more.
    finished: AtomicBool,
    /// The other side has.
    ended: AtomicBool,
}

impl Watched {
    /// Watches `socket`.
    pub fn new(socket: Socket, narrator: &Narrator) -> Self {
        Watched {
            number: socket.as_raw_fd(),
            socket: Some(socket),
            narrator: narrator.clone(),
            finished: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    fn socket(&self) -> &Socket {
        self.socket
            .as_ref()
            .expect("it is there until it is dropped")
    }

    /// See [`Socket::set_read_timeout`].
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.socket().set_read_timeout(limit)
    }

    /// Tells the other side that nothing more comes, unless it has been told.
    pub fn finish(&self) -> io::Result<()> {
        match self.finished.swap(true, Ordering::AcqRel) {
            true => Ok(()),
            false => self.shutdown(Shutdown::Write),
        }
    }

    /// Ends both directions, unless both have ended: whoever reads or writes returns.
    pub fn abandon(&self) -> io::Result<()> {
        let finished = self.finished.swap(true, Ordering::AcqRel);
        match finished && self.ended.load(Ordering::Acquire) {
            true => Ok(()),
            false => self.shutdown(Shutdown::Both),
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let call = self.narrator.begin();
        let outcome = self.socket().shutdown(how);
        let both = how == Shutdown::Both;
        call.ended(self.number, &outcome, |()| Call::Shutdown { both });
        outcome
    }
}

impl Read for &Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let outcome = self.socket().read(buffer);
        if matches!(outcome, Ok(0)) {
            self.ended.store(true, Ordering::Release);
        }
        let call = self.narrator.begin();
        call.ended(self.number, &outcome, |len| Call::Receive {
            received_bytes: len as u64,
            room_bytes: buffer.len() as u64,
        });
        outcome
    }
}

impl Write for &Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let call = self.narrator.begin();
        let outcome = self.socket().write(bytes);
        call.ended(self.number, &outcome, |len| Call::Send {
            sent_bytes: len as u64,
            offered_bytes: bytes.len() as u64,
        });
        outcome
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let call = self.narrator.begin();
        drop(self.socket.take());
        call.ended(self.number, &Ok(()), |()| Call::Close);
    }
}
