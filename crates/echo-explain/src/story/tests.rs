//! A server and a client, told in every language.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use super::*;

fn step(socket: i32, call: Call) -> Step {
    Step {
        time_unix_ns: 0,
        socket,
        call,
        error: None,
        listed: None,
    }
}

fn trouble(kind: ErrorKind) -> Trouble {
    Trouble::of(&kind.into())
}

fn end(text: &str) -> End {
    text.to_owned().into()
}

fn receive(received_bytes: u64, room_bytes: u64) -> Call {
    Call::Receive {
        received_bytes,
        room_bytes,
        data: "x".repeat(received_bytes as usize),
    }
}

fn send(sent_bytes: u64) -> Call {
    let offered_bytes = sent_bytes;
    Call::Send {
        sent_bytes,
        offered_bytes,
        data: "Hello".into(),
    }
}

/// Steps as they travel: of each line, the socket and the rest.
fn steps(lines: &str) -> Vec<Step> {
    let lines = lines.trim().lines().map(|line| {
        let (socket, rest) = line.trim().split_once(' ').unwrap();
        let step = format!("step = {{ time_unix_ns = 0, socket = {socket}, call = {rest} }}");
        let mut step: BTreeMap<String, Step> = toml::from_str(&step).unwrap();
        step.remove("step").unwrap()
    });
    lines.collect()
}

fn server() -> Vec<Step> {
    steps(
        r#"
        3 "socket", family = "AF_INET", kind = "SOCK_STREAM"
        3 "bind", asked = "127.0.0.1:0", local = "127.0.0.1:5346"
        3 "listen", backlog = 4096
        4 "socket", family = "AF_INET", kind = "SOCK_DGRAM"
        4 "bind", asked = "127.0.0.1:0", local = "127.0.0.1:5346"
        3 "accept", accepted = 7, local = "127.0.0.1:5346", peer = "127.0.0.1:53412"
        7 "receive", received_bytes = 16, room_bytes = 16
        7 "send", sent_bytes = 16, offered_bytes = 16, data = "Hello"
        7 "receive", received_bytes = 3, room_bytes = 16
        7 "send", sent_bytes = 1, offered_bytes = 2
        3 "accept", accepted = 8, local = "127.0.0.1:5346", peer = "127.0.0.1:53412"
        8 "receive", received_bytes = 0, room_bytes = 16
        8 "close"
        4 "receive-from", peer = "127.0.0.1:53412", datagrams = 1, received_bytes = 12
        4 "send-to", peer = "127.0.0.1:53412", datagrams = 1, sent_bytes = 12
        4 "receive-from", peer = "127.0.0.1:53412", datagrams = 3, received_bytes = 12
        7 "close"
        3 "close"
        4 "close"
        "#,
    )
}

fn client() -> Vec<Step> {
    steps(
        r#"
        3 "socket", family = "AF_INET", kind = "SOCK_STREAM"
        3 "connect", local = "127.0.0.1:53412", peer = "127.0.0.1:5346", error = "connection refused", error_kind = "refused"
        3 "close"
        3 "socket", family = "AF_INET", kind = "SOCK_STREAM"
        3 "connect", local = "127.0.0.1:53412", peer = "127.0.0.1:5346", listed = "a row"
        3 "send", sent_bytes = 19, offered_bytes = 19
        3 "receive", received_bytes = 16, room_bytes = 16
        3 "receive", received_bytes = 3, room_bytes = 16
        3 "shutdown", both = false
        3 "receive", received_bytes = 0, room_bytes = 16
        3 "close"
        3 "socket", family = "AF_INET", kind = "SOCK_DGRAM"
        3 "connect", local = "127.0.0.1:53412", peer = "127.0.0.1:5346"
        3 "send", sent_bytes = 5, offered_bytes = 5
        3 "receive", received_bytes = 5, room_bytes = 65535
        3 "close"
        "#,
    )
}

