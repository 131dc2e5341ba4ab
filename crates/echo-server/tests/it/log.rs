//! Nothing that is told holds up what is done, and what is missing is told.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{
    Server, TempPath, connect, echo, eventually, exchange, fails, pattern, program,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Each line is whole, or this fails.
fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}")))
        .collect()
}

/// For how many events the lines stand.
fn events(text: &str) -> u64 {
    let count = |line: &Value| line["events"].as_u64().unwrap_or(1);
    lines(text).iter().map(count).sum()
}

fn text(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The limit of a file's size stands for a full disk, on which there may be room again.
#[test]
fn a_log_that_found_no_room_goes_on_with_whole_lines_and_tells_what_is_missing() {
    let path = TempPath::new("log");
    std::fs::write(&*path, "").unwrap();
    let limited = format!("ulimit -f 4 && exec 2>>{}", path.text());
    let server =
        Server::run(crate::common::after(&limited).args(["--listen=127.0.0.1:0", "--log=json"]));
    let mut length = 0;
    eventually("the log is full", || {
        echo(connect(server.tcp()), b"hello");
        let before = length;
        length = text(&path).len();
        // The limit is a number of blocks, of which some shells have larger ones.
        length == before && length > 0 && length % 1024 == 0
    });
    let before = text(&path);
    OpenOptions::new()
        .write(true)
        .open(&*path)
        .unwrap()
        .set_len(0)
        .unwrap();
    eventually("the log goes on", || text(&path).contains("\"lost\""));
    echo(connect(server.tcp()), b"and goes on");
    assert_eq!(server.stop().code, Some(0));
    let after = text(&path);
    // A line that had begun is finished first.
    let lost = match before.ends_with('\n') {
        true => &after,
        false => after.split_once('\n').unwrap().1,
    };
    assert!(lost.lines().next().unwrap().contains("\"lost\""), "{after}");
    let whole = before + &after;
    let last = lines(&whole).pop().unwrap();
    assert_eq!(last["event"], "stopped");
    // Two sockets that listen, what is given up before serving, two events a connection, and two of
    // the end.
    assert_eq!(
        events(&whole),
        last["connections"].as_u64().unwrap() * 2 + 5
    );
}

/// A server whose standard error is `stderr`, and what it prints.
fn with_stderr(stderr: impl Into<Stdio>, args: &[&str]) -> (Child, String) {
    let mut child = program()
        .arg("--listen=127.0.0.1:0")
        .args(args)
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let mut byte = [0];
    while !ready.ends_with("ready\n") {
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut byte)
            .unwrap();
        ready.push(byte[0].into());
    }
    let tcp = ready.lines().next().unwrap();
    (
        child,
        tcp.strip_prefix("listening tcp ").unwrap().to_owned(),
    )
}

fn ends(child: &mut Child) -> Option<i32> {
    let mut status = None;
    eventually("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().code()
}

#[test]
fn a_standard_error_that_does_not_block_is_waited_for() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let (mut child, tcp) = with_stderr(OwnedFd::from(theirs), &["--log=json", "-v"]);
    let tcp = tcp.parse().unwrap();
    // Far more than a socket holds, and than the queue of events.
    for round in 0..2000 {
        let mut stream = connect(tcp);
        echo(&mut stream, &pattern(10, round));
    }
    let (goes_on, went_on) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let (mut told, mut last) = (String::new(), 0);
        let mut lines = std::io::BufReader::new(ours);
        while lines.read_line(&mut told).unwrap() > 0 && !told[last..].contains("\"lost\"") {
            last = told.len();
        }
        goes_on.send(()).unwrap();
        lines.read_to_string(&mut told).unwrap();
        told
    });
    // It has caught up with what came too fast: there is room for the end.
    went_on.recv_timeout(crate::common::LIMIT).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(ends(&mut child), Some(0));
    let told = reader.join().unwrap();
    let last = lines(&told).pop().unwrap();
    assert_eq!(last["event"], "stopped", "{last}");
    assert!(
        told.contains("\"lost\""),
        "nothing was lost: the test proves nothing"
    );
}

/// The time from SIGTERM to the end.
fn time_to_end(child: &mut Child) -> Duration {
    let start = Instant::now();
    kill_process(Pid::from_child(child), Signal::TERM).unwrap();
    assert_eq!(ends(child), Some(0));
    start.elapsed()
}

/// A pipe that takes nothing, and its other end.
fn full() -> (OwnedFd, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    while theirs.write(&[b'x'; 4096]).is_ok() {}
    theirs.set_nonblocking(false).unwrap();
    (theirs.into(), ours)
}

