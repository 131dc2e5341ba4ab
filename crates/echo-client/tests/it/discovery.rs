//! `mesh`: where an agent's peers come from, whatever becomes of a list or of a name, and which it watches.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::common::{DEADLINE, Running, Scratch, echo, echo_on, network, run};
use crate::mesh::{Agent, list, sum};

#[test]
fn a_list_that_changes_is_taken_at_once_and_one_that_is_torn_is_not() {
    let (one, two) = (echo(), echo());
    let scratch = Scratch::new("mesh-list");
    let path = scratch.file(
        "list",
        &list(&[("one", "a", &one.tcp), ("two", "b", &two.tcp)]),
    );
    let agent = Agent::start(&path, &["--refresh=1h"]);
    agent.until("both are up", |text| {
        sum(text, "echo_mesh_peer_up", &[]) == 4.0
    });
    let failures = |text: &str| sum(text, "echo_mesh_discovery_failures_total", &[]);
    let whole = list(&[("two", "b", &two.tcp), ("three", "b", &one.tcp)]);
    for (number, wrong) in [
        &whole[..whole.len() - 1],
        b"{}",
        &vec![b' '; (16 << 20) + 1],
    ]
    .iter()
    .enumerate()
    {
        scratch.file("list", wrong);
        agent.client.signal("HUP");
        let text = agent.until("it is counted", |text| {
            failures(text) == (number + 1) as f64
        });
        let stays = text.contains("\"one\"") && text.contains("\"two\"");
        assert!(stays, "the last list stays: {text}");
    }
    let requests = agent.sum("echo_mesh_requests_total", &["peer=\"two\""]);
    scratch.file("list", &whole);
    agent.client.signal("HUP");
    let text = agent.until("one is gone", |text| !text.contains("\"one\""));
    assert!(
        !text.contains("peer_zone=\"a\""),
        "its zone is, too: {text}"
    );
    assert!(
        sum(&text, "echo_mesh_requests_total", &["peer=\"two\""]) >= requests,
        "it stays"
    );
    agent.until("three is up", |text| {
        sum(text, "echo_mesh_peer_up", &["three"]) == 2.0
    });
    std::fs::remove_file(path).unwrap();
    agent.client.signal("HUP");
    agent.until("it is counted", |text| failures(text) == 4.0);
    let told = agent.stop();
    for words in [
        "it is no list",
        "it is larger than 16MiB",
        "no such file",
        "the last list stays",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn a_hangup_tells_what_the_lists_have_now() {
    let server = echo();
    let scratch = Scratch::new("mesh-hangup");
    let path = scratch.file("list", &list(&[("one", "a", &server.tcp)]));
    let mut agent = Agent::start(&path, &["--refresh=1h", "--transport=udp"]);
    let stderr = BufReader::new(agent.client.child.stderr.take().unwrap());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        stderr
            .lines()
            .try_for_each(|line| sender.send(line.unwrap()))
    });
    let hangup = |bytes: &[u8]| {
        scratch.file("list", bytes);
        agent.client.signal("HUP");
        lines.recv_timeout(DEADLINE).unwrap()
    };
    let told = hangup(&list(&[
        ("one", "a", &server.tcp),
        ("two", "b", &server.tcp),
    ]));
    for words in ["2 peers known", "of 2 paths up"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    for _ in 0..2 {
        let told = hangup(b"[");
        assert!(
            told.contains("the last list stays"),
            "whoever asks is told again: {told}"
        );
        let told = lines.recv_timeout(DEADLINE).unwrap();
        assert!(told.contains("2 peers known"), "{told}");
    }
    agent.stop();
}

#[test]
fn whatever_becomes_of_a_file_the_last_list_is_probed_on_time() {
    let server = echo();
    let scratch = Scratch::new("mesh-file");
    let path = scratch.path("link");
    let good = scratch.file("good", &list(&[("one", "a", &server.tcp)]));
    symlink(&good, &path).unwrap();
    let agent = Agent::start(path.to_str().unwrap(), &["--refresh=20ms", "--peers=3"]);
    agent.until("it is up", |text| {
        sum(text, "echo_mesh_peer_up", &[]) == 2.0
    });
    let fifo = scratch.path("fifo");
    network::run(&format!("mkfifo {}", fifo.display()));
    let many: Vec<_> = (0..10_000).map(|n| format!("peer-{n}")).collect();
    let many: Vec<_> = many
        .iter()
        .map(|name| (&**name, "a", "192.0.2.7:7"))
        .collect();
    let twice = [("one", "a", "192.0.2.7:7"), ("one", "b", "192.0.2.8:7")];
    let bad = [
        scratch.file("twice", &list(&twice)),
        scratch.file(
            "unknown",
            br#"[{"targets": ["192.0.2.7:7"], "name": "one"}]"#,
        ),
        scratch.file("zero", b""),
        scratch.file("deep", &b"[".repeat(100_000)),
        scratch.file("bytes", b"\xff\xfe[]"),
        scratch.path("nowhere").display().to_string(),
        scratch.path("").display().to_string(),
        fifo.display().to_string(),
        "/dev/zero".to_owned(),
        "/proc/kmsg".to_owned(),
    ];
    let turn_to = |target: &str| {
        let draft = scratch.path("draft");
        symlink(target, &draft).unwrap();
        std::fs::rename(draft, &path).unwrap();
    };
    for target in &bad {
        let failures = agent.sum("echo_mesh_discovery_failures_total", &[]);
        turn_to(target);
        let text = agent.until("it is counted", |text| {
            sum(text, "echo_mesh_discovery_failures_total", &[]) >= failures + 2.0
        });
        assert!(
            text.contains("peer=\"one\""),
            "{target}: the last list stays"
        );
    }
    turn_to(&scratch.file("many", &list(&many)));
    agent.until("it is taken", |text| {
        sum(text, "echo_mesh_known_peers", &[]) == 10_000.0
            && sum(text, "echo_mesh_peers", &[]) == 3.0
            && !text.contains("peer=\"one\"")
    });
    turn_to(&good);
    let text = agent.until("it is up again", |text| {
        sum(text, "echo_mesh_peer_up", &[]) == 2.0
    });
    // A busy machine may have held up one; lists hold up none.
    let [delayed, requests] =
        ["delayed", "requests"].map(|what| sum(&text, &format!("echo_mesh_{what}_total"), &[]));
    assert!(delayed * 4.0 < requests, "{text}");
    agent.stop();
}

#[test]
fn a_name_is_all_of_its_addresses_and_one_with_too_many_is_told() {
    network::in_own_network(
        "a_name_is_all_of_its_addresses_and_one_with_too_many_is_told",
        || {
            let lines: String = (0..10_000)
                .map(|n| format!("10.{}.{}.1 many\n", n / 250, n % 250))
                .collect();
            network::names(&format!(
                "127.0.0.1 localhost\n127.0.0.2 few\n127.0.0.3 few\n{lines}"
            ));
            let server = echo();
            let port = server.tcp.rsplit_once(':').unwrap().1;
            let (few, many, none) = (
                format!("dns:few:{port}"),
                format!("dns:many:{port}"),
                format!("dns:none:{port}"),
            );
            let pace = [
                "--interval=200ms",
                "--timeout=200ms",
                "--metrics=127.0.0.1:0",
            ];
            let args = [
                "mesh",
                "--targets",
                &few,
                "--targets",
                &none,
                "--targets",
                &many,
            ];
            let agent =
                Agent::ready(&[&args[..], &pace, &["--peers=2", "--transport=udp"]].concat());
            let text = agent.until("they are listed", |text| {
                sum(text, "echo_mesh_known_peers", &[]) > 2000.0
                    && sum(text, "echo_mesh_peers", &[]) == 2.0
            });
            assert_eq!(
                sum(&text, "echo_mesh_discovery_failures_total", &[]),
                1.0,
                "{text}"
            );
            assert!(agent.get("/readyz").starts_with("HTTP/1.1 200 "));
            let lost = Agent::ready(&[&["mesh", "--targets", &none], &pace[..]].concat());
            assert!(
                lost.get("/readyz").starts_with("HTTP/1.1 503 "),
                "it has no list"
            );
            let success = "\necho_mesh_discovery_last_success_timestamp_seconds ";
            let text = lost.get("/metrics");
            assert!(!text.contains(success), "no list was had yet: {text}");
            lost.stop();
            let told = agent.stop();
            for words in [
                "dns:many",
                "4,090",
                "file:PATH",
                "dns:none",
                "it is looked up again",
            ] {
                assert!(told.contains(words), "{words}: {told}");
            }
        },
    );
}

/// A server of DNS: a thousand addresses, more than any reply can carry, none, a failure, or silence.
const DNS: &str = r#"
import socket, struct, sys, threading
def answer(query):
    end = query.index(b"\0", 12)
    name, kind = query[13:13 + query[12]].decode(), query[end + 1:end + 3]
    question = query[12:end + 5]
    counts = {"thousand": 1000, "many": 5000}
    count = counts.get(name, 0) if kind == b"\0\1" else 0
    if name == "silent":
        return None
    code = 2 if name == "failed" else 0
    records = b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + bytes([127, 1, n >> 8, n & 255]) for n in range(count))
    # A message over TCP has 64 KiB at most.
    fit = min(count, (65000 - 12 - len(question)) // 16)
    return query[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, fit, 0, 0) + question + records[:16 * fit]
udp = socket.socket(type=socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 53))
tcp = socket.create_server(("127.0.0.1", 53))
def streams():
    while True:
        with tcp.accept()[0] as stream:
            # Whoever asks for addresses of both kinds asks twice.
            while size := stream.recv(2):
                reply = answer(stream.recv(struct.unpack("!H", size)[0]))
                stream.sendall(struct.pack("!H", len(reply)) + reply)
