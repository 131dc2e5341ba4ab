//! Signals: what ends the server, how soon, and who may go on meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::{
    Account, LIMIT, Server, TempPath, connect, echo, eventually, has, pattern, program, wrapped,
};
use rustix::process::Signal;

/// Waits until nobody can connect any more.
fn refuses(server: &Server) {
    let address = server.tcp();
    eventually("new connections are refused", || {
        TcpStream::connect(address).is_err()
    });
}

#[test]
fn the_first_signal_ends_a_quiet_server_at_once() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let path = TempPath::new("e.sock");
        // Whoever waited for the drain to be over would be waited for in vain.
        let server = Server::start(&["--drain=1h", "--listen", &path.endpoint()]);
        server.signal(signal);
        let ended = server.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let last = ended.stderr.lines().last().unwrap();
        assert!(last.starts_with("Stopped"), "{ended:?}");
        assert!(!path.exists(), "{signal:?} leaves the socket behind");
    }
}

#[test]
fn a_wake_that_fails_once_holds_up_no_end() {
    if !has("strace") {
        return;
    }
    // The second write of the thread that hears signals is to wake the second worker, which sleeps
    // until then.
    let inject = "-e trace=write -e inject=write:error=EIO:when=2";
    let mut command = wrapped(&format!("strace -D -f -qq -o /dev/null {inject}"));
    let server = Server::run(command.args(["--listen=tcp://127.0.0.1:0", "--workers=2"]));
    // Both have served somebody, and sleep.
    Account::open(&server);
    server.stop();
}

#[test]
fn peers_that_talk_go_on_while_it_drains_and_silent_ones_are_closed() {
    for workers in ["--workers=1", "--workers=4"] {
        let server = Server::start(&[workers, "--drain=20s"]);
        let mut talkers: Vec<TcpStream> = (0..5).map(|_| connect(server.tcp())).collect();
        let mut silent = connect(server.tcp());
        echo(&mut silent, b"my last words");
        server.signal(Signal::TERM);
        refuses(&server);
        silent.set_nonblocking(true).unwrap();
        // Long enough that every talker would have been taken for silent.
        let start = Instant::now();
        let mut rounds = 0;
        while start.elapsed() < Duration::from_millis(1500) || silent.read(&mut [0]).is_err() {
            rounds += 1;
            for talker in &mut talkers {
                echo(talker, &pattern(100, rounds));
            }
            assert!(start.elapsed() < LIMIT, "the silent peer is not closed");
        }
        assert_eq!(silent.read(&mut [0]).unwrap(), 0);
        let done = Instant::now();
        drop(talkers);
        let ended = server.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(
            done.elapsed() < Duration::from_secs(5),
            "{:?}",
            done.elapsed()
        );
        assert!(ended.stderr.contains("the server is stopping"), "{ended:?}");
    }
}

/// The system tells of room only once a third of a socket's buffer is free, which takes a slow
/// reader longer than a silent peer is given.
#[test]
fn a_slow_reader_gets_what_it_is_owed_while_it_drains() {
    for args in [&["--drain=20s"][..], &["--drain=20s", "--fault=drop=0%"]] {
        let server = Server::start(args);
        let mut stream = connect(server.tcp());
        let sent = crate::common::fill(&stream);
        server.signal(Signal::TERM);
        refuses(&server);
        let mut back = vec![0; sent.len()];
        let start = Instant::now();
        // Half a megabyte a second for as long as a stuck peer would be given, then the rest.
        let mut read = 0;
        while start.elapsed() < Duration::from_millis(3_500) {
            let due = (start.elapsed().as_millis() as usize * 500).min(back.len());
            stream.read_exact(&mut back[read..due.max(read)]).unwrap();
            read = read.max(due);
            std::thread::sleep(Duration::from_millis(20));
        }
        stream.read_exact(&mut back[read..]).unwrap();
        assert!(back == sent);
        drop(stream);
        assert_eq!(server.end().code, Some(0));
    }
}

#[test]
fn a_peer_that_takes_nothing_is_waited_for_no_longer_than_ever() {
    let server = Server::start(&["--drain=1h", "--write-timeout=1s"]);
    let stuck: Vec<TcpStream> = (0..3).map(|_| connect(server.tcp())).collect();
    crate::common::fill_all(&stuck);
    server.signal(Signal::TERM);
    assert_eq!(server.end().code, Some(0));
}

