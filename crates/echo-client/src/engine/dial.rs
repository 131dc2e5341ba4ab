//! Opens connections: all those of a run at its start, many at a time, and later each anew that
//! has failed, beside the worker that goes on with the others.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mio::Waker;

use crate::connection::{
    Address, Connect, ConnectError, Connection, connect, connect_one, reconnect,
};
use crate::interrupt::Interrupt;
use crate::report::Fault;
use crate::thread::start;

/// Connection attempts at a time: over a path of 100 ms a thousand connections take three
/// seconds, and no listener's backlog (128 by tradition) overflows.
const AT_ONCE: usize = 32;

/// Opens `count` connections, all to the same address: the first that takes one.
///
/// # Errors
/// The first one that fails, with its number.
pub fn dial(
    config: &Connect,
    count: usize,
    interrupt: &Interrupt,
) -> Result<Vec<Connection>, Fault> {
    let first = connect(config, interrupt)?;
    let remote = first.remote.clone();
    let opened = Mutex::new((2, Ok(vec![first])));
    let work = || {
        loop {
            let number = {
                let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
                if opened.0 > count || opened.1.is_err() {
                    return;
                }
                opened.0 += 1;
                opened.0 - 1
            };
            let result = connect_one(config, &remote, interrupt);
            let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
            match (result, &mut opened.1) {
                (Ok(connection), Ok(connections)) => connections.push(connection),
                (Err(error), all @ Ok(_)) => {
                    let text = format!("connection {number} of {count}: {error}");
                    *all = Err(Fault::new(error.kind, text));
                }
                _ => return,
            }
        }
    };
    thread::scope(|scope| {
        // Where the system refuses a thread, fewer do the work.
        for _ in 1..AT_ONCE.min(count) {
            let spawned = thread::Builder::new()
                .name("dial".into())
                .spawn_scoped(scope, work);
            if spawned.is_err() {
                break;
            }
        }
        work();
    });
    opened
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .1
}

/// Opens connections anew for one worker.
#[derive(Debug)]
pub struct Dialer {
    connect: Connect,
    interrupt: Interrupt,
    waker: Option<Arc<Waker>>,
    sender: Sender<Dialed>,
    results: Receiver<Dialed>,
}

/// The number of a flow, and what came of its connection.
pub type Dialed = (usize, Result<Connection, ConnectError>);

impl Dialer {
    /// One that wakes a worker when it has a result.
    pub fn new(connect: Connect, interrupt: Interrupt, waker: Option<Arc<Waker>>) -> Self {
        let (sender, results) = mpsc::channel();
        Dialer {
            connect,
            interrupt,
            waker,
            sender,
            results,
        }
    }

    /// Begins to connect flow `index`, rather not to an address that has been `silent`.
    pub fn begin(&self, index: usize, silent: Option<Address>) {
        let (connect, interrupt) = (self.connect.clone(), self.interrupt.clone());
        let (sender, waker) = (self.sender.clone(), self.waker.clone());
        let started = start("dial", move || {
            let result = reconnect(&connect, silent.as_ref(), &interrupt);
            // A worker that has ended needs neither.
            let _ = sender.send((index, result));
            if let Some(waker) = waker {
                let _ = waker.wake();
            }
        });
        if let Err(refused) = started {
            let subject = format!("cannot connect to {}", self.connect.target);
            let result = Err(ConnectError::no_thread(subject, &refused));
            let _ = self.sender.send((index, result));
        }
    }

    /// The next result, if there is one.
    pub fn result(&self) -> Option<Dialed> {
        self.results.try_recv().ok()
    }

    /// The next result, waited for.
    pub fn wait(&self, limit: Duration) -> Option<Dialed> {
        self.results.recv_timeout(limit).ok()
    }
}
