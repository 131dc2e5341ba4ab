//! The ready lines, that nothing else reaches standard output, and the file that has them.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use crate::common::{
    Server, TempPath, connect, echo, eventually, fails, has_ipv6, in_own_network, program,
};
use crate::fixture::all_names;

#[test]
fn a_host_and_port_is_tcp_and_udp_with_one_number() {
    for _ in 0..20 {
        let server = Server::listening(&["--listen=127.0.0.1:0"]);
        assert_eq!(server.tcp(), server.udp());
        let lines = [
            format!("listening tcp {}", server.tcp()),
            format!("listening udp {}", server.udp()),
        ];
        assert_eq!(server.ready_lines(), lines);
    }
}

#[test]
fn every_socket_has_a_line_in_the_order_of_the_endpoints() {
    let path = TempPath::new("e.sock");
    let server = Server::listening(&[
        &format!("--listen=udp://127.0.0.1:0,{}", path.endpoint()),
        "--listen=127.0.0.3:0",
        "--listen=tcp://127.0.0.2:0",
    ]);
    let lines = [
        format!("listening udp {}", server.nth("udp", 0)),
        format!("listening unix {}", path.text()),
        format!("listening tcp {}", server.nth("tcp", 0)),
        format!("listening udp {}", server.nth("udp", 1)),
        format!("listening tcp {}", server.nth("tcp", 1)),
    ];
    assert_eq!(server.ready_lines(), lines);
    assert_eq!(server.nth("tcp", 0), server.nth("udp", 1));
    for n in 0..2 {
        echo(connect(server.nth("tcp", n)), b"hello");
    }
}

#[test]
fn a_name_is_listened_on_at_all_its_addresses_with_one_port() {
    let mut expected: Vec<IpAddr> = Vec::new();
    for address in ("localhost", 0).to_socket_addrs().unwrap() {
        let usable = TcpListener::bind(address).is_ok();
        if usable && !expected.contains(&address.ip()) {
            expected.push(address.ip());
        }
    }
    let server = Server::listening(&["--listen=localhost:0"]);
    let port = server.tcp().port();
    assert_eq!(server.ready_lines().len(), 2 * expected.len());
    for (n, ip) in expected.into_iter().enumerate() {
        let address = SocketAddr::new(ip, port);
        assert_eq!(
            (server.nth("tcp", n), server.nth("udp", n)),
            (address, address)
        );
        echo(connect(address), b"hello");
    }
}

#[test]
fn ipv6_takes_ipv4_too_unless_that_is_listed() {
    if !has_ipv6() {
        return;
    }
    let both = Server::listening(&["--listen=[::]:0"]);
    let port = both.tcp().port();
    for host in ["::1", "127.0.0.1", "127.0.0.9"] {
        echo(
            connect(SocketAddr::new(host.parse().unwrap(), port)),
            b"hello",
        );
    }
    both.says("Connected by: 127.0.0.1:");
    drop(both);

    // The number is free again. Another program may take it first, so try with others.
    for _ in 0..50 {
        let probe = TcpListener::bind("[::]:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            // The probe did not take IPv4: this machine's rules differ from what is tested.
            return crate::common::skip("[::] does not take IPv4 on this machine");
        }
        drop(probe);
        let listen = [
            format!("--listen=tcp://[::]:{port}"),
            format!("--listen=tcp://127.0.0.1:{port}"),
        ];
        let mut server = Server::launch(program().args(&listen));
        let mut ready = false;
        eventually("the server is ready or has ended", || {
            ready = connectable(port);
            ready || !server.is_running()
        });
        if ready {
            echo(
                connect(SocketAddr::new([127, 0, 0, 1].into(), port)),
                b"hello",
            );
            echo(connect(format!("[::1]:{port}").parse().unwrap()), b"hello");
            assert!(TcpStream::connect(("127.0.0.2", port)).is_err());
            return;
        }
    }
    panic!("no port was free");
}