#[test]
fn an_answer_that_is_held_back_is_sent_before_the_end() {
    let server = Server::start(&["--fault=delay=1500ms", "--drain=20s"]);
    let mut stream = connect(server.tcp());
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.set_read_timeout(Some(LIMIT)).unwrap();
    datagrams.connect(server.udp()).unwrap();
    let start = Instant::now();
    stream.write_all(b"held back").unwrap();
    datagrams.send(b"this too").unwrap();
    server.tells("both", |told| {
        (told.matches("Fault: delay").count() == 2).then_some(())
    });
    server.signal(Signal::TERM);
    let mut back = [0; 9];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"held back");
    assert_eq!(datagrams.recv(&mut back).unwrap(), 8);
    assert!(start.elapsed() >= Duration::from_millis(1500));
    drop(stream);
    assert_eq!(server.end().code, Some(0));
}

#[test]
fn an_answer_that_waits_for_others_waits_no_longer_than_the_peer() {
    for (args, signals) in [
        (
            &["-v", "--fault=merge=100", "--idle-timeout=300ms"][..],
            false,
        ),
        (&["-v", "--fault=merge=100", "--drain=20s"], true),
        // Nor is whoever waits for an answer idle.
        (&["-v", "--fault=delay=1s", "--idle-timeout=100ms"], false),
    ] {
        let server = Server::start(args);
        let mut stream = connect(server.tcp());
        stream.write_all(b"alone").unwrap();
        server.says("received 5 bytes");
        if signals {
            server.signal(Signal::TERM);
        }
        assert_eq!(
            crate::common::read_to_end(&mut stream),
            b"alone",
            "{args:?}"
        );
        if signals {
            assert_eq!(server.end().code, Some(0));
        }
    }
}

#[test]
fn whoever_is_late_is_closed_at_the_deadline() {
    let server = Server::start(&["--drain=300ms"]);
    let mut talker = connect(server.tcp());
    echo(&mut talker, b"hello");
    server.signal(Signal::TERM);
    let start = Instant::now();
    let mut back = [0; 5];
    while talker.write_all(b"hello").is_ok() && talker.read_exact(&mut back).is_ok() {
        assert!(start.elapsed() < LIMIT, "still talking");
    }
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn the_deadline_holds_under_load() {
    let server = Server::start(&["--drain=500ms", "--workers=2"]);
    let address = server.tcp();
    std::thread::scope(|scope| {
        for seed in 0..20 {
            scope.spawn(move || flood(connect(address), seed));
        }
        let stuck: Vec<TcpStream> = (0..5).map(|_| connect(address)).collect();
        crate::common::fill_all(&stuck);
        server.signal(Signal::TERM);
        let start = Instant::now();
        let ended = server.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
    });
}

/// Sends and reads without a pause until the server ends it; what came back is a prefix.
fn flood(stream: TcpStream, seed: u64) {
    let block = pattern(50_021, seed);
    let mut sender = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| while sender.write_all(&block).is_ok() {});
        let mut at = 0;
        let mut buffer = [0; 8192];
        while let Ok(n @ 1..) = (&stream).read(&mut buffer) {
            for byte in &buffer[..n] {
                assert_eq!(*byte, block[at]);
                at = (at + 1) % block.len();
            }
        }
        // A sender that is blocked must hear of it too.
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
}

#[test]
fn the_second_signal_ends_it_at_once_and_leaves_nothing_behind() {
    let path = TempPath::new("e.sock");
    let server = Server::start(&["--drain=1h", "--listen", &path.endpoint()]);
    let mut talker = connect(server.tcp());
    echo(&mut talker, b"hello");
    server.signal(Signal::TERM);
    refuses(&server);
    let start = Instant::now();
    // Once: whether one that comes again is the same is a matter of half a second.
    server.signal(Signal::INT);
    let ended = server.end();
    assert_eq!(ended.code, Some(130));
    assert!(ended.stderr.contains("a second signal"), "{ended:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(!path.exists());
}

#[test]
fn whatever_would_end_a_program_stops_it_in_order() {
    for signal in [Signal::USR2, Signal::ALARM, Signal::XCPU] {
        let path = TempPath::new("e.sock");
        let server = Server::start(&["--listen", &path.endpoint()]);
        server.signal(signal);
        assert_eq!(server.end().code, Some(0), "{signal:?}");
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            0
        );
    }
}

#[test]
fn a_signal_that_comes_while_it_starts_leaves_nothing_behind() {
    // So many that the first one is there well before the last.
    let paths: Vec<TempPath> = (0..200).map(|n| TempPath::new(&format!("{n}"))).collect();
    let listen: Vec<String> = paths.iter().map(TempPath::endpoint).collect();
    let mut command = program();
    command.args(["--listen", &listen.join(",")]);
    let server = Server::launch(&mut command);
    eventually("it takes the first path", || paths[0].exists());
    server.signal(Signal::USR1);
    server.signal(Signal::TERM);
    assert_eq!(server.end().code, Some(0));
    for path in paths {
        let left = std::fs::read_dir(path.parent().unwrap()).unwrap();
        assert_eq!(left.count(), 0);
    }
}

