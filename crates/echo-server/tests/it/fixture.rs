//! The server as the far end of somebody's test: it says when, where and what, and ends by itself.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use crate::common::{Server, TempPath, connect, echo, eventually, exchange, program, read_to_end};
use echo_server::event::{Kind, Level, Reason};
use echo_server::{Config, Server as InProcess};
use serde_json::Value;

/// A stream of JSON lines.
pub fn objects(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn of<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["event"] == name)
        .collect()
}

#[test]
fn whoever_holds_a_server_waits_for_no_peer_that_is_idle() {
    // A machine that is busy may take a second for it all the same, but not each time.
    eventually("it does not take a second", || {
        let config = Config {
            listen: vec!["tcp://127.0.0.1:0".parse().unwrap()],
            ..Config::default()
        };
        let server = InProcess::bind(config).unwrap().spawn().unwrap();
        let mut idle = connect(server.addresses()[0].socket().unwrap());
        echo(&idle, b"hello");
        let begun = std::time::Instant::now();
        server.stop().unwrap();
        assert_eq!(read_to_end(&mut idle), b"");
        begun.elapsed() < Duration::from_secs(1)
    });
}

#[test]
fn a_failed_start_changes_nothing_that_was_there() {
    let dir = TempPath::new("ready");
    let beside = |name: &str| dir.with_file_name(name).to_str().unwrap().to_owned();
    let (record, socket) = (beside("record"), beside("e.sock"));
    let listen = format!("--listen=unix:{socket}");
    let files = ["--record", &record, "--ready-file", dir.text(), &listen];
    let server = Server::start(&files);
    let stream = connect(server.tcp());
    echo(&stream, b"first");
    let taken = format!("--listen={}", server.tcp());
    let all = || {
        let names = std::fs::read_dir(dir.parent().unwrap()).unwrap();
        let mut names: Vec<_> = names.map(|name| name.unwrap().file_name()).collect();
        names.sort();
        (
            names,
            std::fs::read(&record).unwrap(),
            std::fs::read(&*dir).unwrap(),
        )
    };
    let before = all();
    for _ in 0..2 {
        crate::common::fails(
            program().args([&taken]).args(files),
            1,
            &["cannot listen on tcp", "in use"],
        );
        assert_eq!(all(), before);
        let socket = [
            "--listen=127.0.0.1:0",
            "--record",
            &record,
            "--ready-file",
            dir.text(),
        ];
        let served = ["another server listens there"];
        crate::common::fails(program().args(socket).arg(&listen), 1, &served);
        assert_eq!(all(), before);
    }
    echo(
        std::os::unix::net::UnixStream::connect(&socket).unwrap(),
        b"still there",
    );
    echo(&stream, b"second");
    server.stop();
    let recorded = std::fs::read_to_string(&record).unwrap();
    assert!(
        !recorded.contains('\0') && recorded.lines().count() == 3,
        "{recorded}"
    );
    assert_eq!(all_names(&dir), ["record"]);

    // What was recorded stays when the same is started again.
    let server = Server::start(&files);
    echo(connect(server.tcp()), b"third");
    server.stop();
    assert_eq!(std::fs::read_to_string(&record).unwrap().lines().count(), 4);
}

