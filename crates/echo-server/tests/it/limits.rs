//! Caps and timeouts: who is turned away, who is closed, and what that costs the others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::common::{
    Account, Server, TempPath, after, connect, echo, eventually, exchange, fill, fill_all, has,
    in_own_network, pattern, raise_open_files, read_to_end, run,
};

/// Whether the server keeps this connection: it echoes on it, or has closed it already.
fn kept(mut stream: impl Read + Write) -> bool {
    let mut back = [0; 4];
    stream.write_all(b"room").is_ok() && stream.read_exact(&mut back).is_ok()
}

#[test]
fn over_the_cap_a_connection_is_closed_at_once_and_told() {
    for workers in ["--workers=1", "--workers=4"] {
        let server = Server::start(&[workers, "--max-connections=3"]);
        let mut held: Vec<TcpStream> = (0..3).map(|_| connect(server.tcp())).collect();
        for stream in &mut held {
            echo(stream, b"in");
        }
        for _ in 0..5 {
            assert!(!kept(connect(server.tcp())));
        }
        server.says("--max-connections 3 reached");
        echo(&mut held[0], b"still in");
        held.pop();
        eventually("the place is free", || kept(connect(server.tcp())));
        server.stop();
    }
}

#[test]
fn an_address_has_its_share_however_it_is_written() {
    // To the second socket every IPv4 peer is a v4-mapped one.
    let listen = ["--listen=tcp://127.0.0.1:0", "--listen=tcp://[::]:0"];
    let server = Server::listening(&[&listen[..], &["--max-per-ip=2"]].concat());
    let (v4, both) = (server.nth("tcp", 0).port(), server.nth("tcp", 1).port());
    let at = |host: &str, port| connect(SocketAddr::new(host.parse().unwrap(), port));
    let (mut one, mut two) = (at("127.0.0.1", v4), at("127.0.0.1", both));
    echo(&mut one, b"in");
    echo(&mut two, b"in");
    assert!(!kept(at("127.0.0.1", v4)));
    assert!(!kept(at("::ffff:127.0.0.1", both)));
    server.says("--max-per-ip 2 reached");
    // Another address has a share of its own.
    assert!(kept(at("::1", both)));
    drop(one);
    eventually("the place is free", || kept(at("127.0.0.1", both)));
    server.stop();
}

#[test]
fn the_share_of_an_address_does_not_bind_unix_peers() {
    let path = TempPath::new("e.sock");
    let server = Server::listening(&["--max-per-ip=1", "--listen", &path.endpoint()]);
    let mut peers: Vec<UnixStream> = (0..5)
        .map(|_| UnixStream::connect(&*path).unwrap())
        .collect();
    for peer in &mut peers {
        echo(peer, b"in");
    }
    server.stop();
}

#[test]
fn an_idle_connection_is_closed_and_a_talking_one_is_not() {
    let server = Server::start(&["--idle-timeout=400ms", "--workers=1"]);
    let start = Instant::now();
    let mut idle = connect(server.tcp());
    idle.set_nonblocking(true).unwrap();
    let mut talker = connect(server.tcp());
    let mut rounds = 0;
    while idle.read(&mut [0]).is_err() || start.elapsed() < Duration::from_secs(1) {
        rounds += 1;
        echo(&mut talker, &pattern(64, rounds));
        assert!(
            start.elapsed() < crate::common::LIMIT,
            "the idle one is not closed"
        );
    }
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    server.says("idle for too long");
    let closed = server.told().matches("idle for too long").count();
    assert_eq!(closed, 1);
    server.stop();
}

#[test]
fn a_peer_that_stops_reading_is_closed_and_its_memory_is_free() {
    let server = Server::start(&["--write-timeout=2s", "--workers=2"]);
    let account = Account::open(&server);
    let stuck: Vec<TcpStream> = (0..10).map(|_| connect(server.tcp())).collect();
    fill_all(&stuck);
    account.balances(4 << 10);
    server.says("the peer stopped reading");
    drop(stuck);
    server.stop();
}

