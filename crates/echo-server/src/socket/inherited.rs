//! Sockets that whoever started the program has opened for it, as systemd does: sd_listen_fds(3).

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::{anyhow, ensure};
use echo_core::escape::printable;
use echo_core::{Failure, Transport, cause};
use echo_explain::Watched;
use listenfd::ListenFd;
use socket2::{Protocol, SockRef, Socket};

use crate::config::Config;
use crate::event::{Address, Events};
use crate::socket::listener::{Listener, set_options};
use crate::socket::{address, datagram};
use crate::{Listen, Sockets};

/// More than any unit has; each costs a descriptor.
const MOST: usize = 1024;

/// The sockets of this process that nobody has taken.
pub(crate) struct Inherited {
    /// The name of each, and whether it is left.
    names: Vec<(String, bool)>,
    /// As the library has them, once one is wanted: it changes the environment.
    sockets: Option<ListenFd>,
}

impl Inherited {
    /// Those that are meant for this process, and not for one that started it.
    pub(crate) fn of_process() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let number = |name: &str| variable(name).and_then(|text| text.parse::<usize>().ok());
        let is_ours = number("LISTEN_PID") == usize::try_from(std::process::id()).ok();
        let count = number("LISTEN_FDS").filter(|count| is_ours && *count <= MOST);
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        // What systemd calls those that have no name.
        let named = names.split(':').chain(std::iter::repeat(""));
        let names = named.map(|name| if name.is_empty() { "unknown" } else { name });
        let names = names.map(|name| (name.to_owned(), true));
        Inherited {
            names: names.take(count.unwrap_or(0)).collect(),
            sockets: None,
        }
    }

    /// The names of those that are left.
    pub(crate) fn left(&self) -> Vec<String> {
        let left = self.names.iter().filter(|(_, is_left)| *is_left);
        left.map(|(name, _)| name.clone()).collect()
    }

    /// Takes those of the name that `listen` has or, without one, all but those that others ask for by name.
    ///
    /// # Errors
    /// A [`Failure`] when there is none, or one is nothing to listen on; of usage, when another listener
    /// has taken it.
    pub(crate) fn take(
        &mut self,
        listen: &Arc<Listen>,
        config: &Config,
        events: &Events,
    ) -> Result<Vec<Listener>, Failure> {
        let name = asked(listen);
        let asked: Vec<&str> = config.listen.iter().filter_map(asked).collect();
        let is_meant = |own: &str| name.map_or(!asked.contains(&own), |name| own == name);
        let all = self.names.iter().enumerate();
        let meant = all.filter(|(_, (own, _))| is_meant(own));
        let (left, taken): (Vec<_>, Vec<_>) = meant.partition(|(_, (_, is_left))| *is_left);
        let left: Vec<usize> = left.into_iter().map(|(index, _)| index).collect();
        let names = self.names.iter().map(|(name, _)| &**name);
        let names = printable(&names.collect::<Vec<_>>().join(", "));
        match name {
            _ if !left.is_empty() => {
                let found = self.open(&left, config).map_err(Failure::bad)?;
                let listener =
                    |(address, socket)| Listener::new(listen, address, Watched::of(events, socket));
                Ok(found.into_iter().map(listener).collect())
            }
            Some(name) if taken.is_empty() && !names.is_empty() => Err(Failure::bad(anyhow!(
                "no socket of that name was handed over, but {names}; write FileDescriptorName={name} \
                 into the socket unit, or ask for one of these"
            ))),
            _ if names.is_empty() => Err(Failure::bad(anyhow!(
                "no socket was handed over; start it through a socket unit (or by \
                 systemd-socket-activate), or choose an address with --listen"
            ))),
            _ => Err(Failure::usage(anyhow!(
                "another --listen takes what was handed over ({names}); leave this one out"
            ))),
        }
    }

    /// Takes those at these places.
    fn open(
        &mut self,
        places: &[usize],
        config: &Config,
    ) -> anyhow::Result<Vec<(Address, Socket)>> {
        let sockets = self.sockets.get_or_insert_with(ListenFd::from_env);
        let mut found = Vec::new();
        for &index in places {
            self.names[index].1 = false;
            let number = 3 + index;
            ensure!(
                is_inherited(number),
                "descriptor {number} was not handed over, though LISTEN_FDS counts it; leave that to \
                 systemd"
            );
            let socket = socket(sockets, index, config).map_err(|error| {
                anyhow!(
                    "descriptor {number} that was handed over {error}; there it takes \
                     ListenStream= or ListenDatagram= with an address, or ListenStream= with a \
                     path, and Accept=no"
                )
            })?;
            found.push(socket);
        }
        Ok(found)
    }
}

/// Whether the program began with this descriptor. What it has opened itself is closed when a program
/// begins, and must not be taken for what an untrue number of descriptors says it is.
fn is_inherited(number: usize) -> bool {
    const CLOEXEC: u32 = 0o2_000_000;
    // Without /proc, it shows when the socket is used.
    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_none_or(|flags| flags & CLOEXEC == 0)
}

/// The socket at `index`, ready to be listened on.
fn socket(
    sockets: &mut ListenFd,
    index: usize,
    config: &Config,
) -> anyhow::Result<(Address, Socket)> {
    // Each refuses what is of another kind, and leaves it where it is.
    if let Ok(Some(tcp)) = sockets.take_tcp_listener(index) {
        check(&tcp, &[Protocol::TCP, Protocol::MPTCP])?;
        set_options(config, &SockRef::from(&tcp)).map_err(said)?;
        return ready(tcp.into(), Transport::Tcp).map_err(said);
    }
    if let Ok(Some(unix)) = sockets.take_unix_listener(index) {
        check(&unix, &[])?;
        return ready(unix.into(), Transport::Unix).map_err(said);
    }
    if let Ok(Some(udp)) = sockets.take_udp_socket(index) {
        let protocol = SockRef::from(&udp).protocol().map_err(said)?;
        ensure!(protocol == Some(Protocol::UDP), "is no socket of UDP");
        datagram::ask_for_room(&udp);
        return ready(udp.into(), Transport::Udp).map_err(said);
    }
    Err(anyhow!("is no socket of TCP, of UDP or of a Unix stream"))
}

/// A connection that was accepted already is no listener, though it is of its kind.
fn check(socket: &impl AsFd, protocols: &[Protocol]) -> anyhow::Result<()> {
    let socket = SockRef::from(socket);
    ensure!(socket.is_listener().map_err(said)?, "does not listen");
    let protocol = socket.protocol().map_err(said)?;
    let is_right = protocols.is_empty() || protocol.is_some_and(|own| protocols.contains(&own));
    ensure!(is_right, "is no socket of TCP");
    Ok(())
}

fn said(error: io::Error) -> anyhow::Error {
    anyhow!("cannot be used: {}", cause(&error))
}

fn ready(socket: Socket, transport: Transport) -> io::Result<(Address, Socket)> {
    socket.set_nonblocking(true)?;
    let address = address(transport, &socket.local_addr()?);
    Ok((address.ok_or(io::ErrorKind::Unsupported)?, socket))
}

/// The name by which a listener asks for what was handed over.
fn asked(listen: &Listen) -> Option<&str> {
    match &listen.endpoint {
        Sockets::Inherited(name) => name.as_deref(),
        Sockets::Own(_) => None,
    }
}
