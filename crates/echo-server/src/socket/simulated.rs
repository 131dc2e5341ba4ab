//! A connection whose other end a test plays: any number of bytes at any time, and the edges that
//! the system would tell of.

use std::io::{self, ErrorKind};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use crate::fault::dice;
use echo_core::Transport;
use echo_core::splitmix::Random;

/// What every peer sends, over and over: lines of any length, that repeat at no power of two.
static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dice = dice(1, 0, 0, 0);
    let byte = |_| match dice.below(24) {
        0 => b'\n',
        _ => dice.below(256) as u8,
    };
    (0..99_991).map(byte).collect()
});

/// What `len` bytes of a peer's from `at` on are, in slices.
fn content(at: u64, len: usize) -> impl Iterator<Item = &'static [u8]> {
    let mut at = (at % CONTENT.len() as u64) as usize;
    let mut left = len;
    std::iter::from_fn(move || {
        let part = &CONTENT[at..][..left.min(CONTENT.len() - at)];
        (at, left) = (0, left - part.len());
        (!part.is_empty()).then_some(part)
    })
}

/// How many of a peer's first `len` bytes are whole lines.
pub(crate) fn whole_lines(len: u64) -> u64 {
    let ends = |at: &u64| CONTENT[(at % CONTENT.len() as u64) as usize] == b'\n';
    (0..len).rev().find(ends).map_or(0, |at| at + 1)
}

/// The server's end of a connection.
#[derive(Debug)]
pub(crate) struct Socket(pub(crate) Arc<Mutex<Wire>>);

/// A connection as its other end and the system see it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) transport: Transport,
    pub(crate) dice: Random,
    /// Nothing may be read before all of the earlier is written.
    pub(crate) strict: bool,
    /// Nothing may be read while the server was last told that there is no room.
    pub(crate) faithful: bool,
    /// Sent by the peer and on its way, arrived here, and read by the server.
    pub(crate) sent: u64,
    pub(crate) arrived: u64,
    pub(crate) read: u64,
    /// Written by the server, and taken by the peer.
    pub(crate) written: u64,
    pub(crate) taken: u64,
    /// What the system holds of what is written and not yet taken.
    pub(crate) capacity: u64,
    /// The peer has finished sending; the server has; the server has closed the connection.
    pub(crate) ended: bool,
    pub(crate) finished: bool,
    pub(crate) closed: bool,
    /// What every call fails with from now on.
    pub(crate) failure: Option<ErrorKind>,
    /// The server was last told that there is no room, and waits to be told that there is.
    pub(crate) refused: bool,
    /// It was told so although there was room, as happens where memory is short.
    pub(crate) pressed: bool,
    waits_for_room: bool,
    /// Edges that are not told yet.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// Calls and bytes since someone set these to nothing.
    pub(crate) calls: usize,
    pub(crate) bytes: usize,
    /// The first promise that was broken.
    pub(crate) broken: Option<String>,
}

impl Socket {
    pub(crate) fn new(transport: Transport, seed: u64, capacity: u64, strict: bool) -> Self {
        Socket(Arc::new(Mutex::new(Wire {
            transport,
            dice: dice(seed, 0, 0, 0),
            strict,
            faithful: true,
            sent: 0,
            arrived: 0,
            read: 0,
            written: 0,
            taken: 0,
            capacity,
            ended: false,
            finished: false,
            closed: false,
            failure: None,
            refused: false,
            pressed: false,
            waits_for_room: false,
            readable: false,
            writable: true,
            calls: 0,
            bytes: 0,
            broken: None,
        })))
    }

    pub(crate) fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap()
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.collect(buffer, 0)
    }

    /// Reads `most` bytes into a pipe that holds some already.
    pub(crate) fn fill(&self, pipe: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let held = pipe.len();
        pipe.resize(held + most, 0);
        let outcome = self.collect(pipe, held);
        pipe.truncate(held + outcome.as_ref().unwrap_or(&0));
        outcome
    }

    /// Writes `most` bytes of what a pipe holds.
    pub(crate) fn drain(&self, pipe: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let n = self.write(&pipe[..most])?;
        pipe.drain(..n);
        Ok(n)
    }

    /// Reads behind the first `held` bytes of `buffer`, which are to be written later.
    fn collect(&self, buffer: &mut [u8], held: usize) -> io::Result<usize> {
        let mut wire = self.wire();
        let mut rest = &mut buffer[held..];
        let (at, n) = (wire.read, wire.take_in(rest.len(), held)?);
        for part in content(at, n) {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
        Ok(n)
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.wire().give_out(bytes)
    }

    pub(crate) fn finish(&self) -> io::Result<()> {
        let mut wire = self.wire();
        wire.finished = true;
        wire.failure.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.wire().closed = true;
    }
}

impl Wire {
    /// What this call fails with, if it does. More may arrive meanwhile.
    fn enter(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.arrived < self.sent && self.dice.below(4) == 0 {
            self.arrive();
        }
        match self.failure {
            Some(kind) => Err(kind.into()),
            None if self.dice.below(64) == 0 => Err(ErrorKind::Interrupted.into()),
            None => Ok(()),
        }
    }

    fn take_in(&mut self, most: usize, held: usize) -> io::Result<usize> {
        if self.refused && self.faithful {
            self.breaks("nothing is read while something is owed that found no room");
        }
        if self.strict && self.written + held as u64 != self.read {
            self.breaks("nothing is read while something is owed");
        }
        self.enter()?;
        let here = self.arrived - self.read;
        if here == 0 {
            return match self.ended && self.arrived == self.sent {
                true => Ok(0),
                false => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let mut n = here.min(most as u64);
        // A short read leaves a TCP socket empty, but not a Unix one.
        if self.transport == Transport::Unix && self.dice.below(4) == 0 {
            n = 1 + self.dice.below(n);
        }
        self.read += n;
        self.bytes += n as usize;
        Ok(n as usize)
    }

    fn give_out(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.finished {
            self.breaks("nothing is sent behind our own end");
        }
        self.refused = false;
        self.enter()?;
        let room = self.room();
        self.pressed = self.dice.below(64) == 0;
        if room == 0 || self.pressed {
            self.refused = true;
            self.waits_for_room = true;
            self.tell_of_room();
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut n = room.min(bytes.len() as u64);
        if self.dice.below(4) == 0 {
            n = 1 + self.dice.below(n);
        }
        let mut rest = &bytes[..n as usize];
        for part in content(self.written, n as usize) {
            if !rest.starts_with(part) {
                self.breaks("what comes back is a prefix of what was sent");
            }
            rest = &rest[part.len()..];
        }
        self.written += n;
        self.bytes += n as usize;
        if self.written > self.read {
            self.breaks("no more comes back than was sent");
        }
        Ok(n as usize)
    }

    /// What was on its way is here.
    pub(crate) fn arrive(&mut self) {
        self.arrived = self.sent;
        self.readable = true;
    }

    /// What the server may write before it is told that there is no room.
    pub(crate) fn room(&self) -> u64 {
        self.capacity - (self.written - self.taken)
    }

    /// The peer takes what there is, but no more than `most`.
    pub(crate) fn take(&mut self, most: u64) {
        self.taken += most.min(self.written - self.taken);
        self.tell_of_room();
    }

    /// As Linux does, only once a third of the room is free.
    fn tell_of_room(&mut self) {
        let room = self.room();
        if self.waits_for_room && room * 3 >= self.capacity {
            self.waits_for_room = false;
            self.writable = true;
        }
    }

    pub(crate) fn breaks(&mut self, promise: &str) {
        self.broken.get_or_insert_with(|| promise.to_owned());
    }
}
