//! Peers that mean harm: each ends its own connection at most, and leaves nothing behind.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{
    Account, LIMIT, Server, connect, echo, exchange, fill_all, pattern, raise_open_files, reset,
};

#[test]
fn fifty_peers_that_never_read_cost_less_than_8_mib() {
    for framing in ["raw", "lines"] {
        let server = Server::start(&["--framing", framing]);
        let account = Account::open(&server);
        let stuck: Vec<TcpStream> = (0..50).map(|_| connect(server.tcp())).collect();
        fill_all(&stuck);
        assert!(
            account.grown_kib() < 8 << 10,
            "{framing}: {} KiB",
            account.grown_kib()
        );
        account.serves_within(Duration::from_secs(1));
        drop(stuck);
        account.balances(4 << 10);
        server.stop();
    }
}

#[test]
fn fifty_peers_that_never_read_cost_the_system_less_than_64_mib() {
    if !crate::common::has("ss") {
        return;
    }
    let server = Server::start(&[]);
    let stuck: Vec<TcpStream> = (0..50).map(|_| connect(server.tcp())).collect();
    fill_all(&stuck);
    let mut ss = Command::new("ss");
    ss.args(["-tmnH", "sport", "=", &server.tcp().port().to_string()]);
    let told = String::from_utf8(ss.output().unwrap().stdout).unwrap();
    // Received and not read, written and not taken, and reserved for either.
    let sum = |key: char| -> u64 {
        let sockets = told.split("skmem:(").skip(1);
        let of_one = |socket: &str| {
            let mut parts = socket.split([',', ')']);
            parts.find_map(|part| part.strip_prefix(key)?.parse::<u64>().ok())
        };
        sockets.filter_map(of_one).sum()
    };
    let held = sum('r') + sum('w') + sum('f');
    assert!(sum('r') > 1 << 20 && sum('w') > 1 << 20, "{told}");
    assert!(held < 64 << 20, "{} KiB", held >> 10);
    drop(stuck);
    server.stop();
}

#[test]
fn resets_at_any_moment_end_one_connection_each() {
    let server = Server::start(&["--workers=2"]);
    let account = Account::open(&server);
    let mut bystander = connect(server.tcp());
    let block = pattern(100_000, 1);
    for round in 0..1000_usize {
        let mut peer = connect(server.tcp());
        peer.set_nonblocking(true).unwrap();
        // Before a byte, after one, with an echo unread, with a backlog, after the end.
        let len = [0, 1, 5_000, 100_000][round % 4];
        let _ = peer.write(&block[..len]);
        if round % 7 == 0 {
            peer.shutdown(Shutdown::Write).unwrap();
        }
        reset(peer);
        if round % 50 == 0 {
            echo(&mut bystander, &pattern(100, round as u64));
        }
    }
    drop(bystander);
    account.balances(4 << 10);
    let ended = server.stop();
    assert!(
        ended.stderr.contains("the peer reset the connection"),
        "{}",
        ended.stderr
    );
}

#[test]
fn two_thousand_held_connections_come_and_go() {
    raise_open_files();
    let server = Server::start(&[]);
    let account = Account::open(&server);
    let mut peers: Vec<TcpStream> = (0..2000).map(|_| connect(server.tcp())).collect();
    for (i, peer) in peers.iter_mut().enumerate() {
        echo(peer, &pattern(50, i as u64));
    }
    account.holds(2000);
    // Idle connections have no memory of their own worth speaking of.
    assert!(account.grown_kib() < 4 << 10, "{} KiB", account.grown_kib());
    account.serves_within(Duration::from_secs(1));
    drop(peers);
    account.balances(4 << 10);
    server.stop();
}

#[test]
fn every_connection_that_is_told_is_told_to_be_closed() {
    // As JSON, which is never summed up.
    let server = Server::start(&["--workers=2", "--log=json"]);
    let mut bytes = 0;
    // The last one is echoed: by then all have been accepted.
    const ROUNDS: usize = 499;
    for round in 0..ROUNDS {
        let mut peer = connect(server.tcp());
        match round % 3 {
            0 => {
                echo(&mut peer, &pattern(round, 1));
                bytes += round;
            }
            1 => reset(peer),
            _ => drop(peer),
        }
    }
    let told = server.stop().stderr;
    let events = |name: &str| {
        let name = format!("\"event\":\"{name}\"");
        told.lines().filter(move |line| line.contains(&name))
    };
    assert_eq!(events("accepted").count(), ROUNDS, "{told}");
    assert_eq!(events("closed").count(), ROUNDS, "{told}");
    for key in ["\"received_bytes\":", "\"sent_bytes\":"] {
        let count = |line: &str| -> usize {
            let digits = line.split(key).nth(1).unwrap();
            digits[..digits.find([',', '}']).unwrap()].parse().unwrap()
        };
        assert_eq!(events("closed").map(count).sum::<usize>(), bytes, "{key}");
    }
}

