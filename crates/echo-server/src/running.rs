//! A server that serves: in the threads of a program, or held by one that tests with it.

use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use anyhow::anyhow;
use echo_core::{Failure, cause};
use echo_metrics::Rounds;

use crate::control::{Control, Serving, clients};
use crate::event::record::Record;
use crate::event::stats::{Stats, Totals};
use crate::event::{Address, EventReader, Kind, Stop};
use crate::fault::Fault;
use crate::name::Name;
use crate::serve::shared::Shared;
use crate::serve::worker::Worker;
use crate::shutdown::Shutdown;
use crate::socket::listener::Listener;
use crate::{metrics, notify, thread};

/// A server that serves.
pub struct Running {
    shared: Arc<Shared>,
    record: Option<Arc<Record>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    metrics: Option<Rounds>,
    serving: Option<Serving>,
    /// Has a service manager told that the server is ready.
    ready: Option<Sender<()>>,
}

impl Running {
    /// Starts all there is to be started, or nothing.
    pub(crate) fn start(
        shared: Arc<Shared>,
        record: Option<Arc<Record>>,
        workers: Vec<Worker>,
        metrics: Vec<TcpListener>,
        control: Option<Listener>,
    ) -> Result<Self, Failure> {
        let mut running = Running {
            shared,
            record,
            threads: Vec::new(),
            metrics: None,
            serving: None,
            ready: None,
        };
        let Err(failure) = running.start_threads(workers, metrics, control) else {
            return Ok(running);
        };
        running.shared.shutdown.request_for(Stop::Failed);
        running.shared.shutdown.request_immediate();
        // That it could not start is what there is to tell.
        let _: Result<(), Failure> = running.join();
        Err(failure)
    }

    fn start_threads(
        &mut self,
        workers: Vec<Worker>,
        metrics: Vec<TcpListener>,
        control: Option<Listener>,
    ) -> Result<(), Failure> {
        for (index, worker) in workers.into_iter().enumerate() {
            let shutdown = self.shared.shutdown.clone();
            let run = move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| worker.run()))
                    .unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
                // One worker that fails stops all: half a server would lose connections.
                shutdown.request_for(Stop::Failed);
                outcome
            };
            let thread = thread::start(&format!("worker-{index}"), run)?;
            self.threads.push(thread);
        }
        if !metrics.is_empty() {
            self.metrics = Some(metrics::start(metrics, self.shared.clone())?);
        }
        let serving = control.map(|listener| clients::start(listener, self.control()));
        self.serving = serving.transpose()?;
        let Shared {
            totals, shutdown, ..
        } = &*self.shared;
        self.ready = Some(notify::start(totals.clone(), shutdown.clone())?);
        // Last, for a file that it has made stays from then on.
        match &self.record {
            Some(record) => record.start(&self.shared.shutdown),
            None => Ok(()),
        }
    }

    /// What the server can be told while it serves.
    pub fn control(&self) -> Control {
        Control::of(&self.shared)
    }

    /// Tells a service manager that the server is ready and, from then on, how it is doing, where
    /// `NOTIFY_SOCKET` names one.
    pub fn notify(&self) {
        // Where none is named nobody hears it.
        let _ = self.ready.iter().try_for_each(|ready| ready.send(()));
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// A [`Failure`] when the system took an event queue away, or the record cannot be written.
    pub fn join(self) -> Result<(), Failure> {
        let panicked = |_| Err(io::Error::other("a worker panicked"));
        let ends = self.threads.into_iter().map(JoinHandle::join);
        let ends: Vec<_> = ends.map(|end| end.unwrap_or_else(panicked)).collect();
        drop(self.metrics);
        self.serving.into_iter().for_each(Serving::end);
        let Shared {
            events,
            shutdown,
            totals,
            ..
        } = &*self.shared;
        let record = self.record.map(|record| record.end(&events.clock()));
        let why = shutdown.why().unwrap_or(Stop::Failed);
        let stats = totals.stats().into();
        events.tell(|| Kind::Stopped { why, stats });
        ends.into_iter()
            .collect::<io::Result<()>>()
            .map_err(|error| Failure::bad(anyhow!("serving failed: {}", cause(&error))))?;
        record.unwrap_or(Ok(()))
    }
}

/// A server that runs in a thread of its own. Dropping it closes every connection and waits for
/// the end; see [`Handle::stop`] for an end that lets connections finish.
pub struct Handle {
    addresses: Vec<Address>,
    names: Vec<Option<Name>>,
    events: EventReader,
    totals: Arc<Totals>,
    control: Control,
    shutdown: Shutdown,
    thread: Option<JoinHandle<Result<(), Failure>>>,
}

impl Handle {
    /// Has a thread wait for the end of `running`.
    pub(crate) fn new(
        addresses: Vec<Address>,
        names: Vec<Option<Name>>,
        events: EventReader,
        shutdown: Shutdown,
        running: Running,
    ) -> Result<Self, Failure> {
        let (totals, control) = (running.shared.totals.clone(), running.control());
        // A server that nobody holds could not be stopped.
        let thread = thread::start("echo-server", || running.join())
            .inspect_err(|_| shutdown.request_immediate())?;
        Ok(Handle {
            addresses,
            names,
            events,
            totals,
            control,
            shutdown,
            thread: Some(thread),
        })
    }

    /// The addresses that the sockets got; see [`Server::addresses`](crate::Server::addresses).
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The address of the first socket of the listener `name`.
    pub fn address(&self, name: &str) -> Option<&Address> {
        let is_it = |own: &Option<Name>| own.as_ref().is_some_and(|own| own.as_str() == name);
        self.addresses.get(self.names.iter().position(is_it)?)
    }

    /// What the server can be told while it serves.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Has these faults apply from now on instead of those that did; see [`Control::set_faults`].
    ///
    /// # Errors
    /// No listener has the name of an `on=`; the server has ended.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) -> anyhow::Result<()> {
        self.control.set_faults(faults)
    }

    /// What happens, from [`Config::log_level`](crate::Config::log_level) up; nothing after
    /// [`Server::bind_with`](crate::Server::bind_with). An event
    /// that nobody has read waits; past 4,096 of them (of ends of
    /// connections, twice as many), more are lost and counted.
    pub fn events(&self) -> &EventReader {
        &self.events
    }

    /// What the server has done so far.
    pub fn stats(&self) -> Stats {
        self.totals.stats()
    }

    /// The value with which the server can be asked to stop.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Stops accepting, waits for the connections that talk (at most for the configured drain),
    /// and returns how the server ended.
    ///
    /// # Errors
    /// See [`Running::join`].
    pub fn stop(mut self) -> Result<(), Failure> {
        self.shutdown.request();
        self.join()
    }

    fn join(&mut self) -> Result<(), Failure> {
        match self.thread.take() {
            Some(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(Failure::bad(anyhow!("the server panicked")))),
            None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shutdown.request_immediate();
        // Nobody is left to be told how it ended.
        let _: Result<(), Failure> = self.join();
    }
}
