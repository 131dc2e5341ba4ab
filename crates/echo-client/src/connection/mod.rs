//! Sockets to the server: every resolved address is tried, within limits of time.

mod error;
mod opening;
mod patience;
mod settings;
mod socket;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use echo_core::{Endpoint, Zoned};

pub use echo_core::{Address, cause};
pub use error::{ConnectError, ErrorKind};
pub use patience::{Patience, TICK};
pub use settings::{Color, Connect, Family, LocalAddress};
pub(crate) use socket::number;
pub use socket::{Socket, congestion_control, open};

use crate::interrupt::Interrupt;
use crate::wire::echo;
use patience::{Stopped, within};

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
            Ok(addresses) => {
                // Where it makes a difference, ask a UDP server whether it is there.
                let ask = addresses.len() > 1 || !config.wait.0.is_zero();
                match connect_any(config, &addresses, ask, interrupt) {
                    Ok(connection) => return Ok(connection),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        if error.kind == ErrorKind::Interrupted {
            return Err(error);
        }
        if !patience.again(interrupt) {
            return Err(in_vain(config, error, interrupt));
        }
    }
}

/// Why there is no server after all the waiting: the `last` error, or that the user stopped it.
pub fn in_vain(config: &Connect, last: ConnectError, interrupt: &Interrupt) -> ConnectError {
    match interrupt.why() {
        Some(why) => last.advise(why.to_string()),
        None => last.waited(config.wait),
    }
}

/// Connects to one address, once.
pub fn connect_one(
    config: &Connect,
    address: &Address,
    interrupt: &Interrupt,
) -> Result<Connection, ConnectError> {
    connect_any(config, std::slice::from_ref(address), false, interrupt)
}

/// Connects to the first of `addresses` that takes the connection. Over UDP they all do, unless
/// one is to `ask`.
fn connect_any(
    config: &Connect,
    addresses: &[Address],
    ask: bool,
    interrupt: &Interrupt,
) -> Result<Connection, ConnectError> {
    let mut causes = Vec::new();
    let mut kind = ErrorKind::Dns;
    for address in addresses {
        match connect_to(config, address, ask, interrupt) {
            Ok(connection) => return Ok(connection),
            Err(Stopped::Interrupted(why)) => {
                return Err(ConnectError::interrupted(subject(&config.target), why));
            }
            Err(Stopped::Failed(error)) => {
                kind = ErrorKind::of(&error);
                causes.push((address, cause(&error)));
            }
        }
    }
    Err(match &causes[..] {
        [(address @ Address::Unix(path), _)] if is_no_socket(path) => {
            let cause = "it is not a socket";
            ConnectError::new(ErrorKind::Other, subject(address), cause)
                .advise("give the path of the socket that echo-server listens on")
        }
        [(address, cause)] => ConnectError::new(kind, subject(address), cause),
        _ => {
            let causes: Vec<_> = causes.iter().map(|(a, c)| format!("{a}: {c}")).collect();
            ConnectError::new(kind, subject(&config.target), causes.join(", "))
        }
    })
}

/// Whether something is there, but not what a connection could lead to.
fn is_no_socket(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|data| !data.file_type().is_socket())
}

