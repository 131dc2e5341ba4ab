//! Addresses and paths that are hard to write: every one that the system takes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::net::{SocketAddrV6, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixStream};

use crate::common::{
    LIMIT, Server, TempPath, connect, echo, fails, in_own_network, program, read_to_end, run,
};

/// `flag` with a path in the directory of `beside`, of bytes that are neither text nor harmless.
fn odd(flag: &str, beside: &TempPath, name: &[u8]) -> (OsString, OsString) {
    let path = beside
        .with_file_name(OsStr::from_bytes(name))
        .into_os_string();
    let mut argument = OsString::from(flag);
    argument.push(&path);
    (argument, path)
}

#[test]
fn a_path_may_have_any_bytes() {
    let beside = TempPath::new("x");
    let (config, settings) = odd("--config=", &beside, b"c\xff");
    fs::write(settings, "once = true\n").unwrap();
    let (listen, socket) = odd("--listen=unix:", &beside, b"s\xff\x1b");
    let (ready, ready_file) = odd("--ready-file=", &beside, b"r\xff");
    let (record, recorded) = odd("--record=", &beside, b"e\xff\\xff");
    let arguments = [config, listen, ready, record];
    let server = Server::run(program().args(&arguments));
    let line = format!(
        r"listening unix {}\xff\x1b",
        beside.with_file_name("s").display()
    );
    assert_eq!(server.ready_lines(), std::slice::from_ref(&line));
    assert_eq!(
        fs::read_to_string(ready_file).unwrap(),
        format!("{line}\nready\n")
    );
    echo(UnixStream::connect(socket).unwrap(), b"hello");
    assert_eq!(server.end().code, Some(0));
    assert!(fs::read_to_string(recorded).unwrap().contains("68656c6c6f"));

    // What is printed is a file that says the same.
    let printed = program()
        .args(&arguments[1..])
        .arg("--print-config")
        .output()
        .unwrap()
        .stdout;
    let text = String::from_utf8(printed.clone()).unwrap();
    assert!(text.contains(r"e\xff\x5cxff"), "{text}");
    fs::write(&*beside, &printed).unwrap();
    let again = program()
        .args(["--config", beside.text(), "--print-config"])
        .output()
        .unwrap();
    let values = |text: &[u8]| {
        let lines = String::from_utf8_lossy(text).into_owned();
        lines
            .lines()
            .map(|line| line.split("  #").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(values(&again.stdout), values(&printed));
}

#[test]
fn a_name_with_an_at_sign_is_in_the_abstract_namespace() {
    let name = format!("echo-test-{}", std::process::id());
    let listen = format!("--listen=unix:@{name}");
    let server = Server::listening(&[&listen, "--log=json"]);
    assert_eq!(server.ready_lines(), [format!("listening unix @{name}")]);
    let address = UnixAddress::from_abstract_name(&name).unwrap();
    echo(UnixStream::connect_addr(&address).unwrap(), b"hello");
    let accepted = r#""event":"accepted","connection":1,"transport":"unix","local":"#;
    server.says(&format!(r#"{accepted}"@{name}""#));
    let told = ["cannot listen on unix @", "in use"];
    fails(program().arg(&listen), 1, &told);
    server.stop();
}

#[test]
fn a_zone_is_part_of_an_address() {
    in_own_network("a_zone_is_part_of_an_address", || {
        run("ip link add east index 77 type veth peer name west");
        run("ip address add fe80::1/64 dev east nodad");
        run("ip link set east up");
        run("ip link set west up");
        let server = Server::listening(&[
            "--listen=[fe80::1%east]:0",
            "--log=json",
            "--fault=half-close-after=1msg,peer=fe80::1%east",
            "--fault=drop,peer=fe80::1%lo",
        ]);
        let line = &server.ready_lines()[0];
        let port = line
            .strip_prefix("listening tcp [fe80::1%east]:")
            .expect(line);
        let at = |port| SocketAddrV6::new("fe80::1".parse().unwrap(), port, 0, 77);
        let address = at(port.parse().unwrap());
        let mut stream = connect(address.into());
        stream.write_all(b"hello").unwrap();
        assert_eq!(
            read_to_end(&mut stream),
            b"hello",
            "the fault of its zone ends it"
        );
        let client = UdpSocket::bind(at(0)).unwrap();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        client.send_to(b"hello", address).unwrap();
        assert_eq!(client.recv(&mut [0; 9]).unwrap(), 5);
        drop(stream);
        let told = server.stop().stderr;
        for peer in told.lines().filter(|line| line.contains("\"peer\"")) {
            assert!(peer.contains("\"peer\":\"[fe80::1%east]:"), "{peer}");
        }
        assert!(told.contains("\"peer\""), "{told}");
        let server = Server::listening(&["--listen=tcp://[fe80::1%east]:0", "--explain"]);
        server.says("s.bind((\"fe80::1%east\", 0))");
        server.stop();
        fails(
            program().arg("--listen=[fe80::1%north]:0"),
            1,
            &[
                "cannot listen on [fe80::1%north]:0",
                "no network \"north\"",
                "ip link",
            ],
        );
        fails(
            program().arg("--listen=[fe80::1]:0"),
            1,
            &["cannot listen on tcp [fe80::1]:0", "fe80::1%eth0"],
        );
    });
}

#[test]
fn an_address_that_is_given_twice_is_a_mistake_and_no_other_program_is_blamed() {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    for (one, other) in [
        (format!("127.0.0.1:{port}"), format!("127.0.0.1:{port}")),
        (format!("0.0.0.0:{port}"), format!("tcp://127.0.0.1:{port}")),
        (
            format!("127.0.0.1:{port}"),
            format!("stamp://127.0.0.1:{port}"),
        ),
    ] {
        let told = [
            &*format!("--listen {other} is an address"),
            &one,
            "give each its own",
        ];
        fails(
            program().args(["--listen", &one, "--listen", &other]),
            2,
            &told,
        );
    }
    // On another address of that port it is another program.
    let foreign = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let other = foreign.local_addr().unwrap();
    let one = format!("tcp://127.0.0.1:{}", other.port());
    let mut command = program();
    command.args(["--listen", &one, "--listen", &format!("tcp://{other}")]);
    fails(&mut command, 1, &["the port is in use", "ss -lnp"]);
}
