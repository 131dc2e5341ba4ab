//! A server that is told what to do while it serves.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::common::{LIMIT, Server, TempPath, connect, echo, eventually, exchange, fill};
use echo_server::event::{Kind, Reason};
use echo_server::{Config, Server as InProcess};
use serde_json::{Value, json};

/// A server that takes commands.
pub struct Controlled {
    pub path: TempPath,
    pub server: Server,
}

impl Controlled {
    pub fn start(more: &[&str]) -> Self {
        let path = TempPath::new("control.sock");
        let control = format!("--control={}", path.endpoint());
        let mut args = vec![&*control, "--log=json", "--seed=7"];
        args.extend(more);
        let server = match more.iter().any(|arg| arg.starts_with("--listen")) {
            true => Server::listening(&args),
            false => Server::start(&args),
        };
        Controlled { path, server }
    }

    pub fn client(&self) -> UnixStream {
        let stream = UnixStream::connect(&*self.path).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    pub fn ask(&self, command: &str) -> Value {
        ask(&mut self.client(), command)
    }
}

fn ask(client: &mut UnixStream, command: &str) -> Value {
    client.write_all(format!("{command}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(client).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn udp(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.connect(server.udp()).unwrap();
    socket
}

/// Whether nothing has come, now that what was asked afterwards is answered.
fn is_silent(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let silent = matches!(stream.read(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    silent
}

#[test]
fn a_fault_that_goes_releases_what_it_holds_of_connections_that_are_open() {
    let far_end = Controlled::start(&["--workers=2"]);
    let (mut first, mut second) = (connect(far_end.server.tcp()), connect(far_end.server.tcp()));
    let datagrams = udp(&far_end.server);
    echo(&first, b"healthy");
    echo(&second, b"healthy");
    let added = far_end.ask("fault add delay=1h");
    assert_eq!(
        added,
        json!({ "added": [{ "number": 1, "spec": "delay=1h" }] })
    );
    far_end.ask("fault add reorder,udp");
    for stream in [&mut first, &mut second] {
        stream.write_all(b"held").unwrap();
    }
    datagrams.send(b"held").unwrap();
    far_end
        .server
        .tells("of every message that is held", |told| {
            (told.matches("\"fault\":\"delay\"").count() == 3).then_some(())
        });
    assert!(is_silent(&mut first) && is_silent(&mut second));
    far_end.ask("fault remove 2");
    let removed = far_end.ask("fault remove 1");
    assert_eq!(
        removed,
        json!({ "removed": [{ "number": 1, "spec": "delay=1h" }] })
    );
    let mut back = [0; 4];
    for stream in [&mut first, &mut second] {
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"held");
        echo(stream, b"healthy again");
    }
    assert_eq!(datagrams.recv(&mut back).unwrap(), 4);
    assert_eq!(
        far_end.ask("fault list"),
        json!({ "faults": [], "seed": 7 })
    );
    let told = far_end.server.stop().stderr;
    for event in ["fault-added", "fault-removed"] {
        assert_eq!(told.matches(event).count(), 2, "{event}");
    }
}

#[test]
fn the_same_commands_and_requests_give_the_same_faults() {
    let run = |workers: &str| -> Vec<bool> {
        let far_end = Controlled::start(&[workers]);
        let mut client = far_end.client();
        let mut answered = Vec::new();
        let mut streams: Vec<_> = (0..3).map(|_| connect(far_end.server.tcp())).collect();
        let mut ask_all = |answered: &mut Vec<bool>| {
            for stream in &mut streams {
                for _ in 0..20 {
                    stream.write_all(b"x").unwrap();
                    let mut back = [0; 2];
                    let n = stream.read(&mut back).unwrap();
                    answered.push(n == 2 || back[0] == b'x');
                }
            }
        };
        ask_all(&mut answered);
        assert!(answered.iter().all(|right| *right));
        for command in [
            "fault add corrupt=50%",
            "fault add delay=1us",
            "fault clear",
            "fault add corrupt=30%",
        ] {
            ask(&mut client, command);
            ask_all(&mut answered);
        }
        answered
    };
    let first = run("--workers=1");
    assert_eq!(first, run("--workers=4"));
    let of = |part: usize| {
        first[60 * part..60 * (part + 1)]
            .iter()
            .filter(|right| !**right)
            .count()
    };
    assert!((15..45).contains(&of(1)), "{}", of(1));
    assert!((15..45).contains(&of(2)), "{}", of(2));
    assert_eq!(of(3), 0);
    assert!((5..35).contains(&of(4)), "{}", of(4));
}

#[test]
fn a_server_refuses_and_is_there_again_on_the_same_port() {
    let far_end = Controlled::start(&[
        "--listen=api=tcp://127.0.0.1:0",
        "--listen=tcp://127.0.0.1:0",
    ]);
    let lines = far_end.server.ready_lines();
    let api = lines[0].split(' ').nth(2).unwrap().parse().unwrap();
    let other = lines[1].split(' ').nth(2).unwrap().parse().unwrap();
    let open = connect(api);
    for _ in 0..3 {
        echo(connect(api), b"healthy");
        far_end.ask("fault add refuse,on=api");
        let refused = TcpStream::connect(api).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        echo(&open, b"those who are in stay");
        echo(connect(other), b"so do others");
        far_end.ask("fault clear");
    }
    echo(connect(api), b"healthy");
    far_end.ask("fault add no-accept,on=api");
    let mut waits = connect(api);
    waits.write_all(b"held").unwrap();
    assert!(is_silent(&mut waits));
    far_end.ask("fault clear");
    let mut back = [0; 4];
    waits.read_exact(&mut back).unwrap();
    far_end.server.stop();
}

#[test]
fn a_server_that_starts_refusing_can_be_healed() {
    let far_end = Controlled::start(&["--fault=refuse", "--fault=drop,udp"]);
    let refused = TcpStream::connect(far_end.server.tcp()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(
        far_end.ask("fault remove 1")["removed"][0]["spec"],
        "refuse"
    );
    echo(connect(far_end.server.tcp()), b"healthy");
    assert_eq!(far_end.ask("fault list")["faults"][0]["number"], 2);
}

#[test]
fn what_is_owed_comes_before_a_fault_that_is_added() {
    let far_end = Controlled::start(&["--socket-buffer=0"]);
    for spliced in [true, false] {
        let mut stream = connect(far_end.server.tcp());
        if !spliced {
            far_end.ask("fault add drop=0%");
        }
        // More than both ends hold: the rest is in a pipe, or in memory.
        let sent = fill(&stream);
        far_end.ask("fault add corrupt=0%");
        let mut back = vec![0; sent.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == sent, "spliced: {spliced}");
        far_end.ask("fault clear");
        echo(&stream, b"healthy");
    }
}

#[test]
fn a_listener_that_is_paused_takes_nothing_until_it_is_resumed() {
    let far_end = Controlled::start(&["--listen=api=127.0.0.1:0"]);
    let line = &far_end.server.ready_lines()[0];
    let address = line.split(' ').nth(2).unwrap().parse().unwrap();
    let open = connect(address);
    echo(&open, b"hello");
    assert_eq!(far_end.ask("pause api"), json!({ "paused": "api" }));
    let mut waits = connect(address);
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.send_to(b"held", address).unwrap();
    waits.write_all(b"held").unwrap();
    echo(&open, b"those who are in go on");
    assert_eq!(far_end.ask("stats")["datagrams"], 0);
    assert_eq!(far_end.ask("stats")["connections"], 1);
    assert_eq!(far_end.ask("resume"), json!({ "resumed": null }));
    let mut back = [0; 4];
    waits.read_exact(&mut back).unwrap();
    datagrams.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(datagrams.recv(&mut back).unwrap(), 4);
    let error = far_end.ask("pause db")["error"].clone();
    assert!(error.as_str().unwrap().contains("there is api"), "{error}");
}

#[test]
fn connections_are_listed_and_closed() {
    let far_end = Controlled::start(&["--workers=3"]);
    let streams: Vec<_> = (0..5).map(|_| connect(far_end.server.tcp())).collect();
    for stream in &streams {
        echo(stream, b"hello");
    }
    let listed = far_end.ask("connections");
    let listed = listed["connections"].as_array().unwrap();
    let numbers: Vec<_> = listed
        .iter()
        .map(|one| one["connection"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    let peer = streams[2].local_addr().unwrap().to_string();
    assert_eq!(listed[2]["peer"], peer);
    assert_eq!(
        (&listed[2]["received_bytes"], &listed[2]["sent_bytes"]),
        (&json!(5), &json!(5))
    );
    assert_eq!(far_end.ask("close 3")["closed"][0]["peer"], peer);
    assert_eq!((&streams[2]).read(&mut [0]).unwrap(), 0);
    assert_eq!(far_end.ask("close 1 reset")["closed"][0]["connection"], 1);
    assert_eq!(
        (&streams[0]).read(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    eventually("the closed one is gone", || {
        drop(exchange(far_end.server.tcp(), b""));
        far_end.ask("close 1")["error"] == "no connection 1 is open"
    });
    far_end.ask("close all reset");
    for at in [1, 3, 4] {
        assert!((&streams[at]).read(&mut [0]).is_err(), "{at}");
    }
}

#[test]
fn whoever_talks_goes_on_when_a_command_stops_the_server() {
    /// Whoever is silent for so long is done.
    const SILENT: Duration = Duration::from_secs(1);
    // A machine may be so busy that this test is silent for too long: then it begins anew.
    eventually("one that is stopped is talked to in time", || {
        let far_end = Controlled::start(&[]);
        let mut talker = connect(far_end.server.tcp());
        let start = Instant::now();
        echo(&mut talker, b"before");
        assert_eq!(far_end.ask("stop"), json!({ "stopping": true }));
        eventually("nobody is let in any more", || {
            TcpStream::connect(far_end.server.tcp()).is_err()
        });
        let sent = talker.write_all(b"after");
        let answered = sent.and_then(|()| talker.read_exact(&mut [0; 5]));
        let silent = start.elapsed();
        drop(talker);
        let ended = far_end.server.end();
        assert_eq!(ended.code, Some(0));
        assert!(ended.stderr.contains("\"reason\":\"asked\""), "{ended:?}");
        assert!(answered.is_ok() || silent >= SILENT, "{answered:?}");
        answered.is_ok()
    });
}

#[test]
fn a_test_in_rust_breaks_and_heals_its_far_end() {
    let config = Config {
        listen: vec!["api=tcp://127.0.0.1:0".parse().unwrap()],
        seed: 7.into(),
        ..Config::default()
    };
    let server = InProcess::bind(config).unwrap().spawn().unwrap();
    let address = server.address("api").unwrap().socket().unwrap();
    let mut stream = connect(address);
    echo(&stream, b"healthy");
    server
        .set_faults(["reset-after=0".parse().unwrap()])
        .unwrap();
    assert_eq!(
        stream.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    server.set_faults([]).unwrap();
    let second = connect(address);
    echo(&second, b"healthy");
    let control = server.control();
    assert!(server.set_faults(["drop,on=db".parse().unwrap()]).is_err());
    assert_eq!(control.stats().unwrap().accepted, 2);
    assert_eq!(control.connections().unwrap()[0].id, 2);
    control.close(None, true).unwrap();
    let is_asked = |kind: &Kind| {
        matches!(
            kind,
            Kind::Closed {
                reason: Reason::Asked,
                ..
            }
        )
    };
    let limit = Duration::from_secs(30);
    assert!(server.events().wait_for(limit, is_asked).is_some());
    server.stop().unwrap();
    assert!(control.connections().is_err() && control.stop().is_err());
}

#[test]
fn whoever_waits_at_a_listener_when_the_server_stops_is_served() {
    for (args, header) in [
        (&[][..], &b""[..]),
        (&["--proxy-protocol"], b"PROXY UNKNOWN\r\n"),
    ] {
        let far_end = Controlled::start(args);
        far_end.ask("pause");
        let mut waiting: Vec<TcpStream> = (0..20).map(|_| connect(far_end.server.tcp())).collect();
        for stream in &mut waiting {
            stream.write_all(&[header, b"in time"].concat()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        far_end.ask("stop");
        for mut stream in waiting {
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert_eq!(back, b"in time", "{args:?}");
        }
    }
}
