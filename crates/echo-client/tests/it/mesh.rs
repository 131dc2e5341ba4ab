//! `mesh`: what an agent tells monitors of its peers, whatever those, the lists and the monitors do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{DEADLINE, Running, Scratch, closed_port, echo, faulty, run, start};
use promtool::promtool_checks;
use serde_json::{Value, json};

#[path = "../../../echo-metrics/tests/common/promtool.rs"]
mod promtool;

/// An agent that is ready, and where it answers monitors.
pub struct Agent {
    pub client: Running,
    pub address: String,
}

impl Agent {
    /// One that probes four times a second, and is none of those that are listed.
    pub fn start(list: &str, args: &[&str]) -> Self {
        let file = format!("file:{list}");
        let targets = ["mesh", "--targets", &file, "--self", "192.0.2.1"];
        let pace = [
            "--interval=250ms",
            "--timeout=250ms",
            "--metrics=127.0.0.1:0",
        ];
        Agent::ready(&[&targets[..], &pace, args].concat())
    }

    pub fn ready(args: &[&str]) -> Self {
        let mut client = start(args);
        let line = client.line();
        let address = line.strip_prefix("listening metrics ").map(str::trim);
        let address = address.unwrap_or_else(|| panic!("{line:?}")).to_owned();
        assert_eq!(client.line(), "ready\n");
        Agent { client, address }
    }

    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// The sum of the figures of a family whose labels have all of these.
    pub fn sum(&self, family: &str, labels: &[&str]) -> f64 {
        sum(&self.get("/metrics"), family, labels)
    }

    /// Waits until `is_so`, by what `/metrics` says.
    #[track_caller]
    pub fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
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
    pub fn stop(self) -> String {
        self.client.signal("TERM");
        let ended = self.client.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stderr
    }
}

pub fn sum(text: &str, family: &str, labels: &[&str]) -> f64 {
    let lines = text.lines().filter(|line| {
        let rest = line.strip_prefix(family);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    let figures = lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap());
    figures.sum()
}

/// A list of these peers: name, zone and address.
pub fn list(peers: &[(&str, &str, &str)]) -> Vec<u8> {
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
fn no_line_blames_a_path_for_what_was_delayed() {
    // A probe is under way a third of the time.
    let server = faulty(&["delay=200ms"]);
    let scratch = Scratch::new("mesh-still-lines");
    let list = list(&[("one", "a", &server.tcp)]);
    let file = format!("file:{}", scratch.file("list", &list));
    let args = ["mesh", "--self=192.0.2.1", "--jsonl", "--interval=600ms"];
    let mut client = start(&[&args[..], &["--timeout=600ms", "--targets", &file]].concat());
    let replies = |client: &mut Running| {
        let mut lines = Vec::new();
        while lines.iter().filter(|event| *event == "reply").count() < 4 {
            let event: Value = serde_json::from_str(&client.line()).unwrap();
            lines.push(event["event"].clone());
        }
        lines
    };
    replies(&mut client);
    for _ in 0..5 {
        client.signal("STOP");
        // That long it stands still.
        thread::sleep(Duration::from_millis(700));
        client.signal("CONT");
        let lines = replies(&mut client);
        assert!(lines.iter().all(|event| event == "reply"), "{lines:?}");
    }
    client.signal("TERM");
    client.end();
}

#[test]
fn a_slow_peer_is_late_and_no_liar() {
    let server = faulty(&["trickle=8/20ms,tcp"]);
    let scratch = Scratch::new("mesh-slow");
    let path = scratch.file("list", &list(&[("slow", "a", &server.tcp)]));
    let pace = ["--transport=tcp", "--interval=100ms", "--timeout=100ms"];
    let agent = Agent::start(&path, &pace);
    let text = agent.until("it is late", |text| {
        sum(text, "echo_mesh_replies_total", &["late"]) >= 40.0
    });
    for lie in ["corrupt", "truncated", "foreign"] {
        let told = sum(&text, "echo_mesh_replies_total", &[lie]);
        assert_eq!(told, 0.0, "{lie}: {text}");
    }
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
