//! Moving bulk data from a socket back into it without copying it through user memory.

use std::io;

use crate::socket::stream::Stream;

/// Pipes a worker may have at once; bulk transfers beyond that are read and written. Each costs
/// two descriptors and up to [`CAPACITY`] of the system's memory.
pub(crate) const MAX_PIPES: usize = 8;

/// What a pipe may hold. An unprivileged process may ask for this much on Linux.
const CAPACITY: usize = 1 << 20;

/// A worker's pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    spare: Vec<Pipe>,
    lent: usize,
}

impl Pipes {
    /// An empty pipe; `None` when there are enough already, or the system has none to give.
    pub(crate) fn take(&mut self) -> Option<Pipe> {
        if self.lent + self.spare.len() >= MAX_PIPES && self.spare.is_empty() {
            return None;
        }
        let pipe = match self.spare.pop() {
            Some(pipe) => pipe,
            None => Pipe::new().ok()?,
        };
        self.lent += 1;
        Some(pipe)
    }

    /// Takes an empty pipe back.
    pub(crate) fn put(&mut self, pipe: Pipe) {
        debug_assert_eq!(pipe.len(), 0);
        self.lent -= 1;
        self.spare.push(pipe);
    }

    /// Takes note that a pipe was closed with bytes in it.
    pub(crate) fn lose(&mut self) {
        self.lent -= 1;
    }

    /// Closes the pipes that nobody uses.
    pub(crate) fn close_spare(&mut self) {
        self.spare = Vec::new();
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::Pipe;
#[cfg(not(target_os = "linux"))]
pub(crate) use none::Pipe;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::OwnedFd;

    use rustix::io::Errno;
    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

    use super::*;

    /// A pipe, and how many bytes are in it.
    #[derive(Debug)]
    pub(crate) struct Pipe {
        output: OwnedFd,
        input: OwnedFd,
        len: usize,
    }

    impl Pipe {
        pub(super) fn new() -> io::Result<Self> {
            let (output, input) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            // A smaller pipe works too.
            let _: Result<usize, Errno> = fcntl_setpipe_size(&input, CAPACITY);
            Ok(Pipe {
                output,
                input,
                len: 0,
            })
        }

        /// The bytes in it.
        pub(crate) fn len(&self) -> usize {
            self.len
        }

        /// Takes what the socket has. Must be empty, so that it is never too full to take some.
        pub(crate) fn fill(&mut self, from: &Stream) -> io::Result<usize> {
            let from = from.spliceable().ok_or(io::ErrorKind::Unsupported)?;
            let n = retry(|| {
                splice(
                    from,
                    None,
                    &self.input,
                    None,
                    CAPACITY,
                    SpliceFlags::NONBLOCK,
                )
            })?;
            self.len += n;
            Ok(n)
        }

        /// Gives the socket what it takes. Returns how much that was.
        pub(crate) fn drain(&mut self, to: &Stream) -> io::Result<usize> {
            let to = to.spliceable().ok_or(io::ErrorKind::Unsupported)?;
            let before = self.len;
            while self.len > 0 {
                match retry(|| {
                    splice(
                        &self.output,
                        None,
                        to,
                        None,
                        self.len,
                        SpliceFlags::NONBLOCK,
                    )
                }) {
                    Ok(n) => self.len -= n,
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(before - self.len)
        }
    }

    fn retry(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
        loop {
            match call() {
                Err(Errno::INTR) => {}
                outcome => return outcome,
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    use super::*;

    /// Nothing: this system has no such pipes.
    #[derive(Debug)]
    pub(crate) enum Pipe {}

    impl Pipe {
        pub(super) fn new() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn len(&self) -> usize {
            match *self {}
        }

        pub(crate) fn fill(&mut self, _: &Stream) -> io::Result<usize> {
            match *self {}
        }

        pub(crate) fn drain(&mut self, _: &Stream) -> io::Result<usize> {
            match *self {}
        }
    }
}