/// A standard error that nobody reads is full after 64 KiB, and every write to it then waits.
#[test]
fn a_blocked_standard_error_stalls_nothing() {
    let (server, mut stderr) = Server::unheard(&["-v", "--workers=1"]);
    let mut stream = connect(server.tcp());
    let start = Instant::now();
    for round in 0..5000 {
        echo(&mut stream, &pattern(100, round));
    }
    for _ in 0..200 {
        echo(connect(server.tcp()), b"short");
    }
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    drop(stream);

    // It ends in bounded time too, unheard.
    let start = Instant::now();
    server.stop();
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let mut told = String::new();
    stderr.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("Connected by: "), "{}", &told[..100]);
}

#[test]
fn whoever_listens_late_is_told_how_much_was_missed() {
    let (server, mut stderr) = Server::unheard(&["-v", "--workers=1"]);
    let mut stream = connect(server.tcp());
    for round in 0..8000 {
        echo(&mut stream, &pattern(100, round));
    }
    drop(stream);
    let listener = std::thread::spawn(move || {
        let mut told = String::new();
        stderr.read_to_string(&mut told).map(|_| told)
    });
    server.stop();
    let told = listener.join().unwrap().unwrap();
    assert!(told.contains("not shown"), "{}", &told[told.len() - 300..]);
}

#[test]
fn a_standard_error_that_fails_ends_nothing() {
    // Where there is no /dev/full, the shell's own complaint ends the test.
    let mut command = crate::common::after("exec 2>/dev/full");
    let server = Server::run(command.args(["--listen=127.0.0.1:0", "-v"]));
    for round in 0..100 {
        let sent = pattern(100, round);
        assert_eq!(exchange(server.tcp(), &sent), sent);
    }
    server.stop();
}

#[test]
fn what_peers_send_reaches_the_log_only_when_asked_and_then_in_quotes() {
    let evil = b"\"\x1b]0;owned\x07\x1b[2J\r\nready\nConnected by: 6.6.6.6:6\n";
    for verbose in [false, true] {
        let mut args = vec!["--framing=lines", "--max-frame=100"];
        args.extend(verbose.then_some("-v"));
        let server = Server::start(&args);
        let mut peer = connect(server.tcp());
        peer.write_all(evil).unwrap();
        peer.write_all(&[0x1b; 500]).unwrap();
        crate::common::read_to_end(&mut peer);
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        datagrams.set_read_timeout(Some(LIMIT)).unwrap();
        datagrams.send_to(evil, server.udp()).unwrap();
        assert_eq!(datagrams.recv(&mut [0; 99]).unwrap(), evil.len());
        server.says("over the limit");
        let ended = server.stop();
        for text in [&ended.stdout, &ended.stderr] {
            let unsafe_char = text.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(unsafe_char, None, "{text:?}");
            assert!(!text.contains("6.6.6.6"), "{text}");
        }
        let shown = ended.stderr.matches("owned").count();
        let quoted = ended.stderr.matches(r#": "\"\x1b]0;owned"#).count();
        // The bytes of the stream, and those of the datagram.
        assert_eq!((shown, quoted), if verbose { (2, 2) } else { (0, 0) });
    }
}

#[test]
fn connections_that_come_and_go_cost_nothing_that_stays() {
    let server = Server::start(&["--workers=2", "-q"]);
    let account = Account::open(&server);
    let address = server.tcp();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                for round in 0..1000 {
                    echo(connect(address), &pattern(64, worker * 1000 + round));
                }
            });
        }
    });
    account.balances(2 << 10);
    server.stop();
}

/// A server whose calls of `accept` fail as `inject` has it, and the file in which they are noted.
fn failing_to_accept(inject: &str) -> Option<(Server, crate::common::TempPath)> {
    if !crate::common::has("strace") {
        return None;
    }
    let file = crate::common::TempPath::new("calls");
    let mut command = crate::common::wrapped(&format!(
        "strace -D -f -qq -e trace=accept4 -e inject=accept4:{inject} -o {}",
        file.text()
    ));
    let server = Server::run(command.args(["--listen=tcp://127.0.0.1:0", "--workers=1"]));
    Some((server, file))
}

#[test]
fn accepting_that_fails_for_ever_is_told_and_burns_nothing() {
    for error in ["ECONNABORTED", "EPERM", "EPROTO", "ENETDOWN", "EMFILE"] {
        let inject = format!("error={error}");
        let Some((server, calls)) = failing_to_accept(&inject) else {
            return;
        };
        let _waiting = connect(server.tcp());
        // The pause is then as long as it gets.
        server.says("500 ms");
        let tries = std::fs::read_to_string(&*calls).unwrap().lines().count();
        assert!(tries <= 1_500, "{error}: {tries} tries");
        let told = server.stop().stderr;
        assert_eq!(told.contains("ulimit -n"), error == "EMFILE", "{told}");
    }
}

#[test]
fn one_connection_that_cannot_be_accepted_holds_up_no_other() {
    let Some((server, calls)) = failing_to_accept("error=ECONNABORTED:when=1..3") else {
        return;
    };
    echo(connect(server.tcp()), b"hello");
    let told = server.stop().stderr;
    assert!(!told.contains("accept"), "{told}");
    let calls = std::fs::read_to_string(&*calls).unwrap();
    assert_eq!(calls.matches("(INJECTED)").count(), 3, "{calls}");
}
