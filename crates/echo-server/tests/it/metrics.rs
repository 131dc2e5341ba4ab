//! What monitors are answered at the address of `--metrics`, whoever asks and however.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

#[path = "../../../echo-metrics/tests/common/promtool.rs"]
mod promtool;

use crate::common::{
    LIMIT, Server, TempPath, connect, echo, eventually, fails, has, has_ipv6, program,
    raise_open_files, talk, wrapped,
};

use promtool::promtool_checks;

fn server(args: &[&str]) -> Server {
    Server::start(&[&["--metrics=127.0.0.1:0"], args].concat())
}

fn address(server: &Server) -> SocketAddr {
    server.nth("metrics", 0)
}

/// All that comes back for `request`.
fn answer(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn get(address: SocketAddr, path: &str) -> String {
    answer(
        address,
        format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(),
    )
}

/// The figure of one line of `/metrics`.
fn figure(address: SocketAddr, name: &str) -> Option<f64> {
    let text = get(address, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|figure| figure.trim().parse().ok())
}

#[test]
fn what_was_done_is_told_by_name_and_reason() {
    let server = server(&["--max-connections=1", "--fault=drop=100%,udp"]);
    let lines = server.ready_lines();
    assert!(
        lines[2].starts_with("listening metrics 127.0.0.1:"),
        "{lines:?}"
    );
    let metrics = address(&server);
    let peer = connect(server.tcp());
    server.says("Connected by");
    let mut refused = connect(server.tcp());
    assert_eq!(refused.read(&mut [0]).unwrap(), 0);
    assert_eq!(figure(metrics, "echo_server_connections "), Some(1.0));
    echo(peer, b"hello");
    server.says("Closed");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"hi", server.udp()).unwrap();
    server.says("drop");
    for (name, expected) in [
        ("echo_server_ready ", 1.0),
        ("echo_server_connections ", 0.0),
        ("echo_server_connections_accepted_total ", 1.0),
        (
            "echo_server_connections_closed_total{reason=\"finished\"} ",
            1.0,
        ),
        (
            "echo_server_connections_closed_total{reason=\"reset\"} ",
            0.0,
        ),
        (
            "echo_server_connections_refused_total{reason=\"max-connections\"} ",
            1.0,
        ),
        ("echo_server_received_bytes_total ", 5.0),
        ("echo_server_sent_bytes_total ", 5.0),
        ("echo_server_datagrams_received_total ", 1.0),
        ("echo_server_datagrams_answered_total ", 0.0),
        (
            "echo_server_datagrams_dropped_total{reason=\"fault\"} ",
            1.0,
        ),
        ("echo_server_faults_total ", 1.0),
        ("echo_server_log_events_dropped_total ", 0.0),
    ] {
        assert_eq!(figure(metrics, name), Some(expected), "{name}");
    }
    server.stop();
}

#[test]
fn an_answered_datagram_is_counted_as_one() {
    let server = server(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    for _ in 0..3 {
        socket.send_to(b"hi", server.udp()).unwrap();
        socket.recv(&mut [0; 8]).unwrap();
    }
    eventually("three answers are counted", || {
        figure(address(&server), "echo_server_datagrams_answered_total ") == Some(3.0)
    });
    server.stop();
}

#[test]
fn what_the_process_takes_is_what_the_system_says() {
    let server = server(&[]);
    let proc = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", server.id()));
    let status = proc("status").unwrap();
    let status = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line
            .unwrap()
            .trim_start_matches(':')
            .split_whitespace()
            .next();
        number.unwrap().parse::<f64>().unwrap()
    };
    let figure = |name: &str| figure(address(&server), &format!("process_{name} ")).unwrap();
    // What is looked at twice may have changed by a little: the thread that says ready ends.
    assert!((figure("threads") - status("Threads")).abs() <= 1.0);
    for (name, key) in [
        ("virtual_memory_bytes", "VmSize"),
        ("resident_memory_bytes", "VmRSS"),
    ] {
        let ratio = figure(name) / (status(key) * 1024.0);
        assert!((0.5..2.0).contains(&ratio), "{name}: {ratio}");
    }
    assert!(figure("cpu_seconds_total") > 0.0);
    // Itself and, at the most, the list's.
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.id()))
        .unwrap()
        .count();
    assert!((figure("open_fds") - open as f64).abs() <= 2.0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let began = figure("start_time_seconds");
    assert!(
        (now - LIMIT.as_secs_f64()..=now + 0.02).contains(&began),
        "{began} {now}"
    );
    assert_eq!(figure("start_time_seconds"), began, "it never moves");
    server.stop();
}