/// `timeout` and `tini -g` signal the process and its group; so do a shell and its terminal.
#[test]
fn one_wish_that_arrives_twice_is_one_wish() {
    let server = Server::start(&["--drain=1h"]);
    let mut talker = connect(server.tcp());
    echo(&mut talker, b"hello");
    let start = Instant::now();
    server.signal(Signal::TERM);
    refuses(&server);
    server.signal(Signal::TERM);
    if start.elapsed() > Duration::from_millis(400) {
        return crate::common::skip("the machine is too busy to send two signals in half a second");
    }
    // It goes on with what it was about to do, until the wish comes again.
    while start.elapsed() < Duration::from_millis(600) {
        echo(&mut talker, b"still here");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.end().code, Some(130));
}

#[test]
fn usr1_has_the_server_say_what_it_has_done_and_go_on() {
    let text = Server::start(&[]);
    let mut stream = connect(text.tcp());
    echo(&mut stream, b"hello");
    let open =
        "So far: 1 connection (1 open, 0 refused), received 5 bytes, sent 5 bytes; 0 datagrams";
    eventually("it tells statistics", || {
        text.signal(Signal::USR1);
        text.told().contains(open)
    });
    echo(&mut stream, b"and on");
    text.stop();
    let json = Server::start(&["--log=json"]);
    echo(connect(json.tcp()), b"hello");
    let stats = json.tells("statistics", |told| {
        json.signal(Signal::USR1);
        let lines = told.lines().rev();
        let line = lines.into_iter().find(|line| line.contains("\"stats\""))?;
        line.contains("\"open_connections\":0")
            .then(|| line.to_owned())
    });
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    for (key, value) in [
        ("connections", 1),
        ("received_bytes", 5),
        ("sent_bytes", 5),
        ("datagrams", 0),
    ] {
        assert_eq!(stats[key], value, "{key} of {stats}");
    }
    assert_eq!(stats["datagrams_dropped"]["rate"], 0);
    let (since, time) = (&stats["since_unix_ns"], &stats["time_unix_ns"]);
    assert!(since.as_u64().unwrap() < time.as_u64().unwrap(), "{stats}");
    json.stop();
}

#[test]
fn what_the_parent_has_ignored_stays_so_and_what_it_has_blocked_is_heard() {
    let mut ignores =
        Server::run(crate::common::after("trap '' TERM QUIT USR1").arg("--listen=127.0.0.1:0"));
    for signal in [Signal::TERM, Signal::QUIT, Signal::USR1] {
        ignores.signal(signal);
    }
    echo(connect(ignores.tcp()), b"nothing happened");
    assert!(ignores.is_running());
    ignores.signal(Signal::INT);
    let ended = ignores.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("So far"), "{ended:?}");
    if !std::process::Command::new("env")
        .args(["--block-signal=TERM", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        return crate::common::skip("env blocks no signals here");
    }
    Server::run(crate::common::wrapped("env --block-signal=TERM").arg("--listen=127.0.0.1:0"))
        .stop();
}

#[test]
fn hanging_up_and_a_broken_pipe_end_nothing() {
    let mut server = Server::start(&[]);
    let mut stream = connect(server.tcp());
    for round in 0..20 {
        server.signal([Signal::HUP, Signal::PIPE][round as usize % 2]);
        echo(&mut stream, &pattern(100, round));
        echo(connect(server.tcp()), b"a new one");
    }
    assert!(server.is_running());
    server.stop();
}

#[test]
fn a_stopped_server_that_is_continued_goes_on() {
    let server = Server::start(&[]);
    let mut stream = connect(server.tcp());
    echo(&mut stream, b"before");
    server.signal(Signal::STOP);
    stream.write_all(b"while it stands still").unwrap();
    server.signal(Signal::CONT);
    let mut back = [0; 21];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"while it stands still");
    server.stop();
}

#[test]
fn once_serves_one_connection_and_exits() {
    for workers in ["--workers=1", "--workers=4"] {
        let server = Server::start(&["--once", workers]);
        let mut stream = connect(server.tcp());
        echo(&mut stream, b"the only one");
        refuses(&server);
        echo(&mut stream, &pattern(300_000, 1));
        drop(stream);
        let ended = server.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(
            ended.stderr.matches("Connected by: ").count(),
            1,
            "{ended:?}"
        );
    }
}

#[test]
fn a_port_is_free_again_after_the_end() {
    let server = Server::start(&[]);
    let address = server.tcp();
    let account = Account::open(&server);
    let held: Vec<TcpStream> = (0..20).map(|_| connect(address)).collect();
    account.holds(20);
    server.stop();
    drop(held);
    // Connections in TIME_WAIT must not keep a restarted server out.
    let again = Server::listening(&["--listen", &format!("tcp://{address}")]);
    echo(connect(address), b"hello");
    again.stop();
}
