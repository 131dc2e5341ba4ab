//! A server from its configuration to its end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::anyhow;
use echo_core::address::End;
use echo_core::stamp::{Key, Reflector};
use echo_core::{Failure, Transport, Zoned, remedied};

use crate::config::Config;
use crate::control::clients;
use crate::event::record::Record;
use crate::event::stats::Totals;
use crate::event::{Address, Done, EventReader, Events, Kind, Level};
use crate::fault::{Action, Faults, Seed, Subject};
use crate::running::{Handle, Running};
use crate::sandbox::Sandbox;
use crate::serve::guard::Guard;
use crate::serve::limits::Limits;
use crate::serve::memory;
use crate::serve::rate::Rate;
use crate::serve::shared::Shared;
use crate::serve::udp::UdpEcho;
use crate::serve::worker::{self, Worker};
use crate::shutdown::Shutdown;
use crate::socket::bind;
use crate::socket::datagram::DatagramSocket;
use crate::socket::listener::{Listener, Reception};

/// A server whose sockets are bound. Peers can connect already; [`Server::start`] serves them.
pub struct Server {
    config: Config,
    events: Arc<Events>,
    stamp_key: Option<Key>,
    faults: Faults,
    /// Where nobody else is told.
    reader: Option<EventReader>,
    record: Option<Arc<Record>>,
    bound: Vec<Listener>,
    metrics: Vec<Listener>,
    control: Option<Listener>,
    totals: Arc<Totals>,
    is_confined: bool,
}

impl Server {
    /// Binds every endpoint of `config`, or none.
    ///
    /// # Errors
    /// A [`Failure`] that says which socket could not be bound, why, and what to do.
    pub fn bind(config: Config) -> Result<Self, Failure> {
        let (events, reader) = Events::channel(config.level());
        let mut server = Server::bind_with(config, events)?;
        server.reader = Some(reader);
        Ok(server)
    }

    /// As [`Server::bind`], and tells `events` what happens, from the first call on. Their level is
    /// theirs, whatever `config` says; see [`Config::level`].
    ///
    /// # Errors
    /// See [`Server::bind`].
    pub fn bind_with(mut config: Config, mut events: Events) -> Result<Self, Failure> {
        config.check()?;
        let seed = config.seed.number();
        config.seed = Seed::Given(seed);
        let stamp_key = (!config.stamp_key.is_none()).then(|| Key::read(&config.stamp_key));
        let stamp_key = stamp_key.transpose()?;
        let faults = Faults::new(seed, config.faults());
        let bound = bind::bind_all(&config, faults.plan().as_deref(), &events)?;
        let metrics = bind::bind_metrics(&config, &bound)?;
        let control = config.control_path();
        let control = control.map(|path| clients::bind(path, &events));
        let control = control.transpose()?;
        // Only now is it clear that no other server has the file.
        let record =
            (!config.record.is_none()).then(|| Record::open(&config.record, memory::spare()));
        let record = record.transpose()?.map(Arc::new);
        if let Some(record) = &record {
            events = events.with_record(record.clone());
        }
        for bound in &bound {
            events.tell(|| Kind::Listening {
                local: bound.address.clone(),
                listener: bound.listen.name.clone(),
            });
        }
        let count = faults.list().len();
        if count > 0 {
            events.tell(|| Kind::Faults { count, seed });
        }
        for bound in &bound {
            if bound.reception == Reception::Refusing {
                let name = bound.listen.name.as_ref();
                let first = Subject::new(Transport::Tcp, name, 1, None);
                first.tell(&events, None, &Action::Refuse, Done::Plainly);
            }
        }
        let totals = Totals::new(config.loops(), &events);
        Ok(Server {
            config,
            events: Arc::new(events),
            stamp_key,
            faults,
            reader: None,
            record,
            bound,
            metrics,
            control,
            totals,
            is_confined: false,
        })
    }

    /// The addresses that the sockets got, in the order of the configuration; `HOST:PORT` gives
    /// TCP, then UDP.
    pub fn addresses(&self) -> Vec<Address> {
        self.bound
            .iter()
            .map(|bound| bound.address.clone())
            .collect()
    }

    /// The address of the first socket of the listener `name`.
    pub fn address(&self, name: &str) -> Option<&Address> {
        let is_named = |bound: &&Listener| {
            let own = bound.listen.name.as_ref();
            own.is_some_and(|own| own.as_str() == name)
        };
        self.bound.iter().find(is_named).map(|bound| &bound.address)
    }

    /// The addresses of `--metrics`.
    pub fn metrics(&self) -> Vec<SocketAddr> {
        let bound = self.metrics.iter();
        bound.filter_map(|bound| bound.address.socket()).collect()
    }

    /// The ready lines: each socket with the address it got and its listener's name, where monitors
    /// are answered, then `ready`.
    pub fn ready_lines(&self) -> String {
        let mut lines = String::new();
        for Listener {
            listen, address, ..
        } in &self.bound
        {
            let name = listen.name.iter().map(|name| format!(" {name}"));
            let address = match listen.is_stamp() {
                true => format!("stamp {}", End::from(address)),
                false => address.to_string(),
            };
            lines += &format!("listening {address}{}\n", name.collect::<String>());
        }
        for address in self.metrics() {
            lines += &format!("listening metrics {}\n", Zoned(address));
        }
        lines + "ready\n"
    }

