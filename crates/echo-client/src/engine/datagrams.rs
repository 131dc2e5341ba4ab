//! One socket's datagrams: answered in any order, or not at all.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::flow::{Desk, Flow};
use super::recorder::{Request, Stray};
use super::socket::Socket;
use crate::report::Fault;
use crate::wire::echo::{self, Reply};

/// Unanswered requests that are remembered after their time was up, so that a late reply is told
/// from a duplicate. At 24 bytes each, a socket that loses everything costs 100 KB.
const REMEMBERED: usize = 4096;

/// A UDP socket under load.
#[derive(Debug)]
pub struct Datagrams {
    socket: Socket,
    token: u64,
    size: usize,
    /// Requests, oldest first, from the first that is not settled on.
    slots: VecDeque<Slot>,
    /// The number of the oldest of them.
    oldest: u64,
    /// Those that are awaited.
    in_flight: usize,
    /// The newest of them that have not been sent.
    unsent: usize,
    /// One past the highest number that was answered.
    answered: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    request: Request,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Awaited,
    /// Its time is up.
    Expired,
    Answered,
}

impl Datagrams {
    /// A socket that has sent nothing yet. Its datagrams of `size` bytes carry `token`.
    pub fn new(socket: Socket, token: u64, size: usize) -> Self {
        Datagrams {
            socket,
            token,
            size,
            slots: VecDeque::new(),
            oldest: 0,
            in_flight: 0,
            unsent: 0,
            answered: 0,
        }
    }

    /// Receives what there is, as long as it is wanted.
    fn receive(&mut self, wanted: fn(&Self) -> bool, desk: &mut Desk) -> Result<(), Fault> {
        while wanted(self) {
            match self.socket.read(&mut desk.buffer) {
                Ok(n) => self.take(n, desk),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(desk.broken(&error)),
            }
        }
        Ok(())
    }

    /// Takes a datagram of `n` bytes, which is in the desk's buffer.
    fn take(&mut self, n: usize, desk: &mut Desk) {
        let now = desk.clock.now();
        let stray = match echo::decode(self.token, self.size, &desk.buffer[..n]) {
            Reply::Whole(number) => match self.settle(number, now, n, desk) {
                None => return,
                Some(stray) => stray,
            },
            Reply::Corrupt => Stray::Corrupt,
            Reply::Truncated => Stray::Truncated,
            Reply::Foreign => Stray::Foreign,
        };
        match stray {
            Stray::Corrupt => desk.mismatch("a reply has wrong bytes"),
            Stray::Truncated => {
                let sent = self.size;
                desk.mismatch(format_args!("a reply has {n} bytes, and {sent} were sent"));
            }
            Stray::Duplicate | Stray::Foreign => {}
        }
        desk.recorder.stray(stray, now, n);
    }

    /// Takes a whole reply to request `number`. Returns what it is, if not the first.
    fn settle(&mut self, number: u64, now: u64, n: usize, desk: &mut Desk) -> Option<Stray> {
        let Some(index) = number.checked_sub(self.oldest) else {
            return Some(Stray::Duplicate);
        };
        let slot = usize::try_from(index)
            .ok()
            .and_then(|i| self.slots.get_mut(i));
        // A number of the future is none of ours, whatever its token.
        let Some(slot) = slot else {
            return Some(Stray::Foreign);
        };
        let request = slot.request;
        match std::mem::replace(&mut slot.state, State::Answered) {
            State::Answered => return Some(Stray::Duplicate),
            State::Expired => desk.recorder.late(request),
            State::Awaited => self.in_flight -= 1,
        }
        desk.recorder.echoed(request, now, n);
        if number < self.answered {
            desk.recorder.reordered(request);
        }
        self.answered = self.answered.max(number + 1);
        self.forget(desk);
        None
    }

    /// Lets go of the oldest requests that are settled, and of those beyond what is remembered.
    fn forget(&mut self, desk: &mut Desk) {
        while let Some(slot) = self.slots.front() {
            match slot.state {
                State::Answered => {}
                State::Expired if self.slots.len() > REMEMBERED => {
                    desk.recorder.lost(slot.request);
                }
                _ => return,
            }
            self.slots.pop_front();
            self.oldest += 1;
        }
    }
}

impl Flow for Datagrams {
    fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn is_blocked(&self) -> bool {
        self.unsent > 0
    }

    fn push(&mut self, request: Request, desk: &mut Desk) {
        desk.recorder.sent(request, self.size);
        self.slots.push_back(Slot {
            request,
            state: State::Awaited,
        });
        self.in_flight += 1;
        self.unsent += 1;
    }

    fn flush(&mut self, desk: &mut Desk) -> Result<(), Fault> {
        let end = self.oldest + self.slots.len() as u64;
        while self.unsent > 0 {
            let datagram = &mut desk.scratch[..self.size];
            echo::encode(self.token, end - self.unsent as u64, datagram);
            match self.socket.write(datagram) {
                Ok(_) => self.unsent -= 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(desk.broken(&error)),
            }
        }
        Ok(())
    }

    /// What comes while nothing is awaited is read before the next reply.
    fn read(&mut self, _ended: bool, desk: &mut Desk) -> Result<(), Fault> {
        self.receive(|datagrams| datagrams.in_flight > 0, desk)
    }

    fn expire(&mut self, timeout: Duration, now: u64, desk: &mut Desk) -> Result<(), Fault> {
        let timeout = timeout.as_nanos() as u64;
        for slot in &mut self.slots {
            if now.saturating_sub(slot.request.sent) < timeout {
                break;
            }
            if slot.state == State::Awaited {
                slot.state = State::Expired;
                self.in_flight -= 1;
            }
        }
        self.forget(desk);
        Ok(())
    }

    fn close(&mut self, desk: &mut Desk) {
        // A socket that has failed says so again, and what it says has been told.
        let _ = self.receive(|_| true, desk);
        for slot in self.slots.drain(..) {
            if slot.state != State::Answered {
                desk.recorder.lost(slot.request);
            }
        }
    }
}
