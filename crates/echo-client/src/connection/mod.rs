//! Sockets to the server: every resolved address is tried, within limits of time.

mod error;
mod settings;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use echo_core::Endpoint;
use echo_core::units::Timespan;
use socket2::{Domain, Protocol, Type};

pub use error::{ConnectError, ErrorKind, cause};
pub use settings::{Color, Connect, ConnectSettings, Family, LocalAddress};

use crate::interrupt::Interrupt;

/// One address of the server, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A UDP port.
    Udp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// A connected socket. UDP is connected too: it then hears of ICMP errors, and from no one else.
#[derive(Debug)]
pub enum Socket {
    /// A TCP stream, with `TCP_NODELAY`.
    Tcp(TcpStream),
    /// Datagrams; a read receives one, a write sends one.
    Udp(UdpSocket),
    /// A Unix stream.
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A socket and what it is connected to.
#[derive(Debug)]
pub struct Connection {
    /// The socket, blocking.
    pub socket: Socket,
    /// The server's end.
    pub remote: Address,
    /// How long connecting took: one round trip for TCP.
    pub elapsed: Duration,
}

/// Connects to the first address that takes the connection, and retries for as long as
/// `config.wait` says.
pub fn connect(config: &Connect, interrupt: &Interrupt) -> Result<Connection, ConnectError> {
    let mut patience = Patience::new(config.wait);
    loop {
        let error = match resolve(config, interrupt) {
            Ok(addresses) => match connect_any(config, &addresses, interrupt) {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if error.kind == ErrorKind::Interrupted || !patience.again(interrupt) {
            return Err(error);
        }
    }
}

/// Connects to the first of `addresses` that takes the connection.
fn connect_any(
    config: &Connect,
    addresses: &[Address],
    interrupt: &Interrupt,
) -> Result<Connection, ConnectError> {
    let mut causes = Vec::new();
    let mut kind = ErrorKind::Dns;
    for address in addresses {
        match connect_to(config, address, interrupt) {
            Ok(connection) => return Ok(connection),
            Err(Stopped::Interrupted) => {
                return Err(ConnectError::interrupted(subject(&config.target)));
            }
            Err(Stopped::Failed(error)) => {
                kind = ErrorKind::of(&error);
                causes.push((address, cause(&error)));
            }
        }
    }
    Err(match &causes[..] {
        [(address, cause)] => ConnectError::new(kind, subject(address), cause),
        _ => {
            let causes: Vec<_> = causes.iter().map(|(a, c)| format!("{a}: {c}")).collect();
            ConnectError::new(kind, subject(&config.target), causes.join(", "))
        }
    })
}

fn subject(target: &impl fmt::Display) -> String {
    format!("cannot connect to {target}")
}

/// Connects to one address, once.
pub fn connect_one(
    config: &Connect,
    address: &Address,
    interrupt: &Interrupt,
) -> Result<Connection, ConnectError> {
    connect_any(config, std::slice::from_ref(address), interrupt)
}

fn connect_to(
    config: &Connect,
    address: &Address,
    interrupt: &Interrupt,
) -> Result<Connection, Stopped> {
    let (options, remote) = (config.clone(), address.clone());
    let connecting = move || {
        let start = Instant::now();
        let socket = open(&options, &remote)?;
        Ok(Connection {
            socket,
            remote,
            elapsed: start.elapsed(),
        })
    };
    within(config.connect_timeout, interrupt, connecting)
}

/// Opens a connected, blocking socket to one address, within the limit that `config` sets. Where
/// `connect` also minds interrupts and retries, this is the bare system calls.
pub fn open(config: &Connect, address: &Address) -> io::Result<Socket> {
    match address {
        Address::Tcp(remote) => {
            let socket = socket2::Socket::new(
                Domain::for_address(*remote),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            if let Some(LocalAddress(local)) = config.bind {
                // A fixed port is free again at once, whatever the last connection's TIME_WAIT.
                socket.set_reuse_address(local.port() != 0)?;
                bind(&socket, local)?;
            }
            socket.set_tcp_nodelay(true)?;
            socket.connect_timeout(&(*remote).into(), config.connect_timeout.0)?;
            Ok(Socket::Tcp(socket.into()))
        }
        Address::Udp(remote) => {
            let socket = socket2::Socket::new(
                Domain::for_address(*remote),
                Type::DGRAM,
                Some(Protocol::UDP),
            )?;
            if let Some(LocalAddress(local)) = config.bind {
                bind(&socket, local)?;
            }
            socket.connect(&(*remote).into())?;
            Ok(Socket::Udp(socket.into()))
        }
        #[cfg(unix)]
        Address::Unix(path) => UnixStream::connect(path).map(Socket::Unix),
        #[cfg(not(unix))]
        Address::Unix(_) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this system has no Unix sockets",
        )),
    }
}

fn bind(socket: &socket2::Socket, local: SocketAddr) -> io::Result<()> {
    socket.bind(&local.into()).map_err(|error| {
        let text = format!("local address {}: {}", LocalAddress(local), cause(&error));
        io::Error::new(io::ErrorKind::AddrInUse, text)
    })
}

/// All addresses of the target, of the wanted family, in the system's order.
pub fn resolve(config: &Connect, interrupt: &Interrupt) -> Result<Vec<Address>, ConnectError> {
    let (host, port) = match &config.target {
        Endpoint::Unix(path) => return Ok(vec![Address::Unix(path.clone())]),
        Endpoint::Inet { host, port, .. } => (host.clone(), *port),
    };
    let subject = format!("cannot resolve {host}");
    let looking = move || Ok((host.as_str(), port).to_socket_addrs()?.collect::<Vec<_>>());
    let all = match within(config.connect_timeout, interrupt, looking) {
        Ok(addresses) => addresses,
        Err(Stopped::Interrupted) => return Err(ConnectError::interrupted(subject)),
        Err(Stopped::Failed(error)) => {
            let text = error.to_string();
            let text = text.trim_start_matches("failed to lookup address information: ");
            return Err(ConnectError::new(ErrorKind::Dns, subject, text));
        }
    };
    let address = if config.is_udp() {
        Address::Udp
    } else {
        Address::Tcp
    };
    let mut wanted = Vec::new();
    for socket in all.into_iter().filter(|socket| config.wants(socket)) {
        let address = address(socket);
        if !wanted.contains(&address) {
            wanted.push(address);
        }
    }
    if wanted.is_empty() {
        let cause = "it has no address of the family that --family, -4, -6 or --bind asks for";
        return Err(ConnectError::new(ErrorKind::Dns, subject, cause));
    }
    Ok(wanted)
}

impl Connect {
    fn wants(&self, remote: &SocketAddr) -> bool {
        let family = match self.family {
            Family::Any => true,
            Family::Ipv4 => remote.is_ipv4(),
            Family::Ipv6 => remote.is_ipv6(),
        };
        family
            && self
                .bind
                .is_none_or(|local| local.0.is_ipv4() == remote.is_ipv4())
    }
}

/// Whether and when to try again, for those who wait for a server to come up.
#[derive(Debug)]
pub struct Patience {
    deadline: Instant,
    pause: Duration,
}

impl Patience {
    // A server on this machine is seen 10 ms after it is up; an absent one costs two attempts a
    // second.
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_millis(500);

    /// Patience for `wait` from now on.
    pub fn new(wait: Timespan) -> Self {
        let now = Instant::now();
        Patience {
            deadline: now.checked_add(wait.0).unwrap_or(now + FOREVER),
            pause: Self::FIRST,
        }
    }

    /// Pauses, and says whether to try again.
    pub fn again(&mut self, interrupt: &Interrupt) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || interrupt.wait(self.pause.min(left)) {
            return false;
        }
        self.pause = Self::LONGEST.min(self.pause * 2);
        true
    }
}

/// A century: `Instant` cannot hold every span that a person can type.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

enum Stopped {
    Interrupted,
    Failed(io::Error),
}

/// Does work that may block for longer than it should, in a thread that is left behind then:
/// neither `getaddrinfo` nor a Unix `connect` knows a limit of time.
fn within<T: Send + 'static>(
    limit: Timespan,
    interrupt: &Interrupt,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Stopped> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("connect".into())
        .spawn(move || sender.send(work()))
        .map_err(Stopped::Failed)?;
    let start = Instant::now();
    loop {
        // The work's own limit comes first where it has one: its error says more.
        let left = (limit.0 + TICK).saturating_sub(start.elapsed());
        match receiver.recv_timeout(left.min(TICK)) {
            Ok(result) => return result.map_err(|error| Stopped::Failed(in_time(error, limit))),
            Err(RecvTimeoutError::Timeout) if interrupt.is_raised() => {
                return Err(Stopped::Interrupted);
            }
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(_) => {
                let error = io::ErrorKind::TimedOut.into();
                return Err(Stopped::Failed(in_time(error, limit)));
            }
        }
    }
}

