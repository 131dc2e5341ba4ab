//! Signals, standard streams and limits, as whoever starts the client leaves them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use crate::common::*;

/// The client started by a shell that first says `before`.
pub fn by_shell(before: &str, args: &[&str]) -> Running {
    let client = command(args);
    let mut shell = Command::new("sh");
    shell
        .env_clear()
        .args(["-c", &format!("{before}; exec \"$0\" \"$@\"")])
        .arg(client.get_program())
        .args(client.get_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Running::from(shell.spawn().expect("sh runs"))
}

#[test]
fn an_ignored_signal_stays_ignored() {
    let echo = echo();
    let args = ["ping", &echo.tcp, "-c", "20", "-i", "20ms"];
    let mut client = by_shell("trap '' HUP INT", &args);
    client.line();
    client.signal("HUP");
    client.signal("INT");
    let ended = client.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.text().contains("20 sent, 20 received"), "{ended:?}");
}

/// A standard error that stays open and takes nothing, and what keeps it open.
fn full() -> (Stdio, UnixStream) {
    let (mut full, kept) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[0; 512]).is_ok() {}
    full.set_nonblocking(false).unwrap();
    (OwnedFd::from(full).into(), kept)
}

#[test]
fn a_standard_error_that_takes_nothing_keeps_nobody_from_the_end() {
    let (closed, echo) = (closed_port().to_string(), echo());
    for (args, signal, code) in [
        (&["--bogus"][..], None, 2),
        (&[&closed, "-m", "x"], None, 3),
        (&["ping", &closed, "-w", "1s"], None, 3),
        (&["ping", &echo.tcp, "-v", "-w", "1s"], None, 1),
        (&["ping", &echo.tcp, "-v"], Some("TERM"), 1),
    ] {
        let (stderr, _kept) = full();
        let mut command = command(args);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(stderr).spawn().unwrap();
        let client = Running::from(child);
        if let Some(signal) = signal {
            client.listens();
            client.signal(signal);
        }
        assert_eq!(client.end().code, Some(code), "{args:?}");
    }
}

#[test]
fn one_wish_that_arrives_twice_is_one() {
    let echo = echo();
    let mut client = start(&["ping", &echo.tcp, "-i", "20ms"]);
    client.line();
    // By one shell: what comes later than half a second is another wish.
    let id = client.child.id();
    let thrice = format!("kill -TERM {id}; kill -TERM {id}; kill -TERM {id}");
    Command::new("sh").args(["-c", &thrice]).status().unwrap();
    let ended = client.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.text().contains(" 0% loss"), "{ended:?}");
}

#[test]
fn whoever_asks_how_it_is_going_is_told_and_it_goes_on() {
    for signal in ["QUIT", "USR1"] {
        let (began, has_begun) = mpsc::channel();
        let silent = tcp(move |_, mut stream| {
            read(&stream, 51);
            began.send(()).unwrap();
            let _: std::io::Result<u64> = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let message = "x".repeat(51);
        let mut client = start(&[&silent, "-W", "1h", "-m", &message]);
        has_begun.recv_timeout(DEADLINE).unwrap();
        client.signal(signal);
        let mut stderr = BufReader::new(client.child.stderr.take().unwrap());
        let mut words = String::new();
        stderr.read_line(&mut words).unwrap();
        assert!(
            words.contains("bytes sent have come back identical so far"),
            "{words}"
        );
        client.interrupt();
        stderr.read_to_string(&mut words).unwrap();
        assert!(words.contains("interrupted"), "{words}");
        assert_eq!(client.end().code, Some(1));
    }
}

#[test]
fn whoever_asks_while_it_waits_is_told_for_what() {
    let echo = echo();
    for args in [
        &["-u", "-i", &echo.udp][..],
        &["-m", "-", "-u", &echo.udp],
        &[&echo.tcp],
        &["bench", "--start-at", "2100-01-01T00:00:00Z", &echo.tcp],
    ] {
        let mut client = start(args);
        client.listens();
        client.signal("USR1");
        let mut stderr = BufReader::new(client.child.stderr.take().unwrap());
        let mut words = String::new();
        stderr.read_line(&mut words).unwrap();
        assert!(words.starts_with("waiting for "), "{args:?}: {words}");
        client.interrupt();
        assert!(client.end().code.is_some(), "{args:?}");
    }
}

#[test]
fn whoever_asks_while_it_connects_is_told_and_it_goes_on() {
    // Two that nobody accepts: a third is not answered.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    full.bind(&any.into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let crowd = [(); 2].map(|()| {
        let one = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        one.set_nonblocking(true).unwrap();
        // It is under way.
        let _: std::io::Result<()> = one.connect(&address.into());
        one
    });
    let (full, closed) = (address.to_string(), closed_port().to_string());
    for (signal, args) in [
        (
            "USR1",
            &[full.as_str(), "-m", "x", "--connect-timeout", "1h"][..],
        ),
        ("QUIT", &["ping", &full, "--connect-timeout", "1h"]),
        ("USR1", &["bench", &full, "--connect-timeout", "1h"]),
        ("QUIT", &["ping", "-u", &closed, "--wait", "1h"]),
        ("USR1", &["bench", &closed, "--wait", "1h"]),
    ] {
        let mut client = start(args);
        client.listens();
        client.signal(signal);
        let mut stderr = BufReader::new(client.child.stderr.take().unwrap());
        let mut words = String::new();
        stderr.read_line(&mut words).unwrap();
        assert!(words.starts_with("connecting to "), "{args:?}: {words}");
        client.interrupt();
        words.clear();
        stderr.read_to_string(&mut words).unwrap();
        assert!(words.contains("interrupted"), "{args:?}: {words}");
        assert_eq!(client.end().code, Some(3), "{args:?}");
    }
    drop(crowd);
}

