//! From endpoints to bound sockets, with their options.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use echo_core::endpoint::DEFAULT_PORT;
use echo_core::path::shown;
use echo_core::{Endpoint, Failure, Transport, Zoned};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use crate::config::Config;
use crate::event::{Address, Events};
use crate::fault::{self, Network};
use crate::socket::datagram;
use crate::socket::opening::Opening;

/// Connections the system may hold ready for us. `std` hard-codes 128, which a burst of clients
/// overflows; the system lowers this to its own limit (`net.core.somaxconn`, 4,096 on Linux).
const BACKLOG: i32 = 4096;

/// How often port 0 is tried again when the port the system chose for TCP is taken for UDP.
const PORT_TRIES: usize = 32;

/// A bound socket, not blocking.
pub(crate) enum Listener {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener, SocketFile),
    Udp(UdpSocket),
    /// Bound, but not listening: the system refuses every connection.
    Refusing(Socket),
}

/// A bound socket and the address it got.
pub(crate) struct Bound {
    pub(crate) address: Address,
    pub(crate) listener: Listener,
}

impl Bound {
    /// Whether a fault has it refuse every connection.
    pub(crate) fn is_refusing(&self) -> bool {
        matches!(self.listener, Listener::Refusing(_))
    }
}

/// Binds every endpoint, or none.
pub(crate) fn bind_all(config: &Config, events: &Events) -> Result<Vec<Bound>, Failure> {
    let mut bound = Vec::new();
    match bind_each(config, events, &mut bound) {
        Ok(()) => Ok(bound),
        Err(failure) => {
            close_all(bound, events);
            Err(failure)
        }
    }
}

fn close_all(bound: Vec<Bound>, events: &Events) {
    for socket in bound {
        match socket.listener {
            Listener::Tcp(listener) => events.close(listener),
            Listener::Unix(listener, _file) => events.close(listener),
            Listener::Udp(socket) => events.close(socket),
            Listener::Refusing(socket) => events.close(socket),
        }
    }
}

fn bind_each(config: &Config, events: &Events, bound: &mut Vec<Bound>) -> Result<(), Failure> {
    if config.listen.is_empty() {
        return Err(Failure::usage(anyhow!(
            "nothing to listen on; give an endpoint with --listen"
        )));
    }
    for endpoint in &config.listen {
        match endpoint {
            Endpoint::Unix(path) => {
                bound.push(bind_unix(config, events, path).map_err(Failure::bad)?)
            }
            Endpoint::Inet {
                transport,
                host,
                port,
            } => {
                let transports = match transport {
                    Some(Transport::Tcp) => &[Transport::Tcp][..],
                    Some(Transport::Udp) => &[Transport::Udp],
                    None => &[Transport::Tcp, Transport::Udp],
                };
                bound.extend(bind_inet(
                    config,
                    events,
                    endpoint,
                    transports,
                    (host, *port),
                )?);
            }
        }
    }
    Ok(())
}

/// Why one socket could not be bound.
struct BindError {
    transport: Transport,
    address: SocketAddr,
    error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError {
            transport,
            address,
            error,
        } = self;
        write!(f, "cannot listen on {transport} {}: ", Zoned(*address))?;
        match error.kind() {
            io::ErrorKind::InvalidInput if is_without_zone(address) => write!(
                f,
                "such an address is another machine on each network; name this one's, as in \
                 [fe80::1%eth0]:{DEFAULT_PORT}"
            ),
            io::ErrorKind::AddrInUse => write!(
                f,
                "the port is in use; stop the program that holds it (`ss -lnp` names it), or choose \
                 another with --listen"
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE, or choose another \
                 with --listen"
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "this machine has no such address; `ip address` lists those it has, 0.0.0.0 and \
                 [::] stand for all"
            ),
            _ if is_out_of_files(error) => {
                write!(f, "{error}; raise the open-file limit (ulimit -n)")
            }
            _ => write!(f, "{error}; choose another address with --listen"),
        }
    }
}

