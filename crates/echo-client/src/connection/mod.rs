//! Sockets to the server: every resolved address is tried, within limits of time.

pub mod ancillary;
mod attempt;
mod error;
mod fault;
pub mod packets;
mod pending;
mod race;
mod resolve;
mod settings;
mod within;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::slice;
use std::time::{Duration, Instant};

use echo_core::Zoned;
pub use echo_core::{Address, cause};
pub use error::unconnected;
pub use fault::{CLOSED, ErrorKind, Fault, NO_REFLECTOR, whether_it_is_there};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
pub use settings::{Connect, Family, LocalAddress, Timestamps};
use socket2::Socket;
pub use within::TICK;
pub(crate) use within::within;

use crate::interrupt::{Interrupt, Why};
use crate::narrator::Narrator;
use crate::output;
pub(crate) use attempt::{Ask, Attempt};
use race::{go_on, race};
use resolve::resolve;
pub use resolve::{Unknown, is_this_machine, look_up_family};

/// A socket, each call on which is told to whom `--explain` tells it.
pub type Watched = echo_explain::Watched<Narrator>;

/// A socket and what it is connected to.
#[derive(Debug)]
pub struct Connection {
    /// The socket, which does not block. UDP is connected too: it then hears of ICMP errors, and from no one
    /// else. A read receives one datagram, and a write sends one.
    pub socket: Watched,
    /// The server's end.
    pub remote: Address,
    /// How long connecting took: one round trip for TCP.
    pub elapsed: Duration,
}

/// Connects to the target, whose name is resolved anew, and retries for as long as `config.wait`
/// says until somebody there echoes.
///
/// # Errors
/// Why each of its addresses, at the end, was not to be had.
pub fn connect(config: &Connect, interrupt: &Interrupt) -> Result<Connection, Fault> {
    let start = Instant::now();
    let stopped = answering(config, interrupt);
    let left = || config.wait.0.saturating_sub(start.elapsed());
    let mut pauses = 0;
    loop {
        let ask = match config.wait.0.is_zero() {
            true => Ask::Life,
            false => Ask::Echo(left()),
        };
        let error = match try_once(config, None, ask, &stopped) {
            Err(error) if error.kind != ErrorKind::Interrupted => error,
            ended => return ended,
        };
        // Half of what is left, so that the last attempt has time for an answer.
        interrupt.wait_or_asked(pause(pauses).min(left() / 2));
        let why = stopped();
        if left() < pause(0) || why.is_some() {
            return Err(match why {
                Some(why) => error.advise(why.to_string()),
                None if config.wait.0.is_zero() => error,
                None => error::waited(error, config.wait),
            });
        }
        pauses += 1;
    }
}

/// The pause that follows so many pauses between attempts to connect. A server on this machine is
/// seen 10 ms after it is up; an absent one costs two attempts a second.
pub fn pause(number: u32) -> Duration {
    const LONGEST: Duration = Duration::from_millis(500);
    LONGEST.min(Duration::from_millis(10 << number.min(6)))
}

/// Connects to the target once more, whose name is resolved anew. Where one of its addresses has
/// been `silent`, those that follow it are tried first, and that one last. This takes a quarter of
/// a second for each that is silent, and `config.connect_timeout` at most.
///
/// # Errors
/// Why each of its addresses was not to be had.
pub fn reconnect(
    config: &Connect,
    silent: Option<&Address>,
    interrupt: &Interrupt,
) -> Result<Connection, Fault> {
    let connection = try_once(config, silent, Ask::Life, &|| interrupt.why())?;
    if let Some(silent) = silent.filter(|silent| **silent != connection.remote) {
        go_on(silent, &connection);
    }
    Ok(connection)
}

/// Connects to one address, once.
///
/// # Errors
/// Why it was not to be had.
pub fn connect_one(
    config: &Connect,
    address: &Address,
    interrupt: &Interrupt,
) -> Result<Connection, Fault> {
    let (one, stopped) = (slice::from_ref(address), answering(config, interrupt));
    race(config, one, Ask::Nothing, &stopped)
}

/// Says why to stop, if there is a reason; and to whoever asks meanwhile, what is going on.
fn answering(config: &Connect, interrupt: &Interrupt) -> impl Fn() -> Option<Why> {
    let start = Instant::now();
    move || {
        if interrupt.take_question() {
            let so_far = start.elapsed().as_secs_f64();
            output::note(format_args!(
                "connecting to {} for {so_far:.1} s so far",
                config.target
            ));
        }
        interrupt.why()
    }
}

fn try_once(
    config: &Connect,
    silent: Option<&Address>,
    ask: Ask,
    stopped: &dyn Fn() -> Option<Why>,
) -> Result<Connection, Fault> {
    let start = Instant::now();
    let mut addresses = resolve(config, ask.limit(config), stopped)?;
    if let Some(at) = addresses.iter().position(|address| Some(address) == silent) {
        addresses.rotate_left(at + 1);
    }
    // Where there is no choice, the first message asks.
    let ask = match ask {
        Ask::Life if addresses.len() == 1 => Ask::Nothing,
        Ask::Echo(within) => Ask::Echo(within.saturating_sub(start.elapsed())),
        ask => ask,
    };
    race(config, &addresses, ask, stopped)
}

