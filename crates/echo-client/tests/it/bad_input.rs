//! Whatever is wrong outside is told in one line, with the right exit code, and nothing hangs.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use crate::common::*;

#[test]
fn a_refused_connection_names_the_address_and_the_remedy() {
    let closed = closed_port().to_string();
    let ended = run(&[&closed]);
    ended.failed(3, &[&closed, "connection refused", "start echo-server"]);
    assert_eq!((ended.text(), ended.stderr.lines().count()), ("", 1));
    let ended = run(&["unix:does/not/exist.sock"]);
    ended.failed(3, &["does/not/exist.sock", "no such file"]);
    run(&["unix:/"]).failed(3, &["not a socket", "give the path"]);
    let udp = format!("udp://{closed}");
    for target in [&closed, &udp] {
        let ended = run(&[target, "--wait", "30ms"]);
        ended.failed(3, &["waited 30ms; start echo-server"]);
        assert!(!ended.stderr.contains("--wait"), "{ended:?}");
    }
}

#[test]
fn an_unresolvable_name_is_told_apart_from_a_dead_server() {
    for target in [
        "no.such.host.invalid:5346",
        "udp://no.such.host.invalid:5346",
    ] {
        let ended = run(&[target, "--connect-timeout", "20s"]);
        ended.failed(
            3,
            &["cannot resolve no.such.host.invalid", "check the name"],
        );
    }
}

#[test]
fn a_connection_that_is_not_answered_times_out() {
    use socket2::{Domain, Socket, Type};
    // A listener whose queue is full drops what else wants to connect, as a firewall does.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let queue: Vec<_> = (0..4)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address);
            socket
        })
        .collect();
    let target = address.as_socket().unwrap().to_string();
    let ended = run(&[&target, "--connect-timeout", "300ms"]);
    ended.failed(3, &[&target, "no answer within 300ms", "--connect-timeout"]);
    drop(queue);
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    for (args, words) in [
        (&["127.0.0.1"][..], &["the port is missing"][..]),
        (&["::1:5346"], &["[::1]:5346"]),
        (&["localhost"], &["such as localhost:5346"]),
        (&["localhost", "7"], &["one word: localhost:7"]),
        (&["localhost:5346", "7"], &["one word: HOST:7"]),
        (&["ping", "localhost", "7"], &["one word: localhost:7"]),
        (
            &["localhost", "99999"],
            &["localhost:5346", "65535 is the last"],
        ),
        (
            &["ping", "-u", "a.name", "65536"],
            &["a.name:5346", "65535"],
        ),
        (&["-c", "5", "localhost:7"], &["echo-client ping -c"]),
        (&["http://127.0.0.1:1"], &["tcp://"]),
        (&["127.0.0.1:0"], &["port 0"]),
        (&["-u", "tcp://127.0.0.1:5346"], &["tcp://", "--udp"]),
        (&["-u", "unix:e.sock"], &["--udp"]),
        (&["-4", "-6"], &["-4", "-6"]),
        (&["-W", "0"], &["--timeout"]),
        (&["-W", "soon"], &["--timeout", "200ms"]),
        (&["-B", "localhost"], &["--bind", "192.0.2.1"]),
        (&["--framing", "xml"], &["raw, lines or length"]),
        (&["--max-frame", "1x"], &["--max-frame", "64k"]),
        (&["-m", "a", "--file", "b"], &["--file"]),
        (&["--no-such-flag"], &["--no-such-flag"]),
        (&["-W=-1"], &["--timeout", "negative", "200ms"]),
        (&["--raw=maybe"], &["--raw", "true or false"]),
        (&["ping", "-c=-1"], &["--count", "from 0 to"]),
        (&["ping", "-c", ""], &["--count", "from 0 to"]),
        (
            &["bench", "-P", "18446744073709551615"],
            &["--parallel", "from 1 to"],
        ),
        (&["bench", "--fail-if="], &["--fail-if", "p99>2ms"]),
        (&["bench", "--fail-if", "p99>2"], &["write p99>2ms"]),
        (&["ping", "-s", "65508"], &["65507"]),
        (&["ping", "-s", "0"], &["--size 0"]),
        (&["ping", "-u", "-s", "65508"], &["0 to 65507"]),
        (&["ping", "-s", "9GiB"], &["there is bench"]),
        (
            &["ping", "--framing=length", "--max-frame=64", "-s", "65"],
            &["--max-frame"],
        ),
        (&["ping", "--json", "--jsonl"], &["--jsonl"]),
        (&["ping", "-u", "--new-connection"], &["--new-connection"]),
        (&["-u", "--half-close"], &["--half-close", "over UDP"]),
        (&["-u", "--buffer", "1"], &["--buffer", "over UDP"]),
        (
            &["-m", "x", "--timestamps", "kernel"],
            &["--timestamps kernel", "over TCP", "leave one of them out"],
        ),
        (
            &["ping", "--timestamps", "kernel", "unix:x"],
            &["--timestamps kernel", "over a Unix socket"],
        ),
        (
            &["bench", "udp://a:1", "b:2", "--timestamps", "kernel"],
            &["--timestamps kernel", "over TCP"],
        ),
        (&["unix:x", "-4"], &["--family", "over a Unix socket"]),
        (&["bench", "unix:x", "--ttl", "9"], &["--ttl"]),
        (
            &["ping", "-u", "--framing", "lines"],
            &["leave --framing out"],
        ),
        (&["-f", ""], &["--file names no file"]),
        (&["-u", "ping"], &["the subcommand goes first", "ping ..."]),
        (&["-W", "1s", "bench"], &["the subcommand goes first"]),
        (
            &["-u", "ping", "127.0.0.1:5346", "-c1"],
            &["the subcommand 'ping'", "the subcommand goes first"],
        ),
    ] {
        run(args).failed(2, words);
    }
}