#[test]
fn a_slow_reader_is_no_peer_that_stopped() {
    let server = Server::start(&["--write-timeout=500ms", "--workers=1"]);
    let mut stream = connect(server.tcp());
    let sent = fill(&stream);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // A piece now and then, for three times as long as a peer may stand still.
    let (start, mut back) = (Instant::now(), Vec::new());
    let mut piece = vec![0; 256 << 10];
    while start.elapsed() < Duration::from_millis(1500) && back.len() + piece.len() < sent.len() {
        stream.read_exact(&mut piece).unwrap();
        back.extend_from_slice(&piece);
        std::thread::sleep(Duration::from_millis(100));
    }
    back.extend(read_to_end(&mut stream));
    assert!(back == sent, "{} of {} bytes", back.len(), sent.len());
    server.stop();
}

/// A peer whose machine is gone sends nothing any more, not even a reset.
#[test]
fn a_peer_that_vanished_is_freed_within_the_stated_bound() {
    in_own_network(
        "a_peer_that_vanished_is_freed_within_the_stated_bound",
        || {
            if !crate::common::has("nft") {
                return;
            }
            let server = Server::start(&["--keepalive=1s", "--write-timeout=3s"]);
            let probing = Server::start(&["--keepalive=1s", "--write-timeout=0"]);
            let (account, probed) = (Account::open(&server), Account::open(&probing));
            let silent = [connect(server.tcp()), connect(probing.tcp())];
            let stuck = connect(server.tcp());
            let mut unheard = connect(server.tcp());
            fill(&stuck);
            account.holds(3);
            probed.holds(1);
            run("nft add table ip vanish");
            run("nft add chain ip vanish in { type filter hook input priority 0; }");
            // One more request arrives, whose echo then is on its way for ever.
            let port = server.tcp().port();
            run(&format!("nft add rule ip vanish in tcp sport {port} drop"));
            unheard.write_all(b"hello?").unwrap();
            run("nft add rule ip vanish in drop");
            let start = Instant::now();
            account.holds(0);
            probed.holds(0);
            // The longer of two seconds and three; a probe a second without a write timeout, the
            // fourth of them after five; and what the system rounds up.
            assert!(
                start.elapsed() < Duration::from_secs(8),
                "{:?}",
                start.elapsed()
            );
            run("nft delete table ip vanish");
            account.balances(4 << 10);
            drop((silent, stuck, unheard));
            server.stop();
            probing.stop();
        },
    );
}

#[test]
fn out_of_descriptors_it_waits_quietly_and_serves_again_within_a_second() {
    if !has("prlimit") {
        return;
    }
    raise_open_files();
    let server = Server::listening(&["--listen=tcp://127.0.0.1:0", "--workers=2"]);
    // The cap is above what the system still grants, so that accepting is what fails.
    run(&format!("prlimit --nofile=32 --pid {}", server.id()));
    let account = Account::open(&server);
    let crowd: Vec<TcpStream> = (0..200).map(|_| connect(server.tcp())).collect();
    server.says("Cannot accept");
    let served = account.connections();
    assert!((8..32).contains(&served), "{served} of 200 are served");

    // Two seconds of a normal day, in which the others wait and one talks.
    let (cpu, start) = (account.cpu(), Instant::now());
    while start.elapsed() < Duration::from_secs(2) {
        echo(&crowd[0], b"still here");
        std::thread::sleep(Duration::from_millis(100));
    }
    let used = account.cpu() - cpu;
    assert!(
        used <= Duration::from_millis(100),
        "{used:?} of CPU in {:?}",
        start.elapsed()
    );
    let told = server.told();
    assert!(told.matches("Cannot accept").count() <= 10, "{told}");

    drop(crowd);
    account.serves_within(Duration::from_secs(1));
    account.balances(1 << 10);
    server.stop();
}

#[test]
fn the_cap_leaves_room_however_high_it_is_asked_for_and_turns_the_others_away() {
    for args in [&[][..], &["--max-connections=1000"]] {
        leaves_room(args);
    }
}

