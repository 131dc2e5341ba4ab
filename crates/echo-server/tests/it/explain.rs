//! `--explain`: what is said of calls is what strace sees of them, and what is said is understood.

#[path = "../common/strace.rs"]
mod strace;

use std::io::Write;
use std::net::{Shutdown, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::common::{Server, TempPath, connect, echo, has, has_ipv6, program, read_to_end};
use echo_core::address::End;
use echo_explain::{Call, Step};
use strace::Calls;

/// The server's program under strace, which writes to `file`.
fn watched(file: &TempPath) -> Command {
    let server = program();
    let mut words = strace::words(file).into_iter();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg(server.get_program());
    for (name, value) in server.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn datagram(server: &Server) {
    let socket = UdpSocket::bind((server.udp().ip(), 0)).unwrap();
    socket.set_read_timeout(Some(crate::common::LIMIT)).unwrap();
    socket.send_to(b"datagram", server.udp()).unwrap();
    assert_eq!(socket.recv(&mut [0; 16]).unwrap(), 8);
}

#[test]
fn the_explained_calls_are_those_that_strace_sees() {
    if strace::works() {
        explains("127.0.0.1:0");
    }
}

#[test]
fn over_ipv6_too_they_are_those_that_strace_sees() {
    if strace::works() && has_ipv6() {
        let told = explains("[::1]:0");
        assert!(told.sockets[0].starts_with("socket(AF_INET6, SOCK_STREAM)"));
        assert!(told.sockets[1].contains("[::1]:0"), "{told:?}");
    }
}

/// A server that listens on `endpoint` and meets every kind of client tells what strace sees.
fn explains(endpoint: &str) -> Calls {
    let (file, path) = (TempPath::new("strace"), TempPath::new("e.sock"));
    let server = Server::run(watched(&file).args([
        "--listen",
        endpoint,
        "--listen",
        &path.endpoint(),
        "--explain=json",
        "--buffer=16",
        "--max-total=4",
        "--framing=lines",
        "--max-frame=100",
    ]));
    datagram(&server);
    // The client finishes first, then one that breaks the rules, then one that just goes.
    let stream = connect(server.tcp());
    echo(&stream, b"a line that takes more than one read\n");
    stream.shutdown(Shutdown::Write).unwrap();
    read_to_end(&mut &stream);
    let breaks = connect(server.tcp());
    (&breaks).write_all(&[b'x'; 200]).unwrap();
    read_to_end(&mut &breaks);
    drop(breaks);
    echo(UnixStream::connect(&*path).unwrap(), b"unix\n");
    drop(connect(server.tcp()));

    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let (told, seen) = (Calls::told(&ended.stderr), Calls::seen(&file));
    assert_eq!(told.sockets, seen.sockets);
    assert_eq!(told.received, seen.received);
    assert_eq!(told.sent, seen.sent);
    for call in ["socket", "bind", "listen", "accept4", "shutdown", "close"] {
        assert!(
            told.sockets.iter().any(|told| told.starts_with(call)),
            "{call}: {told:?}"
        );
    }
    told
}

#[test]
fn a_socket_that_cannot_be_bound_is_closed_and_that_is_told() {
    if !strace::works() {
        return;
    }
    let file = TempPath::new("strace");
    let other = Server::start(&[]);
    let taken = format!("--listen=tcp://127.0.0.1:0,udp://{}", other.udp());
    let server = Server::launch(watched(&file).args([&taken, "--explain=json"]));
    let ended = server.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("\"error_kind\":\"in-use\""),
        "{ended:?}"
    );
    let told = Calls::told(&ended.stderr);
    assert_eq!(told.sockets, Calls::seen(&file).sockets);
    assert_eq!(
        told.sockets
            .iter()
            .filter(|call| call.starts_with("close"))
            .count(),
        2
    );
}

/// What is done with a socket is told where it is done, whatever happens to the datagram.
#[test]
fn a_datagram_is_explained_with_and_without_faults() {
    for args in [&["--fault=drop=0%"][..], &[]] {
        let server = Server::start(&[&["--explain=json"], args].concat());
        datagram(&server);
        let told: Vec<_> = steps(&server.stop().stderr)
            .into_iter()
            .filter_map(|step| match step.call {
                Call::ReceiveFrom {
                    received_bytes,
                    datagrams,
                    ..
                } => Some(("received", received_bytes, datagrams)),
                Call::SendTo {
                    sent_bytes,
                    datagrams,
                    ..
                } => Some(("sent", sent_bytes, datagrams)),
                _ => None,
            })
            .collect();
        assert_eq!(told, [("received", 8, 1), ("sent", 8, 1)], "{args:?}");
    }
}

fn steps(text: &str) -> Vec<Step> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_step_carries_the_ends_and_the_row_that_the_system_lists() {
    let server = Server::start(&["--explain=json", "--once"]);
    let address = server.tcp();
    let stream = connect(address);
    let peer = stream.local_addr().unwrap();
    echo(&stream, b"hello");
    drop(stream);
    let steps = steps(&server.end().stderr);
    let row = |wanted: &dyn Fn(&Call) -> bool| {
        let step = steps.iter().find(|step| wanted(&step.call)).unwrap();
        step.listed.clone().unwrap_or_default()
    };
    let listen = row(&|call| matches!(call, Call::Listen { .. }));
    assert!(
        listen.contains("LISTEN") && listen.contains(&address.to_string()),
        "{listen}"
    );
    let accept =
        row(&|call| matches!(call, Call::Accept { peer: end, .. } if *end == End::Inet(peer)));
    assert!(accept.contains(&peer.to_string()), "{accept}");
    assert!(steps.iter().map(|step| step.time_unix_ns).is_sorted());
}

#[test]
fn it_explains_in_the_language_that_is_asked_for() {
    for (args, locale, words) in [
        (&["--explain"][..], "C", "Asks the system for a socket"),
        (&["--explain"], "es_ES.UTF-8", "Pide al sistema un socket"),
        (
            &["--explain", "--lang=es"],
            "C",
            "Pide al sistema un socket",
        ),
        (
            &["--explain", "--lang=en"],
            "es_ES.UTF-8",
            "Asks the system for a socket",
        ),
    ] {
        let mut command = program();
        command
            .args(["--listen=127.0.0.1:0", "--exit-after=1ms"])
            .args(args);
        let ended = Server::run(command.env("LC_ALL", locale)).end();
        assert!(ended.stderr.contains(words), "{args:?} {locale}: {ended:?}");
        assert!(
            !ended.stderr.contains('\x1b'),
            "no colour where nobody looks: {ended:?}"
        );
    }
}

#[test]
fn there_are_colours_on_a_terminal_and_wherever_they_are_asked_for() {
    let coloured = |command: &mut Command, no_color: &str| {
        let ended = Server::launch(command.env("NO_COLOR", no_color)).end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let told = ended.stdout + &ended.stderr;
        assert!(told.contains("listen("), "{told}");
        told.contains("\x1b[")
    };
    let args = ["--explain", "--listen=127.0.0.1:0", "--exit-after=1ms"];
    for (color, no_color, expected) in [
        ("auto", "", false),
        ("always", "", true),
        ("always", "1", true),
        ("never", "", false),
    ] {
        let mut command = program();
        command.args(args).args(["--color", color]);
        assert_eq!(coloured(&mut command, no_color), expected, "{color}");
    }
    if !has("script") {
        return;
    }
    let line = |color| {
        let server = program();
        let server = server.get_program().to_str().unwrap().to_owned();
        format!("{server} {} --color={color}", args.join(" "))
    };
    for (color, no_color, expected) in [
        ("auto", "", true),
        ("auto", "1", false),
        ("always", "1", true),
        ("never", "", false),
    ] {
        // Both of its outputs are a terminal there.
        let mut command = Command::new("script");
        command.args(["-qec", &line(color), "/dev/null"]);
        assert_eq!(coloured(&mut command, no_color), expected, "{color}");
    }
}
