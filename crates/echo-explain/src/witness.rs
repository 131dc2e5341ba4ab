//! From calls to steps: when, and what the system lists of the socket right after.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use super::{Call, SocketKind, Step, Trouble};
use crate::netstat;
use echo_core::units::unix_ns;

/// Sees every call of one process, in order.
#[derive(Debug, Default)]
pub struct Witness {
    sockets: HashMap<i32, Socket>,
}

/// What the system lists a socket under. It outlives the socket: a connection that has been closed
/// may be listed for another minute.
#[derive(Clone, Debug)]
struct Socket {
    kind: SocketKind,
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
}

impl Witness {
    /// The step that a call was, which has just been made on `socket` or has failed with `error`.
    pub fn step(
        &mut self,
        time: SystemTime,
        socket: i32,
        call: Call,
        error: Option<Trouble>,
    ) -> Step {
        let listed = self.note(socket, &call, error.is_some());
        Step {
            time_unix_ns: unix_ns(time),
            socket,
            call,
            error,
            listed: listed.and_then(|socket| socket.row()),
        }
    }

    /// Takes note of a call. Returns the socket that is worth a look at the system's list.
    fn note(&mut self, number: i32, call: &Call, failed: bool) -> Option<Socket> {
        match call {
            Call::Close => return self.sockets.remove(&number),
            Call::Socket { kind, .. } => {
                self.sockets.insert(number, Socket::new(*kind));
                return None;
            }
            _ if failed => return None,
            Call::Accept {
                accepted,
                local,
                peer,
            } => {
                let mut socket = Socket::new(SocketKind::Stream);
                (socket.local, socket.peer) = (local.socket(), peer.socket());
                self.sockets.insert(*accepted, socket.clone());
                return Some(socket);
            }
            _ => {}
        }
        let socket = self.sockets.get_mut(&number)?;
        let looks = match call {
            Call::Bind { local, .. } => {
                socket.local = local.socket();
                socket.kind == SocketKind::Datagram
            }
            Call::Connect { local, peer } => {
                (socket.local, socket.peer) = (local.socket(), peer.socket());
                true
            }
            Call::Receive { received_bytes, .. } => {
                *received_bytes == 0 && socket.kind == SocketKind::Stream
            }
            Call::Listen { .. } | Call::Shutdown { .. } => true,
            _ => false,
        };
        looks.then(|| socket.clone())
    }
}

impl Socket {
    fn new(kind: SocketKind) -> Self {
        let (local, peer) = (None, None);
        Socket { kind, local, peer }
    }

    /// Its row; empty when there is none. `None`: the system does not list such sockets.
    fn row(&self) -> Option<String> {
        let protocol = match self.kind {
            SocketKind::Stream => "tcp",
            SocketKind::Datagram => "udp",
        };
        let row = netstat::find(protocol, self.local?, self.peer);
        Some(row.map(|row| row.to_string()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Family;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    fn step(witness: &mut Witness, socket: &impl AsRawFd, call: Call) -> Option<String> {
        let step = witness.step(SystemTime::now(), socket.as_raw_fd(), call, None);
        step.listed
    }

    #[test]
    fn a_connection_is_followed_from_listen_to_time_wait() {
        let mut witness = Witness::default();
        let (family, kind) = (Family::Inet, SocketKind::Stream);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let (asked, end) = (local.into(), local.into());
        step(&mut witness, &listener, Call::Socket { family, kind });
        let bind = Call::Bind { asked, local: end };
        assert_eq!(step(&mut witness, &listener, bind), None);
        let listed = step(&mut witness, &listener, Call::Listen { backlog: 128 }).unwrap();
        assert!(listed.contains("LISTEN"), "{listed}");

        let client = TcpStream::connect(local).unwrap();
        let (server, peer) = listener.accept().unwrap();
        let accept = Call::Accept {
            accepted: server.as_raw_fd(),
            local: local.into(),
            peer: peer.into(),
        };
        let listed = step(&mut witness, &listener, accept).unwrap();
        assert!(
            listed.contains("ESTABLISHED") && listed.contains(&peer.to_string()),
            "{listed}"
        );
        let (number, close) = (server.as_raw_fd(), Call::Close);
        drop(server);
        drop(client);
        let gone = witness.step(SystemTime::now(), number, close, None);
        assert!(gone.listed.unwrap().contains("_WAIT"));
        let number = listener.as_raw_fd();
        drop(listener);
        let gone = witness.step(SystemTime::now(), number, Call::Close, None);
        assert_eq!(gone.listed.as_deref(), Some(""));
    }
}