fn leaves_room(args: &[&str]) {
    raise_open_files();
    let mut command = after("ulimit -n 32");
    command.args(["--listen=tcp://127.0.0.1:0", "--workers=2"]);
    let server = Server::run(command.args(args));
    let account = Account::open(&server);
    let crowd: Vec<TcpStream> = (0..200).map(|_| connect(server.tcp())).collect();
    server.says("reached");
    let is_told = server.told().contains("leaves room for");
    assert_eq!(is_told, !args.is_empty(), "{}", server.told());
    let served = account.connections();
    assert!((8..32).contains(&served), "{served} of 200 are served");
    assert!(
        !server.told().contains("Cannot accept"),
        "{}",
        server.told()
    );
    let lines = server.told().lines().count();
    assert!(lines < 60, "{lines} lines: {}", server.told());
    drop(crowd);
    account.holds(0);
    account.serves_within(Duration::from_secs(1));
    account.balances(1 << 10);
    server.stop();
}

#[test]
fn a_cap_that_files_allow_is_kept_at_the_cost_of_speed() {
    let mut command = after("ulimit -n 64");
    command.args(["--listen=tcp://127.0.0.1:0", "--workers=1"]);
    let server = Server::run(command.arg("--max-connections=40"));
    let mut held: Vec<TcpStream> = (0..40).map(|_| connect(server.tcp())).collect();
    held.iter_mut().for_each(|stream| echo(stream, b"in"));
    let sent = pattern(1 << 20, 1);
    held.pop();
    assert!(exchange(server.tcp(), &sent) == sent);
    assert!(!server.told().contains("leaves room"), "{}", server.told());
    server.stop();
}

#[test]
fn a_low_soft_limit_is_raised() {
    raise_open_files();
    let mut command = after("ulimit -Sn 32");
    let server = Server::run(command.args(["--listen=tcp://127.0.0.1:0"]));
    let mut crowd: Vec<TcpStream> = (0..300).map(|_| connect(server.tcp())).collect();
    for stream in &mut crowd {
        echo(stream, b"in");
    }
    server.stop();
}

#[test]
fn too_few_files_to_serve_anyone_are_an_error_at_the_start() {
    let mut served = false;
    for files in 8..24 {
        let mut command = after(&format!("ulimit -n {files}"));
        command.args(["--listen=127.0.0.1:0", "--workers=1"]);
        let mut server = Server::launch(command.args(["--max-connections=1000", "-q"]));
        let is_ready = server.is_ready();
        assert!(is_ready || !served, "with {files}, but not with fewer");
        served = is_ready;
        if is_ready {
            echo(connect(server.tcp()), b"hello");
            server.stop();
        } else {
            let ended = server.end();
            assert_eq!(ended.code, Some(1), "{files}: {ended:?}");
            assert!(ended.stderr.contains("ulimit -n"), "{files}: {ended:?}");
        }
    }
    assert!(served);
}

/// Whatever it was that found no room.
#[test]
fn whatever_needs_one_file_too_many_at_the_start_says_that_files_are_too_few() {
    let [socket, control, record, ready] =
        ["socket", "control", "record", "ready"].map(TempPath::new);
    let mut refused = 0;
    for files in 4..40 {
        let mut command = after(&format!("ulimit -n {files}"));
        command
            .args([
                "--listen=127.0.0.1:0",
                "--workers=1",
                "--metrics=127.0.0.1:0",
            ])
            .arg(format!("--listen=unix:{}", socket.display()))
            .arg(format!("--control={}", control.display()))
            .arg(format!("--record={}", record.display()))
            .arg(format!("--ready-file={}", ready.display()));
        let mut server = Server::launch(&mut command);
        if server.is_ready() {
            server.stop();
            continue;
        }
        let ended = server.end();
        let text = &ended.stderr;
        assert!(text.contains("(ulimit -n)"), "{files}: {text}");
        // As many are said to be open where nobody can tell; a path may have the digits of a process.
        assert!(!text.contains(", 48 are"), "{files}, and not more: {text}");
        refused += 1;
    }
    assert!(refused > 10);
}

