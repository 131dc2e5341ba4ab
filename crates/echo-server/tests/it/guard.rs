//! UDP is no weapon: who gets no reply, and how many replies the others get.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{
    Account, LIMIT, Server, eventually, has, in_own_network, pattern, run, within,
};

fn client(address: impl std::net::ToSocketAddrs) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// Whether `server` answers a datagram of `client`. A later one from elsewhere, which is answered,
/// shows that the first has been looked at.
fn answers(server: &Server, client: &UdpSocket) -> bool {
    client.send_to(b"hello", server.udp()).unwrap();
    let witness = UdpSocket::bind((client.local_addr().unwrap().ip(), 0)).unwrap();
    witness.set_read_timeout(Some(LIMIT)).unwrap();
    witness.send_to(b"seen", server.udp()).unwrap();
    assert_eq!(witness.recv(&mut [0; 9]).unwrap(), 4);
    client.set_nonblocking(true).unwrap();
    client.recv(&mut [0; 9]).is_ok()
}

#[test]
fn whoever_opens_udp_to_others_is_warned_once() {
    for (endpoint, warnings) in [
        ("127.0.0.1:0", 0),
        ("tcp://0.0.0.0:0", 0),
        ("udp://0.0.0.0:0", 1),
        ("0.0.0.0:0", 1),
    ] {
        let ended = Server::listening(&["--listen", endpoint]).stop();
        let told = ended.stderr.matches("Warning: UDP on 0.0.0.0:").count();
        assert_eq!(told, warnings, "{endpoint}: {}", ended.stderr);
    }
}

#[test]
fn our_own_port_gets_no_reply_whoever_has_it() {
    let server = Server::start(&["--workers=1"]);
    // The same number at another address: what another server of ours would have.
    let client = client(("127.0.0.2", server.udp().port()));
    assert!(!answers(&server, &client));
    server.says("not answered");
    server.stop();
}

#[test]
fn service_ports_get_no_reply_and_their_neighbours_do() {
    in_own_network("service_ports_get_no_reply_and_their_neighbours_do", || {
        let server = Server::start(&["--workers=1"]);
        for (port, reply) in [
            (7, false),
            (19, false),
            (53, false),
            (1023, false),
            (1024, true),
            (2048, true),
            (2049, false),
            (2050, true),
            (5345, true),
            (5346, false),
        ] {
            assert_eq!(
                answers(&server, &client(("127.0.0.1", port))),
                reply,
                "port {port}"
            );
        }
        server.stop();
        let server = Server::start(&["--workers=1", "--udp-allow-any"]);
        for port in [7, 1023, 2049, 5346] {
            assert!(
                answers(&server, &client(("127.0.0.1", port))),
                "port {port}"
            );
        }
        server.stop();
    });
}

/// Sends UDP packets whose source is forged: `SOURCE:PORT TARGET:PORT`, a pair for each packet.
const FORGE: &str = r#"
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for pair in zip(sys.argv[1::2], sys.argv[2::2]):
    (source, sport), (target, dport) = (end.split(':') for end in pair)
    payload = bytes(44)  # a packet of STAMP, too
    udp = struct.pack('!HHHH', int(sport), int(dport), 8 + len(payload), 0) + payload
    ip = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
                     socket.inet_aton(source), socket.inet_aton(target))
    s.sendto(ip + udp, (target, 0))
"#;

fn forge(source: SocketAddr, target: SocketAddr) {
    let mut command = Command::new("python3");
    command.args(["-c", FORGE, &source.to_string(), &target.to_string()]);
    crate::common::succeeds(&mut command);
}

