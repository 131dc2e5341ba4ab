//! The probes of `mesh`: what an agent makes of what its peers do, and of what delays itself.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{DEADLINE, Running, Scratch, echo, faulty, start};
use crate::mesh::{Agent, list, probed, sum};
use serde_json::Value;

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
        lost * 2.0 >= figure(&text, "requests_total", "behind"),
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