pub fn all_names(path: &TempPath) -> Vec<String> {
    let names = std::fs::read_dir(path.parent().unwrap()).unwrap();
    names
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn what_an_earlier_process_left_behind_is_no_reason_not_to_start() {
    let path = TempPath::new("ready");
    // Of a shell and the server it becomes, the process's number is known before there is one.
    let leave = format!(
        "for n in 0 1 2; do echo x >{0}.$$-$n; done; echo x >{0}.$$",
        path.text()
    );
    let mut command = crate::common::after(&leave);
    let server = Server::run(command.args(["--listen=127.0.0.1:0", "--ready-file", path.text()]));
    assert!(
        std::fs::read_to_string(&*path)
            .unwrap()
            .ends_with("ready\n")
    );
    server.stop();
    assert_eq!(all_names(&path).len(), 4);
}

#[test]
fn two_settings_that_name_one_file_are_a_usage_error() {
    let path = TempPath::new("x");
    let dir = path.parent().unwrap().to_str().unwrap();
    std::fs::write(&*path, "").unwrap();
    let twice = format!("{dir}/./x");
    std::os::unix::fs::symlink(&*path, path.with_file_name("link")).unwrap();
    let link = format!("{dir}/link");
    let none = format!("{dir}/none");
    std::os::unix::fs::symlink("none", path.with_file_name("dangling")).unwrap();
    let dangling = format!("{dir}/dangling");
    let unix = format!("unix:{dir}/new");
    let lock = format!("{dir}/new.lock");
    for (arguments, flags) in [
        (
            ["--record", path.text(), "--ready-file", &twice],
            ["--record", "--ready-file"],
        ),
        (
            ["--record", &link, "--ready-file", path.text()],
            ["--record", "--ready-file"],
        ),
        (
            ["--record", &dangling, "--ready-file", &none],
            ["--record", "--ready-file"],
        ),
        (
            ["--config", path.text(), "--record", &twice],
            ["--config", "--record"],
        ),
        (
            ["--listen", &unix, "--record", &unix[5..]],
            ["--record", "--listen"],
        ),
        (
            ["--listen", &unix, "--listen", &unix],
            ["--listen and --listen", ""],
        ),
        (
            ["--listen", &unix, "--ready-file", &lock],
            ["--ready-file", "the lock of --listen"],
        ),
        (
            ["--control", &unix, "--record", &lock],
            ["--record", "the lock of --control"],
        ),
    ] {
        let told = [flags[0], flags[1], "name one file"];
        crate::common::fails(program().args(arguments), 2, &told);
    }
}

#[test]
fn a_file_to_which_a_standard_stream_goes_is_nothing_else() {
    let path = TempPath::new("out");
    for setting in ["--record", "--ready-file", "--config"] {
        for stream in ["standard output", "standard error"] {
            let file = std::fs::File::create(&*path).unwrap();
            let mut command = program();
            command.args([setting, path.text(), "--exit-after=5"]);
            match stream {
                "standard output" => command.stdout(file).stderr(Stdio::piped()),
                _ => command.stderr(file).stdout(Stdio::piped()),
            };
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{setting} {stream}");
            let kept = std::fs::read(&*path).unwrap();
            let told = String::from_utf8([output.stderr, kept].concat()).unwrap();
            let both = format!("{setting} and {stream} name one file");
            assert!(told.contains(&both), "{told}");
        }
    }
    // What is no file takes both, one after the other.
    let server = Server::start(&["--record=/dev/null"]);
    echo(connect(server.tcp()), b"hello");
    server.stop();
}

#[test]
fn what_is_only_read_may_be_standard_input() {
    let path = TempPath::new("key");
    std::fs::write(&*path, "a key that both ends have\n").unwrap();
    for (setting, is_read) in [
        ("--stamp-key", true),
        ("--record", false),
        ("--ready-file", false),
    ] {
        let mut command = program();
        command.args([
            "--listen=stamp://127.0.0.1:0",
            "--exit-after=1s",
            setting,
            "/dev/stdin",
        ]);
        let input = std::fs::File::open(&*path).unwrap();
        let output = command.stdin(input).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code() != Some(2), is_read, "{told}");
        let both = format!("{setting} and standard input name one file");
        assert_eq!(told.contains(&both), !is_read, "{told}");
    }
}

