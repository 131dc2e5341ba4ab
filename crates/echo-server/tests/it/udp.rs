//! Datagrams from outside: each comes back once, exact, from the address that was asked.

use std::io::IoSliceMut;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Ended, LIMIT, Server, TempPath, has, in_own_network, pattern, run, wrapped};

/// The longest payload that one datagram can carry over IPv4.
const LONGEST: usize = 65_507;

fn client(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// Sends one datagram and returns the next that arrives, with its source.
fn ask(client: &UdpSocket, server: SocketAddr, payload: &[u8]) -> (Vec<u8>, SocketAddr) {
    client.send_to(payload, server).unwrap();
    let mut buffer = vec![0; LONGEST + 1];
    let (len, source) = client.recv_from(&mut buffer).unwrap();
    buffer.truncate(len);
    (buffer, source)
}

/// Every payload comes back as it is; a second reply would be taken for the next one's.
fn echoes(client: &UdpSocket, server: SocketAddr) {
    for (i, len) in [0, 1, 1472, 1473, 4000, LONGEST, 1].into_iter().enumerate() {
        let payload = pattern(len, i as u64 + 1);
        let (back, source) = ask(client, server, &payload);
        assert!(back == payload, "{len} bytes to {server}");
        assert_eq!(source, server);
    }
}

#[test]
fn a_datagram_comes_back_once_and_exact() {
    for args in [["--workers=1"], ["--workers=4"], ["--spin=0"], ["-v"]] {
        let server = Server::start(&args);
        echoes(&client("127.0.0.1"), server.udp());
        server.stop();
    }
}

#[test]
fn datagrams_of_many_clients_come_back_to_their_own() {
    let server = Server::start(&[]);
    let clients: Vec<UdpSocket> = (0..50).map(|_| client("127.0.0.1")).collect();
    for client in &clients {
        // Whoever else still sends to one of so many ports is not heard.
        client.connect(server.udp()).unwrap();
    }
    let payload = |round: u64, i: usize| pattern(i * 7, round * 100 + i as u64 + 1);
    for round in 0..20 {
        for (i, client) in clients.iter().enumerate() {
            client.send(&payload(round, i)).unwrap();
        }
        for (i, client) in clients.iter().enumerate() {
            let mut buffer = [0; 1000];
            let len = client.recv(&mut buffer).unwrap();
            assert!(
                buffer[..len] == payload(round, i),
                "client {i} in round {round}"
            );
        }
    }
    server.stop();
}

/// Trains of datagrams of one size, and of changing ones, which the system may join on the way.
#[test]
fn a_burst_comes_back_in_its_order_and_sizes() {
    let server = Server::start(&["--workers=1"]);
    let client = client("127.0.0.1");
    client.connect(server.udp()).unwrap();
    let sizes: [fn(usize) -> usize; 4] = [|_| 64, |i| i, |i| 1400 - i % 3, |i| i % 2];
    for (round, size) in (0..).zip(sizes) {
        let burst: Vec<Vec<u8>> = (0..60)
            .map(|i| pattern(size(i), round * 64 + i as u64))
            .collect();
        for payload in &burst {
            client.send(payload).unwrap();
        }
        for (i, payload) in burst.iter().enumerate() {
            let mut buffer = [0; 2000];
            let len = client.recv(&mut buffer).unwrap();
            assert!(buffer[..len] == **payload, "datagram {i} of burst {round}");
        }
    }
    server.stop();
}

/// A fast client has the system cut one write into datagrams, and join those that come back.
#[test]
fn a_train_that_the_system_cuts_comes_back_cut_the_same_way() {
    let server = Server::start(&[]);
    let client = client("127.0.0.1");
    let state = UdpSocketState::new(UdpSockRef::from(&client)).unwrap();
    client.set_nonblocking(false).unwrap();
    if state.max_gso_segments() == 1 {
        return crate::common::skip("the system cuts no datagrams (UDP_SEGMENT)");
    }
    let (mut buffer, mut metas) = (vec![0; 1 << 16], [RecvMeta::default()]);
    for len in [100, 101, 250, 3000, 6399] {
        let train = pattern(len, len as u64);
        let transmit = Transmit {
            destination: server.udp(),
            ecn: None,
            contents: &train,
            segment_size: Some(100),
            src_ip: None,
        };
        state
            .try_send(UdpSockRef::from(&client), &transmit)
            .unwrap();
        let mut expected = train.chunks(100);
        while expected.len() > 0 {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            state
                .recv(UdpSockRef::from(&client), &mut slices, &mut metas)
                .unwrap();
            for datagram in buffer[..metas[0].len].chunks(metas[0].stride) {
                let expected = expected.next().unwrap();
                assert!(datagram == expected, "{} of {len} bytes", datagram.len());
            }
        }
    }
    server.stop();
}

#[test]
fn a_reply_leaves_from_the_address_that_was_asked() {
    let server = Server::listening(&["--listen=udp://0.0.0.0:0"]);
    let port = server.udp().port();
    let client = client("0.0.0.0");
    for host in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        echoes(&client, SocketAddr::new(host.parse().unwrap(), port));
    }
    server.stop();
}

