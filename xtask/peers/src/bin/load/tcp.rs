//! A closed loop over TCP: each connection keeps `depth` messages under way.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::Outcome;

/// What is sent.
#[derive(Clone, Copy)]
pub struct Shape {
    /// How many connections.
    pub connections: usize,
    /// Bytes in a message.
    pub size: usize,
    /// Messages under way on each connection.
    pub depth: usize,
}

/// Connections opened by blocking calls, so that no listener's backlog overflows.
pub fn connect(target: SocketAddr) -> io::Result<std::net::TcpStream> {
    let stream = std::net::TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

struct Connection {
    stream: TcpStream,
    /// Bytes due to be sent.
    due: usize,
    /// Bytes of the current echo that have come back.
    back: usize,
    sent_at: Instant,
}

struct Buffers {
    send: Vec<u8>,
    receive: Vec<u8>,
}

/// Runs the load until `end`.
pub fn run(target: SocketAddr, shape: Shape, end: Instant) -> io::Result<Outcome> {
    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(shape.connections);
    for i in 0..shape.connections {
        let mut stream = connect(target)?;
        // One echo before the load: the server has accepted, and knows this connection.
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(i), interest)?;
        connections.push(Connection {
            stream,
            due: shape.size * shape.depth,
            back: 0,
            sent_at: Instant::now(),
        });
    }
    let mut buffers = Buffers {
        send: vec![b'e'; shape.size.clamp(64 << 10, 1 << 20)],
        receive: vec![0; 256 << 10],
    };
    let mut outcome = Outcome::default();
    let mut events = Events::with_capacity(1024);
    while Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        poll.poll(&mut events, Some(left))?;
        for event in &events {
            connections[event.token().0].turn(shape, &mut buffers, &mut outcome)?;
        }
    }
    Ok(outcome)
}

impl Connection {
    /// Reads what is there and sends what is due.
    fn turn(
        &mut self,
        shape: Shape,
        buffers: &mut Buffers,
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        loop {
            self.send(shape, &buffers.send)?;
            let read = match self.stream.read(&mut buffers.receive) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.back += read;
            while self.back >= shape.size {
                self.back -= shape.size;
                self.due += shape.size;
                outcome.unique += 1;
                if shape.depth == 1 {
                    outcome
                        .round_trips
                        .push(self.sent_at.elapsed().as_nanos() as u64);
                }
            }
            if read < buffers.receive.len() {
                // There is no more, and an edge will tell of what comes.
                return self.send(shape, &buffers.send);
            }
        }
    }

    fn send(&mut self, shape: Shape, bytes: &[u8]) -> io::Result<()> {
        if shape.depth == 1 && self.due == shape.size {
            self.sent_at = Instant::now();
        }
        while self.due > 0 {
            match self.stream.write(&bytes[..self.due.min(bytes.len())]) {
                Ok(sent) => self.due -= sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
