//! Sockets that are handed over, and what a service manager is told.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, UnixDatagram, UnixStream};
use std::process::Command;

use crate::common::{
    LIMIT, Server, TempPath, connect, echo, eventually, fails, has, program, skip, talk,
};

/// Opens sockets as its first argument says, and becomes the rest of its arguments with them.
const LAUNCHER: &str = r#"
import os, socket, sys
sockets = eval(sys.argv[1])
for place, one in enumerate(sockets):
    os.dup2(one if isinstance(one, int) else one.fileno(), 10 + place)
for place in range(len(sockets)):
    os.dup2(10 + place, 3 + place)
os.environ["LISTEN_FDS"] = str(len(sockets))
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"#;

const TCP: &str = "socket.create_server(('127.0.0.1', 0))";

/// The server with the sockets of a list in Python, and their names.
fn with(sockets: &str, names: &str) -> Option<Command> {
    if !has("python3") {
        return None;
    }
    let mut command = crate::common::wrapped_by("python3", &["-c", LAUNCHER, sockets]);
    command.env("LISTEN_FDNAMES", names);
    Some(command)
}

#[test]
fn a_socket_without_a_name_keeps_its_place_among_the_names() {
    let sockets = format!(
        "[{TCP}, {TCP}, (u := socket.socket(type=socket.SOCK_DGRAM), u.bind(('127.0.0.1', 0)))[0]]"
    );
    let Some(mut command) = with(&sockets, "a::b") else {
        return;
    };
    let server = Server::run(command.arg("--listen=systemd:b"));
    let lines = server.ready_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("listening udp "), "{lines:?}");
    server.says("(a, unknown)");
    server.stop();
}

#[test]
fn sockets_that_are_handed_over_are_served_and_a_path_stays() {
    let path = TempPath::new("e.sock");
    let sockets = format!(
        "[{TCP}, (u := socket.socket(type=socket.SOCK_DGRAM), u.bind(('127.0.0.1', 0)))[0], \
         (x := socket.socket(socket.AF_UNIX), x.bind({:?}), x.listen())[0]]",
        path.text()
    );
    let Some(mut command) = with(&sockets, "web:web:local") else {
        return;
    };
    let server = Server::run(command.args(["--listen=a=systemd:web", "--listen=systemd"]));
    let lines = server.ready_lines();
    assert!(lines[0].starts_with("listening tcp 127.0.0.1:") && lines[0].ends_with(" a"));
    assert!(lines[1].starts_with("listening udp 127.0.0.1:") && lines[1].ends_with(" a"));
    assert_eq!(lines[2], format!("listening unix {}", path.text()));
    let address = |line: &str| -> SocketAddr {
        line.split(' ')
            .nth(2)
            .and_then(|word| word.parse().ok())
            .unwrap()
    };
    echo(connect(address(&lines[0])), b"hello");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.send_to(b"hi", address(&lines[1])).unwrap();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 2);
    echo(UnixStream::connect(&*path).unwrap(), b"hello");
    let ended = server.stop();
    assert!(!ended.stderr.contains("Warning"), "{ended:?}");
    assert!(path.exists(), "it belongs to whoever made it");
}

#[test]
fn sockets_that_nobody_asked_for_are_a_warning() {
    let Some(mut command) = with(&format!("[{TCP}, {TCP}]"), "web:spare") else {
        return;
    };
    let server = Server::run(command.arg("--listen=systemd:web"));
    server.says("Warning: 1 socket handed over and not asked for (spare)");
    server.stop();
}

#[test]
fn a_socket_that_is_not_there_fails_the_start() {
    let told = [
        "cannot listen on systemd",
        "no socket was handed over",
        "--listen",
    ];
    fails(program().arg("--listen=systemd"), 1, &told);
    let Some(mut command) = with(&format!("[{TCP}]"), "web") else {
        return;
    };
    let told = [
        "cannot listen on systemd:api",
        "but web",
        "FileDescriptorName=api",
    ];
    fails(command.arg("--listen=systemd:api"), 1, &told);
    let Some(mut command) = with(&format!("[{TCP}]"), "web") else {
        return;
    };
    let told = ["cannot listen on systemd", "no socket was handed over"];
    fails(
        command.env("LISTEN_PID", "1").arg("--listen=systemd"),
        1,
        &told,
    );
    for count in ["0", "-1", "x", "99999999999999999999", "4294967295"] {
        let mut command = crate::common::after("export LISTEN_PID=$$");
        fails(
            command.env("LISTEN_FDS", count).arg("--listen=systemd"),
            1,
            &told,
        );
    }
}