#[test]
fn a_reply_over_ipv6_leaves_from_the_address_that_was_asked() {
    if !crate::common::has_ipv6() {
        return;
    }
    let server = Server::listening(&["--listen=udp://[::]:0", "--listen=udp://[::1]:0"]);
    let port = server.udp().port();
    echoes(
        &client("::1"),
        SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
    );
    echoes(&client("::1"), server.nth("udp", 1));
    // IPv4 reaches the same socket, from an IPv4 socket and from one for both.
    let dual = client("::");
    for host in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        let v4: std::net::Ipv4Addr = host.parse().unwrap();
        echoes(&client("0.0.0.0"), SocketAddr::new(v4.into(), port));
        echoes(&dual, SocketAddr::new(v4.to_ipv6_mapped().into(), port));
    }
    server.stop();
}

#[test]
fn a_datagram_longer_than_a_packet_comes_back_over_a_real_mtu() {
    in_own_network(
        "a_datagram_longer_than_a_packet_comes_back_over_a_real_mtu",
        || {
            run("ip link set lo mtu 1500");
            run("ip address add 192.0.2.1/32 dev lo");
            let listen = ["--listen=udp://[::]:0", "--listen=udp://192.0.2.1:0"];
            let server = Server::listening(&listen);
            let port = server.udp().port();
            echoes(
                &client("127.0.0.1"),
                SocketAddr::new([127, 0, 0, 1].into(), port),
            );
            echoes(
                &client("::1"),
                SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
            );
            echoes(&client("192.0.2.1"), server.nth("udp", 1));
            server.stop();
        },
    );
}

/// A client that is gone makes the system answer the reply with "port unreachable", which comes
/// back to the server as an error of its socket.
#[test]
fn clients_that_are_gone_cost_the_others_nothing() {
    let server = Server::start(&["--workers=1"]);
    for _ in 0..200 {
        let gone = client("127.0.0.1");
        gone.send_to(b"nobody waits for this", server.udp())
            .unwrap();
        drop(gone);
    }
    echoes(&client("127.0.0.1"), server.udp());
    server.stop();
}

#[test]
fn a_flood_leaves_connections_their_turn() {
    let server = Server::start(&["--workers=1"]);
    let (address, stop) = (server.udp(), std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let flood = client("127.0.0.1");
            flood.set_nonblocking(true).unwrap();
            // A test that fails must not wait for it without end.
            let start = std::time::Instant::now();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) && start.elapsed() < LIMIT {
                // Neither a full buffer nor a lost reply is of interest.
                let _ = flood.send_to(&[7; 64], address);
            }
        });
        let mut stream = crate::common::connect(server.tcp());
        let start = std::time::Instant::now();
        for round in 0..200 {
            crate::common::echo(&mut stream, &pattern(64, round));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:?}",
            start.elapsed()
        );
    });
    server.stop();
}

/// Sends `count` datagrams of 1,400 bytes to a server that stands still meanwhile.
fn burst(server: &Server, client: &UdpSocket, count: usize) {
    server.signal(Signal::STOP);
    for i in 0..count {
        let payload = pattern(1400, i as u64 + 1);
        client.send_to(&payload, server.udp()).unwrap();
    }
    server.signal(Signal::CONT);
}

#[test]
fn datagrams_that_wait_when_it_is_asked_to_stop_are_answered() {
    let server = Server::start(&["--log=json"]);
    let client = client("127.0.0.1");
    server.signal(Signal::STOP);
    for _ in 0..100 {
        client.send_to(b"waits", server.udp()).unwrap();
    }
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    for _ in 0..100 {
        assert_eq!(client.recv(&mut [0; 10]).unwrap(), 5);
    }
    let ended = server.end();
    let stopped = ended.stderr.lines().last().unwrap();
    let answered = r#""datagrams":100,"datagrams_answered":100"#;
    assert!(stopped.contains(answered), "{stopped}");
}

#[test]
fn a_burst_to_a_server_that_stood_still_comes_back_whole() {
    let limit = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap_or_default();
    if limit.trim().parse().is_ok_and(|bytes: u64| bytes < 4 << 20) {
        return crate::common::skip("the system grants no buffer of 4 MiB (net.core.rmem_max)");
    }
    let server = Server::start(&[]);
    let client = client("127.0.0.1");
    socket2::SockRef::from(&client)
        .set_recv_buffer_size(4 << 20)
        .unwrap();
    burst(&server, &client, 1000);
    for i in 0..1000 {
        let mut buffer = [0; 1500];
        let len = client.recv(&mut buffer).unwrap();
        assert!(buffer[..len] == pattern(1400, i + 1), "datagram {i}");
    }
    server.stop();
}

/// The last line's value.
fn last(ended: &Ended, key: &str) -> Value {
    let line = ended.stderr.lines().last().unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["event"], "stopped", "{ended:?}");
    line[key].clone()
}

