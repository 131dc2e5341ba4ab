//! How a worker sleeps: on a poll of many sockets, or on its only one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Token, Waker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::socket::Socket;
use super::timer::Timer;

/// Events taken at once: enough to share the cost of a poll among many, few enough that the last
/// of them is not kept waiting for long.
const EVENTS: usize = 256;
const TIMER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// How a worker sleeps.
pub enum Wait {
    /// A `ppoll` of one socket is 1 to 2 us faster than an epoll with a timer.
    Lone,
    /// An edge-triggered poll, its events, and an alarm finer than its own timeout.
    Many(Box<Many>),
}

/// A poll of many sockets.
pub struct Many {
    poll: Poll,
    events: Events,
    timer: Timer,
    waker: Arc<Waker>,
}

/// What a socket is ready for.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The number of its flow.
    pub index: usize,
    /// There is something to read: bytes, an end or an error.
    pub readable: bool,
    /// The other side sends no more.
    pub ended: bool,
}

impl Wait {
    /// A way to sleep on `flows` sockets.
    pub fn new(flows: usize) -> io::Result<Self> {
        if flows == 1 {
            return Ok(Wait::Lone);
        }
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Wait::Many(Box::new(Many {
            poll,
            events: Events::with_capacity(EVENTS),
            timer,
            waker,
        })))
    }

    /// Includes the socket of flow `index`.
    pub fn register(&self, socket: &Socket, index: usize) -> io::Result<()> {
        match self {
            Wait::Lone => Ok(()),
            Wait::Many(many) => socket.register(many.poll.registry(), Token(index)),
        }
    }

    /// What ends the sleep of a poll from another thread.
    pub fn waker(&self) -> Option<Arc<Waker>> {
        match self {
            Wait::Lone => None,
            Wait::Many(many) => Some(many.waker.clone()),
        }
    }
}

/// Sleeps on one socket for `limit` at most.
pub fn lone(socket: &Socket, is_blocked: bool, limit: Duration) -> io::Result<Option<Ready>> {
    let mut flags = PollFlags::IN;
    flags.set(PollFlags::OUT, is_blocked);
    let mut fds = [PollFd::new(socket, flags)];
    let limit: Timespec = limit.try_into().unwrap_or_default();
    match poll(&mut fds, Some(&limit)) {
        Ok(0) => Ok(None),
        Ok(_) => {
            let events = fds[0].revents();
            Ok(Some(Ready {
                index: 0,
                readable: events != PollFlags::OUT,
                ended: events.intersects(PollFlags::HUP | PollFlags::ERR),
            }))
        }
        Err(rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Many {
    /// Sleeps for `limit` at most, or until the moment `due` that is as far off; then calls
    /// `handle` for each socket that is ready.
    pub fn sleep(
        &mut self,
        limit: Duration,
        due: Option<u64>,
        ready: &mut Vec<Ready>,
    ) -> io::Result<()> {
        if let Some(due) = due {
            self.timer.set(due, limit)?;
        }
        match self.poll.poll(&mut self.events, Some(limit)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let own = [TIMER, WAKER];
        let sockets = self.events.iter().filter(|e| !own.contains(&e.token()));
        ready.extend(sockets.map(of));
        Ok(())
    }
}

fn of(event: &Event) -> Ready {
    let ended = event.is_read_closed();
    Ready {
        index: event.token().0,
        readable: event.is_readable() || ended || event.is_error(),
        ended,
    }
}