/// Datagrams that this network namespace has delivered.
fn delivered() -> u64 {
    let text = std::fs::read_to_string("/proc/net/snmp").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let names = lines.next().unwrap().split(' ');
    let at = names
        .into_iter()
        .position(|name| name == "InDatagrams")
        .unwrap();
    lines
        .next()
        .unwrap()
        .split(' ')
        .nth(at)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn a_packet_forged_from_us_to_us_dies_at_once() {
    in_own_network("a_packet_forged_from_us_to_us_dies_at_once", || {
        if !has("python3") {
            return;
        }
        run("ip address add 192.0.2.1/32 dev lo");
        for args in [&["--workers=1"][..], &["--workers=1", "--udp-allow-any"]] {
            let listen = ["--listen=127.0.0.1:0", "--listen=192.0.2.1:0"];
            let server = Server::listening(&[&listen, args].concat());
            let own = [server.nth("udp", 0), server.nth("udp", 1)];
            for (source, target) in [(own[0], own[0]), (own[1], own[1]), (own[1], own[0])] {
                let before = delivered();
                forge(source, target);
                let asker = client((target.ip(), 0));
                asker.send_to(b"seen", target).unwrap();
                assert_eq!(asker.recv(&mut [0; 9]).unwrap(), 4);
                // The forged one, the question and its answer.
                assert_eq!(delivered() - before, 3, "{source} to {target} {args:?}");
            }
            server.says("not answered");
            server.stop();
        }
    });
}

#[test]
fn a_packet_forged_between_two_servers_on_the_default_port_dies_at_once() {
    in_own_network(
        "a_packet_forged_between_two_servers_on_the_default_port_dies_at_once",
        || {
            if !has("python3") {
                return;
            }
            let one = Server::listening(&["--listen=udp://127.0.0.1:5346"]);
            let other = Server::listening(&["--listen=udp://127.0.0.2:0"]);
            let before = delivered();
            forge(one.udp(), other.udp());
            other.says("not answered");
            assert_eq!(delivered() - before, 1);
        },
    );
}

/// Two servers on ports that neither knows of go on for as long as they live, and the rate is
/// what bounds them.
#[test]
fn a_loop_between_two_servers_is_bounded_by_the_rate() {
    in_own_network("a_loop_between_two_servers_is_bounded_by_the_rate", || {
        if !has("python3") {
            return;
        }
        run("ip address add 192.0.2.1/32 dev lo");
        run("ip address add 192.0.2.2/32 dev lo");
        let one = Server::listening(&["--listen=udp://192.0.2.1:0", "--udp-rate=50"]);
        let other = Server::listening(&["--listen=udp://192.0.2.2:0", "--udp-rate=50"]);
        let before = delivered();
        forge(one.udp(), other.udp());
        // The one that drops the packet ends the loop for good.
        eventually("one says that it dropped it", || {
            [&one, &other]
                .iter()
                .any(|server| server.told().contains("over --udp-rate"))
        });
        let looped = delivered() - before;
        assert!((50..=102).contains(&looped), "{looped} datagrams");
    });
}

/// On loopback there is no rate, and what goes round there would take a core each.
#[test]
fn a_loop_between_two_servers_on_loopback_ends() {
    in_own_network("a_loop_between_two_servers_on_loopback_ends", || {
        if !has("python3") {
            return;
        }
        let listen = ["--listen=udp://127.0.0.1:0", "--workers=1"];
        let (one, other) = (Server::listening(&listen), Server::listening(&listen));
        forge(one.udp(), other.udp());
        // It goes round 65,536 times before.
        within(4 * LIMIT, "one says that it goes round", || {
            let mut servers = [&one, &other].into_iter();
            servers.any(|server| server.told().contains("loop of replies"))
        });
        let before = delivered();
        assert!(answers(&one, &client("127.0.0.1:0")));
        assert_eq!(delivered() - before, 4, "nothing else is under way");
    });
}

#[test]
fn a_probe_that_fails_answers_nobody_and_is_not_remembered() {
    if !crate::common::has("prlimit") {
        return;
    }
    in_own_network(
        "a_probe_that_fails_answers_nobody_and_is_not_remembered",
        || {
            let listen = ["--listen=127.0.0.1:0", "--listen=udp://0.0.0.0:0"];
            let server = Server::listening(&[&listen[..], &["--workers=1"]].concat());
            run(&format!("prlimit --nofile=32 --pid {}", server.id()));
            let crowd: Vec<_> = (0..40)
                .map(|_| crate::common::connect(server.tcp()))
                .collect();
            server.says("Cannot accept");
            let client = client("127.0.0.1:0");
            let port = server.nth("udp", 1).port();
            client.send_to(b"hello", ("127.0.0.9", port)).unwrap();
            server.says("not answered");
            drop(crowd);
            client
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            eventually("it is answered again", || {
                client.send_to(b"hello", ("127.0.0.9", port)).unwrap();
                client.recv(&mut [0; 9]).is_ok()
            });
            server.stop();
        },
    );
}

/// Sends `count` datagrams in steps that the system's buffers hold, and counts the replies.
fn replies(client: &UdpSocket, server: SocketAddr, count: usize) -> usize {
    let witness = UdpSocket::bind("127.0.0.1:0").unwrap();
    witness.set_read_timeout(Some(LIMIT)).unwrap();
    let mut replies = 0;
    for _ in 0..count / 50 {
        for _ in 0..50 {
            client.send_to(&[1; 32], server).unwrap();
        }
        // Answered after all of those, since it came after them and has no limit.
        witness
            .send_to(
                b"done?",
                SocketAddr::new([127, 0, 0, 1].into(), server.port()),
            )
            .unwrap();
        witness.recv(&mut [0; 9]).unwrap();
        client.set_nonblocking(true).unwrap();
        while client.recv(&mut [0; 99]).is_ok() {
            replies += 1;
        }
    }
    replies
}

#[test]
fn the_rate_bounds_each_source_but_loopback() {
    in_own_network("the_rate_bounds_each_source_but_loopback", || {
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            run(&format!("ip address add {address}/32 dev lo"));
        }
        let server =
            Server::listening(&["--listen=udp://0.0.0.0:0", "--workers=1", "--udp-rate=100"]);
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), server.udp().port());
        let start = Instant::now();
        let limited = replies(&client("192.0.2.1:0"), at("192.0.2.2"), 1000);
        let seconds = start.elapsed().as_secs() as usize + 1;
        // A second that begins within this one has an allowance of its own.
        assert!(
            (100..=100 * (seconds + 1)).contains(&limited),
            "{limited} in {seconds} s"
        );
        server.says("--udp-rate");
        // However many sockets it asks.
        let many = Server::listening(&[
            "--listen=udp://0.0.0.0:0,udp://0.0.0.0:0,udp://0.0.0.0:0,udp://0.0.0.0:0,udp://0.0.0.0:0,udp://0.0.0.0:0",
            "--udp-rate=100",
        ]);
        let (start, asker) = (Instant::now(), client("192.0.2.1:0"));
        let all = (0..6).map(|n| {
            let port = many.nth("udp", n).port();
            replies(&asker, SocketAddr::from(([192, 0, 2, 2], port)), 200)
        });
        let (all, seconds) = (all.sum::<usize>(), start.elapsed().as_secs() as usize + 1);
        assert!(
            (100..=100 * (seconds + 1)).contains(&all),
            "{all} in {seconds} s"
        );
        many.stop();
        // Another source, and the same one a second later, have their own.
        assert!(replies(&client("192.0.2.3:0"), at("192.0.2.2"), 50) == 50);
        assert_eq!(replies(&client("127.0.0.1:0"), at("127.0.0.1"), 1000), 1000);
        let again = client("192.0.2.1:0");
        eventually("the next second's allowance", || {
            replies(&again, at("192.0.2.2"), 50) > 0
        });
        server.stop();
        // 0 is no limit.
        let server =
            Server::listening(&["--listen=udp://0.0.0.0:0", "--workers=1", "--udp-rate=0"]);
        let target = SocketAddr::new("192.0.2.2".parse().unwrap(), server.udp().port());
        assert_eq!(replies(&client("192.0.2.1:0"), target, 20_000), 20_000);
        server.stop();
    });
}

