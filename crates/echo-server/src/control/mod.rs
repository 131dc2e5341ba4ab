//! What a server can be told while it serves: by its own process, or over a socket.

pub mod ask;
pub(crate) mod clients;
mod command;

use std::sync::{Arc, Weak};

use anyhow::{Result, anyhow};

use crate::event::{ConnectionId, Kind, Stats, Stop};
use crate::fault::{Fault, Numbered};
use crate::name::Name;
use crate::serve::inbox::Order;
use crate::serve::shared::Shared;

pub use crate::serve::inbox::Connection;
pub(crate) use clients::Serving;

/// Tells a running server what to do. Each call returns once every worker has done it: what is sent
/// afterwards meets the server as it is then. Once the server has ended, each is an error.
#[derive(Clone, Debug)]
pub struct Control(Weak<Shared>);

/// Faults that went, and faults that came.
type Changed = (Vec<Numbered>, Vec<Numbered>);

impl Control {
    pub(crate) fn of(server: &Arc<Shared>) -> Self {
        Control(Arc::downgrade(server))
    }

    fn server(&self) -> Result<Arc<Shared>> {
        self.0
            .upgrade()
            .ok_or_else(|| anyhow!("the server has ended"))
    }

    /// The faults as they are now, and the seed from which their chance follows.
    ///
    /// # Errors
    /// The server has ended.
    pub fn faults(&self) -> Result<(Vec<Numbered>, u64)> {
        let server = self.server()?;
        let faults = server.faults();
        Ok((faults.list().to_vec(), faults.seed))
    }

    /// Adds a fault behind the others, and returns its number.
    ///
    /// # Errors
    /// No listener has the name of `on=`; the server has ended.
    pub fn add_fault(&self, fault: Fault) -> Result<u64> {
        let (_, added) = self.change(|_| false, vec![fault])?;
        added
            .first()
            .map(|new| new.number)
            .ok_or_else(|| anyhow!("it was not added"))
    }

    /// Takes a fault away. What it has held back leaves.
    ///
    /// # Errors
    /// No fault has that number; the server has ended.
    pub fn remove_fault(&self, number: u64) -> Result<Fault> {
        let (removed, _) = self.change(|other| other == number, Vec::new())?;
        let removed = removed.into_iter().next();
        removed.map(|gone| gone.fault).ok_or_else(|| {
            anyhow!("no fault has the number {number}; `fault list` tells those there are")
        })
    }

    /// Has these faults apply instead of those that did.
    ///
    /// # Errors
    /// No listener has the name of an `on=`; the server has ended.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) -> Result<()> {
        self.change(|_| true, faults.into_iter().collect())
            .map(drop)
    }

    fn change(&self, gone: impl Fn(u64) -> bool, new: Vec<Fault>) -> Result<Changed> {
        let server = self.server()?;
        new.iter()
            .try_for_each(|fault| server.config.check_fault(fault))?;
        // Held until all have been told: two changes come to every worker in one order.
        let mut faults = server.faults();
        let (removed, added) = faults.change(gone, new);
        for gone in &removed {
            let told = || Kind::FaultRemoved(gone.clone().into());
            server.events.tell(told);
        }
        for new in &added {
            let told = || Kind::FaultAdded(new.clone().into());
            server.events.tell(told);
        }
        server.ask(Order::Revise(faults.plan()));
        Ok((removed, added))
    }

    /// What has been done so far.
    ///
    /// # Errors
    /// The server has ended.
    pub fn stats(&self) -> Result<Stats> {
        Ok(self.server()?.totals.stats())
    }

    /// The connections that are open, in the order in which they came.
    ///
    /// # Errors
    /// The server has ended.
    pub fn connections(&self) -> Result<Vec<Connection>> {
        Ok(self.server()?.ask(Order::List))
    }

    /// Ends a connection, or all: once what is owed has been sent, or with a reset. Returns which.
    ///
    /// # Errors
    /// The server has ended.
    pub fn close(&self, chosen: Option<ConnectionId>, reset: bool) -> Result<Vec<Connection>> {
        Ok(self.server()?.ask(Order::Close(chosen, reset)))
    }

    /// Takes no more connections and datagrams from the listeners of a name, or from any: they wait
    /// in the system's queues. Connections that are open go on.
    ///
    /// # Errors
    /// No listener has that name; the server has ended.
    pub fn pause(&self, listener: Option<Name>) -> Result<()> {
        self.hold(listener, true, |listener| Kind::Paused { listener })
    }

    /// Takes again what waits at the listeners of a name, or at all.
    ///
    /// # Errors
    /// See [`Control::pause`].
    pub fn resume(&self, listener: Option<Name>) -> Result<()> {
        self.hold(listener, false, |listener| Kind::Resumed { listener })
    }

    fn hold(&self, on: Option<Name>, paused: bool, told: fn(Option<Name>) -> Kind) -> Result<()> {
        let server = self.server()?;
        if let Some(name) = &on {
            server.config.check_name("", name)?;
        }
        server.events.tell(|| told(on.clone()));
        server.ask(Order::Pause(on, paused));
        Ok(())
    }

    /// Asks the server to stop, as a signal does: connections that still talk go on until they are done.
    ///
    /// # Errors
    /// The server has ended.
    pub fn stop(&self) -> Result<()> {
        self.server()?.shutdown.request_for(Stop::Command);
        Ok(())
    }
}
