//! `mesh`: what an agent tells monitors of its peers, whatever those, the lists and the monitors do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
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

pub fn probed(text: &str, peer: &str, count: f64) -> bool {
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
    let success = "echo_mesh_discovery_last_success_timestamp_seconds";
    assert!(agent.sum(success, &[]) > 1e9);
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
