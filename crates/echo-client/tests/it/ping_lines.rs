//! What `ping` writes: lines for people, and lines for programs.

use crate::common::*;
use serde_json::Value;

#[test]
fn lines_read_as_pings_do() {
    let echo = echo();
    let ended = run(&["ping", &echo.tcp, "-c", "2", "-i", "1ms"]);
    let lines: Vec<&str> = ended.text().lines().collect();
    let peer = &echo.tcp;
    assert_eq!(lines[0], format!("PING {peer} (tcp): 56 bytes"));
    for (line, seq) in [(lines[1], 1), (lines[2], 2)] {
        let start = format!("56 bytes from {peer}: seq={seq} time=");
        assert!(line.starts_with(&start) && line.ends_with(" ms"), "{line}");
    }
    let rest = lines[3..].join("\n");
    for part in [
        "ping statistics",
        "2 sent, 2 received, 0% loss",
        "rtt min/avg/max/mdev",
    ] {
        assert!(rest.contains(part), "{rest}");
    }
    assert!(!rest.contains("p99"), "too few samples: {rest}");
    let quiet = run(&["ping", &echo.tcp, "-c", "2", "-i", "1ms", "-q"]);
    assert!(!quiet.text().contains("seq="), "{quiet:?}");
    let stamped = run(&["ping", &echo.tcp, "-c", "1", "-D"]);
    let line = stamped.text().lines().nth(1).unwrap();
    assert!(
        line.starts_with('[') && line.contains("] 56 bytes"),
        "{line}"
    );
}

#[test]
fn events_are_one_a_line_and_end_with_the_document() {
    let echo = faulty(&["drop,msg=2"]);
    let ended = run(&[
        "ping", &echo.udp, "-c", "3", "-i", "1ms", "-W", "1s", "--jsonl",
    ]);
    let events: Vec<Value> = ended
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["start", "reply", "reply", "error", "summary"]);
    assert_eq!(
        (&events[2]["seq"], &events[2]["class"]),
        (&3.into(), &"ok".into())
    );
    assert_eq!(
        (&events[3]["seq"], &events[3]["kind"]),
        (&2.into(), &"timeout".into())
    );
    assert_eq!(events[4]["report"]["lost"], 1);
    assert_eq!(ended.code, Some(1));
}

/// Every key and every word that a script may meet is in the documentation.
#[test]
fn the_lines_for_programs_are_documented() {
    let documentation = include_str!("../../../../docs/EVENTS.md");
    let (_, section) = documentation
        .split_once("## The lines of ping")
        .expect("a section");
    let (plain, bad) = (
        echo(),
        faulty(&["drop,msg=1", "corrupt,msg=2", "duplicate,msg=3"]),
    );
    let reflector = echo_on("stamp://127.0.0.1:0");
    let port = reflector.addresses()[0].socket().unwrap().port();
    let once = ["-c", "3", "-i", "1ms", "-W", "1s", "--jsonl"];
    let mut keys = std::collections::BTreeSet::new();
    for target in [
        &["ping", &bad.udp][..],
        &["ping", "--new-connection", &plain.tcp],
        &["ping", &format!("stamp://127.0.0.1:{port}")],
    ] {
        for line in run(&[target, &once].concat()).text().lines() {
            let event: Value = serde_json::from_str(line).expect(line);
            for key in event.as_object().expect("an object").keys() {
                assert!(section.contains(&format!("`{key}`")), "{key}");
                keys.insert(key.clone());
            }
            for key in ["/event", "/class", "/kind", "/target/transport"] {
                if let Some(word) = event.pointer(key).and_then(Value::as_str) {
                    assert!(section.contains(&format!("`{word}`")), "{word}");
                }
            }
        }
    }
    assert_eq!(keys.len(), 13, "{keys:?}");
}

#[test]
fn color_marks_what_is_not_well() {
    let silent = faulty(&["drop"]);
    let args = ["ping", &silent.udp, "-c", "1", "-W", "50ms", "--color"];
    let always = run(&[&args[..], &["always"]].concat());
    assert!(always.text().contains("\x1b[31mfrom "), "{always:?}");
    let auto = run(&[&args[..], &["auto"]].concat());
    assert!(
        !auto.text().contains('\x1b'),
        "no terminal, no colour: {auto:?}"
    );
}

#[test]
fn a_refused_datagram_is_told_once_for_each_time_that_icmp_said_so() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let target = socket.local_addr().unwrap().to_string();
    // Five have a reply, as many have none, and then nobody listens any more.
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        for number in 0..10 {
            let (len, from) = socket.recv_from(&mut buffer).expect("a datagram");
            if number < 5 {
                socket.send_to(&buffer[..len], from).expect("a reply");
            }
        }
    });
    let args = ["ping", "-u", &target, "-c", "50", "-i", "20ms", "-W", "1s"];
    let ended = run(&[&args[..], &["--jsonl"]].concat());
    let events = ended.text().lines();
    let events = events.map(|line| serde_json::from_str::<Value>(line).expect(line));
    let events: Vec<Value> = events.collect();
    let refused = events.iter().filter(|event| event["kind"] == "refused");
    let summary = &events.last().unwrap()["report"];
    let counted = summary["errors"]["refused"].as_u64().unwrap_or(0);
    assert_eq!(counted, refused.count() as u64, "{events:#?}");
    assert!(counted > 0, "{events:#?}");
}
