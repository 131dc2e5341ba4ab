//! What is known of sockets from the calls that were made on them.

use std::collections::HashMap;

use echo_core::address::End;

use super::{Call, Family, SocketKind};

/// The sockets of one process, by their numbers there.
#[derive(Debug, Default)]
pub struct Sockets(HashMap<i32, Known>);

/// What is known of a socket.
#[derive(Clone, Debug)]
pub struct Known {
    /// What its addresses are.
    pub family: Family,
    /// How it carries bytes.
    pub kind: SocketKind,
    /// What it has become.
    pub role: Role,
    /// This end.
    pub local: Option<End>,
    /// The other end; one that waits for others has none.
    pub peer: Option<End>,
    /// The bytes that were taken from it.
    pub received: u64,
    /// The bytes that it took.
    pub sent: u64,
    /// Who has said that it sends no more, in order.
    pub finished: Vec<Side>,
    /// Whether a call on it has failed.
    pub broken: bool,
}

/// What a socket has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing yet.
    Fresh,
    /// It has an address.
    Bound,
    /// Others may connect.
    Listening,
    /// Another has connected.
    Accepted,
    /// It is joined to another.
    Connected,
}

/// Either end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This process.
    This,
    /// Its peer.
    Other,
}

impl Sockets {
    /// The socket of a call as it is before it; one that is not known yet is what its first call says.
    pub fn before(&self, number: i32, call: &Call) -> Known {
        let known = match call {
            Call::Socket { .. } => None,
            _ => self.0.get(&number).cloned(),
        };
        known.unwrap_or_else(|| Known::new(call))
    }

    /// Follows a call, which was made or has failed. Returns its socket as it is after it.
    pub fn follow(&mut self, number: i32, call: &Call, failed: bool) -> Known {
        let mut socket = self.before(number, call);
        match failed {
            true => socket.broken = true,
            false => socket.note(call),
        }
        match call {
            // The last thing that is known of it.
            Call::Close => drop(self.0.remove(&number)),
            _ => {
                let accepted = socket.accepted(call);
                self.0.extend(accepted.filter(|_| !failed));
                self.0.insert(number, socket.clone());
            }
        }
        socket
    }
}

impl Known {
    /// A socket whose first call is `call`.
    pub fn new(call: &Call) -> Self {
        let (family, kind) = match call {
            Call::Socket { family, kind } => (*family, *kind),
            Call::Bind {
                asked: End::Unix(_),
                ..
            }
            | Call::Accept {
                local: End::Unix(_),
                ..
            }
            | Call::Connect {
                peer: End::Unix(_), ..
            } => (Family::Unix, SocketKind::Stream),
            Call::SendTo { .. } | Call::ReceiveFrom { .. } => (Family::Inet, SocketKind::Datagram),
            _ => (Family::Inet, SocketKind::Stream),
        };
        Known {
            family,
            kind,
            role: Role::Fresh,
            local: None,
            peer: None,
            received: 0,
            sent: 0,
            finished: Vec::new(),
            broken: false,
        }
    }

    /// Takes note of a call that was made.
    pub fn note(&mut self, call: &Call) {
        let (local, peer) = match call {
            Call::Bind { local, .. } => {
                (self.role, self.local) = (Role::Bound, Some(local.clone()));
                return;
            }
            Call::Connect { local, peer } => {
                self.role = Role::Connected;
                (local, peer)
            }
            Call::Listen { .. } => return self.role = Role::Listening,
            Call::Send { sent_bytes, .. } => return self.sent += sent_bytes,
            Call::Receive {
                received_bytes: 0, ..
            } if self.is_stream() => return self.finished.push(Side::Other),
            Call::Receive { received_bytes, .. } => return self.received += received_bytes,
            Call::Shutdown { .. } => return self.finished.push(Side::This),
            _ => return,
        };
        (self.local, self.peer) = (Some(local.clone()), Some(peer.clone()));
    }

    /// The socket that a call returned, with its number.
    pub fn accepted(&self, call: &Call) -> Option<(i32, Known)> {
        let Call::Accept {
            accepted,
            local,
            peer,
        } = call
        else {
            return None;
        };
        let conversation = Known {
            role: Role::Accepted,
            local: Some(local.clone()),
            peer: Some(peer.clone()),
            ..self.clone()
        };
        Some((*accepted, conversation))
    }

    /// Whether it carries bytes in a stream.
    pub fn is_stream(&self) -> bool {
        self.kind == SocketKind::Stream
    }

    /// What carries its bytes, as in the keys of texts.
    pub fn carrier(&self) -> &'static str {
        match (self.family, self.kind) {
            (Family::Unix, _) => "unix",
            (_, SocketKind::Stream) => "tcp",
            (_, SocketKind::Datagram) => "udp",
        }
    }
}