/// What one socket takes is decided for each transport, by all that is listed.
#[test]
fn endpoints_on_one_port_share_its_addresses() {
    in_own_network("endpoints_on_one_port_share_its_addresses", || {
        if !has_ipv6() {
            return;
        }
        let localhost: Vec<SocketAddr> = ("localhost", 4000).to_socket_addrs().unwrap().collect();
        let both = "tcp [::]:4000|udp [::]:4000";
        let v4 = "tcp 127.0.0.1:4000|udp 127.0.0.1:4000";
        let v6 = "tcp [::1]:4000|udp [::1]:4000";
        let lists = |ip: &str| {
            localhost
                .iter()
                .any(|address| address.ip().to_string() == ip)
        };
        let named = |left_out: &str| {
            let mut lines = vec![];
            for (ip, text) in [("127.0.0.1", v4), ("::1", v6)] {
                if lists(ip) && ip != left_out {
                    lines.push(text.to_owned());
                }
            }
            lines
        };
        for (listen, mut lines) in [
            (
                "[::]:4000,localhost:4000",
                [vec![both.to_owned()], named("::1")].concat(),
            ),
            (
                "localhost:4000,[::]:4000",
                [named("::1"), vec![both.to_owned()]].concat(),
            ),
            (
                "127.0.0.1:4000,localhost:4000",
                [vec![v4.to_owned()], named("127.0.0.1")].concat(),
            ),
            (
                "udp://[::]:4000,tcp://127.0.0.1:4000",
                vec!["udp [::]:4000|tcp 127.0.0.1:4000".to_owned()],
            ),
            ("[::ffff:127.0.0.1]:4000", vec![v4.to_owned()]),
            (
                "[::]:4000,[::ffff:127.0.0.1]:4000",
                vec![both.to_owned(), v4.to_owned()],
            ),
        ] {
            let server = Server::listening(&["--listen", listen]);
            let mut ready: Vec<_> = server
                .ready_lines()
                .iter()
                .map(|line| &line[10..])
                .collect();
            ready.sort();
            let joined = lines.join("|");
            let mut expected: Vec<_> = joined.split('|').collect();
            expected.sort();
            assert_eq!(ready, expected, "{listen}");
            lines.clear();
            for host in ["127.0.0.1", "::1"] {
                let address = SocketAddr::new(host.parse().unwrap(), 4000);
                let client = UdpSocket::bind((address.ip(), 0)).unwrap();
                client.set_read_timeout(Some(crate::common::LIMIT)).unwrap();
                if listen.contains("[::]")
                    || host == "127.0.0.1"
                    || lists(host) && listen.contains("localhost")
                {
                    client.send_to(b"hello", address).unwrap();
                    assert_eq!(client.recv(&mut [0; 9]).unwrap(), 5, "{listen}: {host}");
                }
            }
            server.stop();
        }
    });
}

fn connectable(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok() && TcpStream::connect(("::1", port)).is_ok()
}

#[test]
fn nothing_but_the_ready_lines_reaches_standard_output() {
    let server = Server::start(&["-v"]);
    let lines: Vec<String> = server.ready_lines().to_vec();
    for _ in 0..10 {
        echo(connect(server.tcp()), b"hello");
    }
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"hello", server.udp()).unwrap();
    client.recv(&mut [0; 9]).unwrap();
    server.says("sent 1 datagram");
    let ended = server.stop();
    assert_eq!(ended.stdout, format!("{}\nready\n", lines.join("\n")));
    assert!(
        ended.stderr.contains("Connected by: 127.0.0.1:"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_closed_standard_output_is_no_reason_not_to_serve() {
    let path = TempPath::new("e.sock");
    let listen = format!("--listen={}", path.endpoint());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = program()
        .arg(&listen)
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the server takes connections", || {
        UnixStream::connect(&*path).is_ok()
    });
    echo(UnixStream::connect(&*path).unwrap(), b"hello");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_full_standard_output_is_an_error() {
    let full = File::options().write(true).open("/dev/full");
    let Ok(full) = full else {
        return crate::common::skip("there is no /dev/full");
    };
    for args in [
        &["--listen=127.0.0.1:0"][..],
        &["--print-config"],
        &["--help"],
        &["--version"],
    ] {
        let mut command = program();
        command.args(args).stdout(full.try_clone().unwrap());
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains("standard output") && stderr.contains("redirect"),
            "{stderr}"
        );
        assert!(
            !stderr.contains("panicked") && !stderr.contains("os error"),
            "{stderr}"
        );
    }
}

