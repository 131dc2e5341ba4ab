//! A connected socket, each call on it told.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use echo_core::escape::excerpt;
use echo_explain::{Audience, Begun, Call};
use socket2::Socket;

use crate::narrator::Narrator;

/// A socket, and who is told of what is done with it.
#[derive(Debug)]
pub struct Watched {
    /// `None` only while it is dropped.
    socket: Option<Socket>,
    number: i32,
    narrator: Narrator,
    /// We have said that we send no more.
    is_finished: bool,
}

impl Watched {
    /// Watches `socket`.
    pub fn new(socket: Socket, narrator: &Narrator) -> Self {
        Watched {
            number: socket.as_raw_fd(),
            socket: Some(socket),
            narrator: narrator.clone(),
            is_finished: false,
        }
    }

    /// The socket, for calls that are not told.
    pub fn socket(&self) -> &Socket {
        self.socket
            .as_ref()
            .expect("it is there until it is dropped")
    }

    /// The socket, which is watched no more.
    pub fn into_inner(mut self) -> Socket {
        self.socket.take().expect("it is there until it is dropped")
    }

    /// Tells the other side that nothing more comes, unless it has been told. This fails only on a
    /// connection that is gone, which the next read tells as well.
    pub fn finish(&mut self) {
        if !std::mem::replace(&mut self.is_finished, true) {
            let begun = self.narrator.begin();
            let outcome = self.socket().shutdown(Shutdown::Write);
            self.ended(begun, &outcome, |()| Call::Shutdown { both: false });
        }
    }

    fn ended<T: Copy + Default>(
        &self,
        begun: Begun,
        outcome: &io::Result<T>,
        call: impl FnOnce(T) -> Call,
    ) {
        self.narrator.ended(begun, self.number, outcome, call);
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begun = self.narrator.begin();
        let outcome = self.socket().read(buffer);
        self.ended(begun, &outcome, |len| Call::Receive {
            received_bytes: len as u64,
            room_bytes: buffer.len() as u64,
            data: excerpt(&buffer[..len]),
        });
        outcome
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let begun = self.narrator.begin();
        let outcome = self.socket().write(bytes);
        self.ended(begun, &outcome, |len| Call::Send {
            sent_bytes: len as u64,
            offered_bytes: bytes.len() as u64,
            data: excerpt(bytes),
        });
        outcome
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            self.narrator.close(socket);
        }
    }
}
