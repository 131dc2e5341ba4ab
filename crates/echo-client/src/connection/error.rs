//! Why a connection could not be made, or ended badly.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use echo_core::units::Timespan;
use echo_core::{Endpoint, Failure, cause};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Address;

/// What kind of thing went wrong: the `error.kind` of a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The name has no address, or none of the wanted family.
    Dns,
    /// Nothing listens there: a reset on connect, or an ICMP port unreachable.
    Refused,
    /// No answer in time.
    Timeout,
    /// No way leads there, or it is barred: ICMP host or network unreachable.
    Unreachable,
    /// The connection was reset or broken off.
    Reset,
    /// The peer finished before it had returned every byte.
    Closed,
    /// What came back is not what was sent.
    Mismatch,
    /// No local port, descriptor or memory is left.
    Exhausted,
    /// The local address cannot be used.
    Local,
    /// The path of a Unix socket does not exist.
    NotFound,
    /// The system does not allow it.
    Permission,
    /// The user or a deadline stopped it.
    Interrupted,
    /// Requests got no right reply in time.
    Lost,
    /// Replies came after their time was up.
    Late,
    /// Requests were due and never left.
    Unsent,
    /// A condition of `--fail-if` holds.
    Threshold,
    /// A file could not be read or written.
    File,
    /// A message is larger than the path takes.
    TooLarge,
    /// Something is wrong with the path, as a diagnosis has found.
    Path,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// The kind of a system error on a socket.
    pub fn of(error: &io::Error) -> Self {
        use io::ErrorKind as Io;
        match error.kind() {
            Io::ConnectionRefused => ErrorKind::Refused,
            Io::TimedOut | Io::WouldBlock => ErrorKind::Timeout,
            Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown => {
                ErrorKind::Unreachable
            }
            // A connection that was reset right after it was made is not connected.
            Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::NotConnected => {
                ErrorKind::Reset
            }
            // On connect this says that every local port to that server is taken.
            Io::AddrNotAvailable | Io::OutOfMemory => ErrorKind::Exhausted,
            Io::AddrInUse => ErrorKind::Local,
            Io::NotFound => ErrorKind::NotFound,
            Io::PermissionDenied => ErrorKind::Permission,
            Io::UnexpectedEof => ErrorKind::Closed,
            Io::InvalidData => ErrorKind::Mismatch,
            _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS) => ErrorKind::Exhausted,
                Some(Errno::AFNOSUPPORT) => ErrorKind::Unreachable,
                Some(Errno::MSGSIZE) => ErrorKind::TooLarge,
                _ => ErrorKind::Other,
            },
        }
    }

    /// What the user can do about it.
    pub fn remedy(self) -> Option<&'static str> {
        Some(match self {
            ErrorKind::Interrupted => return None,
            ErrorKind::Dns => "check the name, or give an address",
            ErrorKind::Refused | ErrorKind::NotFound => {
                "start echo-server there, or wait for one with --wait 10s"
            }
            ErrorKind::Timeout => {
                "check the address and the firewalls on the way, or allow more with --connect-timeout"
            }
            ErrorKind::Unreachable => {
                "check the address, and the firewalls and gateways on the way: one of them says so (ICMP)"
            }
            ErrorKind::Exhausted => {
                "close connections or wait for TIME_WAIT to pass, connect from another address with \
                 --bind, or raise the limit (net.ipv4.ip_local_port_range)"
            }
            ErrorKind::Local => {
                "give an address of this machine and a free port, or leave --bind out"
            }
            ErrorKind::Permission => {
                "a firewall or a route forbids it, on this machine or on the way: check their rules"
            }
            ErrorKind::Closed | ErrorKind::Mismatch | ErrorKind::Reset => {
                "something else takes connections there: check the port, and what forwards it"
            }
            ErrorKind::TooLarge => "send less at a time (--size)",
            _ => "see the cause; -v shows more",
        })
    }
}

/// What to look at where nothing came back as it should.
pub const fn whether_it_is_there(is_stamp: bool, is_udp: bool) -> &'static str {
    match (is_stamp, is_udp) {
        (true, _) => "is a STAMP reflector there, and does it have the same --stamp-key, or none?",
        (false, true) => {
            "is an echo server there, and does every firewall on the way let UDP pass?"
        }
        (false, false) => "is it an echo server, with the same --framing?",
    }
}