/// Waits until one of these is ready, for `limit` at most. What interrupts it only means that who
/// waits looks sooner.
pub fn wait(sockets: &mut [PollFd<'_>], limit: Duration) {
    let limit = Timespec::try_from(limit).ok();
    let _: rustix::io::Result<usize> = poll(sockets, limit.as_ref());
}

/// Waits likewise until there is something to read, or an end or an error. Returns whether there is.
pub fn is_readable(what: &impl AsFd, limit: Duration) -> bool {
    let mut readable = [PollFd::new(what, PollFlags::IN)];
    wait(&mut readable, limit);
    !readable[0].revents().is_empty()
}

/// Whether a read or a write may go otherwise the next time.
pub fn is_for_now(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted)
}

/// Our end and the other, of a connected socket that has an address and a port.
fn ends(socket: &Socket) -> Option<[SocketAddr; 2]> {
    let (us, them) = (socket.local_addr().ok()?, socket.peer_addr().ok()?);
    Some([us.as_socket()?, them.as_socket()?])
}

impl Connection {
    /// Both ends, as `tcp 127.0.0.1:40000 <-> 127.0.0.1:5346`.
    pub fn ends(&self) -> String {
        match ends(self.socket.socket()) {
            Some([local, remote]) => {
                let transport = self.remote.transport();
                format!("{transport} {} <-> {}", Zoned(local), Zoned(remote))
            }
            None => self.remote.to_string(),
        }
    }

    /// The congestion control of a TCP connection; `None` of anything else, and where the system
    /// does not tell.
    pub fn congestion_control(&self) -> Option<String> {
        let name = self.socket.socket().tcp_congestion().ok()?;
        let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        String::from_utf8(name[..end].to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use echo_core::units::Timespan;
    use std::net::TcpListener;

    const SECOND: Duration = Duration::from_secs(1);

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
        let config = connect_config("a.name:1");
        let (one, two) = (closed(), closed());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = Address::Tcp(listener.local_addr().unwrap());
        let addresses = [Address::Tcp(one), Address::Tcp(two), open.clone()];
        let connection = race(&config, &addresses, Ask::Nothing, &|| None).unwrap();
        assert_eq!(connection.remote, open);
        let error = race(&config, &addresses[..2], Ask::Nothing, &|| None).unwrap_err();
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
        let v4 = Connect {
            family: Family::Ipv4,
            ..connect_config("127.0.0.1:7")
        };
        let address = "127.0.0.1:7".parse().unwrap();
        assert_eq!(
            resolve(&v4, SECOND, &|| None).unwrap(),
            [Address::Tcp(address)]
        );
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
            let error = resolve(&config, SECOND, &|| None).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Dns);
            assert!(error.to_string().contains(option), "{error}");
        }
    }

    #[test]
    fn a_udp_server_that_is_not_there_is_passed_over() {
        let config = Connect {
            udp: true,
            ..connect_config("a.name:1")
        };
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let silent = Address::Udp(server.local_addr().unwrap());
        let addresses = [Address::Udp(closed()), silent.clone()];
        let connection = race(&config, &addresses, Ask::Life, &|| None).unwrap();
        assert_eq!(connection.remote, silent);
        let error = race(&config, &addresses[..1], Ask::Life, &|| None).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused);
    }

    #[test]
    fn a_listener_on_a_path_whose_queue_is_full_is_waited_for() {
        let directory = std::env::temp_dir().join(format!("echo-queue-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("full");
        let full = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let full = full.unwrap();
        full.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        full.listen(0).unwrap();
        let config = Connect {
            connect_timeout: Timespan(Duration::from_millis(300)),
            ..connect_config(&format!("unix:{}", path.display()))
        };
        let interrupt = Interrupt::default();
        let queue = connect(&config, &interrupt).unwrap();
        let error = connect(&config, &interrupt).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
        assert!(
            error.to_string().contains("no answer within 300ms"),
            "{error}"
        );
        let connecting = std::thread::spawn(move || connect(&config, &interrupt));
        full.accept().unwrap();
        connecting.join().unwrap().unwrap();
        drop(queue);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_silent_udp_address_is_left_for_one_that_replies() {
        let config = connect_config("udp://a.name:1");
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let echo = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (silent_at, at) = (silent.local_addr().unwrap(), echo.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let mut buffer = [0; 100];
            let (len, peer) = echo.recv_from(&mut buffer).unwrap();
            echo.send_to(&buffer[..len], peer).unwrap();
        });
        let addresses = [Address::Udp(silent_at), Address::Udp(at)];
        let connection = race(&config, &addresses, Ask::Life, &|| None).unwrap();
        assert_eq!(connection.remote, addresses[1]);
        server.join().unwrap();
        let both = [addresses[0].clone(), addresses[0].clone()];
        let connection = race(&config, &both, Ask::Life, &|| None).unwrap();
        assert_eq!(connection.remote, addresses[0], "silence is no refusal");
    }
}
