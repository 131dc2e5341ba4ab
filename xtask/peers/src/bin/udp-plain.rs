//! A UDP echo of two calls a datagram.

use std::io;
use std::net::UdpSocket;

fn main() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    peers::ready("udp", socket.local_addr()?)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..len], from)?;
    }
}