/// Its name in a JSON document.
impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A connection that could not be made.
#[derive(Clone, Debug)]
pub struct ConnectError {
    /// The kind, for those who branch on it.
    pub kind: ErrorKind,
    /// What could not be done.
    subject: String,
    cause: String,
    remedy: Option<String>,
}

impl ConnectError {
    /// `subject` could not be done because of `cause`.
    pub(super) fn new(
        kind: ErrorKind,
        subject: impl fmt::Display,
        cause: impl fmt::Display,
    ) -> Self {
        ConnectError {
            kind,
            subject: subject.to_string(),
            cause: cause.to_string(),
            remedy: kind.remedy().map(str::to_owned),
        }
    }

    /// No thread could be had for it.
    pub fn no_thread(subject: impl fmt::Display, refused: &Failure) -> Self {
        ConnectError {
            remedy: None,
            ..ConnectError::new(ErrorKind::Exhausted, subject, refused)
        }
    }

    /// What could not be done and why; and what to do about it.
    pub fn told(self) -> (String, Option<String>) {
        (format!("{}: {}", self.subject, self.cause), self.remedy)
    }

    /// None of these addresses of `target` was to be had.
    pub(super) fn of(target: &Endpoint, failed: &[(Address, io::Error)]) -> Self {
        let told = failed.iter().map(|(address, error)| {
            let told = ConnectError::on(address, error);
            (format!("{address}: {}", told.cause), told)
        });
        let (causes, mut told): (Vec<_>, Vec<_>) = told.unzip();
        match told.pop() {
            None => ConnectError::new(ErrorKind::Dns, target, "it has no address"),
            Some(only) if told.is_empty() => only,
            Some(last) => ConnectError {
                subject: format!("cannot connect to {target}"),
                cause: causes.join(", "),
                ..last
            },
        }
    }

