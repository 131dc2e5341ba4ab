//! The least that an edge-triggered event loop must do to echo: read until there is no more, write
//! it back, keep what the peer does not take. No limits, no timeouts, no events, no fairness.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

struct Peer {
    stream: TcpStream,
    /// Read and not yet taken by the peer, which is not read from meanwhile.
    backlog: Vec<u8>,
}

fn main() -> io::Result<()> {
    let listener = peers::listen()?;
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    peers::ready("tcp", listener.local_addr()?)?;

    let mut events = Events::with_capacity(1024);
    let mut peers = Slab::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut peers)?;
                continue;
            }
            let Some(peer) = peers.get_mut(event.token().0) else {
                continue;
            };
            if !peer.echo(&mut buffer) {
                peers.remove(event.token().0);
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, peers: &mut Slab<Peer>) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let entry = peers.vacant_entry();
        poll.registry().register(
            &mut stream,
            Token(entry.key()),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let backlog = Vec::new();
        entry.insert(Peer { stream, backlog });
    }
}

impl Peer {
    /// Echoes what can be echoed now. Says whether the connection lives on.
    fn echo(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.flush() {
                Ok(true) => {}
                Ok(false) => return true,
                Err(_) => return false,
            }
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(read) => {
                    let written = match self.stream.write(&buffer[..read]) {
                        Ok(written) => written,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                        Err(_) => return false,
                    };
                    self.backlog.extend_from_slice(&buffer[written..read]);
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
    /// Writes the backlog. Says whether that was all of it.
    fn flush(&mut self) -> io::Result<bool> {
        while !self.backlog.is_empty() {
            match self.stream.write(&self.backlog) {
                Ok(written) => drop(self.backlog.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
