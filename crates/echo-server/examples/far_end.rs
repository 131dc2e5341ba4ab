//! A whole test of a network client, with the server as its far end: `cargo test --example far_end`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use echo_server::event::{Kind, Reason};
use echo_server::{Config, Server};

/// The code under test.
fn greet(server: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(b"hello")?;
    stream.shutdown(Shutdown::Write)?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply)
}

#[cfg_attr(test, test)]
fn the_greeting_comes_back() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config {
        listen: vec!["tcp://127.0.0.1:0".parse()?],
        ..Config::default()
    };
    let server = Server::bind(config)?.spawn()?;
    let address = server.addresses()[0].socket().ok_or("no address")?;

    assert_eq!(greet(address)?, "hello");

    let is_end =
        |kind: &Kind| matches!(kind, Kind::Closed { reason, .. } if *reason == Reason::Finished);
    let end = server.events().wait_for(Duration::from_secs(5), is_end);
    assert!(end.is_some(), "the client ended in an orderly way");
    assert_eq!(server.stats().received_bytes, 5);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    the_greeting_comes_back()
}