#[test]
fn no_thread_is_no_ready() {
    let path = TempPath::new("ready");
    // Nobody else has processes of this number.
    let user = "setpriv --reuid=54321 --clear-groups prlimit --nproc=";
    if !crate::common::has("setpriv") || !rustix::process::geteuid().is_root() {
        return crate::common::skip("the limit of processes does not bind this user");
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(path.parent().unwrap(), mode).unwrap();
    for threads in 1..8 {
        let mut command = crate::common::wrapped(&format!("{user}{threads}"));
        command.args(["--listen=127.0.0.1:0", "--workers=1", "--exit-after=1h"]);
        command.args(["--ready-file", path.text()]);
        command.args(["--record", &format!("{}.record", path.text())]);
        command.env("NOTIFY_SOCKET", "@nobody");
        // Beside the first: those of the log, signals, the time, the ready lines, a worker, the manager
        // and the record, one too few of them each time.
        let ended = Server::launch(&mut command).end();
        assert_eq!(ended.code, Some(1), "{threads}: {ended:?}");
        assert_eq!(ended.stdout, "", "{threads}");
        assert!(
            ended.stderr.contains("raise the limit of processes"),
            "{ended:?}"
        );
        assert_eq!(all_names(&path).len(), 0, "{threads}");
    }
}

#[test]
fn it_ends_when_standard_input_does() {
    let mut command = program();
    command.args(["--listen=tcp://127.0.0.1:0", "--exit-on-stdin-eof"]);
    // As whoever starts it may leave one: with nothing to read, a read fails.
    let (mut stdin, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let piped = command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped());
    let mut child = piped.stderr(Stdio::piped()).spawn().unwrap();
    // It keeps that end, too.
    drop(command);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listening = lines.next().unwrap().unwrap();
    let address = listening.rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    for _ in 0..5 {
        stdin.write_all(b"not the end\n").unwrap();
        echo(connect(address), b"hello");
    }
    drop(stdin);
    let mut status = None;
    eventually("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
    let told = read_to_end(&mut child.stderr.take().unwrap());
    let told = String::from_utf8(told).unwrap();
    assert!(
        told.contains("\nStopped: standard input ended (--exit-on-stdin-eof); "),
        "{told}"
    );
}

#[test]
fn it_ends_when_its_time_is_up_and_the_exit_code_tells_whether_it_waited_in_vain() {
    for (args, code, serve) in [
        (&["--exit-after=50ms"][..], 0, false),
        (&["--exit-after=50ms", "--once"], 1, false),
        (&["--exit-after=1m", "--max-total=1"], 0, true),
    ] {
        let server = Server::start(args);
        if serve {
            exchange(server.tcp(), b"one");
        }
        let ended = server.end();
        assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
        let why = if serve {
            "Stopped: served"
        } else {
            "Stopped: the time"
        };
        assert!(ended.stderr.contains(why), "{args:?}: {ended:?}");
    }
}

#[test]
fn it_serves_as_many_connections_as_it_is_asked_to_and_no_more() {
    for workers in ["--workers=1", "--workers=3"] {
        let server = Server::start(&["--max-total=3", "--log=json", workers]);
        let address = server.tcp();
        let mut streams = [(); 3].map(|()| connect(address));
        for stream in &mut streams {
            echo(stream, b"served");
        }
        server.says("\"accepted\",\"connection\":3");
        eventually("a fourth is refused", || {
            std::net::TcpStream::connect(address).is_err()
        });
        for stream in streams {
            echo(&stream, b"still served");
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&mut &stream), b"");
        }
        let ended = server.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let events = objects(&ended.stderr);
        assert_eq!(of(&events, "accepted").len(), 3);
        assert_eq!(of(&events, "closed").len(), 3);
        assert_eq!(events.last().unwrap()["reason"], "served");
    }
}

#[test]
fn the_json_log_tells_of_every_byte_and_both_ends() {
    let server = Server::start(&[
        "--log=json",
        "-v",
        "--udp-allow-any",
        "--once",
        "--workers=1",
    ]);
    let (tcp, udp) = (server.tcp(), server.udp());
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.send_to(b"datagram", udp).unwrap();
    datagrams
        .set_read_timeout(Some(crate::common::LIMIT))
        .unwrap();
    datagrams.recv(&mut [0; 16]).unwrap();
    let stream = connect(tcp);
    let peer = stream.local_addr().unwrap().to_string();
    echo(&stream, b"stream");
    drop(stream);
    let events = objects(&server.end().stderr);

    let names: Vec<_> = events
        .iter()
        .map(|e| e["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "listening",
            "listening",
            "confined",
            "datagrams-received",
            "datagrams-sent",
            "accepted",
            "received",
            "sent",
            "peer-finished",
            "closed",
            "draining",
            "stopped",
        ]
    );
    let times = events.iter().map(|e| e["time_unix_ns"].as_u64().unwrap());
    assert!(times.is_sorted());
    assert_eq!(
        events[3]["peer"],
        datagrams.local_addr().unwrap().to_string()
    );
    assert_eq!(events[3]["local"], udp.to_string());
    assert_eq!(events[3]["received_bytes"], 8);
    assert_eq!(events[4]["sent_bytes"], 8);
    assert_eq!(
        (&events[5]["local"], &events[5]["peer"]),
        (&tcp.to_string().into(), &peer.into())
    );
    assert_eq!(events[9]["reason"], "finished");
}

#[test]
fn a_server_in_this_process_tells_its_events_and_stops_when_dropped() {
    let config = Config {
        listen: vec!["tcp://127.0.0.1:0".parse().unwrap()],
        log_level: Level::Traffic,
        ..Config::default()
    };
    let server = InProcess::bind(config).unwrap().spawn().unwrap();
    let address = server.addresses()[0].socket().unwrap();
    assert_eq!(exchange(address, b"hello"), b"hello");
    let limit = Duration::from_secs(10);
    let received =
        |kind: &Kind| matches!(kind, Kind::Received { id: 1, bytes: 5, data } if data == "hello");
    assert!(server.events().wait_for(limit, received).is_some());
    let closed = |kind: &Kind| {
        matches!(
            kind,
            Kind::Closed {
                reason: Reason::Finished,
                ..
            }
        )
    };
    assert!(server.events().wait_for(limit, closed).is_some());
    assert_eq!(server.stats().received_bytes, 5);
    drop(server);
    assert!(std::net::TcpStream::connect(address).is_err());
}