#[test]
fn an_ipv6_network_has_its_share_whichever_address_it_comes_from() {
    in_own_network(
        "an_ipv6_network_has_its_share_whichever_address_it_comes_from",
        || {
            if !crate::common::has_ipv6() {
                return;
            }
            let probe = TcpListener::bind("[::]:0").unwrap();
            let port = probe.local_addr().unwrap().port();
            for address in ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"] {
                run(&format!("ip address add {address}/128 dev lo nodad"));
                // That it is this machine's own, its routes say a little later.
                eventually(address, || TcpStream::connect((address, port)).is_ok());
            }
            let server = Server::listening(&["--listen=tcp://[::]:0", "--max-per-ip=1"]);
            let at =
                |host: &str| connect(SocketAddr::new(host.parse().unwrap(), server.tcp().port()));
            let mut first = at("2001:db8::1");
            echo(&mut first, b"in");
            assert!(!kept(at("2001:db8::2")));
            assert!(kept(at("2001:db8:0:1::1")));
            server.stop();
        },
    );
}

/// A frame of 1 MiB but for its last byte, which never comes.
fn hold_most_of_a_frame(mut stream: &TcpStream) {
    let frame = vec![0; 1 << 20];
    let _ = stream.write_all(&(frame.len() as u32).to_be_bytes());
    // It may be ended meanwhile.
    let _ = stream.write_all(&frame[1..]);
}

#[test]
fn over_max_memory_whoever_holds_most_is_ended_and_nobody_else() {
    for workers in ["--workers=1", "--workers=2"] {
        let args = [workers, "--framing=length", "--max-memory=4MiB"];
        let server = Server::start(&args);
        let account = Account::open(&server);
        // Some on each worker, which also have a part of a frame held.
        let mut small: Vec<TcpStream> = (0..6).map(|_| connect(server.tcp())).collect();
        for stream in &mut small {
            stream.write_all(b"\0\0\0\x03ab").unwrap();
        }
        let large: Vec<TcpStream> = (0..20).map(|_| connect(server.tcp())).collect();
        large.iter().for_each(hold_most_of_a_frame);
        server.says("it held the most when --max-memory was reached");
        // What they may hold together, and as much again for what is on its way.
        assert!(
            account.grown_kib() < 10 << 10,
            "{} KiB",
            account.grown_kib()
        );
        for stream in &mut small {
            stream.write_all(b"c").unwrap();
            let mut back = [0; 7];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"\0\0\0\x03abc");
        }
        account.serves_within(Duration::from_secs(1));
        drop((small, large));
        account.balances(8 << 10);
        server.stop();
    }
}

#[test]
fn what_faults_hold_counts_as_memory() {
    let args = ["--workers=1", "--fault=delay=1h", "--max-memory=1MiB"];
    let server = Server::start(&args);
    let held: Vec<TcpStream> = (0..10).map(|_| connect(server.tcp())).collect();
    for mut stream in &held {
        let _ = stream.write_all(&pattern(200_000, 1));
    }
    server.says("it held the most when --max-memory was reached");
    server.stop();
}

#[test]
fn at_max_memory_nobody_else_comes_in() {
    let server = Server::start(&["--max-memory=32KiB"]);
    let mut held: Vec<TcpStream> = (0..32).map(|_| connect(server.tcp())).collect();
    for stream in &mut held {
        echo(stream, b"in");
    }
    assert!(!kept(connect(server.tcp())));
    server.says("--max-memory 32KiB reached");
    held.pop();
    eventually("the place is free", || kept(connect(server.tcp())));
    server.stop();
}

#[test]
fn ninety_frames_of_a_mebibyte_do_not_end_a_server_that_may_have_64_mebibytes() {
    // Nor where it is told that it may have more.
    for (workers, budget) in [
        ("--workers=1", "--max-memory=0"),
        ("--workers=2", "--max-memory=1GiB"),
    ] {
        let mut command = after("ulimit -v 65536");
        command.args(["--listen=127.0.0.1:0", "--framing=length", "--log=json"]);
        let server = Server::run(command.args([workers, budget]));
        for _ in 0..2 {
            let crowd: Vec<TcpStream> = (0..90).map(|_| connect(server.tcp())).collect();
            crowd.iter().for_each(hold_most_of_a_frame);
            server.says("\"reason\":\"memory\"");
            echo(connect(server.tcp()), b"\0\0\0\x05hello");
        }
        server.stop();
    }
}