#[test]
fn whoever_cannot_be_told_of_signals_is_ended_by_them() {
    if !Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|s| s.success())
    {
        eprintln!("skipped: strace is not on this machine, or may not watch a program");
        return;
    }
    let (echo, log) = (echo(), Scratch::new("deaf"));
    let log = log.path("log").display().to_string();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let signals = ["-P", "anon_inode:[signalfd]"];
    for (of, fails, code) in [
        (&signals[..], "read:error=EIO:when=1", Some(0)),
        (&signals[..], "read:error=EIO", None),
        // What tells of signals must not be a socket: those fail for many reasons.
        (&[], "recvfrom:error=ENOMEM", Some(0)),
    ] {
        let client = command(&["ping", &echo.udp, "-i", "20ms"]);
        let mut traced = Command::new("strace");
        traced.env_clear().env("PATH", &path);
        traced.args(["-D", "-f", "-qq", "-o", &log]).args(of);
        traced.args([
            "-e",
            "trace=read,recvfrom",
            "-e",
            &format!("inject={fails}"),
        ]);
        traced.arg(client.get_program()).args(client.get_args());
        traced.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = Running::from(traced.spawn().expect("strace runs"));
        client.line();
        client.line();
        client.signal("TERM");
        let ended = client.end();
        assert_eq!(ended.code, code, "{fails}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{fails}: {ended:?}");
    }
}

#[test]
fn what_this_machine_lacks_in_the_midst_is_not_told_as_the_servers() {
    let (echo, path) = (echo(), std::env::var_os("PATH").unwrap_or_default());
    for (fails, words) in [
        ("sendto:error=ENOBUFS", "no buffer space available"),
        ("recvfrom:error=ENOMEM", "cannot allocate memory"),
    ] {
        let client = command(&["-m", "hi", &echo.tcp]);
        let mut traced = Command::new("strace");
        traced.env_clear().env("PATH", &path);
        traced.args([
            "-D",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("inject={fails}"),
        ]);
        let traced = traced.arg(client.get_program()).args(client.get_args());
        let Ok(output) = traced.output() else {
            eprintln!("skipped: strace is not on this machine");
            return;
        };
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.contains(&format!("{words}; give it more memory")),
            "{told}"
        );
        assert!(!told.contains("the echo is short"), "{told}");
    }
}

