//! Moving bulk data from a socket back into it without copying it through user memory.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::socket::stream::Stream;

/// Pipes a worker may have at once, where files are not scarce; bulk transfers beyond that are read and
/// written. Each costs two descriptors and up to [`CAPACITY`] of the system's memory.
pub(crate) const MAX_PIPES: usize = 8;

/// What a pipe may hold. An unprivileged process may ask for this much on Linux.
const CAPACITY: usize = 1 << 20;

/// A worker's pipes.
#[derive(Debug)]
pub(crate) struct Pipes {
    most: usize,
    spare: Vec<Pipe>,
    /// Held by each pipe too: one that is closed is one less, wherever that happens.
    count: Arc<()>,
}

impl Pipes {
    /// None yet, of at most as many.
    pub(crate) fn new(most: usize) -> Self {
        Pipes {
            most,
            spare: Vec::new(),
            count: Arc::default(),
        }
    }

    /// An empty pipe; `None` when there are enough already, or the system has none to give.
    pub(crate) fn take(&mut self) -> Option<Pipe> {
        match self.spare.pop() {
            None if Arc::strong_count(&self.count) > self.most => None,
            None => Pipe::new(self.count.clone()).ok(),
            spare => spare,
        }
    }

    /// Takes an empty pipe back.
    pub(crate) fn put(&mut self, pipe: Pipe) {
        debug_assert!(pipe.is_empty());
        self.spare.push(pipe);
    }

    /// Closes the pipes that nobody uses.
    pub(crate) fn close_spare(&mut self) {
        self.spare = Vec::new();
    }
}

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
    len: usize,
    _counted: Arc<()>,
    /// What it holds of a simulated connection.
    #[cfg(test)]
    simulated: Vec<u8>,
}

impl Pipe {
    fn new(counted: Arc<()>) -> io::Result<Self> {
        let (output, input) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller pipe works too.
        let _: Result<usize, Errno> = fcntl_setpipe_size(&input, CAPACITY);
        Ok(Pipe {
            output,
            input,
            len: 0,
            _counted: counted,
            #[cfg(test)]
            simulated: Vec::new(),
        })
    }

    /// The bytes in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes up to `most` of what the socket has. That there is nothing may also mean that the
    /// pipe is full, unless it is empty.
    pub(crate) fn fill(&mut self, from: &Stream, most: usize) -> io::Result<usize> {
        let n = match from {
            #[cfg(test)]
            Stream::Simulated(socket) => socket.fill(&mut self.simulated, most)?,
            _ => {
                let from = from.spliceable().ok_or(io::ErrorKind::Unsupported)?;
                splice(from, None, &self.input, None, most, SpliceFlags::NONBLOCK)?
            }
        };
        self.len += n;
        Ok(n)
    }

    /// Takes all that is in it into memory.
    pub(crate) fn read(&mut self) -> io::Result<Vec<u8>> {
        #[cfg(test)]
        if !self.simulated.is_empty() {
            self.len = 0;
            return Ok(std::mem::take(&mut self.simulated));
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(self.len)?;
        while self.len > 0 {
            let n = rustix::io::read(&self.output, rustix::buffer::spare_capacity(&mut bytes))?;
            self.len -= n;
        }
        Ok(bytes)
    }

    /// Gives the socket what it takes of `most` bytes. Returns how much that was.
    pub(crate) fn drain(&mut self, to: &Stream, most: usize) -> io::Result<usize> {
        let n = match to {
            #[cfg(test)]
            Stream::Simulated(socket) => socket.drain(&mut self.simulated, most)?,
            _ => {
                let to = to.spliceable().ok_or(io::ErrorKind::Unsupported)?;
                splice(&self.output, None, to, None, most, SpliceFlags::NONBLOCK)?
            }
        };
        self.len -= n;
        Ok(n)
    }
}