fn is_without_zone(address: &SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0)
}

fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;

    [Errno::MFILE, Errno::NFILE].contains(&Errno::from_io_error(error).unwrap_or(Errno::IO))
}

fn bind_inet(
    config: &Config,
    events: &Events,
    endpoint: &Endpoint,
    transports: &[Transport],
    (host, port): (&str, u16),
) -> Result<Vec<Bound>, Failure> {
    let addresses = resolve(host, port)
        .map_err(|cause| Failure::bad(anyhow!("cannot listen on {endpoint}: {cause}")))?;
    let mut tries = 0;
    loop {
        tries += 1;
        match bind_addresses(config, events, transports, &addresses) {
            // The port that the first socket was given is taken for a later one.
            Err(e)
                if port == 0
                    && e.error.kind() == io::ErrorKind::AddrInUse
                    && tries < PORT_TRIES => {}
            outcome => return outcome.map_err(|error| Failure::bad(anyhow!("{error}"))),
        }
    }
}

/// Binds all transports on all addresses, with one port number for all.
fn bind_addresses(
    config: &Config,
    events: &Events,
    transports: &[Transport],
    addresses: &[SocketAddr],
) -> Result<Vec<Bound>, BindError> {
    let mut bound: Vec<Bound> = Vec::new();
    for &address in addresses {
        for &transport in transports {
            let mut address = address;
            if let Some(first) = bound.first().and_then(|first| first.address.socket()) {
                address.set_port(first.port());
            }
            match bind_socket(config, events, transport, address) {
                Ok(socket) => bound.push(socket),
                // A name may resolve to an address family that this machine does not run.
                Err(error)
                    if addresses.len() > 1 && error.kind() == io::ErrorKind::AddrNotAvailable => {}
                Err(error) => {
                    close_all(bound, events);
                    return Err(BindError {
                        transport,
                        address,
                        error,
                    });
                }
            }
        }
    }
    if bound.is_empty() {
        return Err(BindError {
            transport: transports[0],
            address: addresses[0],
            error: io::ErrorKind::AddrNotAvailable.into(),
        });
    }
    Ok(bound)
}

/// A host's addresses, each once.
fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if host.contains(':') {
        return Zoned::at(host, port).map(|Zoned(address)| vec![address]);
    }
    let found = (host, port).to_socket_addrs().map_err(|error| {
        format!(
            "{host:?} could not be resolved: {error}; check the spelling, or give an IP address"
        )
    })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(format!("{host:?} has no address; give an IP address"));
    }
    Ok(addresses)
}

fn bind_socket(
    config: &Config,
    events: &Events,
    transport: Transport,
    address: SocketAddr,
) -> io::Result<Bound> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let opening = Opening::new(events, Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        opening.socket().set_only_v6(!takes_ipv4(config, address))?;
    }
    match transport {
        Transport::Tcp => {
            // Lets a restarted server bind while old connections are in TIME_WAIT; two listeners
            // still cannot share a port. Never set for UDP, where two sockets could.
            opening.socket().set_reuse_address(true)?;
            opening.bind(&address.into())?;
            set_stream_options(config, opening.socket())?;
            if fault::refuses_all(&config.fault) {
                return Ok(Bound {
                    address: Address::Tcp(local_address(opening.socket())?),
                    listener: Listener::Refusing(opening.ready()),
                });
            }
            opening.listen(backlog(config, Network::Tcp))?;
            let listener = std::net::TcpListener::from(opening.ready());
            Ok(Bound {
                address: Address::Tcp(listener.local_addr()?),
                listener: Listener::Tcp(mio::net::TcpListener::from_std(listener)),
            })
        }
        Transport::Udp => {
            datagram::ask_for_room(opening.socket());
            opening.bind(&address.into())?;
            let socket = UdpSocket::from(opening.ready());
            Ok(Bound {
                address: Address::Udp(socket.local_addr()?),
                listener: Listener::Udp(socket),
            })
        }
    }
}

