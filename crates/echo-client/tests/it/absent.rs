//! What `diagnose` says of servers that go away, freeze, come late, or close what is silent.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use echo_server::Config;
use socket2::SockRef;

use crate::common::network::in_own_network;
use crate::common::{DEADLINE, echo_on, echo_with, run, start};
use crate::diagnose::{BRIEF, document, problems, verdicts};

/// What becomes of a peer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It answers as long as it is asked, but no datagram larger than this.
    Small(usize),
    /// After so many datagrams it does nothing any more, and its system takes what comes.
    Freezes(usize),
    /// After so many datagrams its sockets are closed.
    Dies(usize),
    /// After so many datagrams nothing reaches it for so long, and then all does.
    Away(usize, Duration),
}

/// Starts an echo over both transports that goes on until its fate meets it.
fn mortal(fate: Fate) -> String {
    let bind = |_| {
        let listener = TcpListener::bind("127.0.0.1:0").ok()?;
        let socket = UdpSocket::bind(listener.local_addr().ok()?).ok()?;
        Some((listener, socket))
    };
    let (listener, socket) = (0..100).find_map(bind).expect("a port of both transports");
    let address = listener.local_addr().expect("an address");
    let is_over = Arc::new(AtomicBool::new(false));
    let dies = matches!(fate, Fate::Dies(_));
    let mut back = None;
    let is_met = Arc::clone(&is_over);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let is_over = Arc::clone(&is_met);
            if dies && is_over.load(Ordering::SeqCst) {
                return;
            }
            thread::spawn(move || answer(stream, &is_over, dies));
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        let mut answered = 0;
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            match fate {
                Fate::Small(most) if len > most => continue,
                Fate::Away(last, time) if answered == last => {
                    let back = *back.get_or_insert_with(|| Instant::now() + time);
                    let is_away = Instant::now() < back;
                    is_over.store(is_away, Ordering::SeqCst);
                    if is_away {
                        continue;
                    }
                    answered += 1;
                }
                Fate::Freezes(last) | Fate::Dies(last) if answered == last => {
                    is_over.store(true, Ordering::SeqCst);
                    if dies {
                        // The listener sees that it is over with the next that comes.
                        let _woken = TcpStream::connect(address);
                        return;
                    }
                    continue;
                }
                _ => answered += 1,
            }
            socket.send_to(&buffer[..len], from).expect("an answer");
        }
    });
    address.to_string()
}

/// Sends back what comes over a connection until it is over.
fn answer(mut stream: TcpStream, is_over: &AtomicBool, dies: bool) {
    let mut buffer = [0; 2048];
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        match is_over.load(Ordering::SeqCst) {
            true if dies => return,
            true => {}
            false if stream.write_all(&buffer[..len]).is_ok() => {}
            false => return,
        }
    }
}

#[test]
fn of_sizes_nothing_is_said_where_packets_of_no_size_come_back() {
    let target = mortal(Fate::Small(64));
    let told = document(&run(
        &[&["diagnose", &target, "--json"], &BRIEF[..]].concat()
    ));
    let mut steps = told["steps"].as_array().expect("steps").iter();
    let sizes = steps.find(|step| step["name"] == "sizes").expect("sizes");
    assert_eq!(sizes["left_out"], true, "{sizes:#}");
    assert!(!verdicts(&told).contains(&"stopped"), "{told:#}");
}

#[test]
fn who_goes_away_in_the_middle_has_stopped_and_is_no_path_that_loses() {
    // Within the first train, before it and within the second.
    let fates = [
        (Fate::Freezes(300), "nobody says why"),
        (Fate::Dies(300), "nobody listens there any more"),
        (Fate::Dies(12), "nobody listens there any more"),
        (Fate::Freezes(700), "nobody says why"),
    ];
    let meet = |(fate, why): (Fate, &str)| {
        let target = mortal(fate);
        let words = ["diagnose", &target, "--json", "--gentle"];
        let told = document(&run(&words));
        assert_eq!(problems(&told), ["stopped"], "{fate:?}: {told:#}");
        let found = &told["findings"][0];
        let came = found["came"].as_str().expect("what came");
        assert!(came.contains(why), "{fate:?}: {found:#}");
        assert!(!told.to_string().contains("os error"), "{told:#}");
    };
    thread::scope(|scope| {
        for fate in fates {
            scope.spawn(move || meet(fate));
        }
    });
}

#[test]
fn who_comes_back_after_a_while_has_not_stopped_and_what_was_asked_meanwhile_is_asked_again() {
    let target = mortal(Fate::Away(300, Duration::from_secs(5)));
    let words = [&["diagnose", &target, "--json"], &BRIEF[..]].concat();
    let told = document(&run(&words));
    assert_eq!(problems(&told), ["outage"], "{told:#}");
    let title = told["findings"][0]["title"].as_str().expect("a title");
    // It is known to have lasted from the first that was lost to the last.
    let seconds = ["for 3", "for 4", "for 5"].map(|seconds| title.contains(seconds));
    assert!(seconds.contains(&true), "{title}");
    let steps = told["steps"].as_array().expect("steps").iter();
    let taken = steps.filter(|step| step["left_out"] == false);
    let taken: Vec<_> = taken.map(|step| &step["name"]).collect();
    assert_eq!(taken, ["reach", "echo", "steady", "sizes", "hops", "again"]);
}

#[test]
fn a_server_that_is_not_up_yet_is_waited_for() {
    // Where a port that is free for a moment becomes nobody else's.
    in_own_network("a_server_that_is_not_up_yet_is_waited_for", || {
        let endpoint = "127.0.0.1:7000";
        let listener = TcpListener::bind(endpoint).expect("a port");
        let deadline = SockRef::from(&listener).set_read_timeout(Some(DEADLINE));
        deadline.expect("it is ours");
        let words = ["diagnose", endpoint, "--json", "--wait", "20s"];
        let client = start(&[&words[..], &BRIEF].concat());
        // It has asked once, and nobody has echoed.
        drop(listener.accept().expect("a connection"));
        drop(listener);
        let _server = echo_on(endpoint);
        let told = document(&client.end());
        assert_eq!(problems(&told), [""; 0], "{told:#}");
    });
}

#[test]
fn who_closes_a_silent_connection_is_no_firewall_that_forgets_it() {
    let server = echo_with(Config {
        idle_timeout: "1s".parse().unwrap(),
        ..Config::default()
    });
    let words = ["diagnose", &server.tcp, "--json", "--idle", "3s"];
    let told = document(&run(&[&words[..], &BRIEF].concat()));
    assert_eq!(problems(&told), [""; 0], "{told:#}");
    let mut found = told["findings"].as_array().expect("findings").iter();
    let closed = found.find(|finding| finding["verdict"] == "idle-killed");
    let title = closed.and_then(|closed| closed["title"].as_str());
    let is_closed = |title: &str| title.starts_with("the other end closes a connection");
    assert!(title.is_some_and(is_closed), "{told:#}");
}
