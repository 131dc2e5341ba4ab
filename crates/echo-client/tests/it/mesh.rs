//! `mesh`: what an agent tells monitors of its peers, whatever those, the lists and the monitors do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    DEADLINE, Running, Scratch, closed_port, echo, echo_on, faulty, network, run, start,
};
use promtool::promtool_checks;
use serde_json::{Value, json};

#[path = "../../../echo-metrics/tests/common/promtool.rs"]
mod promtool;

/// An agent that is ready, and where it answers monitors.
struct Agent {
    client: Running,
    address: String,
}

impl Agent {
    /// One that probes four times a second, and is none of those that are listed.
    fn start(list: &str, args: &[&str]) -> Self {
        let file = format!("file:{list}");
        let targets = ["mesh", "--targets", &file, "--self", "192.0.2.1"];
        let pace = [
            "--interval=250ms",
            "--timeout=250ms",
            "--metrics=127.0.0.1:0",
        ];
        Agent::ready(&[&targets[..], &pace, args].concat())
    }

    fn ready(args: &[&str]) -> Self {
        let mut client = start(args);
        let line = client.line();
        let address = line.strip_prefix("listening metrics ").map(str::trim);
        let address = address.unwrap_or_else(|| panic!("{line:?}")).to_owned();
        assert_eq!(client.line(), "ready\n");
        Agent { client, address }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// The sum of the figures of a family whose labels have all of these.
    fn sum(&self, family: &str, labels: &[&str]) -> f64 {
        sum(&self.get("/metrics"), family, labels)
    }

    /// Waits until `is_so`, by what `/metrics` says.
    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let text = self.get("/metrics");
            if is_so(&text) {
                return text;
            }
            assert!(start.elapsed() < DEADLINE, "{what}: {text}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends as it should, and says how it went.
    fn stop(self) -> String {
        self.client.signal("TERM");
        let ended = self.client.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stderr
    }
}

fn sum(text: &str, family: &str, labels: &[&str]) -> f64 {
    let lines = text.lines().filter(|line| {
        let rest = line.strip_prefix(family);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    let figures = lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap());
    figures.sum()
}

/// A list of these peers: name, zone and address.
fn list(peers: &[(&str, &str, &str)]) -> Vec<u8> {
    let groups = peers.iter().map(|(name, zone, address)| {
        json!({"targets": [address], "labels": {"name": name, "zone": zone}})
    });
    groups.collect::<Value>().to_string().into_bytes()
}

fn probed(text: &str, peer: &str, count: f64) -> bool {
    let label = format!("peer=\"{peer}\"");
    ["tcp", "udp"].iter().all(|transport| {
        let labels = [&*label, &format!("transport=\"{transport}\"")];
        sum(text, "echo_mesh_requests_total", &labels) >= count
    })
}

#[test]
fn each_peer_is_told_apart_by_name_zone_and_transport() {
    let (well, lossy) = (echo(), faulty(&["drop=50%,udp"]));
    let scratch = Scratch::new("mesh-peers");
    let closed = closed_port().to_string();
    let list = list(&[
        ("well", "near", &well.tcp),
        ("lossy", "far", &lossy.tcp),
        ("closed", "far", &closed),
        ("nameless", "far", "no.such.name.invalid:7"),
    ]);
    let agent = Agent::start(
        &scratch.file("list", &list),
        &["--interval=200ms", "--timeout=200ms"],
    );
    assert!(agent.get("/livez").starts_with("HTTP/1.1 200 "));
    let text = agent.until("all are probed", |text| {
        let all = ["well", "lossy", "closed", "nameless"];
        all.iter().all(|peer| probed(text, peer, 20.0))
    });
    assert!(agent.get("/readyz").starts_with("HTTP/1.1 200 "));
    let figure = |family: &str, peer: &str, transport: &str| {
        let labels = [
            format!("peer=\"{peer}\""),
            format!("transport=\"{transport}\""),
        ];
        sum(&text, family, &[&labels[0], &labels[1]])
    };
    for transport in ["tcp", "udp"] {
        // A busy machine may lose some of these.
        assert!(
            figure("echo_mesh_lost_total", "well", transport) < 6.0,
            "{text}"
        );
        assert_eq!(figure("echo_mesh_peer_up", "well", transport), 1.0);
        for down in ["closed", "nameless"] {
            assert_eq!(figure("echo_mesh_peer_up", down, transport), 0.0);
            let lost = figure("echo_mesh_lost_total", down, transport);
            assert!(lost >= 19.0, "{down} {transport} {lost}: {text}");
        }
        for kind in ["refused", "dns"] {
            let labels = [
                format!("transport=\"{transport}\""),
                format!("kind=\"{kind}\""),
            ];
            let errors = sum(&text, "echo_mesh_errors_total", &[&labels[0], &labels[1]]);
            assert!(errors >= 19.0, "{labels:?}: {text}");
        }
    }
    let lost = figure("echo_mesh_lost_total", "lossy", "udp");
    assert!((4.0..20.0).contains(&lost), "half of 20 and more: {lost}");
    assert!(
        figure("echo_mesh_lost_total", "lossy", "tcp") < 6.0,
        "{text}"
    );
    assert!(
        !text.contains("echo_mesh_rtt_seconds_bucket{peer="),
        "never by peer"
    );
    let near = ["peer_zone=\"near\"", "transport=\"udp\""];
    let replies = sum(&text, "echo_mesh_rtt_seconds_count", &near);
    assert!(replies >= 10.0, "{text}");
    assert_eq!(
        sum(
            &text,
            "echo_mesh_rtt_seconds_bucket",
            &[near[0], near[1], "+Inf"]
        ),
        replies
    );
    assert_eq!(
        (
            sum(&text, "echo_mesh_peers", &[]),
            sum(&text, "echo_mesh_known_peers", &[])
        ),
        (4.0, 4.0)
    );
    promtool_checks(&text);
    assert_eq!(agent.stop(), "");
}

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
    let path = scratch.0.join("link");
    let good = scratch.file("good", &list(&[("one", "a", &server.tcp)]));
    symlink(&good, &path).unwrap();
    let agent = Agent::start(path.to_str().unwrap(), &["--refresh=20ms", "--peers=3"]);
    agent.until("it is up", |text| {
        sum(text, "echo_mesh_peer_up", &[]) == 2.0
    });
    let fifo = scratch.0.join("fifo");
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
        scratch.0.join("nowhere").display().to_string(),
        scratch.0.display().to_string(),
        fifo.display().to_string(),
        "/dev/zero".to_owned(),
        "/proc/kmsg".to_owned(),
    ];
    let turn_to = |target: &str| {
        let draft = scratch.0.join("draft");
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
    assert_eq!(sum(&text, "echo_mesh_delayed_total", &[]), 0.0, "{text}");
    agent.stop();
}

#[test]
fn a_peer_that_moves_keeps_its_figures() {
    let (here, there) = (echo(), echo());
    let scratch = Scratch::new("mesh-moves");
    let path = scratch.file("list", &list(&[("one", "a", &here.tcp)]));
    let agent = Agent::start(&path, &["--refresh=50ms"]);
    let text = agent.until("it is probed", |text| probed(text, "one", 5.0));
    let before = sum(&text, "echo_mesh_requests_total", &[]);
    here.handle.stop().unwrap();
    scratch.file("list", &list(&[("one", "a", &there.tcp)]));
    let text = agent.until("it is up there", |text| {
        sum(text, "echo_mesh_requests_total", &[]) > 2.0 * before
            && sum(text, "echo_mesh_peer_up", &[]) == 2.0
    });
    assert!(probed(&text, "one", 10.0));
    agent.stop();
}

#[test]
fn an_agent_that_stood_still_blames_no_path() {
    let server = echo();
    let scratch = Scratch::new("mesh-still");
    let agent = Agent::start(
        &scratch.file("list", &list(&[("one", "a", &server.tcp)])),
        &[],
    );
    agent.until("it is up", |text| {
        sum(text, "echo_mesh_peer_up", &[]) == 2.0
    });
    agent.client.signal("STOP");
    // That long it stands still.
    thread::sleep(Duration::from_secs(2));
    agent.client.signal("CONT");
    // Eight a second, over two transports.
    agent.until("it is told", |text| {
        sum(text, "echo_mesh_delayed_total", &[]) >= 14.0
    });
    agent.until("it goes on", |text| {
        sum(text, "echo_mesh_peer_up", &[]) == 2.0
    });
    agent.stop();
}

#[test]
fn a_monitor_that_never_reads_delays_no_probe() {
    let server = echo();
    let scratch = Scratch::new("mesh-scraper");
    let peers: Vec<_> = (0..200).map(|n| format!("peer-{n}")).collect();
    let peers: Vec<_> = peers
        .iter()
        .map(|name| (&**name, "a", &*server.tcp))
        .collect();
    let args = ["--peers=0", "--interval=1s", "--timeout=1s"];
    let agent = Agent::start(&scratch.file("list", &list(&peers)), &args);
    let silent: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(&agent.address).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let text = agent.until("all are up", |text| {
        sum(text, "echo_mesh_peer_up", &[]) == 400.0
    });
    assert!(sum(&text, "echo_mesh_lost_total", &[]) < 40.0, "{text}");
    drop(silent);
    agent.stop();
}

#[test]
fn a_peer_that_lies_is_down_and_told_by_what_it_does() {
    let changed =
        crate::common::tcp(|_, stream| crate::common::echo_changed(&stream, |bytes| bytes[0] ^= 1));
    let foreign = crate::common::udp(|_, _, reply| reply(b"something else"));
    let scratch = Scratch::new("mesh-lies");
    let list = list(&[("changed", "a", &changed)]);
    let agent = Agent::start(&scratch.file("list", &list), &["--transport=tcp"]);
    let text = agent.until("it is told", |text| {
        sum(text, "echo_mesh_replies_total", &["corrupt"]) >= 5.0
    });
    assert_eq!(sum(&text, "echo_mesh_peer_up", &[]), 0.0);
    assert!(sum(&text, "echo_mesh_lost_total", &[]) >= 5.0, "{text}");
    agent.stop();
    let address = foreign.trim_start_matches("udp://");
    let list = self::list(&[("foreign", "a", address)]);
    let agent = Agent::start(&scratch.file("list", &list), &["--transport=udp"]);
    let text = agent.until("it is told", |text| {
        sum(text, "echo_mesh_replies_total", &["foreign"]) >= 5.0
    });
    assert_eq!(sum(&text, "echo_mesh_peer_up", &[]), 0.0);
    assert!(sum(&text, "echo_mesh_lost_total", &[]) >= 4.0, "{text}");
    agent.stop();
}

#[test]
fn replies_that_come_twice_or_to_another_probe_are_told_apart() {
    let twice = crate::common::udp(|_, datagram, reply| {
        reply(datagram);
        reply(datagram);
    });
    let mut last = Vec::new();
    let behind = crate::common::udp(move |_, datagram, reply| {
        reply(&std::mem::replace(&mut last, datagram.to_vec()));
    });
    // It answers, and then talks for two seconds as fast as it can.
    let floods = crate::common::udp(|number, datagram, reply| {
        reply(datagram);
        let begun = Instant::now();
        while number == 0 && begun.elapsed() < Duration::from_secs(2) {
            reply(b"flood");
        }
    });
    let well = echo();
    let peers: Vec<_> = [("twice", &twice), ("behind", &behind), ("floods", &floods)]
        .map(|(name, address)| (name, "lies", address.trim_start_matches("udp://")))
        .into_iter()
        .chain([("well", "a", &*well.tcp)])
        .collect();
    let scratch = Scratch::new("mesh-twice");
    let agent = Agent::start(&scratch.file("list", &list(&peers)), &["--transport=udp"]);
    let figure = |text: &str, family: &str, label: &str| {
        sum(
            text,
            &format!("echo_mesh_{family}"),
            &[&format!("\"{label}\"")],
        )
    };
    let text = agent.until("all are told", |text| {
        let of = |label| figure(text, "requests_total", label) >= 12.0;
        ["twice", "behind", "floods", "well"].into_iter().all(of)
    });
    for class in ["duplicate", "late", "foreign"] {
        assert!(
            figure(&text, "replies_total", class) >= 5.0,
            "{class}: {text}"
        );
    }
    for (peer, up, most) in [
        ("twice", 1.0, 3.0),
        ("well", 1.0, 3.0),
        ("behind", 0.0, 99.0),
    ] {
        assert_eq!(figure(&text, "peer_up", peer), up, "{peer}: {text}");
        assert!(figure(&text, "lost_total", peer) <= most, "{peer}: {text}");
    }
    let lost = figure(&text, "lost_total", "behind");
    assert!(
        lost >= figure(&text, "requests_total", "behind") - 1.0,
        "{text}"
    );
    agent.stop();
}

#[test]
fn a_peer_is_probed_from_a_new_port_now_and_then() {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let scratch = Scratch::new("mesh-ports");
    let list = list(&[("one", "a", &peer.local_addr().unwrap().to_string())]);
    let args = [
        "--transport=udp",
        "--interval=50ms",
        "--timeout=50ms",
        "--reconnect=200ms",
    ];
    let agent = Agent::start(&scratch.file("list", &list), &args);
    let mut ports = Vec::new();
    for _ in 0..20 {
        let mut datagram = [0; 100];
        let (len, from) = peer.recv_from(&mut datagram).unwrap();
        peer.send_to(&datagram[..len], from).unwrap();
        ports.push(from.port());
    }
    ports.dedup();
    assert!((3..=20).contains(&ports.len()), "{ports:?}");
    agent.stop();
}

#[test]
fn every_event_is_a_line_that_names_the_peer() {
    let (well, closed) = (echo(), closed_port().to_string());
    let scratch = Scratch::new("mesh-lines");
    let list = scratch.file(
        "list",
        &list(&[("well", "a", &well.tcp), ("closed", "a", &closed)]),
    );
    let file = format!("file:{list}");
    let mut client = start(&[
        "mesh",
        "--targets",
        &file,
        "--self=192.0.2.1",
        "--interval=50ms",
        "--timeout=50ms",
        "--jsonl",
    ]);
    let (mut reply, mut error) = (None, None);
    assert_eq!(client.line(), "{\"event\":\"ready\"}\n");
    while reply.is_none() || error.is_none() {
        let event: Value = serde_json::from_str(&client.line()).unwrap();
        match (event["event"].as_str(), event["peer"].as_str()) {
            (Some("reply"), Some("well")) => reply = Some(event),
            (Some("error"), Some("closed")) => error = Some(event),
            _ => {}
        }
    }
    let (reply, error) = (reply.unwrap(), error.unwrap());
    assert!(
        ["tcp", "udp"].contains(&reply["transport"].as_str().unwrap()),
        "{reply}"
    );
    assert!(reply["rtt_ns"].as_u64().unwrap() > 0, "{reply}");
    assert_eq!(error["kind"], "refused", "{error}");
    client.signal("TERM");
    let ended = client.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let last: Value = serde_json::from_str(ended.text().lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["figures"]["known"]),
        (&json!("summary"), &json!(2))
    );
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

#[test]
fn a_start_that_cannot_work_says_what_would() {
    let scratch = Scratch::new("mesh-wrong");
    let (torn, good) = (scratch.file("torn", b"[{"), scratch.file("good", b"[]"));
    let (torn, good) = (format!("file:{torn}"), format!("file:{good}"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (code, args, words) in [
        (
            2,
            &["--targets=file:/no/such", "--jsonl"][..],
            &["file:/no/such", "no such file", "write a list"][..],
        ),
        (
            2,
            &["--targets", &torn, "--jsonl"],
            &["it is no list", "EOF"],
        ),
        (2, &["--jsonl"], &["--targets"]),
        (
            2,
            &["--targets=nowhere", "--jsonl"],
            &["dns:NAME:PORT or file:PATH"],
        ),
        (
            2,
            &["--targets=dns:name", "--jsonl"],
            &["the port is missing"],
        ),
        (
            2,
            &["--targets", &good],
            &["nobody would hear", "--metrics", "--jsonl"],
        ),
        (
            2,
            &["--targets", &good, "--jsonl", "--timeout=2s"],
            &["--timeout 2s", "--interval 1s"],
        ),
        (
            2,
            &["--targets", &good, "--jsonl", "--transport=unix"],
            &["tcp,udp"],
        ),
        (2, &["--targets", &good, "--jsonl", "--self=me"], &["auto"]),
        (2, &["--targets", &good, "--metrics=unix:x"], &["HOST:PORT"]),
        (
            2,
            &["--targets", &good, "--jsonl", "--interval=0"],
            &["--interval 0s", "1ms"],
        ),
        (
            1,
            &["--targets", &good, "--metrics", &taken],
            &[&taken, "in use", "--metrics"],
        ),
    ] {
        run(&[&["mesh"], args].concat()).failed(code, words);
    }
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
        let mut dns = Running { child };
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

#[test]
fn an_agent_that_nobody_reads_ends() {
    let server = echo();
    let scratch = Scratch::new("mesh-closed");
    let file = format!(
        "file:{}",
        scratch.file("list", &list(&[("one", "a", &server.tcp)]))
    );
    let mut client = start(&[
        "mesh",
        "--targets",
        &file,
        "--self=192.0.2.1",
        "--interval=10ms",
        "--timeout=10ms",
        "--jsonl",
    ]);
    client.line();
    drop(client.child.stdout.take());
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(client.end()));
    let ended = ended.recv_timeout(DEADLINE).unwrap();
    assert_eq!(
        (ended.code, &*ended.stderr),
        (Some(0), ""),
        "a closed pipe is silent"
    );
}
