//! From calls to steps: when, and what the system lists of the socket right after.

use std::time::SystemTime;

use echo_core::address::End;
use echo_core::units::unix_ns;

use super::socket::{Known, Sockets};
use super::{Call, Step, Trouble};
use crate::netstat;

/// Sees every call of one process, in order.
#[derive(Debug, Default)]
pub struct Witness {
    sockets: Sockets,
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
        let known = self.sockets.follow(socket, &call, error.is_some());
        let looks = match &call {
            // Its connection may be listed for another minute.
            Call::Close => true,
            _ if error.is_some() => false,
            Call::Bind { .. } => !known.is_stream(),
            Call::Receive { received_bytes, .. } => *received_bytes == 0 && known.is_stream(),
            Call::Accept { .. }
            | Call::Connect { .. }
            | Call::Listen { .. }
            | Call::Shutdown { .. } => true,
            _ => false,
        };
        let accepted = known.accepted(&call).map(|(_, accepted)| accepted);
        let listed = looks.then(|| row(&accepted.unwrap_or(known)));
        Step {
            time_unix_ns: unix_ns(time),
            socket,
            call,
            error,
            listed: listed.flatten(),
        }
    }
}

/// The system's row of a socket; empty when there is none. `None`: the system does not list such sockets.
fn row(socket: &Known) -> Option<String> {
    let peer = socket.peer.as_ref().and_then(End::socket);
    let row = netstat::find(socket.carrier(), socket.local.as_ref()?.socket()?, peer);
    Some(row.map(|row| row.to_string()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Family, SocketKind};
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