#[test]
fn what_whoever_starts_it_has_blocked_is_heard() {
    let blocks = |what: &str| format!("exec env --block-signal={what} \"$0\" \"$@\"");
    let mut can = Command::new("env");
    let can = can.args(["--block-signal=TERM", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("skipped: env blocks no signals here");
        return;
    }
    let echo = echo();
    for (signal, args) in [
        ("TERM", ["ping", &echo.tcp, "-i", "20ms"]),
        ("INT", ["bench", &echo.tcp, "--jsonl", "-q"]),
    ] {
        let mut client = by_shell(&format!("{}; :", blocks("TERM,INT")), &args);
        client.line();
        client.signal(signal);
        let ended = client.end();
        assert!(matches!(ended.code, Some(0 | 1)), "{ended:?}");
    }
}

#[test]
fn streams_that_were_left_non_blocking_are_waited_for() {
    let (echo, scratch) = (echo(), Scratch::new("nonblocking"));
    let sent = noise(3_000_000);
    let path = scratch.file("noise", &sent);
    let (mut reader, output) = UnixStream::pair().unwrap();
    let (input, mut writer) = UnixStream::pair().unwrap();
    output.set_nonblocking(true).unwrap();
    input.set_nonblocking(true).unwrap();
    for args in [&["--file", &path][..], &["-m", "-"]] {
        let mut client = Running::from(
            command(&[&[echo.tcp.as_str(), "--raw"], args].concat())
                .stdin(OwnedFd::from(input.try_clone().unwrap()))
                .stdout(OwnedFd::from(output.try_clone().unwrap()))
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut back = vec![0; sent.len()];
        std::thread::scope(|scope| {
            if args[0] == "-m" {
                scope.spawn(|| {
                    let (half, rest) = sent.split_at(sent.len() / 2);
                    writer.write_all(half).unwrap();
                    writer.write_all(rest).unwrap();
                    writer.shutdown(std::net::Shutdown::Write).unwrap();
                });
            }
            reader.set_read_timeout(Some(DEADLINE)).unwrap();
            // Slower than it comes: there is no room for it.
            for piece in back.chunks_mut(1 << 18) {
                reader.read_exact(piece).unwrap();
                std::thread::yield_now();
            }
        });
        assert!(back == sent, "{args:?}");
        assert_eq!(client.child.wait().unwrap().code(), Some(0), "{args:?}");
    }
}

#[test]
fn a_refused_thread_is_an_error_in_words() {
    let echo = echo();
    // A user's processes are counted, but not root's.
    let whoami = Command::new("id").arg("-u").output().unwrap();
    let as_nobody = match whoami.stdout == b"0\n" {
        true => ["setpriv", "--reuid=65534", "--clear-groups"].as_slice(),
        false => &[],
    };
    let scratch = Scratch::new("threads");
    let copy = scratch.path("client");
    // Not by this process: a child that another test starts meanwhile would hold the copy open, and
    // what is open for writing cannot be run.
    let mut copying = Command::new("cp");
    copying.arg(env!("CARGO_BIN_EXE_echo-client")).arg(&copy);
    assert!(copying.status().unwrap().success());
    let port = echo.tcp.rsplit(':').next().unwrap();
    let name = format!("localhost:{port}");
    // The first to be refused is another one each time, until none is.
    for limit in 1..=6 {
        for (mode, target) in [
            (&[][..], &echo.tcp),
            (&[], &name),
            (&["ping", "-c", "1"], &echo.tcp),
            (&["bench", "-P2", "--threads", "2", "-d", "50ms"], &echo.tcp),
        ] {
            let limit = format!("--nproc={limit}");
            let words = [as_nobody, &["prlimit", &limit, copy.to_str().unwrap()]].concat();
            let start = Instant::now();
            let mut client = Command::new(words[0]);
            client
                .args(&words[1..])
                .args(mode)
                .args([target, "-w", "5s"]);
            let output = client.output().unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            let code = output.status.code();
            match code {
                Some(0) => assert_ne!(limit, "--nproc=1"),
                Some(1 | 3) => {
                    for word in ["cannot start a thread", "ulimit -u"] {
                        assert!(told.contains(word), "{mode:?}, {limit}: {told}");
                    }
                    assert!(!told.contains("os error"), "{told}");
                    let was_reached = told.contains("the run was cut short");
                    assert!(!was_reached || code == Some(1), "{told}");
                }
                code => panic!("{mode:?}, {limit}: {code:?} {told}"),
            }
            assert!(start.elapsed() < DEADLINE);
        }
        // What else is started beside these, in the midst of a diagnosis.
        let limit = format!("--nproc={limit}");
        let words = [as_nobody, &["prlimit", &limit, copy.to_str().unwrap()]].concat();
        let mut client = Command::new(words[0]);
        client
            .args(&words[1..])
            .args(["diagnose", &name, "-w", "1s"]);
        let output = client.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{limit}: {told}");
        assert!(!told.contains("does not exist"), "{limit}: {told}");
        let text = String::from_utf8(output.stdout).unwrap();
        let is_summed_up = text.contains(&format!("\n{name}: "));
        let is_refused = told.contains("cannot start a thread");
        assert!(is_summed_up || is_refused, "{limit}: {text}, {told}");
    }
}

#[test]
fn too_few_descriptors_are_an_error_in_words() {
    let echo = echo();
    let mut codes = Vec::new();
    let mut cut = Vec::new();
    let bench = "bench -c9 --warmup=0 --new-connection -P2 --json";
    let bench: Vec<_> = bench.split(' ').collect();
    for (limit, mode) in (4..=12).flat_map(|limit| [(limit, &bench[..]), (limit, &[])]) {
        let mut client = Command::new("prlimit");
        client.arg(format!("--nofile={limit}"));
        client.arg(env!("CARGO_BIN_EXE_echo-client"));
        let output = client.args(mode).arg(&echo.tcp).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        codes.push(output.status.code());
        if told.contains("the run was cut short") {
            let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            cut.push(document["connections"].clone());
        }
        if output.status.code() != Some(0) {
            assert!(told.contains("ulimit -n"), "{limit}: {told}");
            assert!(
                !told.contains("TIME_WAIT") && !told.contains("route"),
                "{told}"
            );
        }
    }
    assert!(
        codes.contains(&Some(1)) && codes.contains(&Some(3)),
        "{codes:?}"
    );
    assert_eq!(codes.last(), Some(&Some(0)), "{codes:?}");
    // The one that shows that the target is there.
    assert!(
        !cut.is_empty() && cut.iter().all(|made| *made == 1),
        "{cut:?}"
    );
}