/// How often a wait looks up, to see whether the user has asked to stop.
pub const TICK: Duration = Duration::from_millis(50);

fn in_time(error: io::Error, limit: Timespan) -> io::Error {
    if error.kind() != io::ErrorKind::TimedOut {
        return error;
    }
    io::Error::new(error.kind(), format!("no answer within {limit}"))
}

impl Connection {
    /// Both ends, as `tcp 127.0.0.1:40000 <-> 127.0.0.1:5346`.
    pub fn ends(&self) -> String {
        let ends = |transport, local: io::Result<SocketAddr>, remote| match local {
            Ok(local) => format!("{transport} {local} <-> {remote}"),
            Err(_) => format!("{transport} ? <-> {remote}"),
        };
        match (&self.socket, &self.remote) {
            (Socket::Tcp(socket), Address::Tcp(remote)) => ends("tcp", socket.local_addr(), remote),
            (Socket::Udp(socket), Address::Udp(remote)) => ends("udp", socket.local_addr(), remote),
            (_, remote) => remote.to_string(),
        }
    }
}

impl Socket {
    /// How long a read may block; `None` for ever. The system rounds up to its clock's tick.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_read_timeout(limit),
            Socket::Udp(socket) => socket.set_read_timeout(limit),
            #[cfg(unix)]
            Socket::Unix(socket) => socket.set_read_timeout(limit),
        }
    }

    /// How long a write may block; `None` for ever.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_write_timeout(limit),
            Socket::Udp(socket) => socket.set_write_timeout(limit),
            #[cfg(unix)]
            Socket::Unix(socket) => socket.set_write_timeout(limit),
        }
    }

    /// Whether a read or a write that would block fails instead.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_nonblocking(nonblocking),
            Socket::Udp(socket) => socket.set_nonblocking(nonblocking),
            #[cfg(unix)]
            Socket::Unix(socket) => socket.set_nonblocking(nonblocking),
        }
    }

    /// The congestion control of a TCP connection, where the system tells.
    pub fn congestion_control(&self) -> Option<String> {
        match self {
            #[cfg(target_os = "linux")]
            Socket::Tcp(stream) => {
                let name = socket2::SockRef::from(stream).tcp_congestion().ok()?;
                let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
                String::from_utf8(name[..end].to_vec()).ok()
            }
            _ => None,
        }
    }

    /// Ends one direction, or both. Datagrams have no end to tell of.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.shutdown(how),
            Socket::Udp(_) => Ok(()),
            #[cfg(unix)]
            Socket::Unix(socket) => socket.shutdown(how),
        }
    }
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&*socket).read(buffer),
            Socket::Udp(socket) => socket.recv(buffer),
            #[cfg(unix)]
            Socket::Unix(socket) => (&*socket).read(buffer),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&*socket).write(bytes),
            Socket::Udp(socket) => socket.send(bytes),
            #[cfg(unix)]
            Socket::Unix(socket) => (&*socket).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "tcp {address}"),
            Address::Udp(address) => write!(f, "udp {address}"),
            Address::Unix(path) => write!(f, "unix {}", path.display()),
        }
    }
}