#[test]
fn a_socket_file_left_behind_is_replaced() {
    let path = TempPath::new("e.sock");
    // A listener of std leaves its file behind, as a server that was killed does.
    drop(UnixListener::bind(&*path).unwrap());
    assert!(path.exists());
    let server = Server::listening(&["--listen", &path.endpoint()]);
    echo(UnixStream::connect(&*path).unwrap(), b"hello");
    server.stop();
    assert!(!path.exists());
}

#[test]
fn the_version_is_a_line_or_all_that_is_known_of_the_build() {
    let told = |flag: &str| {
        let output = program().arg(flag).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let version = format!("echo-server {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(told("-V"), version);
    let long = told("--version");
    assert!(long.starts_with(&version), "{long}");
    for key in ["commit: ", "target: ", "features: "] {
        let value = long.lines().find_map(|line| line.strip_prefix(key));
        assert!(value.is_some_and(|value| !value.is_empty()), "{key} {long}");
    }
}

#[test]
fn a_shell_takes_the_completions_that_are_printed_for_it() {
    for shell in ["bash", "zsh", "fish"] {
        let output = program().args(["completions", shell]).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("max-connections"), "{shell}: {text}");
        let file = TempPath::new("completions");
        std::fs::write(&*file, text).unwrap();
        if crate::common::has(shell) {
            crate::common::succeeds(std::process::Command::new(shell).arg("-n").arg(&*file));
        }
        if shell == "bash" && crate::common::has(shell) {
            let complete = format!(
                ". {}; COMP_WORDS=(echo-server completions ba); COMP_CWORD=2; \
                 _echo__server echo-server ba completions; test \"${{COMPREPLY[*]}}\" = bash",
                file.text()
            );
            crate::common::succeeds(std::process::Command::new(shell).args(["-c", &complete]));
        }
    }
}

#[test]
fn the_ready_file_appears_whole_with_the_resolved_addresses() {
    let path = TempPath::new("ready");
    std::fs::write(&*path, "listening tcp 127.0.0.1:1\nready\n").unwrap();
    let server = Server::start(&["--ready-file", path.text()]);
    let expected = format!("{}\nready\n", server.ready_lines().join("\n"));
    assert_eq!(std::fs::read_to_string(&*path).unwrap(), expected);
    assert_eq!(
        std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1
    );
    server.stop();
}

#[test]
fn a_second_server_takes_no_ready_file_of_one_that_lives_and_that_of_a_dead_one() {
    let path = TempPath::new("ready");
    let server = Server::start(&["--ready-file", path.text()]);
    let text = std::fs::read_to_string(&*path).unwrap();
    fails(
        program().args(["--listen=127.0.0.1:0", "--ready-file", path.text()]),
        2,
        &[path.text(), "that of a server that runs", "--ready-file"],
    );
    assert_eq!(std::fs::read_to_string(&*path).unwrap(), text);
    server.signal(rustix::process::Signal::KILL);
    assert_eq!(server.end().code, None);
    assert!(path.exists());
    Server::start(&["--ready-file", path.text()]).stop();
    assert_eq!(all_names(&path), [""; 0]);
}

#[test]
fn a_ready_file_goes_with_a_clean_stop_unless_it_is_anothers() {
    let path = TempPath::new("ready");
    for replaced in [false, true] {
        let server = Server::start(&["--ready-file", path.text(), "--drain=20s"]);
        let mut talker = connect(server.tcp());
        echo(&mut talker, b"hello");
        if replaced {
            std::fs::remove_file(&*path).unwrap();
            std::fs::write(&*path, "another's").unwrap();
        }
        server.signal(rustix::process::Signal::TERM);
        if !replaced {
            eventually("it says no more that it is ready", || {
                echo(&mut talker, b"while it drains");
                !path.exists()
            });
        }
        drop(talker);
        assert_eq!(server.end().code, Some(0));
        assert_eq!(path.exists(), replaced);
    }
}

#[test]
fn a_ready_file_takes_the_place_of_nothing_but_a_plain_file() {
    let (path, target) = TempPath::linked("ready");
    fails(
        program().args(["--listen=127.0.0.1:0", "--ready-file", path.text()]),
        2,
        &[path.text(), "no plain file", "--ready-file"],
    );
    assert!(path.is_symlink());
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "mine");
}