#[test]
fn what_other_programs_take_is_answered_with_how_it_is_written_here() {
    let of_sending = "flag of sending, which has no subcommand: echo-client --explain";
    for (args, tip) in [
        (
            &["bench", "localhost", "7100"][..],
            "one word: localhost:7100",
        ),
        (&["bench", "-P", "2", "::1", "7100"], "one word: [::1]:7100"),
        (&["bench", "127.0.0.1", "7100"], "one word: 127.0.0.1:7100"),
        (
            &["localhost:7100", "hello"],
            "echo-client HOST:PORT -m hello",
        ),
        (&["ping", "a:1", "hello"], "echo-client HOST:PORT -m hello"),
        (&["ping", "a:1", "b:1"], "one target is asked"),
        (&["-i", "0.2", "localhost:7100"], "one target is asked"),
        (&["pinf", "localhost"], "subcommand exists: ping"),
        (&["diagnos", "localhost"], "subcommand exists: diagnose"),
        (&["ping1", "-p", "7"], "without a flag: HOST:PORT"),
        (&["hlep"], "subcommand exists: help"),
        (&["help", "bnech"], "subcommand exists: bench"),
        (&["udp", "7"], "one word: udp://127.0.0.1:7"),
        (&["mesh", "a:1"], "--targets dns:a:1"),
        (
            &["mesh", "--targets", "file:a.json", "file:b.json"],
            "--targets file:b.json",
        ),
        (&["ping", "-n", "3", "a:1"], "--count N"),
        (&["bench", "-n3", "a:1"], "--count N"),
        (&["ping", "-p", "7", "a"], "without a flag: HOST:PORT"),
        (&["bench", "--port=7", "a"], "without a flag: HOST:PORT"),
        (&["--host", "a:1"], "without a flag: HOST:PORT"),
        (&["ping", "-t", "a:1"], "--ttl"),
        (&["--tcp", "a:1"], "no --udp"),
        (&["bench", "-t", "5", "a:1"], "--duration"),
        (&["bench", "-b", "9M", "a:1"], "--rate"),
        (&["ping", "-f", "a:1"], "--interval 0"),
        (&["ping", "-I", "e0", "a:1"], "--interface NAME"),
        (&["ping", "-M", "do", "a:1"], "--df"),
        (&["ping", "-udp", "a:1"], "two dashes: --udp"),
        (&["-udp", "a:1"], "two dashes: --udp"),
        (&["ping", "--explain", "a:1"], of_sending),
        (&["diagnose", "--count=", "a:1"], "flag of ping"),
    ] {
        let ended = run(args);
        ended.failed(2, &["  tip: ", tip]);
        assert_eq!(ended.stderr.matches("  tip: ").count(), 1, "{ended:?}");
        for alike in ["--deadline", "--report", "--dscp", "--config"] {
            assert!(!ended.stderr.contains(alike), "{ended:?}");
        }
    }
    let ended = run(&["bench", "-c", "x", "7"]);
    assert!(!ended.stderr.contains("one word"), "{ended:?}");
}