/// A datagram socket, bound.
const UDP: &str = "(u := socket.socket(type=socket.SOCK_DGRAM), u.bind(('127.0.0.1', 0)))[0]";

#[test]
fn a_socket_that_another_listener_takes_is_a_usage_error() {
    for (listen, names) in [
        ("--listen=systemd --listen=systemd", "web"),
        ("--listen=systemd:web --listen=systemd:web", "web"),
        ("--listen=systemd:web --listen=systemd:web", "web:spare"),
        ("--listen=a=systemd:web --listen=b=systemd", "web"),
        ("--listen=systemd --listen=systemd:web", "web"),
    ] {
        let sockets = vec![TCP; names.split(':').count()].join(",");
        let Some(mut command) = with(&format!("[{sockets}]"), names) else {
            return;
        };
        let told = ["another --listen takes what was handed over", "leave this"];
        fails(command.args(listen.split(' ')), 2, &told);
    }
}

#[test]
fn what_no_socket_that_is_handed_over_could_do_is_a_usage_error() {
    for (socket, option, told) in [
        (UDP, "--once", "--max-total (or --once) is for connections"),
        (UDP, "--proxy-protocol", "is for connections"),
        (UDP, "--framing=lines", "is for connections"),
        (TCP, "--fault=reorder", "can happen on udp alone"),
        (UDP, "--fault=stall", "can happen on tcp and unix alone"),
    ] {
        let Some(mut command) = with(&format!("[{socket}]"), "web") else {
            return;
        };
        let args = ["--listen=systemd", option];
        fails(command.args(args), 2, &[told]);
    }
    let Some(mut command) = with(&format!("[{TCP}, {UDP}]"), "web") else {
        return;
    };
    Server::run(command.args(["--listen=systemd", "--fault=stall", "--max-total=9"])).stop();
}

/// What asks for just its port, as one below 1,024 or without this option cannot be asked for again.
const BY_NUMBER: &str = "(p := socket.create_server(('127.0.0.1', 0)), a := p.getsockname(), p.close(), \
                         s := socket.socket(), s.bind(a), s.listen())[3]";

#[test]
fn a_socket_that_is_handed_over_refuses_and_accepts_again() {
    for socket in [BY_NUMBER, TCP] {
        let path = TempPath::new("control.sock");
        let Some(mut command) = with(&format!("[{socket}]"), "web") else {
            return;
        };
        let control = format!("--control={}", path.endpoint());
        let server = Server::run(command.args(["--listen=systemd", &control]));
        let ask = |words: [&str; 2]| {
            let mut control = program();
            control.args(["control", &path.endpoint()]).args(words);
            assert!(control.status().unwrap().success(), "{words:?}");
        };
        let before = connect(server.tcp());
        echo(&before, b"hello");
        for _ in 0..2 {
            ask(["fault", "add refuse"]);
            let refused = TcpStream::connect(server.tcp()).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            ask(["fault", "clear"]);
            echo(connect(server.tcp()), b"hello");
            echo(&before, b"hello");
        }
        server.stop();
    }
}

#[test]
fn a_descriptor_of_another_kind_fails_the_start() {
    for sockets in [
        "[os.open('/dev/null', os.O_RDONLY)]",
        "[socket.socket()]",
        "[socket.socketpair()[0]]",
        "[socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)]",
        "[socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)]",
        "[socket.create_connection((s := socket.create_server(('127.0.0.1', 0))).getsockname())]",
    ] {
        let Some(mut command) = with(sockets, "") else {
            return;
        };
        let told = ["cannot listen on systemd", "descriptor 3", "ListenStream="];
        fails(command.arg("--listen=systemd"), 1, &told);
    }
    // Nothing is at the number that is said to be a socket.
    let mut command = crate::common::after("export LISTEN_PID=$$ LISTEN_FDS=900");
    fails(command.arg("--listen=systemd"), 1, &["descriptor 3"]);
}

