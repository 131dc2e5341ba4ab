//! Opens connections: all those of a run at its start, many at a time, and later each anew that
//! has failed, beside the worker that goes on with the others.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use mio::Waker;

use crate::connection::{
    Address, Connect, Connection, ErrorKind, Fault, connect, connect_one, reconnect,
};
use crate::interrupt::Interrupt;
use crate::thread::refused;

/// Connection attempts of a run at a time: over a path of 100 ms a thousand connections take a
/// second, and no listener's backlog (128 by tradition) overflows.
pub const AT_ONCE: usize = 100;

/// What a thread that connects has for a stack: of as many as work at once, the default would be the
/// most of what this program asks the system for.
const STACK: usize = 512 << 10;

/// Opens `count` connections, all to the same address: the first that takes one.
///
/// # Errors
/// One that fails, with its number.
pub fn dial(
    config: &Connect,
    count: usize,
    interrupt: &Interrupt,
) -> Result<Vec<Connection>, Fault> {
    let first = connect(config, interrupt)?;
    let remote = first.remote.clone();
    let next = AtomicUsize::new(2);
    let work = || {
        let mut opened = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > count {
                return Ok(opened);
            }
            match connect_one(config, &remote, interrupt) {
                Ok(connection) => opened.push(connection),
                Err(error) => {
                    // Nobody begins another.
                    next.store(count + 1, Ordering::Relaxed);
                    return Err(error.of(format_args!("connection {number} of {count}")));
                }
            }
        }
    };
    thread::scope(|scope| {
        // Where the system refuses a thread, fewer do the work.
        let others: Vec<_> = (1..AT_ONCE.min(count))
            .map_while(|_| builder().spawn_scoped(scope, work).ok())
            .collect();
        let mut opened = vec![first];
        opened.extend(work()?);
        for other in others {
            opened.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(opened)
    })
}

fn builder() -> thread::Builder {
    thread::Builder::new().name("dial".into()).stack_size(STACK)
}

/// Opens connections anew for one worker.
#[derive(Debug)]
pub struct Dialer {
    /// How many more may be begun.
    places: usize,
    waker: Arc<Waker>,
    sender: Sender<Dialed>,
    results: Receiver<Dialed>,
}

/// The number of a flow, and what came of its connection.
pub type Dialed = (usize, Result<Connection, Fault>);

impl Dialer {
    /// One that wakes a worker when it has a result, of `places` attempts at a time.
    pub fn new(waker: Arc<Waker>, places: usize) -> Self {
        let (sender, results) = mpsc::channel();
        Dialer {
            places,
            waker,
            sender,
            results,
        }
    }

    /// Whether another may be begun, before there is a result.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.places > 0
    }

    /// Begins to connect flow `index` as `connect` says, rather not to an address that has been `silent`.
    pub fn begin(
        &mut self,
        index: usize,
        connect: &Connect,
        silent: Option<Address>,
        interrupt: &Interrupt,
    ) {
        self.places -= 1;
        #[cfg(test)]
        if super::simulated::dial(index, &self.sender) {
            return;
        }
        let (config, interrupt) = (connect.clone(), interrupt.clone());
        let (sender, waker) = (self.sender.clone(), self.waker.clone());
        let started = builder().spawn(move || {
            let result = reconnect(&config, silent.as_ref(), &interrupt);
            // A worker that has ended needs neither.
            let _ = sender.send((index, result));
            let _ = waker.wake();
        });
        if let Err(error) = started {
            let fault = Fault::new(ErrorKind::Exhausted, refused(&error).to_string());
            let fault = fault.of(format_args!("cannot connect to {}", connect.target));
            let _ = self.sender.send((index, Err(fault)));
        }
    }

    /// The next result, if there is one.
    pub fn result(&mut self) -> Option<Dialed> {
        let dialed = self.results.try_recv().ok()?;
        self.places += 1;
        Some(dialed)
    }
}