#[test]
fn the_names_are_those_that_prometheus_wants() {
    let server = server(&[]);
    promtool_checks(&get(address(&server), "/metrics"));
    server.stop();
}

#[test]
fn a_server_that_drains_lives_and_is_not_ready() {
    let server = server(&["--drain=20s"]);
    let metrics = address(&server);
    let talking = talk(connect(server.tcp()));
    server.says("Connected by");
    assert!(get(metrics, "/readyz").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(get(metrics, "/livez").starts_with("HTTP/1.1 200 OK\r\n"));
    server.signal(Signal::TERM);
    server.says("Stopping");
    assert!(get(metrics, "/readyz").starts_with("HTTP/1.1 503 "));
    assert!(get(metrics, "/livez").starts_with("HTTP/1.1 200 "));
    assert_eq!(figure(metrics, "echo_server_ready "), Some(0.0));
    drop(talking);
    assert_eq!(server.end().code, Some(0));
    assert!(TcpStream::connect(metrics).is_err());
}

#[test]
fn a_request_in_any_form_gets_one_answer_and_the_end() {
    let server = server(&[]);
    let big = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9000));
    for (request, status) in [
        ("GET /metrics HTTP/1.0\r\n\r\n", "200 OK"),
        (
            "GET http://h:1/metrics HTTP/1.1\r\nHost: h\r\n\r\n",
            "200 OK",
        ),
        (
            "GET /livez HTTP/1.1\r\n\r\nGET /livez HTTP/1.1\r\n\r\n",
            "200 OK",
        ),
        (
            "GET /readyz HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            "200 OK",
        ),
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        (
            "POST /metrics HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi",
            "405 Method Not Allowed\r\nAllow: GET",
        ),
        ("GET\r\n\r\n", "400 Bad Request"),
        ("\u{16}\u{3}\u{1}\u{2}", "400 Bad Request"),
        (&big, "431 Request Header Fields Too Large"),
    ] {
        let text = answer(address(&server), request.as_bytes());
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{request:?}: {text}"
        );
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nConnection: close"), "{head}");
        assert!(
            head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())),
            "{text}"
        );
    }
    let text = answer(address(&server), b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(
        text.starts_with("HTTP/1.1 405 ") && text.ends_with("\r\n\r\n"),
        "{text}"
    );
    server.stop();
}

/// Each has a byte for the server a few times a second, and would go on for ever.
#[test]
fn clients_that_never_finish_asking_make_way_for_others() {
    let server = server(&[]);
    let metrics = address(&server);
    let begun = Instant::now();
    let slow: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = connect(metrics);
            thread::spawn(move || {
                stream
                    .set_read_timeout(Some(Duration::from_millis(300)))
                    .unwrap();
                while begun.elapsed() < LIMIT {
                    let gone = stream.write_all(b"x").is_err();
                    match stream.read(&mut [0]) {
                        Ok(_) => return true,
                        Err(error) if gone || error.kind() != std::io::ErrorKind::WouldBlock => {
                            return true;
                        }
                        Err(_) => {}
                    }
                }
                false
            })
        })
        .collect();
    assert!(get(metrics, "/livez").starts_with("HTTP/1.1 200 "));
    echo(connect(server.tcp()), b"hello");
    assert!(
        slow.into_iter().all(|slow| slow.join().unwrap()),
        "they are closed"
    );
    server.stop();
}