#[test]
fn systemd_starts_it_when_the_first_peer_comes() {
    if !has("systemd-socket-activate") {
        return;
    }
    // The number is free again, and may be taken first: then another one is tried.
    for _ in 0..20 {
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = probe.local_addr().unwrap();
        drop(probe);
        let words = ["--fdname=web", "-l", &address.to_string()];
        let mut command = crate::common::wrapped_by("systemd-socket-activate", &words);
        let mut server = Server::launch(command.arg("--listen=systemd:web"));
        let mut stream = None;
        eventually("it listens or has ended", || {
            stream = TcpStream::connect(address).ok();
            stream.is_some() || !server.is_running()
        });
        let Some(stream) = stream else { continue };
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        echo(stream, b"hello");
        assert!(server.is_ready());
        assert_eq!(server.ready_lines(), [format!("listening tcp {address}")]);
        server.stop();
        return;
    }
    skip("no port was free");
}

/// A service manager that has heard all there is once `wanted` is heard.
fn heard(manager: &UnixDatagram, wanted: &str) -> String {
    let mut all = String::new();
    while !all.contains(wanted) {
        let mut message = [0; 4096];
        let len = manager.recv(&mut message).expect(wanted);
        all += str::from_utf8(&message[..len]).unwrap();
        all.push('\n');
    }
    all
}

#[test]
fn a_service_manager_hears_of_the_start_of_each_beat_and_of_the_end() {
    let path = TempPath::new("notify");
    let manager = UnixDatagram::bind(&*path).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let mut command = program();
    command
        .env("NOTIFY_SOCKET", path.text())
        .env("WATCHDOG_USEC", "2000000");
    let server = Server::run(command.args(["--listen=127.0.0.1:0", "--drain=20s"]));
    let talking = talk(connect(server.tcp()));
    assert!(heard(&manager, "READY=1").contains("STATUS="));
    let beats = heard(&manager, "WATCHDOG=1");
    assert!(
        beats.contains("STATUS=1 connections open, 1 accepted, 0 refused"),
        "{beats}"
    );
    heard(&manager, "WATCHDOG=1");
    server.signal(rustix::process::Signal::TERM);
    let end = heard(&manager, "STOPPING=1");
    assert!(end.contains("STATUS=Stopping; 1 connections open"), "{end}");
    drop(talking);
    assert_eq!(server.end().code, Some(0));
}

#[test]
fn a_service_manager_may_listen_under_a_name_that_is_no_path() {
    let name = format!("echo-notify-{}", std::process::id());
    let address = net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let mut command = program();
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let server = Server::run(command.arg("--listen=127.0.0.1:0"));
    heard(&manager, "READY=1");
    server.stop();
}

#[test]
fn a_worker_that_hangs_lets_the_watchdog_bite() {
    if !has("strace") {
        return;
    }
    let path = TempPath::new("notify");
    let manager = UnixDatagram::bind(&*path).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    // The worker that accepts is held there for longer than it is given. What holds it ends with it only.
    let mut command = crate::common::wrapped(
        "strace -D -f -qq -e trace=accept4 -e inject=accept4:delay_enter=8s -o /dev/null",
    );
    command
        .env("NOTIFY_SOCKET", path.text())
        .env("WATCHDOG_USEC", "2000000");
    let server = Server::run(command.args(["--listen=tcp://127.0.0.1:0", "--workers=2"]));
    heard(&manager, "WATCHDOG=1");
    let _peer = connect(server.tcp());
    heard(&manager, "STATUS=A worker hangs");
    // From then on it is fed no more.
    let mut message = [0; 4096];
    let len = manager.recv(&mut message).unwrap();
    assert_eq!(&message[..len], b"STATUS=A worker hangs\n");
}

#[test]
fn a_service_manager_that_is_gone_changes_nothing() {
    let mut command = program();
    command
        .env("NOTIFY_SOCKET", "/nowhere/at/all")
        .env("WATCHDOG_USEC", "1");
    let server = Server::run(command.arg("--listen=127.0.0.1:0"));
    echo(connect(server.tcp()), b"hello");
    server.stop();
}