#[test]
fn nobody_is_told_of_a_target_or_a_flag_that_the_mode_does_not_take() {
    for args in [
        &["completions", "bash", "zsh"][..],
        &["completions", "bash", "7"],
        &["merge", "--tcp"],
        &["compare", "-n", "3"],
        &["compare", "-t", "a.json"],
        &["mesh", "--targets", "file:a.json", "hello"],
    ] {
        let ended = run(args);
        ended.failed(2, &["Usage: "]);
        for misleading in ["HOST:PORT", "one word", "--udp", "--count", "--ttl"] {
            assert!(!ended.stderr.contains(misleading), "{ended:?}");
        }
    }
}

#[test]
fn a_target_is_taken_as_it_is_meant_or_answered_with_its_spelling() {
    let echo = echo();
    let (tcp, port) = (&echo.tcp, echo.tcp.rsplit_once(':').unwrap().1);
    for target in [
        &format!(" {tcp} ") as &str,
        &format!("tcp://{tcp}/"),
        &format!("TCP://{tcp}"),
        &format!(":{port}\n"),
    ] {
        let ended = run(&[target]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    for (target, spelling) in [
        ("", "HOST:PORT"),
        (" ", "HOST:PORT"),
        (
            "http://a.name:80/x",
            "write tcp://a.name:80 or udp://a.name:80",
        ),
        ("https://a.name/", "write tcp://a.name:5346 or"),
        ("tcp://a.name/", "such as tcp://a.name:5346"),
        ("tcp:a.name:7", "write tcp://a.name:7"),
        ("a.name:7/udp", "write udp://a.name:7"),
        ("a.name:65536", "from 0 to 65535"),
        ("a.name:echo", "not a number"),
        ("::1", "write [::1]:5346"),
        ("::1:17391", "write [::1]:17391"),
        ("fe80::1%eth0", "write [fe80::1%eth0]:5346"),
        ("/run/e.sock", "write unix:/run/e.sock"),
        ("./e.sock", "write unix:./e.sock"),
    ] {
        for mode in [&[][..], &["ping"], &["bench"], &["diagnose"]] {
            run(&[mode, &[target]].concat()).failed(2, &[spelling]);
        }
    }
}

#[test]
fn nobody_is_told_to_send_a_flag_that_does_not_exist() {
    for args in [&["-t"][..], &["ping", "-t"], &["bench", "--tcp"]] {
        let ended = run(args);
        ended.failed(2, &["unexpected argument"]);
        assert!(!ended.stderr.contains("as a value"), "{ended:?}");
        assert!(!ended.stderr.contains("\n\n\n"), "{ended:?}");
    }
}

#[test]
fn a_message_over_the_frame_limit_is_a_usage_error() {
    let echo = echo();
    for framing in ["lines", "length"] {
        let args = [&echo.tcp, "--framing", framing, "--max-frame", "10"];
        run(&args).failed(2, &["limit of 10", "--max-frame"]);
    }
}

#[test]
fn an_interrupt_ends_with_what_is_known_so_far() {
    let (sender, receiver) = mpsc::channel();
    let server = tcp(move |_, stream| {
        let bytes = read(&stream, 51);
        (&stream).write_all(&bytes[..20]).unwrap();
        sender.send(stream).unwrap();
    });
    let message = "x".repeat(51);
    let client = start(&[&server, "-m", &message]);
    let stream = receiver.recv_timeout(DEADLINE).unwrap();
    client.interrupt();
    let ended = client.end();
    ended.failed(1, &["interrupted", "of 51 bytes"]);
    drop(stream);
}

#[test]
fn a_second_interrupt_ends_at_once() {
    const LEN: usize = 60_000;
    let server = tcp(|_, stream| {
        let bytes = read(&stream, LEN);
        std::thread::spawn(move || {
            (&stream).write_all(&bytes).unwrap();
            let _ = (&stream).read(&mut [0]);
        });
    });
    let file = Scratch::new("interrupt");
    let path = file.file("noise", &noise(LEN));
    // Its output takes far less than it has to write at once, and nobody reads more than a byte:
    // it cannot get on when it is asked to stop.
    let (mut reader, output) = UnixStream::pair().unwrap();
    let output = socket2::Socket::from(output);
    output.set_send_buffer_size(1).unwrap();
    let mut client = Running::from(
        command(&[&server, "--file", &path, "--raw", "-W", "1h"])
            .stdout(OwnedFd::from(output))
            .spawn()
            .unwrap(),
    );
    reader.set_read_timeout(Some(DEADLINE)).unwrap();
    reader.read_exact(&mut [0]).unwrap();
    client.interrupt();
    let start = std::time::Instant::now();
    while client.child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < DEADLINE);
        // Another signal is another wish at once.
        client.signal("TERM");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(client.child.wait().unwrap().code(), Some(130));
}

#[test]
fn help_is_short_or_whole_as_it_is_asked_for() {
    let help = |words: &[&str]| {
        let ended = run(words);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        ended.text().to_owned()
    };
    for mode in [&[][..], &["ping"], &["bench"]] {
        let (short, long) = ([mode, &["-h"]].concat(), [mode, &["--help"]].concat());
        let (short, long) = (help(&short), help(&long));
        assert!(
            short.contains("--lang") && !short.contains("--ttl"),
            "{short}"
        );
        assert!(long.contains("--lang") && long.contains("--ttl"), "{long}");
        assert!(short.lines().count() <= 48, "{short}");
    }
    assert_eq!(help(&["help"]), help(&["--help"]));
    let of_ping = help(&["ping", "--help"]);
    for asked in [["help", "ping"], ["--help", "ping"], ["ping", "help"]] {
        assert_eq!(help(&asked), of_ping);
    }
    assert_eq!(help(&["-h", "ping"]), help(&["ping", "-h"]));
}

#[test]
fn what_only_stamp_tells_is_no_condition_without_it() {
    let echo = echo();
    for condition in ["lost-there>1%", "loss>5%,back-p99>20ms", "residence-p50>1s"] {
        for mode in ["ping", "bench"] {
            let ended = run(&[mode, "-u", &echo.tcp, "--fail-if", condition]);
            ended.failed(2, &["--fail-if", "--stamp"]);
        }
    }
}

#[test]
fn a_plan_of_peers_that_nobody_knows_is_no_success() {
    let ended = run(&["mesh", "--targets", "dns:no.such.name.invalid:7", "--plan"]);
    ended.failed(3, &["no.such.name.invalid"]);
}

#[test]
fn a_flag_that_stands_where_it_belongs_is_not_sent_elsewhere() {
    let ended = run(&["bench", "-4", "-6", "127.0.0.1:1"]);
    ended.failed(2, &["-4", "-6"]);
    assert!(!ended.stderr.contains("it is a flag of"), "{ended:?}");
}
