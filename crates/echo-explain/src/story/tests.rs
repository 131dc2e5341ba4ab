//! A server and a client, told in every language.

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

fn socket(kind: SocketKind) -> Call {
    let family = Family::Inet;
    Call::Socket { family, kind }
}

fn receive(received_bytes: u64, room_bytes: u64) -> Call {
    Call::Receive {
        received_bytes,
        room_bytes,
    }
}

fn send(sent_bytes: u64) -> Call {
    let offered_bytes = sent_bytes;
    Call::Send {
        sent_bytes,
        offered_bytes,
    }
}

fn server() -> Vec<Step> {
    let (local, peer) = (end("127.0.0.1:5346"), end("127.0.0.1:53412"));
    let asked = end("127.0.0.1:0");
    let accept = |accepted| Call::Accept {
        accepted,
        local: local.clone(),
        peer: peer.clone(),
    };
    let bind = Call::Bind {
        asked,
        local: local.clone(),
    };
    let from = |datagrams| Call::ReceiveFrom {
        peer: peer.clone(),
        datagrams,
        received_bytes: 12,
    };
    let to = Call::SendTo {
        peer: peer.clone(),
        datagrams: 1,
        sent_bytes: 12,
    };
    let unfinished = Call::Send {
        sent_bytes: 1,
        offered_bytes: 2,
    };
    vec![
        step(3, socket(SocketKind::Stream)),
        step(3, bind.clone()),
        step(3, Call::Listen { backlog: 4096 }),
        step(4, socket(SocketKind::Datagram)),
        step(4, bind),
        step(3, accept(7)),
        step(7, receive(16, 16)),
        step(7, send(16)),
        step(7, receive(3, 16)),
        step(7, unfinished),
        step(3, accept(8)),
        step(8, receive(0, 16)),
        step(8, Call::Close),
        step(4, from(1)),
        step(4, to),
        step(4, from(3)),
        step(7, Call::Close),
        step(3, Call::Close),
        step(4, Call::Close),
    ]
}

fn client() -> Vec<Step> {
    let (local, peer) = (end("127.0.0.1:53412"), end("127.0.0.1:5346"));
    let connect = Call::Connect { local, peer };
    let refused = Step {
        error: Some(trouble(ErrorKind::ConnectionRefused)),
        ..step(3, connect.clone())
    };
    let seen = Step {
        listed: Some("a row".into()),
        ..step(3, connect.clone())
    };
    vec![
        step(3, socket(SocketKind::Stream)),
        refused,
        step(3, Call::Close),
        step(3, socket(SocketKind::Stream)),
        seen,
        step(3, send(19)),
        step(3, receive(16, 16)),
        step(3, receive(3, 16)),
        step(3, Call::Shutdown { both: false }),
        step(3, receive(0, 16)),
        step(3, Call::Close),
        step(3, socket(SocketKind::Datagram)),
        step(3, connect),
        step(3, send(5)),
        step(3, receive(5, 65_535)),
        step(3, Call::Close),
    ]
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
    let (local, peer) = (end(""), end("e.sock"));
    let steps = [
        Call::Socket {
            family: Family::Unix,
            kind: SocketKind::Stream,
        },
        Call::Connect { local, peer },
        send(5),
        receive(5, 16),
        Call::Shutdown { both: false },
        receive(0, 16),
        Call::Close,
    ];
    for lang in [Lang::En, Lang::Es] {
        let told = told(lang, &steps.clone().map(|call| step(3, call)));
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
    assert_eq!(lines[11].0, "data = conn.recv(16)  # len(data): 0");
    assert_eq!(told[1].number, 2);
}
