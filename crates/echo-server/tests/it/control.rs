//! A server that is told what to do while it serves.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::{
    LIMIT, Server, TempPath, connect, echo, eventually, exchange, fails, fill, program,
};
use echo_server::event::{Kind, Reason};
use echo_server::{Config, Server as InProcess};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

/// A server that takes commands.
struct Controlled {
    path: TempPath,
    server: Server,
}

impl Controlled {
    fn start(more: &[&str]) -> Self {
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

    fn client(&self) -> UnixStream {
        let stream = UnixStream::connect(&*self.path).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    fn ask(&self, command: &str) -> Value {
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
    assert_eq!(far_end.ask("stop"), json!({ "stopping": true }));
    let ended = far_end.server.end();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("\"reason\":\"asked\""), "{ended:?}");
}

#[test]
fn no_client_of_the_control_socket_holds_up_another_or_the_server() {
    let far_end = Controlled::start(&[]);
    let mut never_reads = far_end.client();
    never_reads.set_nonblocking(true).unwrap();
    while never_reads.write(&b"connections\n".repeat(100)).is_ok() {}
    let mut breaks_off = far_end.client();
    breaks_off.write_all(b"fault ad").unwrap();
    drop(breaks_off);
    let mut garbage = far_end.client();
    garbage.write_all(&[0xff, 0, b'\r', 0x1b, b'\n']).unwrap();
    let mut answer = String::new();
    BufReader::new(&garbage).read_line(&mut answer).unwrap();
    assert!(
        answer.starts_with("{\"error\":\"no such command"),
        "{answer}"
    );
    let mut endless = far_end.client();
    // It may be ended before all is written.
    let _ = endless.write_all(&vec![b'x'; 1 << 20]);
    let mut told = Vec::new();
    let _ = endless.read_to_end(&mut told);
    assert!(told.is_empty() || told.starts_with(b"{\"error\":\"the line is too long"));
    let mut ten: Vec<_> = (0..10).map(|_| far_end.client()).collect();
    for client in &mut ten {
        client.write_all(b"stats\nfault list\n").unwrap();
    }
    for client in &mut ten {
        let answers: Vec<_> = BufReader::new(client)
            .lines()
            .take(2)
            .map(Result::unwrap)
            .collect();
        assert_eq!(answers[1], "{\"faults\":[],\"seed\":7}");
    }
    // More than there is room for: they are turned away, and room comes back.
    let many: Vec<_> = (0..100).map(|_| far_end.client()).collect();
    drop(many);
    eventually("a new client is answered", || {
        let mut client = far_end.client();
        let mut byte = [0];
        client.write_all(b"stats\n").is_ok() && matches!(client.read(&mut byte), Ok(1))
    });
    echo(connect(far_end.server.tcp()), b"hello");
    for wrong in [
        "",
        "fault add",
        "fault add drpo",
        "fault remove x",
        "fault remove 7",
        "close x",
    ] {
        assert!(far_end.ask(wrong)["error"].is_string(), "{wrong}");
    }
    far_end.server.stop();
}

#[test]
fn waiting_that_fails_for_a_while_ends_no_commands() {
    let far_end = Controlled::start(&[]);
    let (process, own) = (
        Pid::from_raw(far_end.server.id().cast_signed()),
        getrlimit(Resource::Nofile),
    );
    let allow = |current| prlimit(process, Resource::Nofile, Rlimit { current, ..own }).unwrap();
    let mut client = far_end.client();
    client
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    // Nobody may wait for more descriptors at once than it may have; who waits already goes on.
    allow(Some(1));
    eventually("nobody answers", || {
        client.write_all(b"stats\n").unwrap();
        matches!(client.read(&mut [0; 4096]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    allow(own.current);
    client.set_read_timeout(Some(LIMIT)).unwrap();
    assert!(client.read(&mut [0; 4096]).unwrap() > 0, "it has ended");
    assert_eq!(far_end.ask("stats")["connections"], 0);
    allow(Some(1));
    far_end.server.stop();
}

#[test]
fn the_control_socket_is_its_owners_and_goes_with_the_server() {
    let far_end = Controlled::start(&[]);
    let mode = std::fs::metadata(&*far_end.path)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let control = format!("--control={}", far_end.path.endpoint());
    fails(
        program().args(["--listen=127.0.0.1:0", &control]),
        1,
        &["another server listens there"],
    );
    far_end.ask("fault list");
    let Controlled { path, server } = far_end;
    server.stop();
    let left = std::fs::read_dir(path.parent().unwrap()).unwrap();
    assert_eq!(left.count(), 0);
    fails(
        program().args(["--control=unix:@name"]),
        2,
        &["--control", "give a file"],
    );
    fails(
        program().args(["--control", path.text(), "--record", path.text()]),
        2,
        &["--control", "--record", "one file"],
    );
}

#[test]
fn a_shell_gives_commands_too() {
    let far_end = Controlled::start(&["--listen=api=tcp://127.0.0.1:0"]);
    let control = |command: &str| {
        let args = ["control", &far_end.path.endpoint(), command];
        let output = program().args(args).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, answer) = control("fault add drop=20%,on=api");
    assert_eq!(code, Some(0));
    assert_eq!(
        answer,
        "{\"added\":[{\"number\":1,\"spec\":\"drop,on=api,msg=20%\"}]}\n"
    );
    let (code, answer) = control("fault add drop=20%,on=ap");
    assert_eq!(code, Some(1));
    assert!(answer.contains("there is api"), "{answer}");
    let nobody = far_end.path.with_file_name("nobody");
    fails(
        program().args(["control", nobody.to_str().unwrap(), "stats"]),
        3,
        &["cannot connect to unix:", "no such file"],
    );
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
fn a_server_that_says_nothing_is_not_waited_for_without_end() {
    let (silent, full) = (TempPath::new("silent"), TempPath::new("full"));
    let _silent = std::os::unix::net::UnixListener::bind(&*silent).unwrap();
    let listener =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener
        .bind(&socket2::SockAddr::unix(&*full).unwrap())
        .unwrap();
    listener.listen(0).unwrap();
    // Whoever comes after it is not even taken in.
    let _waits = UnixStream::connect(&*full).unwrap();
    std::thread::scope(|scope| {
        for (path, what) in [(&silent, "be answered by"), (&full, "connect to")] {
            scope.spawn(move || {
                let mut ask = program();
                ask.args(["control", &path.endpoint(), "stats"]);
                let wanted = format!("cannot {what} unix:");
                crate::common::fails(&mut ask, 3, &[&wanted, "nothing for 5 s"]);
            });
        }
    });
}

#[test]
fn a_line_that_is_too_long_is_no_command_however_it_arrives() {
    let far_end = Controlled::start(&[]);
    let mut client = far_end.client();
    client
        .write_all(&[&b"stats"[..], &[b' '; 16 << 10], b"\n"].concat())
        .unwrap();
    let mut answer = String::new();
    BufReader::new(&client).read_line(&mut answer).unwrap();
    assert!(
        answer.starts_with("{\"error\":\"the line is too long"),
        "{answer}"
    );
}

#[test]
fn what_is_no_answer_of_a_server_is_told_so_and_never_printed() {
    let (control, echo) = (TempPath::new("c.sock"), TempPath::new("e.sock"));
    let control_at = format!("--control={}", control.endpoint());
    let server = Server::listening(&["--listen", &echo.endpoint(), &control_at]);
    // The path of a listener that echoes instead of that of `--control`.
    let ask = |path: &TempPath, command: &str| {
        let mut asked = program();
        asked.args(["control", &path.endpoint(), command]);
        asked
    };
    for command in ["stats", "{\"error\":5,\u{1b}[31m}", "fault add drop=20%"] {
        let told = ["something else listens there", "--control"];
        fails(&mut ask(&echo, command), 3, &told);
    }
    assert!(ask(&control, "stats").output().unwrap().status.success());
    server.stop();
}

#[test]
fn the_last_command_needs_no_end_of_line_and_may_add_several_faults() {
    let far_end = Controlled::start(&[]);
    let mut client = far_end.client();
    client.write_all(b"fault add drop=20%;delay=1s").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let added = [
        json!({ "number": 1, "spec": "drop,msg=20%" }),
        json!({ "number": 2, "spec": "delay=1s" }),
    ];
    assert_eq!(answer["added"], json!(added));
}

#[test]
fn whoever_waits_at_a_listener_when_the_server_stops_is_served() {
    let far_end = Controlled::start(&[]);
    far_end.ask("pause");
    let mut waiting: Vec<TcpStream> = (0..20).map(|_| connect(far_end.server.tcp())).collect();
    for stream in &mut waiting {
        stream.write_all(b"in time").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    far_end.ask("stop");
    for mut stream in waiting {
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert_eq!(back, b"in time");
    }
}