/// The sum of a key over the lines of an event.
fn told(ended: &Ended, event: &str, key: &str) -> u64 {
    let lines = ended.stderr.lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = lines.filter(|line| line["event"] == event);
    lines.map(|line| line[key].as_u64().unwrap()).sum()
}

#[test]
fn what_the_system_drops_is_told_and_is_no_loss_of_the_path() {
    const SENT: u64 = 10_000;
    for args in [
        &["--log=json"][..],
        &["--log=json", "-v"],
        &["--log=json", "--fault=drop"],
    ] {
        let server = Server::start(args);
        burst(&server, &client("127.0.0.1"), SENT as usize);
        server.says("\"datagrams-overflowed\"");
        // What is still in the socket when it stops is nobody's.
        server.tells("that it has seen all", |told| {
            server.signal(Signal::USR1);
            let stats = told.lines().rfind(|line| line.contains("\"stats\""))?;
            let stats: Value = serde_json::from_str(stats).ok()?;
            let count = |key: &str| stats[key].as_u64();
            (count("datagrams")? + count("datagrams_overflowed")? == SENT).then_some(())
        });
        let ended = server.stop();
        let overflowed = last(&ended, "datagrams_overflowed").as_u64().unwrap();
        assert!(overflowed > 0, "{args:?}");
        assert_eq!(
            told(&ended, "datagrams-overflowed", "datagrams"),
            overflowed
        );
        let received = last(&ended, "datagrams").as_u64().unwrap();
        assert_eq!(received + overflowed, SENT, "{args:?}");
        if args.contains(&"--fault=drop") {
            assert_eq!(last(&ended, "datagrams_dropped")["fault"], received);
        }
    }
}

#[test]
fn each_datagram_is_booked_once_and_each_reason_by_itself() {
    in_own_network(
        "each_datagram_is_booked_once_and_each_reason_by_itself",
        || {
            if !crate::common::has("nft") {
                return;
            }
            let server = Server::start(&["--log=json"]);
            let clients = ["127.0.0.1:40001", "127.0.0.1:40002", "127.0.0.1:1000"]
                .map(|address| UdpSocket::bind(address).unwrap());
            run("nft add table inet test");
            run("nft add chain inet test out { type filter hook output priority 0 ; }");
            run("nft add rule inet test out udp dport 40002 drop");
            for _ in 0..10 {
                for client in &clients {
                    client.send_to(b"x", server.udp()).unwrap();
                }
            }
            clients[0].set_read_timeout(Some(LIMIT)).unwrap();
            for _ in 0..10 {
                clients[0].recv(&mut [0; 9]).unwrap();
            }
            let ended = server.stop();
            assert_eq!(last(&ended, "datagrams"), 30);
            let dropped = last(&ended, "datagrams_dropped");
            assert_eq!(
                (&dropped["failed"], &dropped["service-port"]),
                (&10.into(), &10.into())
            );
            assert_eq!(told(&ended, "datagrams", "datagrams"), 10, "{ended:?}");
            assert_eq!(told(&ended, "datagrams", "received_bytes"), 10);
            for reason in ["failed", "service-port"] {
                let lines = ended.stderr.lines().filter(|line| line.contains(reason));
                let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
                let dropped = lines.filter(|line| line["event"] == "datagrams-dropped");
                let counts = dropped.map(|line| line["datagrams"].as_u64().unwrap());
                assert_eq!(counts.sum::<u64>(), 10, "{reason}: {ended:?}");
            }
        },
    );
}

/// A server whose calls to receive datagrams fail as `inject` has it, and the file that notes them.
fn failing_to_receive(inject: &str) -> Option<(Server, TempPath)> {
    if !has("strace") {
        return None;
    }
    let file = TempPath::new("calls");
    let mut command = wrapped(&format!(
        "strace -D -f -qq -e trace=recvmmsg -e inject=recvmmsg:{inject} -o {}",
        file.text()
    ));
    let server = Server::run(command.args(["--listen=udp://127.0.0.1:0", "--workers=1"]));
    Some((server, file))
}

#[test]
fn receiving_that_fails_for_ever_is_told_burns_nothing_and_ends_when_asked() {
    let Some((server, calls)) = failing_to_receive("error=ENOMEM") else {
        return;
    };
    client("127.0.0.1").send_to(b"hello", server.udp()).unwrap();
    // The pause is then as long as it gets.
    server.says("500 ms");
    let tries = std::fs::read_to_string(&*calls).unwrap().lines().count();
    assert!(tries <= 200, "{tries} tries");
    let ended = server.stop();
    assert!(ended.stderr.contains("Cannot receive"), "{}", ended.stderr);
}

#[test]
fn what_waits_while_receiving_fails_is_answered_without_another_datagram() {
    let Some((server, _calls)) = failing_to_receive("error=ENOMEM:when=1..20") else {
        return;
    };
    let client = client("127.0.0.1");
    let (back, _) = ask(&client, server.udp(), b"hello");
    assert_eq!(back, b"hello");
    server.stop();
}