#[test]
fn a_thousand_scrapers_are_all_answered_and_no_peer_notices() {
    raise_open_files();
    let server = server(&["--max-connections=1", "--max-per-ip=1"]);
    let mut peer = connect(server.tcp());
    let request = b"GET /metrics HTTP/1.1\r\n\r\n";
    let scrapers: Vec<_> = (0..1000)
        .map(|_| {
            let mut stream = connect(address(&server));
            stream.write_all(request).unwrap();
            stream
        })
        .collect();
    // These are answered, too, and never look.
    let silent: Vec<_> = scrapers
        .iter()
        .step_by(200)
        .map(|s| s.try_clone().unwrap())
        .collect();
    for (n, mut scraper) in scrapers.into_iter().enumerate() {
        if n % 200 != 0 {
            let mut text = String::new();
            scraper.read_to_string(&mut text).unwrap();
            assert!(text.starts_with("HTTP/1.1 200 OK"), "{n}: {text}");
        }
        if n % 100 == 0 {
            peer.write_all(b"x").unwrap();
            peer.read_exact(&mut [0]).unwrap();
        }
    }
    assert_eq!(
        figure(address(&server), "echo_server_connections_accepted_total "),
        Some(1.0)
    );
    peer.shutdown(Shutdown::Write).unwrap();
    server.stop();
    drop(silent);
}

#[test]
fn accepting_that_fails_for_ever_costs_nothing_and_is_told_once() {
    if !has("strace") {
        return;
    }
    let trace = TempPath::new("trace");
    let wrapper = format!(
        "strace -D -f -qq -o {} -e trace=accept4 -e inject=accept4:error=EMFILE",
        trace.text()
    );
    let mut command = wrapped(&wrapper);
    let server = Server::run(command.args(["--listen=127.0.0.1:0", "--metrics=127.0.0.1:0"]));
    let (_scraper, _peer) = (connect(address(&server)), connect(server.tcp()));
    // Peers are told of when it starts and when it lasts, which takes a second.
    server.tells("that it lasts", |told| {
        let peers = told.lines().filter(|line| !line.contains("--metrics"));
        (peers
            .filter(|line| line.contains("too many open files"))
            .count()
            >= 2)
            .then_some(())
    });
    let told = server.told();
    assert_eq!(told.matches("--metrics: ").count(), 1, "{told}");
    let calls = std::fs::read_to_string(&*trace).unwrap().lines().count();
    assert!(calls < 200, "{calls} tries");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.send_to(b"hi", server.udp()).unwrap();
    socket.recv(&mut [0; 8]).unwrap();
    server.stop();
}

#[test]
fn an_address_in_use_fails_the_start_which_leaves_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = taken.local_addr().unwrap().to_string();
    let (socket, record) = (TempPath::new("e.sock"), TempPath::new("record"));
    fails(
        program()
            .args(["--metrics", &metrics, "--listen", &socket.endpoint()])
            .args(["--record", record.text()]),
        1,
        &[
            &format!("cannot listen on tcp {metrics}"),
            "in use",
            "--metrics",
        ],
    );
    assert!(!socket.exists() && !record.exists());
}

#[test]
fn two_settings_that_name_one_address_are_a_usage_error() {
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    for (listen, metrics) in [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("[::]", "127.0.0.1"),
        ("127.0.0.1", "[::]"),
        ("127.0.0.1", "[::ffff:127.0.0.1]"),
    ] {
        if listen.len() + metrics.len() < 20 && metrics.contains(':') && !has_ipv6() {
            continue;
        }
        let metrics = format!("{metrics}:{port}");
        let listen = format!("tcp://{listen}:{port}");
        let told = ["--metrics", &metrics, "listened on already"];
        fails(
            program().args(["--listen", &listen, "--metrics", &metrics]),
            2,
            &told,
        );
    }
    let twice = format!("127.0.0.1:{port},127.0.0.1:{port}");
    fails(
        program().args(["--listen=127.0.0.1:0", "--metrics", &twice]),
        2,
        &["--metrics", "listened on already"],
    );
}

#[test]
fn what_is_no_address_for_http_is_a_usage_error() {
    for wrong in ["unix:e.sock", "udp://127.0.0.1:0"] {
        fails(
            program().args(["--metrics", wrong]),
            2,
            &["--metrics", wrong, "HOST:PORT"],
        );
    }
}

#[test]
fn ipv6_takes_ipv4_too() {
    if !has_ipv6() {
        return;
    }
    let server = Server::start(&["--metrics=[::]:0"]);
    let port = address(&server).port();
    for host in ["[::1]", "127.0.0.1"] {
        let address = format!("{host}:{port}").parse().unwrap();
        assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
    }
    server.stop();
}