/// How many connections the system may hold ready: fewer where a fault leaves them waiting.
fn backlog(config: &Config, network: Network) -> i32 {
    fault::backlog(&config.fault, network, 1).unwrap_or(BACKLOG)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// The options of a connection, set once on the listener: accepted sockets inherit them.
fn set_stream_options(config: &Config, socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // Urgent data is part of what the peer sent, and comes back in its place.
    socket.set_out_of_band_inline(true)?;
    let keepalive = Duration::from(config.keepalive);
    if keepalive.is_zero() {
        return Ok(());
    }
    // Probes start after the given time and take as long again: 4 of them, spread evenly. The
    // system counts in whole seconds.
    let idle = keepalive.max(Duration::from_secs(1));
    let interval = (idle / 4).max(Duration::from_secs(1));
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(idle)
            .with_interval(interval)
            .with_retries(4),
    )?;
    // The same bound for a peer that vanished while data was on its way to it, but never sooner
    // than the write timeout: to the system, a peer that does not read looks the same. It holds for
    // silent peers, too: where it is set, Linux asks no more how many probes had no answer.
    #[cfg(target_os = "linux")]
    if config.write_timeout.0 > Duration::ZERO {
        socket.set_tcp_user_timeout(Some((idle * 2).max(config.write_timeout.into())))?;
    }
    Ok(())
}

/// `[::]` takes IPv4 too, unless an IPv4 endpoint on the same port is listed.
fn takes_ipv4(config: &Config, address: SocketAddr) -> bool {
    let listed = config.listen.iter().any(|endpoint| match endpoint {
        Endpoint::Inet { host, port, .. } => {
            *port == address.port() && *port != 0 && matches!(host.parse(), Ok(IpAddr::V4(_)))
        }
        Endpoint::Unix(_) => false,
    });
    address.ip().is_unspecified() && !listed
}

/// A Unix socket's file, removed when the server ends if it is still the same file.
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn new(path: &Path) -> Self {
        SocketFile {
            path: path.to_owned(),
            identity: identity(path),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Nothing is left to do if someone else removed it in between.
            let _: io::Result<()> = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn bind_unix(config: &Config, events: &Events, path: &Path) -> anyhow::Result<Bound> {
    let fail = |cause: String| anyhow!("cannot listen on unix {}: {cause}", shown(path));
    remove_stale(events, path).map_err(fail)?;
    let listener = listen_unix(config, events, path).map_err(|error| {
        fail(match error.kind() {
            io::ErrorKind::NotFound => "its directory does not exist; create it first".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "permission denied; choose a directory you may write to".to_owned()
            }
            io::ErrorKind::InvalidInput => {
                "the path is too long for a socket (108 bytes on Linux); choose a shorter one"
                    .to_owned()
            }
            _ => format!("{error}; choose another path"),
        })
    })?;
    let file = SocketFile::new(path);
    let listener = mio::net::UnixListener::from_std(listener);
    Ok(Bound {
        address: Address::Unix(path.to_owned()),
        listener: Listener::Unix(listener, file),
    })
}

fn listen_unix(config: &Config, events: &Events, path: &Path) -> io::Result<UnixListener> {
    let opening = Opening::new(events, Domain::UNIX, Type::STREAM, None)?;
    opening.bind(&SockAddr::unix(path)?)?;
    opening.listen(backlog(config, Network::Unix))?;
    Ok(opening.ready().into())
}

/// Removes a socket file that no server answers on; anything else that is in the way stays.
fn remove_stale(events: &Events, path: &Path) -> Result<(), String> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err("a file of that name exists and is no socket; choose another path".to_owned());
    }
    // Without waiting: a server that hangs has a full queue, and would be waited for for ever.
    let probe = || {
        let probe = Opening::new(events, Domain::UNIX, Type::STREAM, None)?;
        probe.connect(&SockAddr::unix(path)?)
    };
    match probe() {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| {
                format!("the socket file left behind there cannot be removed: {error}")
            })
        }
        _ => Err("another server listens there; stop it, or choose another path".to_owned()),
    }
}
