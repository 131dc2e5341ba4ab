//! What the peers share: how they listen, and how they say that they are ready.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// Connections that may wait to be accepted; std's 128 would make a thousand clients retry.
const BACKLOG: i32 = 4096;

/// A listener on a port of the system's choosing, as echo-server has it.
pub fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The lines by which echo-server says where it listens, too.
pub fn ready(transport: &str, address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "listening {transport} {address}\nready\n")?;
    out.flush()
}