    /// Tells of what has been done so far, whenever it is called, until the server has ended.
    pub fn stats_teller(&self) -> impl Fn() + Send + Sync + 'static + use<> {
        let (events, totals) = (Arc::downgrade(&self.events), self.totals.clone());
        move || {
            if let Some(events) = events.upgrade() {
                events.tell(|| Kind::Stats(totals.stats().into()));
            }
        }
    }

    /// Has the thread that starts this server, and all that serve, give up what they do not need, as
    /// far as the system lets them and [`Config::sandbox`] says. This cannot be taken back, so it is for
    /// programs that are a server and nothing else.
    pub fn confine(&mut self) {
        self.is_confined = self.config.sandbox == Sandbox::On;
    }

    /// Starts serving, in threads of its own, until `shutdown` is requested.
    ///
    /// # Errors
    /// A [`Failure`] when the system grants no threads or event queues.
    pub fn start(mut self, shutdown: &Shutdown) -> Result<Running, Failure> {
        let record = self.record.clone();
        let control = self.control.take();
        let metrics = std::mem::take(&mut self.metrics).into_iter();
        let metrics = metrics.map(|bound| TcpListener::from(bound.socket.into_inner()));
        let metrics: Vec<_> = metrics.collect();
        // A listener that is told to refuse, and to be there again, is bound again.
        let ports = self.bound.iter().filter_map(|bound| match bound.address {
            Address::Tcp(address) => Some(address.port()),
            _ => None,
        });
        let ports: Vec<u16> = ports.filter(|_| control.is_some()).collect();
        let confined = self.is_confined.then(|| (self.config.clone(), ports));
        let (workers, shared) = self.workers(shutdown).map_err(|error| {
            Failure::bad(anyhow!(
                "cannot start serving: {}",
                remedied(
                    &error,
                    "raise the open-file limit (ulimit -n), or use fewer --workers"
                )
            ))
        })?;
        // Nothing is looked up any more, and nobody has been served yet.
        if let Some((config, ports)) = confined {
            let given_up = config.confine(&ports);
            shared.events.tell(|| Kind::Confined(given_up));
        }
        Running::start(shared, record, workers, metrics, control)
    }

    /// Serves in a thread of its own. Dropping the handle stops the server.
    ///
    /// # Errors
    /// A [`Failure`] when the system grants no thread.
    pub fn spawn(mut self) -> Result<Handle, Failure> {
        let unheard = || Events::channel(Level::Off).1;
        let events = self.reader.take().unwrap_or_else(unheard);
        let shutdown = Shutdown::new();
        let sockets = self.bound.iter();
        let sockets = sockets.map(|bound| (bound.listen.name.clone(), bound.address.clone()));
        let (names, addresses) = sockets.unzip();
        let running = self.start(&shutdown)?;
        Handle::new(addresses, names, events, shutdown, running)
    }

    fn workers(self, shutdown: &Shutdown) -> io::Result<(Vec<Worker>, Arc<Shared>)> {
        let (polls, inboxes): (Vec<_>, Vec<_>) = self
            .totals
            .counters
            .iter()
            .cloned()
            .map(worker::poll_and_inbox)
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .unzip();
        let record = self.record.map_or(0, |record| record.memory as u64);
        let memory = memory::spare().saturating_sub(record);
        let limits = Limits::new(&self.config, memory, shutdown.clone())?;
        let (max, asked) = (limits.max_connections, self.config.max_connections);
        if max < asked {
            let capped = || Kind::ConnectionsCapped { max, asked };
            self.events.tell(capped);
        }
        let shared = Arc::new(Shared {
            limits,
            config: self.config,
            events: self.events,
            shutdown: shutdown.clone(),
            inboxes,
            totals: self.totals,
            faults: self.faults.into(),
        });
        let mut workers: Vec<Worker> = polls
            .into_iter()
            .enumerate()
            .map(|(index, poll)| Worker::new(index, poll, shared.clone()))
            .collect();
        let is_udp = |bound: &Listener| matches!(bound.address, Address::Udp(_));
        let (udp, streams): (Vec<_>, Vec<_>) = self.bound.into_iter().partition(is_udp);
        let own_ports: Vec<u16> = udp
            .iter()
            .filter_map(|bound| bound.address.socket())
            .map(|own| own.port())
            .collect();
        let rate = Arc::new(Rate::new(shared.config.udp_rate));
        // From the last worker on: the first one accepts for all.
        for (bound, index) in udp.into_iter().zip((0..workers.len()).rev().cycle()) {
            let (own_ports, events) = (own_ports.clone(), shared.events.clone());
            let guard = Guard::new(&shared.config, rate.clone(), own_ports, events);
            let is_stateless = shared.config.stamp_stateless;
            let reflector = || Reflector::new(self.stamp_key.clone(), is_stateless);
            let reflector = bound.listen.is_stamp().then(reflector);
            let stamped = reflector.as_ref().map(Reflector::mode);
            let socket = DatagramSocket::new(bound.socket, stamped)?;
            workers[index].add_udp(UdpEcho::new(socket, guard, bound.listen, reflector))?;
        }
        workers[0].accept_from(streams)?;
        let plan = shared.faults().plan();
        for worker in &mut workers {
            worker.set_faults(plan.as_ref());
        }
        Ok((workers, shared))
    }
}