fn told(lang: Lang, steps: &[Step]) -> Vec<Telling> {
    let mut story = Story::new(lang);
    steps.iter().map(|step| story.tell(step)).collect()
}

#[test]
fn every_value_finds_its_place_in_every_language() {
    for lang in [Lang::En, Lang::Es] {
        for steps in [server(), client()] {
            for telling in told(lang, &steps) {
                let text = telling.paragraph(false);
                assert!(!text.contains(['{', '}']), "{text}");
                // A text that is missing would be told as its key.
                assert!(telling.text.contains(' '), "{text}");
                assert!(telling.python.contains('('), "{text}");
                assert!(telling.system.contains(" = "), "{text}");
                assert!(
                    text.lines().all(|line| line.chars().count() <= 80),
                    "{text}"
                );
            }
        }
    }
}

/// A call on a socket of its own, which fails.
fn fails(lang: Lang, family: Family, kind: SocketKind, call: Call, error: ErrorKind) -> String {
    let made = step(3, Call::Socket { family, kind });
    let failed = Step {
        error: Some(trouble(error)),
        ..step(3, call)
    };
    told(lang, &[made, failed])[1].text.clone()
}

#[test]
fn every_failure_is_told_with_its_reason_in_every_language() {
    use ErrorKind::*;
    let address = || end("192.0.2.1:5346");
    let connect = || Call::Connect {
        local: end(""),
        peer: address(),
    };
    let bind = || Call::Bind {
        asked: address(),
        local: address(),
    };
    let shutdown = || Call::Shutdown { both: true };
    let (inet, unix) = (Family::Inet, Family::Unix);
    let (stream, datagram) = (SocketKind::Stream, SocketKind::Datagram);
    for (family, kind, call, error, word) in [
        (inet, stream, connect(), ConnectionRefused, "(RST)"),
        (inet, datagram, receive(0, 9), ConnectionRefused, "ICMP"),
        (unix, stream, connect(), ConnectionRefused, "192.0.2.1:5346"),
        (unix, stream, connect(), NotFound, "192.0.2.1:5346"),
        (unix, stream, bind(), NotFound, "192.0.2.1:5346"),
        (inet, stream, connect(), TimedOut, "(SYN)"),
        (inet, stream, receive(0, 9), TimedOut, ""),
        (inet, stream, connect(), NetworkUnreachable, "192.0.2.1"),
        (inet, stream, receive(0, 9), ConnectionReset, "FIN"),
        (unix, stream, receive(0, 9), ConnectionReset, ""),
        (inet, stream, send(0), BrokenPipe, "(RST)"),
        (unix, stream, send(0), BrokenPipe, ""),
        (inet, stream, bind(), AddrInUse, "192.0.2.1:5346"),
        (unix, stream, bind(), AddrInUse, "192.0.2.1:5346"),
        (inet, stream, bind(), AddrNotAvailable, "0.0.0.0"),
        (inet, stream, connect(), AddrNotAvailable, "TIME_WAIT"),
        (inet, stream, bind(), PermissionDenied, "1024"),
        (unix, stream, bind(), PermissionDenied, "192.0.2.1:5346"),
        (inet, stream, connect(), PermissionDenied, ""),
        (inet, stream, shutdown(), NotConnected, ""),
    ] {
        let key = trouble(error).kind;
        for lang in [Lang::En, Lang::Es] {
            let text = fails(lang, family, kind, call.clone(), error);
            assert!(text.contains(word), "{key}: {text}");
            assert!(!text.contains(['{', '}']), "{key}: {text}");
            assert!(text.len() > 60, "{key}: {text}");
        }
    }
    let spanish = fails(Lang::Es, inet, stream, connect(), ConnectionRefused);
    assert!(spanish.contains("rechazada"), "{spanish}");
    let other = fails(Lang::En, inet, stream, send(0), OutOfMemory);
    assert_eq!(other, "It failed: out of memory.");
}