#[test]
fn broadcast_and_multicast_get_no_reply() {
    in_own_network("broadcast_and_multicast_get_no_reply", || {
        run("ip link add net0 type veth peer name net1");
        run("ip address add 192.0.2.1/24 broadcast 192.0.2.255 dev net0");
        run("ip link set net0 up");
        run("ip link set net1 up");
        run("ip route add 224.0.0.0/4 dev net0");
        let server = Server::listening(&["--listen=udp://0.0.0.0:0", "--workers=1"]);
        let client = client("192.0.2.1:0");
        client.set_broadcast(true).unwrap();
        let port = server.udp().port();
        for target in [
            "192.0.2.255",
            "255.255.255.255",
            "127.255.255.255",
            "224.0.0.1",
        ] {
            let target: IpAddr = target.parse().unwrap();
            client.send_to(b"anyone?", (target, port)).unwrap();
            client.send_to(b"you!", ("192.0.2.1", port)).unwrap();
            let mut buffer = [0; 99];
            let (len, source) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(
                (&buffer[..len], source.ip()),
                (&b"you!"[..], "192.0.2.1".parse().unwrap())
            );
        }
        server.says("not unicast");
        server.stop();
    });
}

#[test]
fn ten_thousand_random_datagrams_come_back() {
    let server = Server::start(&["--workers=2"]);
    let account = Account::open(&server);
    let client = client("127.0.0.1:0");
    client.connect(server.udp()).unwrap();
    let noise = pattern(70_000, 42);
    let mut buffer = vec![0; 1 << 16];
    for round in 0..10_000_u64 {
        let len = match round % 100 {
            0 => 65_507,
            n => (n * n * 7 % 1600) as usize,
        };
        let payload = &noise[round as usize % 1000..][..len];
        client.send(payload).unwrap();
        let back = client.recv(&mut buffer).unwrap();
        assert!(
            buffer[..back] == *payload,
            "datagram {round} of {len} bytes"
        );
    }
    let start = Instant::now();
    client.send(b"a fresh one").unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 11);
    assert!(start.elapsed() < Duration::from_secs(1));
    account.balances(4 << 10);
    server.stop();
}

#[test]
fn two_reflectors_that_are_set_on_each_other_stop_at_once() {
    in_own_network(
        "two_reflectors_that_are_set_on_each_other_stop_at_once",
        || {
            if !has("python3") {
                return;
            }
            let listen = "--listen=stamp://127.0.0.1:0";
            let args = [listen, "--workers=1", "--udp-allow-any"];
            let (one, other) = (Server::listening(&args), Server::listening(&args));
            let [from, to] = [&one, &other].map(|server| server.nth("stamp", 0));
            forge(from, to);
            // The forged one is answered, that answer too, and then it is known.
            other.says("loop of replies");
            for server in [one, other] {
                let ended = server.stop();
                assert!(
                    ended.stderr.matches("loop of replies").count() <= 1,
                    "{ended:?}"
                );
            }
        },
    );
}