fn connect_to(
    config: &Connect,
    address: &Address,
    ask: bool,
    interrupt: &Interrupt,
) -> Result<Connection, Stopped> {
    let (options, remote) = (config.clone(), address.clone());
    let connecting = move || {
        if ask && matches!(remote, Address::Udp(_)) {
            ask_once(&open(&options, &remote)?)?;
        }
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

/// Sends a datagram and waits for an answer: about a round trip around the globe, for where
/// nobody listens it may be turned back. A reply and silence are both as good as a server.
fn ask_once(mut socket: &Socket) -> io::Result<()> {
    let mut datagram = [0; echo::HEADER_LEN];
    echo::encode(echo::token(), 0, &mut datagram);
    socket.set_read_timeout(Some(Duration::from_millis(250)))?;
    socket.write_all(&datagram)?;
    match socket.read(&mut datagram) {
        Err(error) if ErrorKind::of(&error) != ErrorKind::Timeout => Err(error),
        _ => Ok(()),
    }
}

fn subject(target: &impl fmt::Display) -> String {
    format!("cannot connect to {target}")
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
        Err(Stopped::Interrupted(why)) => return Err(ConnectError::interrupted(subject, why)),
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
        let error = ConnectError::new(ErrorKind::Dns, subject, config.unmet());
        return Err(match (config.family, config.bind) {
            (Family::Any, None) => error,
            _ => error.advise("leave that out, or give a name or an address of that family"),
        });
    }
    Ok(wanted)
}

impl Connect {
    /// What no address of the target is.
    fn unmet(&self) -> String {
        let family = match self.family {
            Family::Any => None,
            Family::Ipv4 => Some("--family ipv4 (-4)"),
            Family::Ipv6 => Some("--family ipv6 (-6)"),
        };
        match (family, self.bind) {
            (Some(family), None) => format!("it has no address for {family}"),
            (None, Some(local)) => format!("it has no address of the family of --bind {local}"),
            (Some(family), Some(local)) => {
                format!("it has no address for both {family} and --bind {local}")
            }
            (None, None) => "it has no address".to_owned(),
        }
    }

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

impl Connection {
    /// Both ends, as `tcp 127.0.0.1:40000 <-> 127.0.0.1:5346`.
    pub fn ends(&self) -> String {
        let ends = |transport, local: io::Result<SocketAddr>, remote: &SocketAddr| match local {
            Ok(local) => format!("{transport} {} <-> {}", Zoned(local), Zoned(*remote)),
            Err(_) => format!("{transport} ? <-> {}", Zoned(*remote)),
        };
        match (&self.socket, &self.remote) {
            (Socket::Tcp(socket), Address::Tcp(remote)) => ends("tcp", socket.local_addr(), remote),
            (Socket::Udp(socket), Address::Udp(remote)) => ends("udp", socket.local_addr(), remote),
            (_, remote) => remote.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupt::Why;
    use echo_core::units::Timespan;
    use std::net::TcpListener;

    fn closed() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    fn connect_config(target: &str) -> Connect {
        Connect {
            target: target.parse().unwrap(),
            ..Connect::default()
        }
    }

    #[test]
    fn every_address_is_tried_and_named_when_all_fail() {
        let (config, interrupt) = (connect_config("a.name:1"), Interrupt::default());
        let (one, two) = (closed(), closed());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = Address::Tcp(listener.local_addr().unwrap());
        let addresses = [Address::Tcp(one), Address::Tcp(two), open.clone()];
        let connection = connect_any(&config, &addresses, false, &interrupt).unwrap();
        assert_eq!(connection.remote, open);
        let error = connect_any(&config, &addresses[..2], false, &interrupt).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused);
        let text = error.to_string();
        for part in [
            "cannot connect to a.name:1: ".to_owned(),
            format!("tcp {one}: connection refused"),
            format!("tcp {two}: connection refused"),
        ] {
            assert!(text.contains(&part), "{text}");
        }
    }

    #[test]
    fn only_addresses_of_the_wanted_family_are_resolved() {
        let interrupt = Interrupt::default();
        let v4 = Connect {
            family: Family::Ipv4,
            ..connect_config("127.0.0.1:7")
        };
        let address = "127.0.0.1:7".parse().unwrap();
        assert_eq!(resolve(&v4, &interrupt).unwrap(), [Address::Tcp(address)]);
        let bound = Connect {
            bind: Some("::1".parse().unwrap()),
            ..v4.clone()
        };
        let v6 = Connect {
            family: Family::Ipv6,
            ..v4
        };
        let v4_or_bind = [(v6, "--family ipv6 (-6)"), (bound, "--bind ::1")];
        for (config, option) in v4_or_bind {
            let error = resolve(&config, &interrupt).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Dns);
            assert!(error.to_string().contains(option), "{error}");
        }
    }

    #[test]
    fn a_udp_server_that_is_not_there_is_passed_over() {
        let interrupt = Interrupt::default();
        let config = Connect {
            udp: true,
            ..connect_config("a.name:1")
        };
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let silent = Address::Udp(server.local_addr().unwrap());
        let addresses = [Address::Udp(closed()), silent.clone()];
        let connection = connect_any(&config, &addresses, true, &interrupt).unwrap();
        assert_eq!(connection.remote, silent);
        let error = connect_any(&config, &addresses[..1], true, &interrupt).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused);
    }

    #[test]
    fn an_interrupt_ends_the_wait_for_a_server() {
        let interrupt = Interrupt::default();
        interrupt.raise(Why::Signal);
        let config = Connect {
            wait: Timespan::from_secs(3600),
            ..connect_config(&closed().to_string())
        };
        let start = Instant::now();
        let error = connect(&config, &interrupt).unwrap_err();
        let told = error.to_string();
        assert!(told.ends_with("connection refused; interrupted"), "{told}");
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}