#[test]
fn a_standard_stream_that_takes_nothing_does_not_hold_up_the_end() {
    let (stuck, _reader) = full();
    let (mut child, tcp) = with_stderr(stuck, &[]);
    echo(connect(tcp.parse().unwrap()), b"hello");
    assert!(time_to_end(&mut child) < Duration::from_secs(5));

    let (stuck, _reader) = full();
    let path = TempPath::new("ready");
    let mut child = program()
        .args(["--listen=127.0.0.1:0", "--ready-file", path.text()])
        .stdout(stuck)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it is ready", || path.exists());
    assert!(time_to_end(&mut child) < Duration::from_secs(5));

    // What fails is said, or not; the code tells.
    let (stuck, _reader) = full();
    let mut child = program()
        .arg("--listen=nonsense")
        .stderr(stuck)
        .spawn()
        .unwrap();
    assert_eq!(ends(&mut child), Some(2));
}

#[test]
fn a_record_that_nobody_reads_freezes_nobody_and_is_told() {
    let path = TempPath::new("fifo");
    crate::common::succeeds(Command::new("mkfifo").arg(&*path));
    // Both ends, so that opening it waits for nobody. Nothing is read.
    let mut fifo = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&*path)
        .unwrap();
    let server = Server::start(&["--record", path.text(), "--drain=1h"]);
    let sent = pattern(20 << 20, 1);
    assert!(exchange(server.tcp(), &sent) == sent);
    echo(connect(server.tcp()), b"others too");
    server.signal(Signal::TERM);
    let start = Instant::now();
    let ended = server.end();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("cannot record to"), "{ended:?}");
    let mut held = [0; 24];
    fifo.read_exact(&mut held).unwrap();
    assert!(held.starts_with(b"{\"time_unix_ns\":"));
}

#[test]
fn a_record_that_stalls_where_memory_is_scarce_ends_nobody() {
    for mib in [28, 32, 40] {
        let path = TempPath::new("fifo");
        crate::common::succeeds(Command::new("mkfifo").arg(&*path));
        let _unread = OpenOptions::new().read(true).write(true).open(&*path);
        let mut command = crate::common::after(&format!("ulimit -v {}", mib << 10));
        command.args(["--listen=tcp://127.0.0.1:0", "--workers=1", "-q"]);
        let mut server = Server::launch(command.args(["--record", path.text()]));
        // The program itself takes what it takes.
        if !server.is_ready() && mib < 40 {
            let ended = server.end();
            assert_eq!(ended.code, Some(1), "{mib} MiB: {ended:?}");
            assert!(ended.stderr.contains("cannot "), "{mib} MiB: {ended:?}");
            continue;
        }
        let sent = pattern(60_000, 1);
        let mut stream = connect(server.tcp());
        (0..200).for_each(|_| echo(&mut stream, &sent));
        drop(stream);
        server.signal(Signal::TERM);
        let ended = server.end();
        assert_eq!(ended.code, Some(1), "{mib} MiB: {ended:?}");
        assert!(
            ended.stderr.contains("cannot record to"),
            "{mib} MiB: {ended:?}"
        );
    }
}

#[test]
fn a_record_into_a_pipe_must_have_its_reader() {
    let path = TempPath::new("fifo");
    crate::common::succeeds(Command::new("mkfifo").arg(&*path));
    let record = ["--listen=127.0.0.1:0", "--record", path.text()];
    fails(program().args(record), 2, &["nobody reads it", "first"]);
}

/// A reader that stands still for a while misses chunks, and finds where.
#[test]
fn a_record_says_where_chunks_are_missing() {
    let path = TempPath::new("fifo");
    crate::common::succeeds(Command::new("mkfifo").arg(&*path));
    let fifo = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&*path)
        .unwrap();
    let server = Server::start(&["--record", path.text()]);
    let sent = pattern(20 << 20, 1);
    assert!(exchange(server.tcp(), &sent) == sent);
    let mut reader = File::open(&*path).unwrap();
    drop(fifo);
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    server.signal(Signal::TERM);
    let ended = server.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("chunks are missing"), "{ended:?}");
    let lines = lines(&read.join().unwrap());
    let sum = |key: &str| {
        lines
            .iter()
            .filter_map(|line| line[key].as_u64())
            .sum::<u64>()
    };
    assert!(sum("lost_chunks") > 0);
    assert!(sum("received_bytes") < sent.len() as u64);
    assert!(
        lines
            .iter()
            .map(|line| line["time_unix_ns"].as_u64())
            .is_sorted()
    );
}

#[test]
fn a_record_over_the_limit_of_size_is_an_error_and_kills_nobody() {
    let path = TempPath::new("record");
    let mut limited = crate::common::after("ulimit -f 4");
    let server = Server::run(limited.args(["--listen=127.0.0.1:0", "--record", path.text()]));
    let mut stream = connect(server.tcp());
    // What is recorded takes twice as much room as what was sent.
    let _ = stream.write_all(&pattern(100_000, 1));
    let ended = server.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("cannot record to"), "{ended:?}");
    assert!(ended.stderr.contains("(ulimit -f)"), "{ended:?}");
}
