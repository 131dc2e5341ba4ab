//! A far end that breaks and heals during a test, without a new port: `cargo test --example heal`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use echo_server::event::Kind;
use echo_server::fault::{Action, After, Ending, Fault};
use echo_server::{Config, Server};

/// The code under test.
fn greet(server: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(b"hello")?;
    let mut reply = [0; 5];
    stream.read_exact(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

#[cfg_attr(test, test)]
fn a_greeting_fails_while_the_far_end_does() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config {
        listen: vec!["api=tcp://127.0.0.1:0".parse()?],
        fault: vec!["delay=1ms..5ms,on=api".parse()?],
        seed: 7.into(),
        ..Config::default()
    };
    let server = Server::bind(config)?.spawn()?;
    let api = server.address("api").and_then(|address| address.socket());
    let api = api.ok_or("no address")?;

    assert_eq!(greet(api)?, "hello");

    // A fault from its parts; as a text it is `reset-after=2,on=api`.
    let reset = Fault::from(Action::End(Ending::Reset, After::Bytes(2))).on("api".parse()?);
    server.set_faults([reset])?;
    let error = greet(api).expect_err("the connection breaks in the middle of the answer");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let is_reset =
        |kind: &Kind| matches!(kind, Kind::Fault { what, .. } if what.name == "reset-after");
    assert!(
        server
            .events()
            .wait_for(Duration::from_secs(5), is_reset)
            .is_some()
    );

    server.set_faults([])?;
    assert_eq!(greet(api)?, "hello");
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    a_greeting_fails_while_the_far_end_does()
}
