//! Plain clients of a stream.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use super::LIMIT;

/// A connection on which no call waits for ever.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, LIMIT)
        .unwrap_or_else(|error| panic!("connect to {address}: {error}"));
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Bytes that repeat at no power of two, so that no shifted or swapped block looks right.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Sends `bytes` and reads as many back, which must be the same.
pub fn echo(mut stream: impl Read + Write, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == bytes, "the echo of {} bytes differs", bytes.len());
}

/// Sends `bytes` and an end, reading meanwhile, and returns all that comes back.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    let mut sender = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            // What could not be sent does not come back either, and that is what is looked at.
            let _ = sender.write_all(bytes);
            let _ = sender.shutdown(Shutdown::Write);
        });
        read_to_end(&mut stream)
    })
}

/// Sends without reading until neither end takes any more, and returns what was sent.
pub fn fill(stream: &TcpStream) -> Vec<u8> {
    let block = pattern(999_983, 1);
    let mut sent = Vec::new();
    let mut writer = stream;
    stream.set_nonblocking(true).unwrap();
    // The server passes bytes on meanwhile: full for good once nothing has moved for a while.
    let mut quiet = 0;
    while quiet < 50 {
        let rest = &block[sent.len() % block.len()..];
        match writer.write(rest) {
            Ok(n) => {
                sent.extend_from_slice(&rest[..n]);
                quiet = 0;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
                quiet += 1;
            }
            // Given up already, as a test of timeouts may want; what was sent is then lost.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
        assert!(sent.len() < 64 << 20, "the server takes without end");
    }
    stream.set_nonblocking(false).unwrap();
    sent
}

/// Fills each of `streams`, all at once.
pub fn fill_all(streams: &[TcpStream]) {
    thread::scope(|scope| {
        for stream in streams {
            scope.spawn(|| fill(stream));
        }
    });
}

/// All that comes until the end, or until the connection is reset.
pub fn read_to_end(stream: &mut impl Read) -> Vec<u8> {
    let mut back = Vec::new();
    match stream.read_to_end(&mut back) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => back,
    }
}

/// Closes a connection with a reset instead of an end.
pub fn reset(stream: TcpStream) {
    let socket = socket2::Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

/// Talks to a server until what is returned is dropped.
pub fn talk(mut stream: TcpStream) -> Sender<()> {
    let (until, over) = channel();
    thread::spawn(move || {
        while over.try_recv() == Err(TryRecvError::Empty) {
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
        }
    });
    until
}
