//! Opens all the connections of a run, many at a time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::connection::{
    Address, Connect, Connection, Socket, congestion_control, connect, connect_one,
};
use crate::interrupt::Interrupt;
use crate::report::Fault;

/// Connection attempts at a time: over a path of 100 ms a thousand connections take three
/// seconds, and no listener's backlog (128 by tradition) overflows.
const AT_ONCE: usize = 32;

/// The connections of a run.
#[derive(Debug)]
pub struct Dialed {
    /// Whom they lead to: the first address of the target that took one.
    pub address: Address,
    /// All of them.
    pub sockets: Vec<Socket>,
}

/// Opens `count` connections, all to the same address.
///
/// # Errors
/// The first one that fails, with its number.
pub fn dial(config: &Connect, count: usize, interrupt: &Interrupt) -> Result<Dialed, Fault> {
    let Connection { socket, remote, .. } = connect(config, interrupt)?;
    let opened = Mutex::new(Ok(vec![socket]));
    let next = AtomicUsize::new(2);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(count - 1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number > count {
                        return;
                    }
                    let result = connect_one(config, &remote, interrupt);
                    let mut opened = opened.lock().unwrap_or_else(|e| e.into_inner());
                    match (result, &mut *opened) {
                        (Ok(connection), Ok(sockets)) => sockets.push(connection.socket),
                        (Err(error), Ok(_)) => {
                            let text = format!("connection {number} of {count}: {error}");
                            *opened = Err(Fault::new(error.kind, text));
                            next.store(count + 1, Ordering::Relaxed);
                        }
                        _ => return,
                    }
                }
            });
        }
    });
    let sockets = opened.into_inner().unwrap_or_else(|e| e.into_inner())?;
    Ok(Dialed {
        address: remote,
        sockets,
    })
}

impl Dialed {
    /// The congestion control of the connections, where they have one.
    pub fn congestion_control(&self) -> Option<String> {
        congestion_control(self.sockets.first()?)
    }
}
