//! Behind a load balancer: whoever its PROXY header names is told, counted and judged.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{
    LIMIT, Server, TempPath, connect, descriptors, echo, eventually, has, in_own_network,
};

/// A header of version 1 for a peer of this address.
fn header(peer: &str) -> Vec<u8> {
    format!("PROXY TCP4 {peer} 10.0.0.1 50000 5346\r\n").into_bytes()
}

/// A header of version 2 of the load balancer's own connection, with an extension.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x06\x04\0\x03abc";

fn behind(server: &Server, header: &[u8]) -> TcpStream {
    let mut stream = connect(server.tcp());
    stream.write_all(header).unwrap();
    stream
}

/// Waits until the server has closed a connection, on which it sends nothing.
fn ends(mut stream: TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn whoever_is_behind_it_is_told_and_counts_against_its_own_limit() {
    for workers in ["--workers=1", "--workers=3"] {
        let args = ["--proxy-protocol", "--max-per-ip=1", "--log=json", workers];
        let server = Server::start(&args);
        let mut first = behind(&server, &header("192.0.2.7"));
        echo(&mut first, b"hello");
        server.says(r#""event":"accepted","connection":1"#);
        server.says(r#""peer":"192.0.2.7:50000"#);
        let second = behind(&server, &header("192.0.2.7"));
        ends(second);
        server.says(r#""peer":"192.0.2.7:50000","reason":"max-per-ip","max":1"#);
        echo(
            behind(&server, &header("192.0.2.8")),
            b"another has its own",
        );
        // The load balancer is asked for nobody's sake, and counts as itself.
        let own = behind(&server, LOCAL);
        echo(&own, b"healthy?");
        let own = own.local_addr().unwrap();
        server.says(&format!(r#""peer":"{own}""#));
        drop(first);
        eventually("the place is free", || {
            let mut again = behind(&server, &header("192.0.2.7"));
            again.write_all(b"x").is_ok() && again.read_exact(&mut [0]).is_ok()
        });
        server.stop();
    }
}

#[test]
fn a_fault_meets_whoever_is_behind_it_and_a_banner_waits_for_the_header() {
    let faults = [
        "--fault=refuse,peer=192.0.2.66",
        "--fault=banner=hi,peer=192.0.2.7",
    ];
    let server = Server::start(&[&faults[..], &["--proxy-protocol"]].concat());
    let mut refused = behind(&server, &header("192.0.2.66"));
    assert!(refused.read_exact(&mut [0]).is_err());
    server.says("Fault: refuse");
    let mut greeted = behind(&server, &header("192.0.2.7"));
    let mut banner = [0; 2];
    greeted.read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"hi");
    echo(behind(&server, &header("192.0.2.8")), b"hello");
    server.stop();
}

#[test]
fn a_header_that_arrives_byte_by_byte_is_one_and_what_follows_is_the_peers() {
    let path = TempPath::new("e.sock");
    let listen = ["--listen=tcp://127.0.0.1:0", "--listen", &path.endpoint()];
    let server = Server::listening(&[&listen[..], &["--proxy-protocol"]].concat());
    let whole = [&header("192.0.2.7")[..], b"hello"].concat();
    let mut tcp = connect(server.tcp());
    let mut unix = UnixStream::connect(&*path).unwrap();
    unix.set_read_timeout(Some(LIMIT)).unwrap();
    for byte in &whole {
        tcp.write_all(&[*byte]).unwrap();
        unix.write_all(&[*byte]).unwrap();
    }
    for stream in [&mut tcp as &mut dyn Read, &mut unix] {
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    }
    server.tells("both", |told| {
        let told = told.matches("Connected by: 192.0.2.7:50000").count();
        (told == 2).then_some(())
    });
    server.stop();
}

#[test]
fn what_is_no_header_ends_alone_and_is_told_why() {
    let server = Server::start(&["--proxy-protocol", "--workers=2"]);
    let bystander = behind(&server, &header("192.0.2.7"));
    echo(&bystander, b"in");
    let before = descriptors(server.id());
    let began = Instant::now();
    let silent = behind(&server, b"PROXY TCP4 192.0.2.9 ");
    for _ in 0..20 {
        ends(behind(&server, b"GET / HTTP/1.1\r\n\r\n"));
    }
    server.says("it does not begin with a PROXY header, as --proxy-protocol expects");
    for part in [&b""[..], b"PROXY TCP4 192.0.2.1"] {
        let stream = behind(&server, part);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        ends(stream);
    }
    server.says("it ended before a PROXY header had come");
    // Each byte is something that has come, and wins no time.
    let mut feeder = silent.try_clone().unwrap();
    while began.elapsed() < Duration::from_secs(2) {
        feeder.write_all(b"1").unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    ends(silent);
    server.says("no PROXY header came in time");
    echo(bystander, b"unharmed");
    // One that the log thread has open for a moment may be among those before.
    assert!(descriptors(server.id()) <= before);
    let told = server.stop().stderr;
    assert_eq!(told.matches("Connected by").count(), 1, "{told}");
    assert_eq!(told.matches("Refused: 127.0.0.1:").count(), 23, "{told}");
}

#[test]
fn who_has_not_said_for_whom_it_comes_takes_a_place_and_gives_it_back() {
    let server = Server::start(&["--proxy-protocol", "--max-connections=2", "--max-total=2"]);
    let waiting = [behind(&server, b""), behind(&server, b"PROXY ")];
    // Told apart from those that wait in the backlog.
    eventually("both places are taken", || {
        ends(connect(server.tcp()));
        server.told().contains("--max-connections 2 reached")
    });
    drop(waiting);
    for peer in ["192.0.2.7", "192.0.2.8"] {
        eventually("there is a place again", || {
            let mut stream = behind(&server, &header(peer));
            stream.write_all(b"x").is_ok() && stream.read_exact(&mut [0]).is_ok()
        });
    }
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let served = ended.stderr.matches("Connected by").count();
    assert_eq!(served, 2, "only whom it served counts: {ended:?}");
}

#[test]
fn who_has_not_said_for_whom_it_comes_does_not_hold_up_the_end() {
    let server = Server::start(&["--proxy-protocol"]);
    let _waiting = behind(&server, b"PROXY ");
    echo(behind(&server, &header("192.0.2.7")), b"hello");
    let began = Instant::now();
    server.stop();
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "it was waited for"
    );
}

#[test]
fn a_header_that_is_wrong_is_told_for_what_is_wrong_with_it() {
    let path = TempPath::new("e.sock");
    let listen = ["--listen=tcp://127.0.0.1:0", "--listen", &path.endpoint()];
    let args = [&listen[..], &["--proxy-protocol", "--log=json"]].concat();
    let server = Server::listening(&args);
    for (header, wrong) in [
        ("PROXY TCP4 192.0.2.300 10.0.0.1 5 5\r\n", "an address"),
        ("PROXY TCP6 ::1 ::1 05000 5346\r\n", "a port"),
        ("PROXY UDP4 192.0.2.1 10.0.0.1 5 5\r\n", "neither TCP4"),
    ] {
        ends(behind(&server, header.as_bytes()));
        let mut unix = UnixStream::connect(&*path).unwrap();
        unix.write_all(header.as_bytes()).unwrap();
        assert_eq!(unix.read(&mut [0]).unwrap_or(0), 0);
        server.tells(wrong, |told| {
            let is_it = |line: &&str| line.contains("bad-proxy-header") && line.contains(wrong);
            (told.lines().filter(is_it).count() == 2).then_some(())
        });
    }
    server.stop();
}

/// What a haproxy is to do: a port for each way to the server and each version.
fn configuration(server: &str, unix: &str) -> String {
    let mut text = "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  \
                    timeout server 30s\n"
        .to_owned();
    let mut port = 7000;
    for (way, check) in [(server, ""), (unix, " check inter 100ms")] {
        for version in ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn"] {
            text += &format!(
                "listen {version}-{port}\n  bind 127.0.0.1:{port}\n  bind [::1]:{port}\n  \
                 server echo {way} {version}{check}\n"
            );
            port += 1;
        }
    }
    text
}

#[test]
fn haproxy_is_understood_in_both_versions_over_each_kind_of_socket() {
    let name = "haproxy_is_understood_in_both_versions_over_each_kind_of_socket";
    if !has("haproxy") || !crate::common::has_ipv6() {
        return;
    }
    in_own_network(name, || {
        let (path, file) = (TempPath::new("e.sock"), TempPath::new("haproxy.cfg"));
        let listen = ["--listen=[::]:5346", "--listen", &path.endpoint()];
        let server = Server::listening(&[&listen[..], &["--proxy-protocol"]].concat());
        let text = configuration("127.0.0.1:5346", &format!("unix@{}", path.text()));
        let text = text.replacen(
            "127.0.0.1:5346 send-proxy-v2\n",
            "[::1]:5346 send-proxy-v2\n",
            1,
        );
        std::fs::write(&*file, text).unwrap();
        let mut haproxy = Command::new("haproxy");
        let haproxy = Server::launch(haproxy.args(["-db", "-f", file.text()]));
        for port in 7000..7006 {
            for host in ["127.0.0.1", "::1"] {
                let at = SocketAddr::new(host.parse().unwrap(), port);
                eventually("haproxy listens", || TcpStream::connect(at).is_ok());
                let stream = connect(at);
                echo(&stream, b"through haproxy");
                let own = stream.local_addr().unwrap();
                server.says(&format!("Connected by: {own} "));
            }
        }
        // Its health checks come for nobody, over the Unix socket.
        server.says("Connected by: a unix peer");
        drop(haproxy);
        let told = server.stop().stderr;
        assert!(!told.contains("does not begin with"), "{told}");
    });
}