#[test]
fn the_reason_of_a_failure_is_told_once() {
    let told = told(Lang::En, &[client(), client()].concat());
    assert!(told[1].text.contains("SYN"), "{:?}", told[1]);
    assert_eq!(told[17].text, "It failed: connection refused.");
}

#[test]
fn a_unix_socket_is_not_told_of_as_tcp() {
    let steps = steps(
        r#"
        3 "socket", family = "AF_UNIX", kind = "SOCK_STREAM"
        3 "connect", local = "", peer = "e.sock"
        3 "send", sent_bytes = 5, offered_bytes = 5
        3 "receive", received_bytes = 5, room_bytes = 16
        3 "shutdown", both = false
        3 "receive", received_bytes = 0, room_bytes = 16
        3 "close"
        "#,
    );
    for lang in [Lang::En, Lang::Es] {
        let told = told(lang, &steps);
        let text: String = told.iter().map(|told| told.text.as_str()).collect();
        for word in ["TCP", "FIN", "TIME_WAIT"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
}

#[test]
fn a_step_travels_whole_whether_it_failed_or_not() {
    let failed = &client()[1];
    let text = toml::to_string(failed).unwrap();
    assert!(
        text.contains("error = \"connection refused\"\nerror_kind = \"refused\"\n"),
        "{text}"
    );
    assert_eq!(&toml::from_str::<Step>(&text).unwrap(), failed);
    let fine = &client()[0];
    let text = toml::to_string(fine).unwrap();
    assert!(!text.contains("error"), "{text}");
    assert_eq!(&toml::from_str::<Step>(&text).unwrap(), fine);
}

#[test]
fn a_short_read_is_told_as_what_it_is() {
    let told = told(Lang::En, &client());
    assert!(
        told[6].text.contains("all that it had room for"),
        "{:?}",
        told[6]
    );
    assert!(
        told[6]
            .text
            .contains("16 bytes of the 19 bytes sent are back"),
        "{:?}",
        told[6]
    );
    assert!(told[6].text.contains("TCP is a stream"), "{:?}", told[6]);
    assert!(
        told[7].text.contains("all 19 bytes sent are back"),
        "{:?}",
        told[7]
    );
    assert!(
        !told[7].text.contains("TCP is a stream"),
        "it is said once: {:?}",
        told[7]
    );
}

#[test]
fn who_finishes_first_keeps_time_wait() {
    let ours = told(Lang::En, &client());
    assert!(
        ours[8].text.contains("first of the two to finish"),
        "{:?}",
        ours[8]
    );
    assert!(
        ours[10].text.contains("This side was the first"),
        "{:?}",
        ours[10]
    );
    let theirs = told(Lang::En, &server());
    assert!(
        theirs[12].text.contains("is on its side"),
        "{:?}",
        theirs[12]
    );
    assert!(
        theirs[16].text.contains("might still send"),
        "{:?}",
        theirs[16]
    );
}

#[test]
fn the_python_and_the_call_carry_the_real_values() {
    let told = told(Lang::En, &server());
    let lines: Vec<_> = told
        .iter()
        .map(|telling| (telling.python.as_str(), telling.system.as_str()))
        .collect();
    assert_eq!(
        lines[0].0,
        "s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)"
    );
    assert_eq!(lines[0].1, "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3");
    assert_eq!(
        lines[1],
        ("s.bind((\"127.0.0.1\", 0))", "bind(3, 127.0.0.1:0) = 0")
    );
    assert_eq!(
        lines[5],
        (
            "conn, addr = s.accept()  # addr: (\"127.0.0.1\", 53412)",
            "accept4(3, 127.0.0.1:53412) = 7"
        )
    );
    assert_eq!(lines[7].0, r#"conn.sendall(b"Hello")"#);
    assert_eq!(lines[11].0, "data = conn.recv(16)  # b\"\"");
    assert_eq!(told[1].number, 2);
}