    /// The same, with a better remedy than its kind has.
    pub(super) fn advise(self, remedy: impl Into<String>) -> Self {
        ConnectError {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// The same after `wait` was waited in vain, which need not be advised any more.
    pub(super) fn waited(self, wait: Timespan) -> Self {
        match self.kind {
            ErrorKind::Refused | ErrorKind::NotFound => {
                self.advise(format!("waited {wait}; start echo-server there"))
            }
            ErrorKind::Closed | ErrorKind::Mismatch | ErrorKind::Reset | ErrorKind::Timeout => {
                let remedy = self.remedy.clone().unwrap_or_default();
                self.advise(format!("waited {wait} for an echo; {remedy}"))
            }
            _ => self,
        }
    }

    /// A system error on the socket to `address`, before anything came back.
    pub fn on(address: &Address, error: &io::Error) -> Self {
        let subject = format!("cannot connect to {address}");
        let kind = ErrorKind::of(error);
        let plain = ConnectError::new(kind, &subject, cause(error));
        let unreachable = |cause: &str| ConnectError::new(ErrorKind::Unreachable, &subject, cause);
        let own = error
            .get_ref()
            .and_then(|cause| cause.downcast_ref::<Advised>());
        if let Some(own) = own {
            return plain.advise(own.remedy);
        }
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        match (address, errno) {
            (_, Some(Errno::MFILE | Errno::NFILE)) => {
                plain.advise("raise the limit of open files (ulimit -n), or open fewer")
            }
            (Address::Unix(path), _) if is_no_socket(path) => {
                ConnectError::new(ErrorKind::Other, subject, "it is not a socket")
                    .advise("give the path of the socket that echo-server listens on")
            }
            (Address::Unix(_), _) if kind == ErrorKind::Permission => {
                plain.advise("check the permissions of the socket, and of the directories above it")
            }
            (Address::Unix(_), _) => plain,
            (_, Some(Errno::AFNOSUPPORT)) => {
                ConnectError::new(kind, subject, "this machine has no IPv6")
                    .advise("turn it on, or give a name or an address of IPv4")
            }
            (Address::Tcp(remote) | Address::Udp(remote), Some(errno)) => match errno {
                Errno::INVAL if lacks_zone(remote) => {
                    unreachable("a link-local address means nothing without its zone")
                        .advise("name the interface that leads there, as in [fe80::1%eth0]:5346")
                }
                Errno::INVAL if has_route(remote) => {
                    unreachable("no way leads there from the local address")
                        .advise("give --bind an address that leads there, or leave it out")
                }
                Errno::INVAL => unreachable("a route of this machine discards what goes there")
                    .advise(format!("`ip route get {}` shows it", remote.ip())),
                Errno::NETUNREACH if remote.ip().is_multicast() => {
                    unreachable("it is a multicast address, which takes no connections")
                        .advise("give the address of one server")
                }
                Errno::NETUNREACH | Errno::ACCESS if is_broadcast(remote) => {
                    unreachable("it is a broadcast address")
                        .advise("give the address of one server")
                }
                Errno::AGAIN => ConnectError::new(
                    ErrorKind::Exhausted,
                    subject,
                    "every local port that may be chosen is taken",
                ),
                // Where it is not for want of a port, a datagram would not find a way either.
                Errno::ADDRNOTAVAIL if !has_route(remote) => {
                    unreachable("this machine has no address to reach it from")
                        .advise(no_route(remote))
                }
                Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN if !has_route(remote) => {
                    unreachable(&cause(error)).advise(no_route(remote))
                }
                _ => plain,
            },
            _ => plain,
        }
    }
}

/// A cause that has a remedy of its own.
#[derive(Debug)]
struct Advised {
    cause: String,
    remedy: &'static str,
}

/// An error of this `kind` for which `remedy` is better than what its kind has.
pub(super) fn advised(
    kind: io::ErrorKind,
    cause: impl Into<String>,
    remedy: &'static str,
) -> io::Error {
    let cause = cause.into();
    io::Error::new(kind, Advised { cause, remedy })
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Advised {}

/// What to do where this machine knows no way to `address`.
fn no_route(address: &SocketAddr) -> &'static str {
    match address {
        SocketAddr::V4(_) => "check the address, and this machine's routes and addresses",
        SocketAddr::V6(_) => {
            "check the address, and whether this machine has IPv6 and a route to it, or use IPv4"
        }
    }
}

/// Whether something is there, but not what a connection could lead to.
fn is_no_socket(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|data| !data.file_type().is_socket())
}

/// Whether an address has a meaning on one link only, and does not say on which.
pub(super) fn lacks_zone(address: &SocketAddr) -> bool {
    let SocketAddr::V6(v6) = address else {
        return false;
    };
    // The scope of a group (RFC 4291, section 2.7): this interface, or this link.
    let is_near_group = v6.ip().is_multicast() && matches!(v6.ip().octets()[1] & 0xf, 1 | 2);
    v6.scope_id() == 0 && (v6.ip().is_unicast_link_local() || is_near_group)
}

/// Whether this machine knows a way to `address`. Nothing is sent to find out.
fn has_route(address: &SocketAddr) -> bool {
    match datagrams(address) {
        Ok(socket) => socket.connect(address).is_ok(),
        // Where no port is left, that is what is wrong.
        Err(error) => error.kind() == io::ErrorKind::AddrInUse,
    }
}

/// Whether `address` is that of all on a network, which the system only lets those send to who ask for
/// that. Nothing is sent to find out.
fn is_broadcast(address: &SocketAddr) -> bool {
    datagrams(address).is_ok_and(|socket| {
        socket.connect(address).is_err()
            && socket.set_broadcast(true).is_ok()
            && socket.connect(address).is_ok()
    })
}

/// A socket of the family of `address`.
fn datagrams(address: &SocketAddr) -> io::Result<UdpSocket> {
    match address {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.cause)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConnectError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_has_a_kind_and_words() {
        for (number, kind, words) in [
            (111, ErrorKind::Refused, "connection refused"),
            (104, ErrorKind::Reset, "connection reset by peer"),
            (110, ErrorKind::Timeout, "connection timed out"),
            (113, ErrorKind::Unreachable, "host unreachable"),
            (99, ErrorKind::Exhausted, "cannot assign requested address"),
            (24, ErrorKind::Exhausted, "too many open files"),
        ] {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(
                (ErrorKind::of(&error), cause(&error).as_str()),
                (kind, words)
            );
        }
    }
}