threading.Thread(target=streams, daemon=True).start()
print("ready", flush=True)
while True:
    query, peer = udp.recvfrom(4096)
    reply = answer(query)
    if reply is not None:
        cut = len(reply) > 512
        end = query.index(b"\0", 12) + 5
        udp.sendto(reply[:2] + b"\x87\x80\0\1\0\0\0\0\0\0" + query[12:end] if cut else reply, peer)
"#;

#[test]
fn a_name_that_is_empty_huge_failing_or_silent_delays_no_probe() {
    let name = "a_name_that_is_empty_huge_failing_or_silent_delays_no_probe";
    network::in_own_network(name, || {
        network::resolver("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
        let Ok(child) = Command::new("python3")
            .args(["-c", DNS])
            .stdout(Stdio::piped())
            .spawn()
        else {
            return eprintln!("skipped: python3 is not on this machine");
        };
        let mut dns = Running::from(child);
        assert_eq!(dns.line(), "ready\n");
        let _server = echo_on("udp://0.0.0.0:5346");
        let mut args = vec!["mesh", "--self=192.0.2.1", "--peers=40", "--refresh=50ms"];
        args.extend(["--transport=udp", "--interval=200ms", "--timeout=200ms"]);
        args.push("--metrics=127.0.0.1:0");
        for name in ["none", "failed", "silent", "thousand", "many"] {
            let source = format!("--targets=dns:{name}.test:5346");
            args.push(source.leak());
        }
        let agent = Agent::ready(&args);
        let text = agent.until("looked up again and again", |text| {
            sum(text, "echo_mesh_discovery_failures_total", &[]) >= 9.0
        });
        let known = sum(&text, "echo_mesh_known_peers", &[]);
        assert!((4_000.0..5_000.0).contains(&known), "{known}");
        assert_eq!(sum(&text, "echo_mesh_peer_up", &[]), 40.0, "{text}");
        let requests = sum(&text, "echo_mesh_requests_total", &[]);
        // Two look-ups are silent for a second each.
        assert!(requests >= 40.0 * 8.0, "{requests}");
        let lost = sum(&text, "echo_mesh_lost_total", &[]);
        assert!(lost <= requests / 4.0, "{lost} of {requests}");
        let told = agent.stop();
        for words in [
            "dns:failed.test:5346",
            "dns:silent.test:5346",
            "dns:many.test:5346 has 40",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
    });
}

/// Answers queries for the addresses of names that begin with `quick`, with these, and no others. Hands
/// out the names that it is asked for IPv4 addresses.
fn name_server(addresses: &'static [[u8; 4]]) -> mpsc::Receiver<String> {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    let (sender, asked) = mpsc::channel();
    thread::spawn(move || {
        let mut query = [0; 512];
        loop {
            let (len, peer) = socket.recv_from(&mut query).unwrap();
            let end = query[12..len].iter().position(|byte| *byte == 0).unwrap() + 17;
            let name = String::from_utf8_lossy(&query[13..end - 5]).into_owned();
            let is_ipv4 = query[end - 4..end] == [0, 1, 0, 1];
            if name.starts_with("quick") {
                let found = if is_ipv4 { addresses } else { &[] };
                let head = [0x85, 0x80, 0, 1, 0, found.len() as u8, 0, 0, 0, 0];
                let mut reply = [&query[..2], &head, &query[12..end]].concat();
                for address in found {
                    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                    reply.extend(address);
                }
                socket.send_to(&reply, peer).unwrap();
            }
            if is_ipv4 {
                let _ = sender.send(name);
            }
        }
    });
    asked
}

#[test]
fn names_for_which_nobody_answers_keep_no_peer_waiting_and_are_not_lost_before() {
    let name = "names_for_which_nobody_answers_keep_no_peer_waiting_and_are_not_lost_before";
    network::in_own_network(name, || {
        // For longer than the test takes.
        network::resolver("nameserver 127.0.0.1\noptions timeout:30 attempts:1\n");
        let _asked = name_server(&[[127, 0, 0, 1]]);
        let server = echo();
        let port = server.tcp.rsplit_once(':').unwrap().1;
        let quick = format!("quick.test:{port}");
        let names: Vec<_> = (0..60).map(|n| format!("n{n}.test:7")).collect();
        let peers = names.iter().map(|name| (&**name, "a", &**name));
        let near = [("well", "a", &*server.tcp), ("quick", "a", &*quick)];
        let peers: Vec<_> = peers.chain(near).collect();
        let scratch = Scratch::new("mesh-silent");
        let path = scratch.file("list", &list(&peers));
        let agent = Agent::start(&path, &["--refresh=1h", "--peers=0", "--transport=udp"]);
        let text = agent.until("those with an address are up", |text| {
            sum(text, "echo_mesh_peer_up", &[]) == 2.0
        });
        assert_eq!(sum(&text, "echo_mesh_known_peers", &[]), 62.0, "{text}");
        assert_eq!(sum(&text, "echo_mesh_peers", &[]), 2.0, "{text}");
        assert_eq!(sum(&text, "echo_mesh_lost_total", &["test"]), 0.0, "{text}");
        assert!(agent.get("/livez").starts_with("HTTP/1.1 200 "));
        agent.stop();
    });
}

#[test]
fn a_name_without_an_address_is_a_peer_that_is_down_and_is_looked_up_again() {
    let name = "a_name_without_an_address_is_a_peer_that_is_down_and_is_looked_up_again";
    network::in_own_network(name, || {
        network::resolver("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
        let asked = name_server(&[]);
        let scratch = Scratch::new("mesh-down");
        let path = scratch.file("list", &list(&[("down", "a", "silent.test:7")]));
        let agent = Agent::start(&path, &["--refresh=1h", "--transport=udp"]);
        agent.until("it is given up, and down", |text| {
            sum(text, "echo_mesh_peers", &[]) == 1.0
                && sum(text, "echo_mesh_lost_total", &["down"]) > 0.0
        });
        // A label's length stands before it.
        let of_peer = |name: &String| name == "silent\u{4}test";
        assert_eq!(asked.try_iter().filter(of_peer).count(), 1);
        agent.client.signal("HUP");
        while !of_peer(&asked.recv_timeout(DEADLINE).unwrap()) {}
        agent.stop();
    });
}

#[test]
fn a_name_that_only_the_second_server_knows_has_its_addresses() {
    let name = "a_name_that_only_the_second_server_knows_has_its_addresses";
    network::in_own_network(name, || {
        // By default the first one has 5 s.
        let servers = "nameserver 127.0.0.2\nnameserver 127.0.0.1\noptions timeout:6\n";
        network::resolver(servers);
        let _silent = UdpSocket::bind("127.0.0.2:53").unwrap();
        let _asked = name_server(&[[192, 0, 2, 1], [192, 0, 2, 2]]);
        let ended = run(&["mesh", "--targets=dns:quick.test:7", "--plan"]);
        assert_eq!((ended.code, ended.text().lines().count()), (Some(0), 2));
    });
}

#[test]
fn a_pair_a_line_says_who_watches_whom() {
    let scratch = Scratch::new("mesh-plan");
    let names: Vec<_> = (0..10).map(|n| format!("n{n}")).collect();
    let peers: Vec<_> = names
        .iter()
        .map(|name| (&**name, "a", "192.0.2.1:7"))
        .collect();
    let file = format!("file:{}", scratch.file("list", &list(&peers)));
    let ended = run(&["mesh", "--targets", &file, "--peers=3", "--plan"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for name in &names {
        let watches = ended
            .text()
            .lines()
            .filter(|line| line.starts_with(&format!("{name} ")));
        let watched = ended
            .text()
            .lines()
            .filter(|line| line.ends_with(&format!(" {name}")));
        assert_eq!((watches.count(), watched.count()), (3, 3), "{name}");
    }
}

#[test]
fn the_agent_itself_is_no_peer() {
    let (one, two) = (echo(), echo());
    let scratch = Scratch::new("mesh-self");
    let path = scratch.file(
        "list",
        &list(&[("one", "a", &one.tcp), ("two", "a", &two.tcp)]),
    );
    for (own, peers) in [
        (one.tcp.as_str(), 1.0),
        ("127.0.0.1", 0.0),
        ("auto", 0.0),
        ("192.0.2.1", 2.0),
    ] {
        let agent = Agent::start(&path, &["--self", own]);
        agent.until("the list is taken", |text| {
            sum(text, "echo_mesh_known_peers", &[]) == 2.0
        });
        let text = agent.until("and followed", |text| {
            sum(text, "echo_mesh_peers", &[]) == peers && !text.is_empty()
        });
        assert_eq!(text.contains("\"one\""), peers == 2.0, "{own}: {text}");
        agent.stop();
    }
}
